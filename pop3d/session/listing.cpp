#include "pop3d/session/listing.hpp"

#include <array>

#include "pop3d/protocol/reply.hpp"

namespace pop3d {

mailstore::Result<bool> ListingWriter::append(Entries& entries, Numbering& numbering, const Conversation& conversation,
                                              std::string& out) {
  std::array<mailstore::Entry, 256> chunk;
  const auto got = entries.list(after_, chunk);
  if (!got) return std::unexpected(got.error());
  for (std::size_t i = 0; i < *got; ++i) {
    const auto& entry = chunk[i];
    ++number_;
    after_ = entry.id;
    numbering.passed(number_, entry.id);
    if (conversation.marked(number_)) continue;
    if (what_ == Listing::octets) {
      append_listing_line(out, number_, entry.octets);
    } else {
      append_listing_line(out, number_, mailstore::format_id(entry.id));
    }
  }
  if (*got == chunk.size()) return false;
  append_end(out);
  return true;
}

}  // namespace pop3d
