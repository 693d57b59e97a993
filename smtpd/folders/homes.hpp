#pragma once

#include <array>
#include <asio/awaitable.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.hpp"
#include "common/dns/resolver.hpp"
#include "common/net/worker.hpp"

#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

#include "smtpd/folders/badmail.hpp"
#include "smtpd/folders/badmail_folder.hpp"
#include "smtpd/folders/drop_folder.hpp"
#include "smtpd/folders/entrance.hpp"
#include "smtpd/folders/home.hpp"
#include "smtpd/folders/pickup_reader.hpp"
#include "smtpd/folders/taker.hpp"

namespace smtpd::folders {

/// The folders of all virtual servers at work, on a thread of their own: files are taken out of pickup, what leaves
/// drop is counted, badmail is kept within its limit.
class Homes {
 public:
  struct Setup {
    std::string server;
    Home home;  ///< empty: the server has none, and may have badmail in the queue
    std::uint64_t badmail_size = 0;
    std::function<PickupReader::Server()> in_force;  ///< the server as it is now
    std::shared_ptr<DropFolder> drop;                ///< null: none
  };
  /// `elsewhere`: badmail that others counted, any thread. `store` outlives it, `resolver` what is under way.
  Homes(mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock,
        std::function<BadmailCounts()> elsewhere);
  ~Homes();
  /// Error: a sentence.
  std::expected<void, std::string> start(std::vector<Setup> servers);
  /// A server whose pickup folder cannot be taken over is told in the log.
  void reload(std::vector<Setup> servers);
  /// What is under way has `grace` to end; what is not finished is taken at the next start.
  void stop(std::chrono::milliseconds grace);
  void add_status(nlohmann::json& status) const;

 private:
  struct Place;
  std::expected<void, std::string> open(Place& place);
  asio::awaitable<std::optional<Unread>> accept(const OpenedFile& file, Message message, std::string origin);
  void watch_drop(const Place& place);
  std::expected<void, std::string> open_pickup(Place& place);
  void try_again(Place& place);
  bool refuse(Place& place, int folder, const std::string& name, const Unread& unread, Taker::Try which);
  asio::awaitable<void> watch_drops();
  std::set<std::shared_ptr<DropFolder>> read_events();
  asio::awaitable<void> look_regularly();
  void count_drops();
  void count_waiting();
  asio::awaitable<void> limit_badmail();
  BadmailCounts counts() const;

  mailstore::Store& store_;
  const common::Clock& clock_;
  std::function<BadmailCounts()> elsewhere_;
  std::unique_ptr<common::net::Worker> worker_;
  Entrance entrance_;
  asio::steady_timer again_;
  asio::posix::stream_descriptor watch_;
  std::map<std::string, std::unique_ptr<Place>, std::less<>> places_;
  std::vector<std::unique_ptr<Place>> leaving_;  ///< until their last file is done
  std::map<int, std::weak_ptr<DropFolder>> watched_;
  std::array<std::atomic<std::uint64_t>, badmail_causes> counts_{};
  std::optional<std::set<std::uint64_t>> events_;  ///< badmail that a person or a program made, as it was seen last
  std::atomic<std::uint64_t> taken_{0};
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace smtpd::folders
