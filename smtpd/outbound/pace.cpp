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
    if (ceiling_ != 0 && window_ > ceiling_) patience_ = std::min(most_patience, patience_ * 2);
    ceiling_ = std::max(1U, window_ - 1);
    window_ = std::max(1U, window_ / 2);
    ignored_ = window_ - 1;
    return;
  }
  if (ignored_ > 0) --ignored_;
  const bool at_ceiling = ceiling_ != 0 && window_ >= ceiling_;
  if (++goods_ < (at_ceiling ? std::max(window_, patience_) : window_)) return;
  goods_ = 0;
  if (most_ == 0 || window_ < most_) ++window_;
}

void Pace::limit(std::uint32_t most) {
  most_ = most;
  if (most_ != 0) window_ = std::min(window_, most_);
}

}  // namespace smtpd::outbound
