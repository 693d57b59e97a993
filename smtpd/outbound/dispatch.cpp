#include "smtpd/outbound/dispatch.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <asio/post.hpp>
#include <nlohmann/json.hpp>
#include <random>

namespace smtpd::outbound {
namespace {

/// Beyond the grace: for sessions to leave the waits that they were thrown out of.
constexpr std::chrono::seconds last_call{2};

std::uint32_t throw_dice(std::uint32_t bound) {
  thread_local std::mt19937 source{std::random_device{}()};
  return std::uniform_int_distribution<std::uint32_t>{0, bound - 1}(source);
}

}  // namespace

Dispatch::Dispatch(mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock,
                   Carrier::Setup setup, std::shared_ptr<const Plans> plans, std::chrono::seconds keep_done)
    : worker_(std::make_unique<common::net::Worker>(clock)),
      names_(resolver, worker_->context().get_executor()),
      unchecked_(setup.unchecked),
      verified_(setup.verified),
      scheduler_(std::make_unique<Scheduler>(store, *worker_, names_, std::move(setup), std::move(plans), keep_done)) {
  Triggers::Hooks hooks;
  hooks.ready = [this] { return scheduler_->schedules(); };
  hooks.run = [this](std::vector<std::string> domains) {
    asio::post(worker_->context(),
               [this, domains = std::move(domains)]() mutable { scheduler_->ask(std::move(domains)); });
  };
  hooks.serve = [this](Turned turned) {
    asio::post(worker_->context(),
               [this, turned = std::move(turned)]() mutable { scheduler_->serve(std::move(turned)); });
  };
  triggers_ = std::make_unique<Triggers>(store, clock, std::move(hooks));
}

Dispatch::~Dispatch() {
  stop(std::chrono::milliseconds{0});
}

std::expected<std::unique_ptr<Dispatch>, std::string> Dispatch::make(
    mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock,
    const std::vector<common::config::Server>& servers, const std::vector<common::net::BoundAddress>& own,
    const std::shared_ptr<const routing::Srs>& srs, const DropFolders& drops, std::chrono::seconds keep_done) {
  auto plans = make_plans(servers, srs, drops);
  if (!plans) return std::unexpected(std::move(plans.error()));
  Carrier::Setup setup;
  for (const auto& server : servers) setup.own_names.push_back(server.hostname);
  for (const auto& bound : own) {
    const auto colon = bound.address.rfind(':');
    if (bound.address.starts_with("unix:") || colon == bound.address.npos) continue;
    auto host = bound.address.substr(0, colon);
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    setup.own_listeners.emplace_back(std::move(host),
                                     static_cast<std::uint16_t>(std::stoul(bound.address.substr(colon + 1))));
  }
  auto unchecked = common::net::TlsClientContext::load(common::net::TlsClientContext::Peer::anyone);
  if (!unchecked) return std::unexpected(std::move(unchecked.error()));
  auto verified = common::net::TlsClientContext::load(common::net::TlsClientContext::Peer::named);
  if (!verified) return std::unexpected(std::move(verified.error()));
  setup.unchecked = std::move(*unchecked);
  setup.verified = std::move(*verified);
  setup.dice = throw_dice;
  return std::unique_ptr<Dispatch>{new Dispatch{store, resolver, clock, std::move(setup),
                                                std::make_shared<const Plans>(std::move(*plans)), keep_done}};
}

void Dispatch::post(std::function<void()> work) {
  asio::post(worker_->context(), std::move(work));
}

void Dispatch::start() {
  asio::post(worker_->context(), [this] { scheduler_->start(); });
  thread_ = std::thread([this] {
    // Signals are the main thread's.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    pthread_setname_np(pthread_self(), "outbound");
    worker_->run();
  });
}

std::expected<void, std::string> Dispatch::reload(const std::vector<common::config::Server>& servers,
                                                  const std::shared_ptr<const routing::Srs>& srs,
                                                  const DropFolders& drops) {
  auto plans = make_plans(servers, srs, drops);
  if (!plans) return std::unexpected(std::move(plans.error()));
  scheduler_->set_plans(std::make_shared<const Plans>(std::move(*plans)));
  return {};
}

void Dispatch::stop(std::chrono::milliseconds grace) {
  if (!thread_.joinable()) return;
  asio::post(worker_->context(), [this] {
    scheduler_->stop();
    names_.stop();
    worker_->end_sessions(false);
  });
  if (!scheduler_->crowd().wait_empty(grace)) {
    asio::post(worker_->context(), [this] { worker_->end_sessions(true); });
    if (!scheduler_->crowd().wait_empty(last_call)) {
      // Something still waits for the machine. The process ends in a moment: what it holds is not torn from under it.
      worker_->stop();
      thread_.join();
      (void)scheduler_.release();
      (void)worker_.release();
      return;
    }
  }
  worker_->stop();
  thread_.join();
}

void Dispatch::add_status(nlohmann::json& status) const {
  const auto counters = scheduler_->counters();
  status["outbound"] = {{"delivered", counters.delivered},
                        {"deferred", counters.deferred},
                        {"failed", counters.failed},
                        {"reports", counters.reports}};
}

}  // namespace smtpd::outbound
