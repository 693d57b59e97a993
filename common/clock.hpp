#pragma once

#include <chrono>

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

}  // namespace common
