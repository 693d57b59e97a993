#include "smtpd/outbound/token_bucket.hpp"

#include <algorithm>

namespace smtpd::outbound {

TokenBucket::Time TokenBucket::ready_at(Time now) const {
  if (count_ == 0) return now;
  // Full a period ahead is empty: one step less than that leaves room for one.
  const auto from = std::chrono::time_point_cast<Time::duration>(full_at_ + step() - period_);
  return std::max(now, from);
}

bool TokenBucket::take(Time now) {
  if (count_ == 0) return true;
  if (ready_at(now) > now) return false;
  full_at_ = std::chrono::time_point_cast<Time::duration>(std::max(full_at_, now) + step());
  return true;
}

}  // namespace smtpd::outbound
