#include "smtpd/server.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "common/config/local.hpp"
#include "common/log.hpp"

#include "smtpd/folders/home.hpp"
#include "smtpd/milter/filters.hpp"
#include "smtpd/session/local_server.hpp"

namespace smtpd {
namespace {

/// Verified passwords kept in memory as keyed digests.
constexpr std::size_t remembered_passwords = 10'000;

std::vector<common::config::Server> smtp_servers(const common::config::Config& config) {
  std::vector<common::config::Server> servers;
  for (const auto& server : config.servers) {
    if (server.kind != common::config::Kind::pop3) servers.push_back(server);
  }
  return servers;
}

/// Without the store's own key.
std::expected<routing::Srs::Terms, std::string> read_srs_keys(const common::config::Srs& srs) {
  routing::Srs::Terms terms;
  terms.domain = srs.domain;
  terms.max_age = std::chrono::floor<std::chrono::days>(srs.max_age);
  if (srs.key_file.empty()) return terms;
  std::ifstream file{srs.key_file};
  if (!file) return std::unexpected("srs.key_file " + srs.key_file.string() + ": " + std::strerror(errno));
  constexpr std::size_t least = 16;  // octets of a key that nobody guesses
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    if (line.size() < least) {
      return std::unexpected("srs.key_file " + srs.key_file.string() + ": a key is shorter than " +
                             std::to_string(least) + " octets; make one with 'openssl rand -base64 32'");
    }
    terms.keys.push_back(std::move(line));
  }
  if (terms.keys.empty()) {
    return std::unexpected("srs.key_file " + srs.key_file.string() +
                           ": no key is in it; write one on its first line, or leave the setting out");
  }
  return terms;
}

std::shared_ptr<const routing::Srs> make_srs(routing::Srs::Terms terms, const mailstore::Store& store) {
  terms.keys.push_back(store.secret("reverse-paths of forwarded mail"));
  return std::make_shared<const routing::Srs>(std::move(terms));
}

/// Those that listen, and whose terms are kept.
std::vector<common::config::Server> with_local_server(std::vector<common::config::Server> servers,
                                                      const common::config::Config& config) {
  if (auto local = make_local_server(config)) servers.push_back(std::move(*local));
  return servers;
}

std::string too_many_connections(const common::config::Server& server) {
  std::string line;
  append_reply(line, {Cause::too_many_connections, server.hostname});
  return line;
}

}  // namespace

std::expected<SmtpService::VirtualServers, std::string> SmtpService::make_servers(
    const std::vector<common::config::Server>& servers, const std::shared_ptr<const routing::Srs>& srs,
    const outbound::DropFolders& drops) {
  VirtualServers made;
  for (const auto& server : servers) {
    auto tls = common::net::TlsContext::load(server.tls);
    if (!tls) return std::unexpected(std::move(tls.error()));
    auto virtual_server = std::make_shared<VirtualServer>();
    virtual_server->terms = make_terms(server);
    virtual_server->tls = std::move(*tls);
    if (!server.milters.use.empty())
      virtual_server->filters = std::make_shared<const milter::FilterTerms>(milter::make_filter_terms(server));
    virtual_server->reporting = report::make_reporting(server, srs);
    virtual_server->idle_timeout = server.connections.idle_timeout;
    if (const auto drop = drops.find(virtual_server->terms.server); drop != drops.end())
      virtual_server->drop = drop->second;
    made.emplace(server.id, std::move(virtual_server));
  }
  return made;
}

outbound::DropFolders SmtpService::make_drops(const std::vector<common::config::Server>& servers) const {
  outbound::DropFolders made;
  for (const auto& server : servers) {
    const auto where = folders::home_of(server).drop;
    if (where.empty()) continue;
    const auto old = drops_.find(server.id);
    auto drop = old != drops_.end() && old->second->path() == where
                    ? old->second
                    : std::make_shared<folders::DropFolder>(where, server.messages.drop_quota);
    made.emplace(server.id, std::move(drop));
  }
  return made;
}

std::vector<folders::Homes::Setup> SmtpService::make_homes(const std::vector<common::config::Server>& servers) const {
  std::vector<folders::Homes::Setup> homes;
  for (const auto& server : servers) {
    auto in_force = [this, id = server.id]() -> std::shared_ptr<const VirtualServer> {
      const auto all = servers_.get();
      const auto found = all->find(id);
      return found == all->end() ? nullptr : found->second;
    };
    const auto drop = drops_.find(server.id);
    homes.push_back({server.id, folders::home_of(server), server.messages.badmail_size, std::move(in_force),
                     drop == drops_.end() ? nullptr : drop->second});
  }
  return homes;
}

std::expected<void, std::string> SmtpService::prepare(const common::config::Config& config) {
  const auto servers = smtp_servers(config);
  if (servers.empty()) {
    return std::unexpected("no server of kind \"smtp\" or \"lmtp\" is configured; add a file to " +
                           (config.file.parent_path() / "servers").string());
  }
  for (const auto& server : servers) {
    if (auto home = folders::make_home(server, config.suite.run.user); !home) return home;
  }
  // The store's own key is known once it is open.
  auto keys = read_srs_keys(config.suite.srs);
  if (!keys) return std::unexpected(std::move(keys.error()));
  srs_terms_ = std::move(*keys);
  const auto all = with_local_server(servers, config);
  drops_ = make_drops(servers);
  auto made = make_servers(all, nullptr, drops_);
  if (!made) return std::unexpected(std::move(made.error()));
  servers_.set(std::make_shared<const VirtualServers>(std::move(*made)));

  // What it reads of the machine is read now: later the daemon may have no right to it.
  auto dns = common::dns::read_settings(config.suite.dns);
  if (!dns) return std::unexpected(std::move(dns.error()));
  dns_ = std::move(*dns);
  configured_ = servers;
  auto table = common::auth::GuardTable::open(config.suite.run.directory / "guard", config.suite.run.user);
  if (!table) return std::unexpected(std::move(table.error()));
  guard_.emplace(std::move(*table), common::auth::make_guard_terms(config.suite.guessing),
                 common::system_clock_source());

  store_options_.path = config.suite.store.path;
  store_options_.map_size = config.suite.store.map_size;
  store_options_.reserve = config.suite.store.reserve;
  store_options_.keep_done = std::chrono::duration_cast<std::chrono::seconds>(config.suite.store.keep_done);
  store_options_.warn = [](std::string_view what) { common::log::warning("store", {{"what", what}}); };

  spool_ = common::config::local_spool(config.suite);
  if (!spool_.empty()) {
    if (auto there = folders::Folders::make_spool(spool_, config.suite.run.user); !there)
      spool_trouble_ = std::move(there.error());
  }

  const auto serve_one = [this](common::net::Worker& worker, common::net::Stream stream, common::net::Door door) {
    return serve(worker, std::move(stream), std::move(door));
  };
  listeners_ = std::make_unique<common::net::Server>(static_cast<std::size_t>(config.suite.run.threads),
                                                     common::system_clock_source(), serve_one, too_many_connections);
  return listeners_->listen(all);
}

std::expected<void, std::string> SmtpService::start() {
  auto opened = mailstore::Store::open(store_options_);
  if (!opened) return std::unexpected(std::move(opened.error().detail));
  store_ = std::move(*opened);
  const auto srs = make_srs(srs_terms_, *store_);
  VirtualServers complete;
  for (const auto& [id, server] : *servers_.get()) {
    auto with_srs = std::make_shared<VirtualServer>(*server);
    with_srs->reporting.srs = srs;
    complete.emplace(id, std::move(with_srs));
  }
  servers_.set(std::make_shared<const VirtualServers>(std::move(complete)));
  verifier_.emplace(std::max(1U, std::thread::hardware_concurrency()), remembered_passwords);
  resolver_.emplace();
  auto configured = resolver_->configure(dns_);
  if (!configured) return std::unexpected(std::move(configured.error()));
  for (const auto& server : configured_) {
    if (auto home = folders::try_home(server); !home) return home;
  }
  auto dispatch = outbound::Dispatch::make(*store_, *resolver_, common::system_clock_source(), configured_,
                                           listeners_->addresses(), srs, drops_, store_options_.keep_done);
  if (!dispatch) return std::unexpected(std::move(dispatch.error()));
  dispatch_ = std::move(*dispatch);
  auto means = dispatch_->means();
  auto& worker = means.worker;
  fetcher_ = std::make_unique<fetch::Fetcher>(
      fetch::Fetcher::Means{*store_, worker, means.crowd, means.names, means.unchecked, means.verified},
      [this] {
        const auto server = taker();
        return server ? server->terms.hostname : std::string{};
      },
      [this, &worker](common::net::Stream stream, std::string domain) {
        return take_fetched(worker, std::move(stream), std::move(domain));
      });
  homes_ = std::make_unique<folders::Homes>(*store_, *resolver_, common::system_clock_source(), [this] {
    return dispatch_ ? dispatch_->badmail() : folders::BadmailCounts{};
  });
  if (auto started = homes_->start(make_homes(configured_)); !started) return started;
  listeners_->start();
  dispatch_->start();
  dispatch_->post([this] { fetcher_->start(); });
  start_folders();
  return {};
}

Services SmtpService::services() {
  return {*store_, *verifier_, *guard_, *resolver_, dispatch_->triggers()};
}

std::shared_ptr<const VirtualServer> SmtpService::taker() const {
  const auto servers = servers_.get();
  std::shared_ptr<const VirtualServer> found;
  for (const auto& [id, server] : *servers) {
    if (server->terms.lmtp || server->terms.local) continue;
    if (!server->terms.submission) return server;
    if (!found) found = server;
  }
  return found;
}

asio::awaitable<void> SmtpService::take_fetched(common::net::Worker& worker, common::net::Stream stream,
                                                std::string domain) {
  const auto base = taker();
  if (!base) co_return;
  // We called, and know whom: what is asked of strangers is not asked here, and nobody logs in.
  auto server = std::make_shared<VirtualServer>(*base);
  auto& terms = server->terms;
  terms.only_domain = std::move(domain);
  terms.submission = false;
  terms.anonymous = true;
  terms.has_certificate = false;
  terms.tls_required = false;
  terms.relay_authenticated = false;
  terms.mechanisms.clear();
  terms.helo_check = HeloCheck::off;
  terms.reverse_dns = false;
  server->tls.reset();
  Session session{services(), worker, std::move(stream), std::move(server)};
  co_await session.run(false);
}

void SmtpService::start_folders() {
  if (spool_.empty()) return;
  if (spool_trouble_.empty()) {
    const auto in_force = [this]() -> std::shared_ptr<const VirtualServer> {
      const auto all = servers_.get();
      for (const auto& [id, server] : *all) {
        if (server->terms.local) return server;
      }
      return nullptr;
    };
    folders_.emplace(*store_, *resolver_, common::system_clock_source(), in_force);
    auto started = folders_->start(spool_);
    if (started) return;
    spool_trouble_ = std::move(started.error());
    folders_.reset();
  }
  common::log::warning("spool.unattended", {{"why", spool_trouble_}});
}

std::expected<std::vector<std::string>, std::string> SmtpService::reload(const common::config::Config& config) {
  const auto servers = smtp_servers(config);
  if (servers.empty())
    return std::unexpected("no server of kind \"smtp\" or \"lmtp\" is left in the new configuration");
  auto keys = read_srs_keys(config.suite.srs);
  if (!keys) return std::unexpected(std::move(keys.error()));
  const auto srs = make_srs(*keys, *store_);
  for (const auto& server : servers) {
    auto home = folders::make_home(server, {});
    if (home) home = folders::try_home(server);
    if (!home) return std::unexpected(home.error() + " (one that is new needs a restart)");
  }
  const auto all = with_local_server(servers, config);
  auto drops = make_drops(servers);
  auto made = make_servers(all, srs, drops);
  if (!made) return std::unexpected(std::move(made.error()));
  auto dns = common::dns::read_settings(config.suite.dns);
  if (!dns) return std::unexpected(std::move(dns.error()));
  auto configured = resolver_->configure(*dns);
  if (!configured) return std::unexpected(std::move(configured.error()));
  if (auto planned = dispatch_->reload(servers, srs, drops); !planned) {
    (void)resolver_->configure(dns_);  // they were good before
    return std::unexpected(std::move(planned.error()));
  }
  const auto old = servers_.get();
  // While the listeners change, connections of the old ones and of the new ones come in.
  VirtualServers both = *made;
  both.insert(old->begin(), old->end());
  servers_.set(std::make_shared<const VirtualServers>(std::move(both)));
  auto reloaded = listeners_->reload(all);
  if (!reloaded) {
    servers_.set(old);
    (void)dispatch_->reload(configured_, make_srs(srs_terms_, *store_), drops_);  // they were good before
    (void)resolver_->configure(dns_);
    return std::unexpected(std::move(reloaded.error()));
  }
  servers_.set(std::make_shared<const VirtualServers>(std::move(*made)));
  configured_ = servers;
  srs_terms_ = std::move(*keys);
  dns_ = std::move(*dns);
  drops_ = std::move(drops);
  for (const auto& server : servers) {
    if (const auto drop = drops_.find(server.id); drop != drops_.end())
      drop->second->set_quota(server.messages.drop_quota);
  }
  homes_->reload(make_homes(servers));
  guard_->set_terms(common::auth::make_guard_terms(config.suite.guessing));
  return std::vector<std::string>{};
}

void SmtpService::stop(std::chrono::milliseconds grace) {
  listeners_->stop(grace);
  homes_->stop(grace);
  if (folders_) folders_->stop(grace);
  dispatch_->stop(grace);
  // Before the listeners, and with them the sessions, are destroyed: what still waits for a password, a name or a
  // commit hears of it while the threads' contexts are there, and the store finishes what it was handed.
  verifier_.reset();
  resolver_.reset();
  // The outbound thread's context goes before the store does, so nobody may still be telling it anything.
  store_->wait_told();
  homes_.reset();
  fetcher_.reset();
  dispatch_.reset();
  store_.reset();
  folders_.reset();
}

void SmtpService::add_status(nlohmann::json& status) {
  if (!store_) return;
  const auto counters = store_->counters();
  status["messages"] = {
      {"accepted", counters.accepted}, {"delivered", counters.entries}, {"commits", counters.commits}};
  homes_->add_status(status);
  const auto held = guard_->counters();
  if (folders_) folders_->add_status(status);
  status["log_ins"] = {{"failed", held.failed}, {"delayed", held.delayed}, {"refused", held.refused}};
}

asio::awaitable<void> SmtpService::serve(common::net::Worker& worker, common::net::Stream stream,
                                         common::net::Door door) {
  std::shared_ptr<const VirtualServer> server;
  {
    const auto servers = servers_.get();
    const auto found = servers->find(door.config->id);
    if (found == servers->end()) co_return;  // taken away by a reload at this moment
    server = found->second;
  }
  Session session{services(), worker, std::move(stream), std::move(server)};
  co_await session.run(door.tls);
}

}  // namespace smtpd
