#include "common/auth/guard.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/log.hpp"
#include "common/net/admission.hpp"

namespace common::auth {
namespace {

using Ticks = GuardTable::Ticks;
using Count = GuardTable::Count;
using Tick = std::chrono::duration<std::int64_t, std::deci>;

/// However many failures came together: after so many windows all is forgotten.
constexpr Ticks most_windows = 10;

Ticks window_ticks(const GuardTerms& terms) {
  return static_cast<Ticks>(std::chrono::duration_cast<Tick>(terms.window).count());
}
/// What one failure costs.
Ticks cost(const GuardTerms& terms, std::uint32_t limit) {
  return std::max<Ticks>(1, window_ticks(terms) / std::max<std::uint32_t>(1, limit));
}
std::uint32_t failures(Ticks left, Ticks cost) {
  return left / cost + (left % cost > 0 ? 1 : 0);
}

/// A name in the table: what kind it is of, the address, the account.
std::string name_of(char kind, const net::PeerKey& peer, std::string_view account) {
  std::string name{kind};
  name.append(reinterpret_cast<const char*>(&peer.high), sizeof peer.high);
  name.append(reinterpret_cast<const char*>(&peer.low), sizeof peer.low);
  name.append(account);
  return name;
}

}  // namespace

Guard::Guard(GuardTable table, GuardTerms terms, const Clock& clock)
    : table_(std::move(table)), terms_(std::make_shared<const GuardTerms>(std::move(terms))), clock_(clock) {}

void Guard::set_terms(GuardTerms terms) {
  auto next = std::make_shared<const GuardTerms>(std::move(terms));
  const std::lock_guard lock{mutex_};
  terms_.swap(next);
}

Guard::Attempt Guard::attempt(const sockaddr& peer, std::string_view peer_text, std::string_view account) {
  Attempt made;
  {
    const std::lock_guard lock{mutex_};
    made.terms_ = terms_;
  }
  if (std::ranges::any_of(made.terms_->trusted, [&](const Network& network) { return network.contains(peer); }))
    return made;
  const auto key = net::peer_key(peer);
  made.guard_ = this;
  made.from_address_ = key.has_value();
  made.pair_ = table_.hash(name_of('p', key.value_or(net::PeerKey{}), account));
  made.address_ = table_.hash(name_of('a', key.value_or(net::PeerKey{}), {}));
  made.account_ = table_.hash(name_of('n', {}, account));
  made.who_ = account;
  made.peer_ = peer_text;
  return made;
}

Judgement Guard::Attempt::judge() const {
  if (guard_ == nullptr) return {};
  const auto& terms = *terms_;
  const auto& table = guard_->table_;
  const auto now = guard_->now();
  const auto most = most_windows * window_ticks(terms);
  const auto count = [&](Count what, std::uint64_t hash, std::uint32_t limit) {
    return failures(table.left(what, hash, now, most), cost(terms, limit));
  };
  Failures found{count(Count::pair, pair_, terms.pair), 0, count(Count::account, account_, terms.account)};
  if (from_address_) found.address = count(Count::address, address_, terms.address);
  return auth::judge(terms, found, standing());
}

Standing Guard::Attempt::standing() const {
  const auto last = guard_->table_.last_log_in(account_, pair_);
  // A clock that steps back makes it negative, which is no reason to forget anybody.
  const std::chrono::seconds ago{static_cast<std::int32_t>(guard_->seconds() - last)};
  return last != 0 && ago < terms_->known_for ? Standing::known : Standing::stranger;
}

void Guard::Attempt::on_right() const {
  if (guard_ == nullptr) return;
  guard_->table_.forget(Count::pair, pair_);
  if (terms_->known_for.count() > 0) guard_->table_.remember(account_, pair_, guard_->seconds());
}

void Guard::Attempt::on_wrong() const {
  if (guard_ == nullptr) return;
  guard_->failed_.fetch_add(1, std::memory_order_relaxed);
  const auto& terms = *terms_;
  auto& table = guard_->table_;
  const auto now = guard_->now();
  const auto most = most_windows * window_ticks(terms);
  const auto add = [&](Held held, Count what, std::uint64_t hash, std::uint32_t limit) {
    if (limit == 0) return;
    const auto each = cost(terms, limit);
    const auto after = failures(table.add(what, hash, each, now, most), each);
    if (after == limit) guard_->tell(held, *this, limit);
  };
  add(Held::pair, Count::pair, pair_, terms.pair);
  // Somebody who mistypes at home is no stranger, and his neighbours have not failed.
  if (standing() == Standing::known) return;
  if (from_address_) add(Held::address, Count::address, address_, terms.address);
  add(Held::account, Count::account, account_, terms.account);
}

Guard::Counters Guard::counters() const {
  return {failed_.load(std::memory_order_relaxed), delayed_.load(std::memory_order_relaxed),
          refused_.load(std::memory_order_relaxed)};
}

GuardTable::Ticks Guard::now() const {
  return static_cast<Ticks>(std::chrono::duration_cast<Tick>(clock_.wall().time_since_epoch()).count());
}
std::uint32_t Guard::seconds() const {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(clock_.wall().time_since_epoch()).count());
}

/// One line when somebody comes to be refused, and no more than one a second.
void Guard::tell(Held held, const Attempt& attempt, std::uint32_t limit) {
  const auto second = std::chrono::duration_cast<std::chrono::seconds>(clock_.steady().time_since_epoch()).count();
  if (last_line_.exchange(second, std::memory_order_relaxed) == second) return;
  const bool by_account = held != Held::address;
  const bool by_address = held != Held::account;
  log::warning("auth.barred", {{"account", by_account ? std::string_view{attempt.who_} : std::string_view{"any"}},
                               {"peer", by_address ? std::string_view{attempt.peer_} : std::string_view{"any"}},
                               {"failures", std::uint64_t{limit}},
                               {"failed", counters().failed}});
}

}  // namespace common::auth
