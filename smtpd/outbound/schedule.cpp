#include "smtpd/outbound/schedule.hpp"

#include <algorithm>

namespace smtpd::outbound {
namespace {

/// Where the configuration names none.
constexpr std::chrono::minutes only_wait{30};

}  // namespace

Time next_attempt(const Schedule& schedule, std::uint32_t failures, Time now, Time accepted, std::uint32_t chance) {
  std::chrono::microseconds wait = only_wait;
  if (!schedule.waits.empty())
    wait = schedule.waits[std::min<std::size_t>(std::max(failures, 1U), schedule.waits.size()) - 1];
  // Only ever added: who lists a minute wants no attempt before it is over.
  wait += wait * schedule.jitter / 100 * chance / (std::int64_t{1} << 32U);
  const auto end = accepted + schedule.expire;
  return now < end ? std::min(now + wait, end) : now + wait;
}

bool is_expired(const Schedule& schedule, Time now, Time accepted) {
  return now >= accepted + schedule.expire;
}

bool is_notice_due(const Schedule& schedule, Time now, Time accepted) {
  return schedule.delay_notice.count() != 0 && now >= accepted + schedule.delay_notice;
}

}  // namespace smtpd::outbound
