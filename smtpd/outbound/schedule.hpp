#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

/// When mail that waits is tried again, when its sender hears of the delay, when it goes back (S50 to S53). No clock
/// but what is handed in.
namespace smtpd::outbound {

using Time = std::chrono::sys_time<std::chrono::microseconds>;

/// A virtual server's [delivery].
struct Schedule {
  std::vector<std::chrono::milliseconds> waits;  ///< behind the first attempt, the second, ...; the last repeats
  std::chrono::milliseconds delay_notice{};      ///< 0: never
  std::chrono::milliseconds expire{};
  std::uint32_t jitter = 0;  ///< percent that a wait may be longer
};

/// `failures`: attempts that failed, this one included. `chance`: 0 to 2^32 - 1, how much of the jitter is added. Never
/// behind the end of the message's time, so that the last attempt is made before it goes back.
Time next_attempt(const Schedule& schedule, std::uint32_t failures, Time now, Time accepted, std::uint32_t chance);
/// The time of the message is over: what failed last is final.
bool is_expired(const Schedule& schedule, Time now, Time accepted);
bool is_notice_due(const Schedule& schedule, Time now, Time accepted);

}  // namespace smtpd::outbound
