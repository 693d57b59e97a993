#include "smtpd/outbound/lanes.hpp"

#include <algorithm>

namespace smtpd::outbound {
namespace {

// What was learned about a peer's patience is kept so long.
constexpr std::chrono::minutes memory{10};

}  // namespace

std::string_view describe(Lanes::Hold hold) {
  switch (hold) {
    case Lanes::Hold::none:
      return "";
    case Lanes::Hold::total:
      return "as many connections as are allowed in all";
    case Lanes::Hold::destination:
      return "as many connections as are allowed to this destination";
    case Lanes::Hold::pace:
      return "as many connections as the destination has put up with";
    case Lanes::Hold::rate:
      return "as many messages as are allowed to this destination for now";
  }
  return "";
}

Lanes::Verdict Lanes::begin(std::string_view destination, const Limits& limits, Time now) {
  auto owner = owners_.find(limits.owner);
  if (owner == owners_.end()) owner = owners_.emplace(std::string{limits.owner}, 0).first;
  if (limits.total != 0 && owner->second >= limits.total) return {Hold::total, now};
  auto found = destinations_.find(destination);
  if (found == destinations_.end()) {
    Destination fresh{
        Pace{limits.connections}, TokenBucket{limits.rate, limits.period}, limits.connections, limits.rate, 0, now};
    found = destinations_.emplace(std::string{destination}, fresh).first;
  }
  auto& to = found->second;
  // A person changed them meanwhile.
  if (to.connections != limits.connections) {
    to.connections = limits.connections;
    to.pace.limit(limits.connections);
  }
  if (to.rate != limits.rate) {
    to.rate = limits.rate;
    to.bucket = TokenBucket{limits.rate, limits.period};
  }
  if (to.connections != 0 && to.running >= to.connections) return {Hold::destination, now};
  if (to.running >= to.pace.window()) return {Hold::pace, now};
  if (const auto at = to.bucket.ready_at(now); at > now) return {Hold::rate, at};
  to.bucket.take(now);
  to.last = now;
  ++to.running;
  ++running_;
  ++owner->second;
  return {Hold::none, now};
}

void Lanes::end(std::string_view destination, std::string_view owner, Pace::Sign sign) {
  const auto found = destinations_.find(destination);
  if (found == destinations_.end() || found->second.running == 0) return;
  --found->second.running;
  --running_;
  if (const auto whose = owners_.find(owner); whose != owners_.end() && whose->second > 0) --whose->second;
  found->second.pace.on(sign);
}

std::uint32_t Lanes::running(std::string_view destination) const {
  const auto found = destinations_.find(destination);
  return found == destinations_.end() ? 0 : found->second.running;
}

std::uint32_t Lanes::window(std::string_view destination) const {
  const auto found = destinations_.find(destination);
  return found == destinations_.end() ? 0 : found->second.pace.window();
}

std::uint32_t Lanes::room(std::string_view destination) const {
  const auto found = destinations_.find(destination);
  if (found == destinations_.end()) return 1;
  const auto& to = found->second;
  auto most = to.pace.window();
  if (to.connections != 0) most = std::min(most, to.connections);
  return most > to.running ? most - to.running : 0;
}

void Lanes::forget_idle(Time now) {
  std::erase_if(destinations_, [&](const auto& each) {
    return each.second.running == 0 && now - each.second.last >= memory && each.second.bucket.ready_at(now) <= now;
  });
}

}  // namespace smtpd::outbound
