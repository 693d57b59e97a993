#pragma once

#include <atomic>
#include <chrono>
#include <expected>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/auth/guard.hpp"
#include "common/auth/verifier.hpp"
#include "common/daemon/daemon.hpp"
#include "common/daemon/snapshot.hpp"
#include "common/net/server.hpp"
#include "mailstore/store.hpp"
#include "pop3d/session/settings.hpp"

namespace pop3d {

/// The POP3 daemon: its virtual servers over one store.
class Service final : public common::daemon::Service {
 public:
  Service();
  ~Service() override;

  std::expected<void, std::string> prepare(const common::config::Config& config) override;
  std::expected<void, std::string> start() override;
  std::expected<std::vector<std::string>, std::string> reload(const common::config::Config& config) override;
  void stop(std::chrono::milliseconds grace) override;
  common::net::Server& listeners() override { return *server_; }
  void add_status(nlohmann::json& status) override;
  bool serves(common::config::Kind kind) const override { return kind == common::config::Kind::pop3; }

 private:
  /// By the virtual server's id.
  using AllSettings = std::map<std::string, std::shared_ptr<const Settings>, std::less<>>;
  static std::expected<AllSettings, std::string> make_settings(const std::vector<common::config::Server>& servers);
  asio::awaitable<void> serve(common::net::Worker& worker, common::net::Stream stream, common::net::Door door);

  common::daemon::Snapshot<AllSettings> settings_;
  mailstore::Options options_;
  std::size_t threads_ = 0;
  std::atomic<std::chrono::milliseconds> keep_removed_{};
  std::atomic<std::chrono::milliseconds> expire_{};  ///< of messages that were retrieved; 0: never
  std::shared_ptr<mailstore::Store> store_;
  std::unique_ptr<common::auth::Verifier> verifier_;
  std::unique_ptr<common::auth::Guard> guard_;
  // Last: destroying it destroys the sessions that are left, and they refer to all of the above.
  std::unique_ptr<common::net::Server> server_;
};

}  // namespace pop3d
