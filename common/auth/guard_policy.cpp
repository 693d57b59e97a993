#include "common/auth/guard_policy.hpp"

#include <algorithm>

namespace common::auth {
namespace {

std::chrono::milliseconds delay_for(std::uint32_t failures, std::uint32_t limit, std::chrono::milliseconds longest) {
  const std::uint32_t free = std::max<std::uint32_t>(1, limit / 3);
  if (limit == 0 || failures < free) return {};
  return longest * std::min(failures - free + 1, limit - free) / std::max<std::uint32_t>(1, limit - free);
}

}  // namespace

GuardTerms make_guard_terms(const config::Guessing& guessing) {
  // Counts are not negative: the configuration's table of ranges sees to it.
  const auto count = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
  GuardTerms terms{count(guessing.failures),
                   count(guessing.address_failures),
                   count(guessing.account_failures),
                   guessing.failure_window,
                   guessing.delay_max,
                   guessing.known_for,
                   {}};
  for (const auto& text : guessing.trusted) {
    if (const auto network = parse_network(text)) terms.trusted.push_back(*network);
  }
  return terms;
}

Judgement judge(const GuardTerms& terms, const Failures& failures, Standing standing) {
  Judgement judgement;
  const auto weigh = [&](Held held, std::uint32_t count, std::uint32_t limit) {
    if (limit != 0 && count >= limit && !judgement.refused) judgement.refused = held;
    judgement.delay = std::max(judgement.delay, delay_for(count, limit, terms.longest_delay));
  };
  weigh(Held::pair, failures.pair, terms.pair);
  if (standing == Standing::known) return judgement;
  weigh(Held::address, failures.address, terms.address);
  weigh(Held::account, failures.account, terms.account);
  return judgement;
}

}  // namespace common::auth
