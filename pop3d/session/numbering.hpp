#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mailstore/types.hpp"
#include "pop3d/session/entries.hpp"

namespace pop3d {

/// Finds the entry of a message number without a list of all: numbers are ranks in the view, which nobody but this
/// session changes. Keeps the sixteen entries last read, so that messages in sequence cost one walk in sixteen, and one
/// id in 1024 of what was walked over, so that no place is further away than that once it was passed. 8 octets per 1024
/// messages, and nothing before the first question.
class Numbering {
 public:
  static constexpr std::uint64_t stride = 1024;
  static constexpr std::size_t window_size = 16;
  /// Entries one call walks at most, some 0.3 ms: the thread has other sessions.
  static constexpr std::uint64_t budget = 16 * stride;

  enum class Answer : std::uint8_t {
    found,
    missing,     ///< the view ends before that number
    unfinished,  ///< the budget is used up: ask again, and it goes on where it stopped
  };
  struct Found {
    Answer answer{};
    mailstore::Entry entry;
  };
  /// `number` counts from 1.
  mailstore::Result<Found> find(Entries& entries, std::uint64_t number);
  /// A listing walked over it.
  void passed(std::uint64_t number, mailstore::MessageId id);

 private:
  struct Place {
    std::uint64_t number = 0;  ///< of the entry that is behind us; 0: at the beginning
    std::optional<mailstore::MessageId> id;
  };
  Place nearest_before(std::uint64_t number) const;
  void passed(Place& place, std::span<const mailstore::Entry> entries);

  std::vector<mailstore::MessageId> anchors_;  ///< of messages 1024, 2048, ...
  std::vector<mailstore::Entry> window_;
  std::uint64_t window_first_ = 0;
};

}  // namespace pop3d
