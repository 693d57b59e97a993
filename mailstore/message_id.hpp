#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "mailstore/types.hpp"

namespace mailstore {

/// Gives out message ids of one process: microseconds since 2020 rounded down to 16, the process's writer slot in the
/// place of the lowest four bits, then the store's generation. Ids stay below a limit that the index holds durably, so
/// that no later process gives one again, even when the clock has stepped back. Any thread.
class IdSource {
 public:
  /// How far ahead of the clock the durable limit is set, microseconds.
  static constexpr std::uint64_t window = 60'000'000;
  static constexpr std::uint64_t unit = 16;

  void start(std::uint64_t now, std::uint64_t stored_limit, std::uint64_t new_limit, unsigned slot,
             std::uint64_t generation);
  bool started() const;
  /// nullopt: the limit must be raised first (`raise`).
  std::optional<MessageId> next(std::uint64_t now);
  /// True when less than half the window is left: the next commit should raise the limit on its way.
  bool low(std::uint64_t now) const;
  /// Where the limit should be: ahead of the clock, and of the last id when the clock has stepped back.
  std::uint64_t wanted_limit(std::uint64_t now) const;
  /// A limit that the running transaction stores; believed once `raised` says that it has committed.
  void raise_later(std::uint64_t limit);
  void raised();

 private:
  mutable std::mutex mutex_;
  bool started_ = false;
  std::uint64_t last_ = 0, limit_ = 0, later_ = 0, generation_ = 0;
  unsigned slot_ = 0;
};

/// The clock as ids count it.
std::uint64_t microseconds_since_2020();

}  // namespace mailstore
