#include "smtpd/server.hpp"

#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "common/log.hpp"

#include "smtpd/folders/home.hpp"

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

std::string too_many_connections(const common::config::Server& server) {
  std::string line;
  append_reply(line, {Cause::too_many_connections, server.hostname});
  return line;
}

}  // namespace

std::expected<SmtpService::VirtualServers, std::string> SmtpService::make_servers(
    const std::vector<common::config::Server>& servers, const outbound::DropFolders& drops) {
  VirtualServers made;
  for (const auto& server : servers) {
    auto tls = common::net::TlsContext::load(server.tls);
    if (!tls) return std::unexpected(std::move(tls.error()));
    auto virtual_server = std::make_shared<VirtualServer>();
    virtual_server->terms = make_terms(server);
    virtual_server->tls = std::move(*tls);
    virtual_server->idle_timeout = server.connections.idle_timeout;
    if (const auto drop = drops.find(server.id); drop != drops.end()) virtual_server->drop = drop->second;
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
    auto terms = [this, id = server.id]() -> std::shared_ptr<const Terms> {
      const auto all = servers_.get();
      const auto found = all->find(id);
      if (found == all->end()) return nullptr;
      return {found->second, &found->second->terms};
    };
    const auto drop = drops_.find(server.id);
    homes.push_back({server.id, folders::home_of(server), server.messages.badmail_size, std::move(terms),
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
  drops_ = make_drops(servers);
  auto made = make_servers(servers, drops_);
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

  const auto serve_one = [this](common::net::Worker& worker, common::net::Stream stream, common::net::Door door) {
    return serve(worker, std::move(stream), std::move(door));
  };
  listeners_ = std::make_unique<common::net::Server>(static_cast<std::size_t>(config.suite.run.threads),
                                                     common::system_clock_source(), serve_one, too_many_connections);
  return listeners_->listen(servers);
}

std::expected<void, std::string> SmtpService::start() {
  auto opened = mailstore::Store::open(store_options_);
  if (!opened) return std::unexpected(std::move(opened.error().detail));
  store_ = std::move(*opened);
  verifier_.emplace(std::max(1U, std::thread::hardware_concurrency()), remembered_passwords);
  resolver_.emplace();
  auto configured = resolver_->configure(dns_);
  if (!configured) return std::unexpected(std::move(configured.error()));
  for (const auto& server : configured_) {
    if (auto home = folders::try_home(server); !home) return home;
  }
  auto dispatch = outbound::Dispatch::make(*store_, *resolver_, common::system_clock_source(), configured_,
                                           listeners_->addresses(), store_options_.keep_done, drops_);
  if (!dispatch) return std::unexpected(std::move(dispatch.error()));
  dispatch_ = std::move(*dispatch);
  homes_ = std::make_unique<folders::Homes>(*store_, common::system_clock_source(), [this] {
    return dispatch_ ? dispatch_->badmail() : folders::BadmailCounts{};
  });
  if (auto started = homes_->start(make_homes(configured_)); !started) return started;
  listeners_->start();
  dispatch_->start();
  return {};
}

std::expected<std::vector<std::string>, std::string> SmtpService::reload(const common::config::Config& config) {
  const auto servers = smtp_servers(config);
  if (servers.empty())
    return std::unexpected("no server of kind \"smtp\" or \"lmtp\" is left in the new configuration");
  for (const auto& server : servers) {
    auto home = folders::make_home(server, {});
    if (home) home = folders::try_home(server);
    if (!home) return std::unexpected(home.error() + " (one that is new needs a restart)");
  }
  auto drops = make_drops(servers);
  auto made = make_servers(servers, drops);
  if (!made) return std::unexpected(std::move(made.error()));
  auto dns = common::dns::read_settings(config.suite.dns);
  if (!dns) return std::unexpected(std::move(dns.error()));
  auto configured = resolver_->configure(*dns);
  if (!configured) return std::unexpected(std::move(configured.error()));
  if (auto planned = dispatch_->reload(servers, drops); !planned) {
    (void)resolver_->configure(dns_);  // they were good before
    return std::unexpected(std::move(planned.error()));
  }
  const auto old = servers_.get();
  // While the listeners change, connections of the old ones and of the new ones come in.
  VirtualServers both = *made;
  both.insert(old->begin(), old->end());
  servers_.set(std::make_shared<const VirtualServers>(std::move(both)));
  auto reloaded = listeners_->reload(servers);
  if (!reloaded) {
    servers_.set(old);
    (void)dispatch_->reload(configured_, drops_);  // they were good before
    (void)resolver_->configure(dns_);
    return std::unexpected(std::move(reloaded.error()));
  }
  servers_.set(std::make_shared<const VirtualServers>(std::move(*made)));
  configured_ = servers;
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
  dispatch_->stop(grace);
  homes_.reset();
  dispatch_.reset();
  // Before the listeners, and with them the sessions, are destroyed: what still waits for a password, a name or a
  // commit hears of it while the threads' contexts are there, and the store finishes what it was handed.
  verifier_.reset();
  resolver_.reset();
  store_.reset();
}

void SmtpService::add_status(nlohmann::json& status) {
  if (!store_) return;
  const auto counters = store_->counters();
  status["messages"] = {
      {"accepted", counters.accepted}, {"delivered", counters.entries}, {"commits", counters.commits}};
  homes_->add_status(status);
  const auto held = guard_->counters();
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
  const Services services{*store_, *verifier_, *guard_, *resolver_};
  Session session{services, worker, std::move(stream), std::move(server)};
  co_await session.run(door.tls);
}

}  // namespace smtpd
