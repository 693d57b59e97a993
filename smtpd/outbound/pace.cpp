#include "smtpd/outbound/pace.hpp"

#include <algorithm>

namespace smtpd::outbound {

void Pace::on(Sign sign) {
  if (sign == Sign::none) return;
  if (sign == Sign::slower) {
    goods_ = 0;
    // Those that run beside the one that was told so will be told the same: it is one event.
    if (ignored_ > 0) {
      --ignored_;
      return;
    }
    window_ = std::max(1U, window_ / 2);
    ignored_ = window_ - 1;
    return;
  }
  if (ignored_ > 0) --ignored_;
  if (++goods_ < window_) return;
  goods_ = 0;
  if (most_ == 0 || window_ < most_) ++window_;
}

}  // namespace smtpd::outbound
