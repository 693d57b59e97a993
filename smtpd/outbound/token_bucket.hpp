#pragma once

#include <chrono>
#include <cstdint>

namespace smtpd::outbound {

/// So many messages a period (`--rate`), spread evenly after a first burst of a whole period's worth. Time is handed
/// in.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// `count` 0: no limit.
  TokenBucket(std::uint64_t count, std::chrono::nanoseconds period) : count_(count), period_(period) {}

  /// Takes one if there is one.
  bool take(Time now);
  /// When there is one again; `now` if there is.
  Time ready_at(Time now) const;

 private:
  std::chrono::nanoseconds step() const { return period_ / static_cast<std::int64_t>(count_); }

  std::uint64_t count_;
  std::chrono::nanoseconds period_;
  /// When the bucket will be full: each token taken moves it one step on (a leaky bucket's one number).
  Time full_at_{};
};

}  // namespace smtpd::outbound
