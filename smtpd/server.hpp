#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/auth/guard.hpp"
#include "common/auth/verifier.hpp"
#include "common/daemon/daemon.hpp"
#include "common/daemon/snapshot.hpp"
#include "common/dns/resolver.hpp"
#include "common/net/server.hpp"

#include "mailstore/store.hpp"

#include "smtpd/folders/homes.hpp"
#include "smtpd/outbound/dispatch.hpp"
#include "smtpd/session/session.hpp"

namespace smtpd {

/// smtpd as common/daemon drives it: the store, the listeners, and a session for each connection.
class SmtpService final : public common::daemon::Service {
 public:
  std::expected<void, std::string> prepare(const common::config::Config& config) override;
  std::expected<void, std::string> start() override;
  std::expected<std::vector<std::string>, std::string> reload(const common::config::Config& config) override;
  void stop(std::chrono::milliseconds grace) override;
  common::net::Server& listeners() override { return *listeners_; }
  void add_status(nlohmann::json& status) override;
  bool serves(common::config::Kind kind) const override { return kind != common::config::Kind::pop3; }

 private:
  /// By id, the file's name.
  using VirtualServers = std::map<std::string, std::shared_ptr<const VirtualServer>, std::less<>>;
  static std::expected<VirtualServers, std::string> make_servers(const std::vector<common::config::Server>& servers,
                                                                 const outbound::DropFolders& drops);
  std::vector<folders::Homes::Setup> make_homes(const std::vector<common::config::Server>& servers) const;
  /// Those in use are kept where they lie as they did.
  outbound::DropFolders make_drops(const std::vector<common::config::Server>& servers) const;
  asio::awaitable<void> serve(common::net::Worker& worker, common::net::Stream stream, common::net::Door door);

  mailstore::Options store_options_;
  std::shared_ptr<mailstore::Store> store_;
  std::optional<common::auth::Verifier> verifier_;
  std::optional<common::auth::Guard> guard_;
  common::dns::Settings dns_;  ///< in force
  std::optional<common::dns::Resolver> resolver_;
  std::vector<common::config::Server> configured_;  ///< in force
  outbound::DropFolders drops_;
  std::unique_ptr<outbound::Dispatch> dispatch_;
  std::unique_ptr<folders::Homes> homes_;
  common::daemon::Snapshot<VirtualServers> servers_;
  // Last: sessions that are left when it goes use what stands above.
  std::unique_ptr<common::net::Server> listeners_;
};

}  // namespace smtpd
