#pragma once

#include <chrono>
#include <cstdint>

namespace common {

/// Where time comes from. The daemons use `system_clock_source()`; tests hand in one that they turn themselves.
/// All functions may be called from any thread.
class Clock {
 public:
  using Wall = std::chrono::sys_time<std::chrono::microseconds>;
  using Steady = std::chrono::steady_clock::time_point;
  virtual ~Clock() = default;
  virtual Wall wall() const = 0;      ///< may step back
  virtual Steady steady() const = 0;  ///< never does
};

const Clock& system_clock_source();

/// Microseconds since the Unix epoch, as the store keeps times.
inline std::uint64_t unix_microseconds(const Clock& clock) {
  return static_cast<std::uint64_t>(clock.wall().time_since_epoch().count());
}

}  // namespace common
