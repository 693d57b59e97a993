#include "smtpd/outbound/triggers.hpp"

#include <algorithm>
#include <utility>

#include "common/log.hpp"

#include "smtpd/routing/resolver.hpp"

namespace smtpd::outbound {
namespace {

namespace log = common::log;

// Whoever asks by ETRN need not be known. A run costs one connection where nobody answers, so a stranger can cause that
// many of them, to servers that an admin has named.
constexpr std::uint64_t each_node_a_minute = 6;
/// Who logs in is known, and brings the connection along.
constexpr std::uint64_t each_account_a_minute = 60;
constexpr std::uint64_t all_each_minute = 600;
constexpr std::chrono::minutes a_minute{1};
/// Beyond this what is known of callers is forgotten; `all_each_minute` holds all the same.
constexpr std::size_t most_known = 10'000;
/// Domains of the queue that one question looks at: milliseconds.
constexpr std::size_t page_size = 1000;
constexpr int most_pages = 10;

bool is_below(std::string_view domain, std::string_view top) {
  return domain.size() > top.size() && domain.ends_with(top) && domain[domain.size() - top.size() - 1] == '.';
}

}  // namespace

Reservation::~Reservation() {
  const std::lock_guard guard{taken_->mutex};
  for (const auto& domain : domains_) taken_->domains.erase(domain);
}

Triggers::Triggers(mailstore::Store& store, const common::Clock& clock, Hooks hooks)
    : store_(store), clock_(clock), hooks_(std::move(hooks)), all_(all_each_minute, a_minute) {}

bool Triggers::may(std::string key, std::uint64_t count) {
  const std::lock_guard guard{mutex_};
  if (each_.size() >= most_known && !each_.contains(key)) each_.clear();
  const auto at = clock_.steady();
  auto& own = each_.try_emplace(std::move(key), count, a_minute).first->second;
  return own.take(at) && all_.take(at);
}

std::vector<Triggers::Waiting> Triggers::waiting(const std::function<bool(const std::string&)>& fits) {
  std::vector<Waiting> found;
  const auto queue = store_.queue();
  std::string after;
  for (int i = 0; i < most_pages; ++i) {
    const auto page = queue.domains(after, page_size);
    if (!page) {
      log::error("queue.failed", {{"why", page.error().detail}});
      break;
    }
    for (const auto& domain : page->domains) {
      if (domain.waiting > 0 && !domain.suspended && fits(domain.name)) found.push_back({domain.name, domain.waiting});
    }
    if (!page->more) break;
    after = page->last;
  }
  return found;
}

RunAnswer Triggers::start(const Node& node) {
  using enum RunAnswer::What;
  // Queues have no names here but their domains'.
  if (node.reach == Node::Reach::queue) return {refused, {}};
  const bool below = node.reach == Node::Reach::subdomains;
  bool known = false;
  {
    const auto directory = store_.directory();
    auto settings = routing::find_remote_domain(*directory, node.name);
    if (settings && !*settings && below) settings = directory->domain("*." + node.name);
    if (!settings) {
      log::warning("directory.failed", {{"why", settings.error().detail}});
      return {unable, {}};
    }
    known = settings->has_value();
  }
  if (!known) return {refused, {}};
  const auto status = store_.queue().status();
  if (!status || status->held || !hooks_.ready()) return {unable, {}};
  if (!may((below ? "@" : "") + node.name, each_node_a_minute)) return {unable, {}};

  std::vector<Waiting> found;
  if (below) {
    const auto directory = store_.directory();
    found = waiting([&](const std::string& domain) {
      if (domain != node.name && !is_below(domain, node.name)) return false;
      const auto settings = routing::find_remote_domain(*directory, domain);
      return settings && settings->has_value();
    });
  } else {
    const auto row = store_.queue().domain(node.name);
    if (!row || (*row && (*row)->suspended)) return {unable, {}};
    if (*row && (*row)->waiting > 0) found.push_back({node.name, (*row)->waiting});
  }
  if (found.empty()) return {nothing, {}};
  std::uint64_t pending = 0;
  std::vector<std::string> names;
  for (auto& each : found) {
    pending += each.count;
    names.push_back(std::move(each.domain));
  }
  hooks_.run(std::move(names));
  return {started, pending};
}

Triggers::Granted Triggers::turn(const Caller& caller, const std::vector<std::string>& domains) {
  using enum TurnAnswer;
  const auto answer = [](TurnAnswer what) { return Granted{what, nullptr}; };
  const auto in_the_clear = [&](const mailstore::RemoteSettings& settings) {
    if (caller.secure) return false;
    if (!settings.security) return caller.tls_wanted;
    return *settings.security == mailstore::Security::tls || *settings.security == mailstore::Security::verify;
  };
  std::vector<std::string> found;
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
    if (!status || status->held || !hooks_.ready() || !may(caller.account, each_account_a_minute))
      return answer(unable);

    const auto settings_of = [&](const std::string& domain) -> std::optional<mailstore::RemoteSettings> {
      auto settings = routing::find_remote_domain(*directory, domain);
      if (!settings || !*settings) return std::nullopt;
      const auto& accounts = (*settings)->remote.dequeue_accounts;
      if (std::ranges::find(accounts, caller.account) == accounts.end()) return std::nullopt;
      return std::move((*settings)->remote);
    };
    for (const auto& domain : domains) {
      const auto settings = settings_of(domain);
      if (!settings) return answer(refused);
      unprotected = unprotected || in_the_clear(*settings);
      const auto row = store_.queue().domain(domain);
      if (row && *row && (*row)->waiting > 0 && !(*row)->suspended) found.push_back(domain);
    }
    if (domains.empty()) {
      for (auto& each : waiting([&](const std::string& domain) {
             const auto settings = settings_of(domain);
             if (settings) unprotected = unprotected || in_the_clear(*settings);
             return settings.has_value();
           })) {
        found.push_back(std::move(each.domain));
      }
    }
  }
  if (unprotected) return answer(needs_tls);
  if (found.empty()) return answer(nothing);
  {
    const std::lock_guard guard{taken_->mutex};
    std::erase_if(found, [&](const std::string& domain) { return !taken_->domains.insert(domain).second; });
  }
  if (found.empty()) return answer(unable);
  return {granted, std::make_unique<Reservation>(taken_, std::move(found))};
}

}  // namespace smtpd::outbound
