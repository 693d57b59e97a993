#include "smtpd/fetch/fetcher.hpp"

#include <asio/co_spawn.hpp>
#include <utility>
#include <vector>

#include "common/log.hpp"
#include "common/secret.hpp"

#include "smtpd/outbound/next_hop.hpp"

namespace smtpd::fetch {
namespace {

namespace log = common::log;

constexpr std::chrono::seconds tick_width{1};
/// What people changed is seen by then.
constexpr std::chrono::seconds look_width{30};
/// The rest waits a second.
constexpr std::size_t most_at_a_time = 20;
/// Of one host, of which each may take half a minute to answer.
constexpr std::size_t most_addresses = 4;
/// RFC 2645 gives on-demand mail relay a port of its own.
constexpr std::uint16_t etrn_port = 25, atrn_port = 366;

std::shared_ptr<const outbound::ClientTerms> make_terms(const mailstore::FetchSettings& settings,
                                                        std::string hostname) {
  auto terms = std::make_shared<outbound::ClientTerms>();
  terms->hostname = std::move(hostname);
  terms->security = outbound::security_of(settings.security);
  if (!settings.username.empty()) {
    auto credentials = std::make_shared<outbound::Credentials>();
    credentials->account = settings.username;
    credentials->password = common::Secret{settings.password};
    terms->credentials = std::move(credentials);
  }
  terms->timeouts = outbound::shortened(terms->timeouts, std::chrono::minutes{1});
  return terms;
}

}  // namespace

Fetcher::Fetcher(Means means, Hostname hostname, Take take)
    : means_(std::move(means)), hostname_(std::move(hostname)), take_(std::move(take)) {}

void Fetcher::start() {
  tick();
}

void Fetcher::on_tick(void* context) {
  static_cast<Fetcher*>(context)->tick();
}

void Fetcher::tick() {
  if (means_.worker.ending()) return;
  const auto at = means_.worker.clock().steady();
  means_.worker.deadlines().set(ticking_, at + tick_width, &Fetcher::on_tick, this);
  if (at >= next_look_) look();
  for (auto& [domain, task] : tasks_) {
    if (running_ == most_at_a_time) break;
    if (!task.running && task.next <= at) begin(domain, task);
  }
}

void Fetcher::look() {
  next_look_ = means_.worker.clock().steady() + look_width;
  const auto found = means_.store.directory()->fetching_domains();
  if (!found) {
    log::warning("directory.failed", {{"why", found.error().detail}});
    return;
  }
  for (auto& [domain, task] : tasks_) task.wanted = false;
  for (const auto& domain : *found) {
    auto& task = tasks_[domain.name];
    task.wanted = true;
    // Who changes something wants to see it work.
    if (task.settings != domain.fetch) task.next = {};
    task.settings = domain.fetch;
  }
  std::erase_if(tasks_, [](const auto& entry) { return !entry.second.wanted && !entry.second.running; });
}

void Fetcher::begin(const std::string& domain, Task& task) {
  task.running = true;
  ++running_;
  asio::co_spawn(
      means_.worker.context(), fetch(domain, task.settings), [this, domain](const std::exception_ptr& error) {
        --running_;
        if (const auto found = tasks_.find(domain); found != tasks_.end()) {
          found->second.running = false;
          found->second.next = means_.worker.clock().steady() + std::chrono::seconds{found->second.settings.every};
        }
        if (!error) return;
        try {
          std::rethrow_exception(error);
        } catch (const std::exception& wrong) {
          log::info("fetch.failed", {{"domain", domain}, {"why", wrong.what()}});
        }
      });
}

asio::awaitable<Fetcher::Session> Fetcher::connect(const common::HostPort& where, std::string address,
                                                   std::shared_ptr<const outbound::ClientTerms> terms,
                                                   outbound::Attempt attempt, std::string& trouble) {
  auto connecting = common::net::Stream::connect(means_.worker, address, where.port, {}, terms->timeouts.connect);
  auto stream = co_await std::move(connecting);
  if (!stream) {
    trouble = address + ": " + stream.error();
    co_return nullptr;
  }
  const auto& tls = terms->security == outbound::Security::verify ? means_.verified : means_.unchecked;
  auto session = std::make_unique<outbound::ClientSession>(means_.worker, std::move(*stream), where.host,
                                                           std::move(terms), tls, attempt);
  co_await session->open();
  if (const auto& failure = session->conversation().failure())
    trouble = address + ": " + outbound::format_answer(*failure);
  co_return session;
}

/// A session that may ask; null: `trouble` says why not.
asio::awaitable<Fetcher::Session> Fetcher::reach(const mailstore::FetchSettings& settings, std::string& trouble) {
  const bool reversed = settings.by == mailstore::FetchBy::atrn;
  const auto where = common::parse_host_port(settings.from, reversed ? atrn_port : etrn_port);
  if (!where) {
    trouble = where.error();
    co_return nullptr;
  }
  std::vector<std::string> addresses;
  if (where->numeric) {
    addresses.push_back(where->host);
  } else {
    auto found = co_await means_.names.addresses(where->host);
    addresses = std::move(found.addresses);
    if (addresses.empty()) trouble = where->host + ": no address was found";
  }
  if (addresses.size() > most_addresses) addresses.resize(most_addresses);
  const auto terms = make_terms(settings, hostname_());
  for (const auto& address : addresses) {
    auto connecting = connect(*where, address, terms, outbound::Attempt::first, trouble);
    auto session = co_await std::move(connecting);
    if (session && session->conversation().tls_broke()) {
      auto again = connect(*where, address, terms, outbound::Attempt::without_tls, trouble);
      session = co_await std::move(again);
    }
    if (session && !session->conversation().failure()) co_return session;
  }
  co_return nullptr;
}

asio::awaitable<void> Fetcher::fetch(std::string domain, mailstore::FetchSettings settings) {
  const common::net::Member member{means_.crowd};
  if (hostname_().empty()) co_return;
  const bool reversed = settings.by == mailstore::FetchBy::atrn;
  std::string trouble;
  auto session = co_await reach(settings, trouble);
  if (!session) {
    log::info("fetch.failed", {{"domain", domain}, {"from", settings.from}, {"why", trouble}});
    co_return;
  }
  std::string command = (reversed ? "ATRN " : "ETRN ") + domain;
  auto asking = session->ask(std::move(command));
  const auto answer = co_await std::move(asking);
  log::info("fetch.asked", {{"domain", domain},
                            {"from", settings.from},
                            {"peer", session->address()},
                            {"by", reversed ? "ATRN" : "ETRN"},
                            {"tls", session->tls()},
                            {"answer", outbound::format_answer(answer)}});
  if (!reversed || answer.code != 250) {
    if (session->conversation().resting()) co_await session->quit();
    co_return;
  }
  auto stream = session->take_stream();
  session.reset();
  auto taking = take_(std::move(stream), std::move(domain));
  co_await std::move(taking);
}

}  // namespace smtpd::fetch
