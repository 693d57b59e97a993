#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "mailstore/types.hpp"

namespace pop3d {

/// The entries of one session's view, in message number order: all that numbering and listings need of the store.
class Entries {
 public:
  virtual ~Entries() = default;
  /// Fills `out` with the entries that follow `after` (nullopt: from the first). Fewer than asked: that was the last.
  virtual mailstore::Result<std::size_t> list(std::optional<mailstore::MessageId> after,
                                              std::span<mailstore::Entry> out) = 0;
};

}  // namespace pop3d
