#include "common/clock.hpp"

namespace common {
namespace {
class SystemClock final : public Clock {
 public:
  Wall wall() const override {
    return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  }
  Steady steady() const override { return std::chrono::steady_clock::now(); }
};
}  // namespace

const Clock& system_clock_source() {
  static const SystemClock clock;
  return clock;
}
}  // namespace common
