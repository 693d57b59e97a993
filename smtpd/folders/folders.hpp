#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <thread>

#include "common/clock.hpp"
#include "common/dns/resolver.hpp"
#include "common/net/worker.hpp"

#include "mailstore/store.hpp"

#include "smtpd/folders/entrance.hpp"
#include "smtpd/folders/spool_reader.hpp"
#include "smtpd/folders/taker.hpp"

namespace smtpd::folders {

/// The folders that smtpd takes files from, on a thread of their own: files are read as long as their disk takes.
class Folders {
 public:
  /// Makes a folder into which everybody may put files and which nobody but its owner may list. Before privileges are
  /// dropped; one that is there is left as it is. Error: one sentence.
  static std::expected<void, std::string> make_spool(const std::filesystem::path& folder, const std::string& user);

  /// `store` and `resolver` outlive what is under way. `server`: as of SpoolReader.
  Folders(mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock,
          std::function<SpoolReader::Server()> server);
  ~Folders();
  /// Error: this spool is not looked after, and why.
  std::expected<void, std::string> start(const std::filesystem::path& spool);
  /// What is under way has `grace` to end; what is not finished is taken at the next start.
  void stop(std::chrono::milliseconds grace);
  void add_status(nlohmann::json& status) const;

 private:
  std::unique_ptr<common::net::Worker> worker_;
  SpoolReader reader_;
  Entrance entrance_;
  mailstore::Store& store_;
  std::optional<Taker> spool_;
  std::thread thread_;
};

}  // namespace smtpd::folders
