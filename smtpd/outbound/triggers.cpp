#include "smtpd/outbound/triggers.hpp"

#include <algorithm>
#include <utility>

#include "common/log.hpp"

#include "smtpd/routing/resolver.hpp"

namespace smtpd::outbound {
namespace {

namespace log = common::log;

/// Domains of the queue that one question looks at: milliseconds.
constexpr std::size_t page_size = 1000;
constexpr int most_pages = 10;

bool is_below(std::string_view domain, std::string_view top) {
  return domain.size() > top.size() && domain.ends_with(top) && domain[domain.size() - top.size() - 1] == '.';
}

bool is_pattern(const mailstore::Domain& domain) {
  return domain.name.starts_with("*.");
}

/// The settings of a remote domain whose mail this account may have; nullopt: it may not.
std::optional<mailstore::RemoteSettings> settings_for(mailstore::DirectoryView& directory, const std::string& account,
                                                      const std::string& domain) {
  auto settings = routing::find_remote_domain(directory, domain);
  if (!settings || !*settings) return std::nullopt;
  const auto& accounts = (*settings)->remote.dequeue_accounts;
  if (std::ranges::find(accounts, account) == accounts.end()) return std::nullopt;
  return std::move((*settings)->remote);
}

std::string format_peer(const std::optional<common::net::PeerKey>& peer) {
  return peer ? std::to_string(peer->high) + '.' + std::to_string(peer->low) : "here";
}

}  // namespace

Reservation::~Reservation() {
  const std::lock_guard guard{taken_->mutex};
  for (const auto& domain : domains_) taken_->domains.erase(domain);
}

Triggers::Triggers(mailstore::Store& store, const common::Clock& clock, Hooks hooks)
    : store_(store), clock_(clock), hooks_(std::move(hooks)) {}

bool Triggers::add_waiting(const std::string& domain, Found& found) {
  const auto row = store_.queue().domain(domain);
  if (!row) return false;
  if (*row && (*row)->waiting > 0 && !(*row)->suspended) found.domains.push_back({domain, (*row)->waiting});
  return true;
}

void Triggers::add_waiting(const std::function<bool(const std::string&)>& fits, Found& found) {
  const auto queue = store_.queue();
  std::string after;
  found.whole = false;
  for (int i = 0; i < most_pages && !found.whole; ++i) {
    const auto page = queue.domains(after, page_size);
    if (!page) {
      log::error("queue.failed", {{"why", page.error().detail}});
      return;
    }
    for (const auto& domain : page->domains) {
      if (domain.waiting > 0 && !domain.suspended && fits(domain.name))
        found.domains.push_back({domain.name, domain.waiting});
    }
    found.whole = !page->more;
    after = page->last;
  }
}

RunAnswer Triggers::start(const Node& node, const std::optional<common::net::PeerKey>& peer) {
  using enum RunAnswer::What;
  // Queues have no names here but their domains'.
  if (node.reach == Node::Reach::queue) return {refused, {}};
  const bool below = node.reach == Node::Reach::subdomains;
  std::string covered;
  {
    const auto directory = store_.directory();
    auto settings = routing::find_remote_domain(*directory, node.name);
    if (settings && !*settings && below) settings = directory->domain("*." + node.name);
    if (!settings) {
      log::warning("directory.failed", {{"why", settings.error().detail}});
      return {unable, {}};
    }
    if (!*settings) return {refused, {}};
    covered = std::move((*settings)->name);
  }
  const auto status = store_.queue().status();
  if (!status || status->held || !hooks_.ready()) return {unable, {}};
  if (!limits_.may_run({format_peer(peer), (below ? "@" : "") + node.name, std::move(covered)}, clock_.steady()))
    return {unable, {}};

  Found found;
  if (below) {
    const auto directory = store_.directory();
    add_waiting(
        [&](const std::string& domain) {
          if (domain != node.name && !is_below(domain, node.name)) return false;
          const auto settings = routing::find_remote_domain(*directory, domain);
          return settings && settings->has_value();
        },
        found);
  } else {
    const auto row = store_.queue().domain(node.name);
    if (!row || (*row && (*row)->suspended)) return {unable, {}};
    if (*row && (*row)->waiting > 0) found.domains.push_back({node.name, (*row)->waiting});
  }
  if (found.domains.empty()) return {found.whole ? nothing : unable, {}};
  std::uint64_t pending = 0;
  std::vector<std::string> names;
  for (auto& each : found.domains) {
    pending += each.count;
    names.push_back(std::move(each.domain));
  }
  hooks_.run(std::move(names));
  return {started, pending};
}

Triggers::Found Triggers::waiting_for(mailstore::DirectoryView& directory, const std::string& account,
                                      const std::vector<mailstore::Domain>& own) {
  Found found;
  std::unordered_set<std::string> asked;
  for (const auto& domain : own) {
    if (is_pattern(domain) || !asked.insert(domain.name).second) continue;
    found.whole = add_waiting(domain.name, found) && found.whole;
  }
  if (std::ranges::none_of(own, is_pattern)) return found;
  // Which domains fit a pattern is for the queue to say.
  const bool named = found.whole;
  add_waiting(
      [&](const std::string& domain) {
        return !asked.contains(domain) && settings_for(directory, account, domain).has_value();
      },
      found);
  found.whole = found.whole && named;
  return found;
}

Triggers::Granted Triggers::turn(const Caller& caller, const std::vector<std::string>& domains) {
  using enum TurnAnswer;
  const auto answer = [](TurnAnswer what) { return Granted{what, nullptr}; };
  const auto in_the_clear = [&](const mailstore::RemoteSettings& settings) {
    if (caller.secure) return false;
    if (!settings.security) return caller.tls_wanted;
    return *settings.security == mailstore::Security::tls || *settings.security == mailstore::Security::verify;
  };
  // Before the directory is searched for what names the account, which is all of its domains to look at.
  if (!limits_.may_turn(caller.account, clock_.steady())) return answer(unable);
  Found found;
  bool unprotected = false;
  {
    const auto directory = store_.directory();
    const auto own = directory->domains_dequeued_by(caller.account);
    if (!own) {
      log::warning("directory.failed", {{"why", own.error().detail}});
      return answer(unable);
    }
    if (own->empty()) return answer(refused);
    const auto status = store_.queue().status();
    if (!status || status->held || !hooks_.ready()) return answer(unable);
    for (const auto& domain : domains) {
      const auto settings = settings_for(*directory, caller.account, domain);
      if (!settings) return answer(refused);
      unprotected = unprotected || in_the_clear(*settings);
      found.whole = add_waiting(domain, found) && found.whole;
    }
    if (domains.empty()) {
      found = waiting_for(*directory, caller.account, *own);
      for (const auto& each : found.domains) {
        const auto settings = settings_for(*directory, caller.account, each.domain);
        unprotected = unprotected || (settings && in_the_clear(*settings));
      }
    }
  }
  if (unprotected) return answer(needs_tls);
  if (found.domains.empty()) return answer(found.whole ? nothing : unable);
  std::vector<std::string> wanted;
  wanted.reserve(found.domains.size());
  for (auto& each : found.domains) wanted.push_back(std::move(each.domain));
  {
    const std::lock_guard guard{taken_->mutex};
    std::erase_if(wanted, [&](const std::string& domain) { return !taken_->domains.insert(domain).second; });
  }
  if (wanted.empty()) return answer(unable);
  return {granted, std::make_unique<Reservation>(taken_, std::move(wanted))};
}

}  // namespace smtpd::outbound
