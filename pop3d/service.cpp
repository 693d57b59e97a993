#include "pop3d/service.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <nlohmann/json.hpp>

#include "common/log.hpp"
#include "pop3d/protocol/reply.hpp"
#include "pop3d/session/session.hpp"
#include "pop3d/sweep.hpp"

namespace pop3d {

namespace config = common::config;
namespace net = common::net;

namespace {

// Some 40 octets each: 2.5 MB for everybody who reads mail on a large site in an hour.
constexpr std::size_t remembered_passwords = 65536;

std::vector<config::Server> pop3_servers(const config::Config& config) {
  std::vector<config::Server> servers;
  std::ranges::copy_if(config.servers, std::back_inserter(servers),
                       [](const config::Server& server) { return server.kind == config::Kind::pop3; });
  return servers;
}

/// EXPIRE of one server: 0, a time, or never.
std::optional<common::config::Duration> expire_of(const config::Server& server) {
  if (server.pop3.delete_on_retrieve) return common::config::Duration{};
  return server.pop3.expire;
}

/// When messages that were retrieved are removed: the longest time that a server sets. 0: never.
std::chrono::milliseconds longest_expire(const std::vector<config::Server>& servers) {
  std::chrono::milliseconds longest{};
  for (const auto& server : servers) longest = std::max(longest, expire_of(server).value_or(config::Duration{}));
  return longest;
}

/// What EXPIRE says in CAPA, in days. What was retrieved through one server is gone for all: the shortest time counts,
/// but for a server that removes at QUIT, which does so for its own sessions alone.
std::optional<std::uint64_t> told_expire(const config::Server& server, const std::vector<config::Server>& all) {
  auto shortest = expire_of(server);
  for (const auto& other : all) {
    const auto time = expire_of(other);
    if (time && time->count() != 0) shortest = std::min(shortest.value_or(*time), *time);
  }
  if (!shortest) return std::nullopt;
  return std::chrono::floor<std::chrono::days>(*shortest).count();
}

Retrieved retrieved_of(const config::Server& server) {
  const auto expire = expire_of(server);
  if (!expire) return Retrieved::kept;
  return expire->count() == 0 ? Retrieved::removed : Retrieved::noted;
}

constexpr std::string_view no_server = "no file in servers/ says kind = \"pop3\": add one, or do not start pop3d";

}  // namespace

Service::Service() = default;
Service::~Service() = default;

std::expected<Service::AllSettings, std::string> Service::make_settings(const std::vector<config::Server>& servers) {
  AllSettings all;
  for (const auto& server : servers) {
    auto tls = net::TlsContext::load(server.tls);
    if (!tls) return std::unexpected(std::move(tls.error()));
    Settings settings;
    settings.server = server.id;
    settings.rules = Rules{server.hostname,
                           server.auth.mechanisms,
                           server.auth.require_tls,
                           server.tls.required,
                           *tls != nullptr,
                           static_cast<std::uint64_t>(server.connections.errors),
                           server.pop3.apop,
                           std::chrono::ceil<std::chrono::seconds>(server.pop3.login_delay),
                           told_expire(server, servers),
                           retrieved_of(server)};
    settings.default_domain = server.default_domain;
    settings.tls = std::move(*tls);
    settings.login_timeout = server.connections.login_timeout;
    settings.idle_timeout = server.connections.idle_timeout;
    all.emplace(server.id, std::make_shared<const Settings>(std::move(settings)));
  }
  return all;
}

std::expected<void, std::string> Service::prepare(const config::Config& config) {
  const auto servers = pop3_servers(config);
  if (servers.empty()) return std::unexpected(std::string{no_server});
  auto settings = make_settings(servers);
  if (!settings) return std::unexpected(std::move(settings.error()));
  settings_.set(std::make_shared<const AllSettings>(std::move(*settings)));

  auto table = common::auth::GuardTable::open(config.suite.run.directory / "guard", config.suite.run.user);
  if (!table) return std::unexpected(std::move(table.error()));
  guard_ = std::make_unique<common::auth::Guard>(
      std::move(*table), common::auth::make_guard_terms(config.suite.guessing), common::system_clock_source());

  options_.path = config.suite.store.path;
  options_.map_size = config.suite.store.map_size;
  options_.reserve = config.suite.store.reserve;
  options_.warn = [](std::string_view what) { common::log::warning("store", {{"what", what}}); };
  threads_ = static_cast<std::size_t>(config.suite.run.threads);
  keep_removed_ = config.suite.store.keep_removed;
  expire_ = longest_expire(servers);

  net::Serve serve = [this](net::Worker& worker, net::Stream stream, net::Door door) {
    return this->serve(worker, std::move(stream), std::move(door));
  };
  net::Refuse refuse = [](const config::Server&) {
    std::string text;
    append_reply(text, Cause::too_many_connections);
    return text;
  };
  server_ = std::make_unique<net::Server>(threads_, common::system_clock_source(), std::move(serve), std::move(refuse));
  return server_->listen(servers);
}

std::expected<void, std::string> Service::start() {
  auto opened = mailstore::Store::open(options_);
  if (!opened) return std::unexpected(std::move(opened.error().detail));
  store_ = std::move(*opened);
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  verifier_ = std::make_unique<common::auth::Verifier>(threads_ == 0 ? cores : threads_, remembered_passwords);
  server_->start();
  asio::co_spawn(server_->workers().front()->context(), sweep_removed(*store_, keep_removed_), asio::detached);
  asio::co_spawn(server_->workers().front()->context(), sweep_retrieved(*store_, expire_), asio::detached);
  return {};
}

asio::awaitable<void> Service::serve(net::Worker& worker, net::Stream stream, net::Door door) {
  const auto all = settings_.get();
  const auto found = all->find(door.config->id);
  // A server that a reload took away between accept and here.
  if (found == all->end()) co_return;
  Session session{worker, std::move(stream), found->second, PostOffice{*store_, *verifier_, *guard_}};
  co_await session.run(door.tls);
}

std::expected<std::vector<std::string>, std::string> Service::reload(const config::Config& config) {
  const auto servers = pop3_servers(config);
  if (servers.empty()) return std::unexpected(std::string{no_server});
  auto settings = make_settings(servers);
  if (!settings) return std::unexpected(std::move(settings.error()));
  // Settings first: a new listener's first connection must find them.
  const auto before = settings_.get();
  settings_.set(std::make_shared<const AllSettings>(std::move(*settings)));
  if (auto reloaded = server_->reload(servers); !reloaded) {
    settings_.set(before);
    return std::unexpected(std::move(reloaded.error()));
  }
  keep_removed_ = config.suite.store.keep_removed;
  expire_ = longest_expire(servers);
  guard_->set_terms(common::auth::make_guard_terms(config.suite.guessing));
  return std::vector<std::string>{};
}

void Service::stop(std::chrono::milliseconds grace) {
  server_->stop(grace);
  // What still waits for a password or a commit hears of it before the threads' contexts go.
  verifier_.reset();
  store_.reset();
}

void Service::add_status(nlohmann::json& status) {
  const auto held = guard_->counters();
  status["log_ins"] = {{"failed", held.failed}, {"delayed", held.delayed}, {"refused", held.refused}};
  for (const auto& [id, settings] : *settings_.get()) {
    const auto counters = server_->counters(id);
    status["servers"][id] = {{"open", counters.open}, {"total", counters.total}, {"refused", counters.refused}};
  }
}

}  // namespace pop3d
