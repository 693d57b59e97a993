#pragma once

#include <chrono>
#include <expected>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.hpp"
#include "common/config/config.hpp"
#include "common/dns/resolver.hpp"
#include "common/net/server.hpp"
#include "common/net/worker.hpp"

#include "mailstore/store.hpp"

#include "smtpd/outbound/dns_names.hpp"
#include "smtpd/outbound/scheduler.hpp"
#include "smtpd/outbound/triggers.hpp"

namespace smtpd::outbound {

/// Mail on its way out: the scheduler on a thread of its own, so that those who hand mail in do not wait behind it.
class Dispatch {
 public:
  /// Reads certificates and password files, starts nothing. `store` and `resolver` outlive it. Error: a sentence.
  static std::expected<std::unique_ptr<Dispatch>, std::string> make(
      mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock,
      const std::vector<common::config::Server>& servers, const std::vector<common::net::BoundAddress>& own,
      const std::shared_ptr<const routing::Srs>& srs, const DropFolders& drops, std::chrono::seconds keep_done);
  ~Dispatch();
  void start();
  std::expected<void, std::string> reload(const std::vector<common::config::Server>& servers,
                                          const std::shared_ptr<const routing::Srs>& srs, const DropFolders& drops);
  /// Nothing new is begun; what is under way has `grace` to end, then it is cut off, and waits in the queue as it did.
  void stop(std::chrono::milliseconds grace);
  void add_status(nlohmann::json& status) const;
  folders::BadmailCounts badmail() const { return scheduler_->counters().badmail; }
  /// For sessions, on any thread.
  Triggers& triggers() { return *triggers_; }
  /// For what else speaks to other servers on this thread; it goes before this does.
  struct Means {
    common::net::Worker& worker;
    common::net::Crowd& crowd;
    NameService& names;
    std::shared_ptr<const common::net::TlsClientContext> unchecked, verified;
  };
  Means means() { return {*worker_, scheduler_->crowd(), names_, unchecked_, verified_}; }
  void post(std::function<void()> work);

 private:
  Dispatch(mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock, Carrier::Setup setup,
           std::shared_ptr<const Plans> plans, std::chrono::seconds keep_done);

  std::unique_ptr<common::net::Worker> worker_;
  DnsNames names_;
  std::shared_ptr<const common::net::TlsClientContext> unchecked_, verified_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Triggers> triggers_;
  std::thread thread_;
};

}  // namespace smtpd::outbound
