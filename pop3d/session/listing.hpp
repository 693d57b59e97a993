#pragma once

#include <optional>
#include <string>

#include "pop3d/session/conversation.hpp"
#include "pop3d/session/entries.hpp"
#include "pop3d/session/marks.hpp"
#include "pop3d/session/numbering.hpp"

namespace pop3d {

/// A LIST or UIDL of the whole maildrop on its way: where it stands, however long the listing.
class ListingWriter {
 public:
  explicit ListingWriter(Listing what) : what_{what} {}
  /// Appends the lines of the next few hundred messages, those that are marked left out, and in the end the closing
  /// line. True: that was all. Tells `numbering` what it walked over.
  mailstore::Result<bool> append(Entries& entries, Numbering& numbering, const Conversation& conversation,
                                 std::string& out);

 private:
  Listing what_;
  std::uint64_t number_ = 0;
  std::optional<mailstore::MessageId> after_;
};

}  // namespace pop3d
