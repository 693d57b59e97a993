#pragma once

#include <filesystem>
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

#include "smtpd/fetch/fetcher.hpp"
#include "smtpd/folders/folders.hpp"
#include "smtpd/folders/homes.hpp"
#include "smtpd/outbound/dispatch.hpp"
#include "smtpd/routing/srs.hpp"
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
                                                                 const std::shared_ptr<const routing::Srs>& srs,
                                                                 const outbound::DropFolders& drops);
  Services services();
  /// Who takes mail that is fetched; null: nobody is configured.
  std::shared_ptr<const VirtualServer> taker() const;
  /// The server's side of a connection that we made (ATRN).
  asio::awaitable<void> take_fetched(common::net::Worker& worker, common::net::Stream stream, std::string domain);
  std::vector<folders::Homes::Setup> make_homes(const std::vector<common::config::Server>& servers) const;
  /// Those in use are kept where they lie as they did.
  outbound::DropFolders make_drops(const std::vector<common::config::Server>& servers) const;
  /// Mail that waits for us there does not keep us from serving all other.
  void start_folders();
  asio::awaitable<void> serve(common::net::Worker& worker, common::net::Stream stream, common::net::Door door);

  routing::Srs::Terms srs_terms_;  ///< in force, without the store's own key
  mailstore::Options store_options_;
  std::shared_ptr<mailstore::Store> store_;
  std::optional<common::auth::Verifier> verifier_;
  std::optional<common::auth::Guard> guard_;
  common::dns::Settings dns_;  ///< in force
  std::optional<common::dns::Resolver> resolver_;
  std::vector<common::config::Server> configured_;  ///< in force
  outbound::DropFolders drops_;
  std::unique_ptr<outbound::Dispatch> dispatch_;
  std::unique_ptr<fetch::Fetcher> fetcher_;
  std::unique_ptr<folders::Homes> homes_;
  std::filesystem::path spool_;  ///< empty: none
  std::string spool_trouble_;    ///< of making it, before there was a log
  std::optional<folders::Folders> folders_;
  common::daemon::Snapshot<VirtualServers> servers_;
  // Last: sessions that are left when it goes use what stands above.
  std::unique_ptr<common::net::Server> listeners_;
};

}  // namespace smtpd
