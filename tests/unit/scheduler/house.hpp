#pragma once

#include <asio/executor_work_guard.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/config/config.hpp"

#include "smtpd/outbound/scheduler.hpp"
#include "tests/support/failing_files.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"
#include "tests/unit/outbound/stub_server.hpp"
#include "tests/unit/store/expect.hpp"

/// What the tests of this folder stand on: a store and its scheduler on the test's own thread, with a clock that the
/// test turns, names that it makes up, and a next server that does what it says.
namespace test {

using namespace std::chrono_literals;
using common::net::Worker;
using smtpd::outbound::Scheduler;

/// Stands still until it is turned; daemon and store read the same one.
class StageClock final : public common::Clock {
 public:
  Wall wall() const override { return wall_; }
  Steady steady() const override { return steady_; }
  void turn(std::chrono::microseconds by) {
    wall_ += by;
    steady_ += by;
  }
  std::chrono::microseconds passed() const { return wall_.load() - begun; }

  static constexpr Wall begun{std::chrono::sys_days{std::chrono::year{2026} / 1 / 5}};

 private:
  /// The store's threads read it.
  template <class Point>
  class Shared {
   public:
    explicit Shared(Point at) : at_(at.time_since_epoch().count()) {}
    Point load() const { return Point{typename Point::duration{at_.load()}}; }
    operator Point() const { return load(); }
    void operator+=(std::chrono::microseconds by) {
      at_ += std::chrono::duration_cast<typename Point::duration>(by).count();
    }

   private:
    std::atomic<typename Point::rep> at_;
  };
  Shared<Wall> wall_{begun};
  Shared<Steady> steady_{std::chrono::steady_clock::now()};
};

/// Every "x.test" has "mx.x.test" at 127.0.0.1, unless the test says otherwise.
class StageNames final : public smtpd::outbound::NameService {
 public:
  explicit StageNames(const StageClock& clock) : clock_(clock) {}
  asio::awaitable<smtpd::outbound::MxAnswer> exchangers(std::string domain) override;
  asio::awaitable<smtpd::outbound::AddressAnswer> addresses(std::string host) override;
  /// When each attempt on a domain began, in minutes since the test did.
  std::vector<std::int64_t> minutes(const std::string& domain) const;
  std::size_t asked(const std::string& domain) const;

  std::map<std::string, smtpd::outbound::Lookup> failing;  ///< domains
  std::set<std::string> dead;                              ///< domains at whose address nobody listens

 private:
  const StageClock& clock_;
  std::map<std::string, std::vector<std::chrono::microseconds>> asked_;
};

struct Post {
  std::vector<std::string> to;
  std::string from = "u0@example.test";
  std::uint8_t notify = 0;
  std::vector<mailstore::MailboxNumber> boxes = {};
  std::string octets = "Subject: a letter\r\n\r\nIts text.\r\n";
};

class House {
 public:
  using Adjust = std::function<void(common::config::Server&)>;
  /// Two mailboxes, u0@ and u1@example.test. `adjust`: of the virtual server's settings, which are the defaults but for
  /// the jitter (none) and the port (the stub's).
  explicit House(std::vector<Ways> ways = {Ways{}}, Adjust adjust = {});
  ~House();
  House(const House&) = delete;
  House& operator=(const House&) = delete;

  /// Accepts a message for the queue, and waits until the scheduler has done what there is to do.
  mailstore::MessageId send(const Post& post);
  /// As a session does; the scheduler has not looked yet.
  mailstore::MessageId accept(const Post& post);
  /// Turns the clock, at once, ticks, and waits until nothing is under way.
  void pass(std::chrono::microseconds time);
  /// The same in steps.
  void pass(std::chrono::microseconds time, std::chrono::microseconds step);
  /// So much later the scheduler has heard of what people ordered: a second, and the half that a deadline may be late.
  void tick() { pass(1500ms); }
  /// Until nothing is under way.
  void quiet();
  void run_until(const std::function<bool()>& done);
  /// The scheduler goes, and another one comes to the same store.
  void restart();
  void stop();
  void start();
  void set(const Adjust& adjust);

  Scheduler& scheduler() { return *scheduler_; }
  Worker& worker() { return *worker_; }
  mailstore::Queue queue() { return store->queue(); }
  std::vector<mailstore::QueuedRecipient> queued();
  std::vector<mailstore::DoneRecipient> left();
  std::uint64_t order(const std::string& address, mailstore::QueueOrder what);
  std::optional<mailstore::QueueDomain> domain(const std::string& name);
  /// The messages of u0 (or another), with the owner's lines in front.
  std::vector<std::string> mailbox(std::size_t number = 0);
  std::vector<mailstore::MessageId> mailbox_ids(std::size_t number = 0);

  StageClock clock;
  tests::TempFolder folder{tests::memory_folder()};
  tests::FailingFiles files;
  tests::TestStore store;
  StageNames names{clock};
  StubServer stub;
  smtpd::outbound::DropFolders drops;  ///< by name, of which "test" is the only one; `set` makes a change known

 private:
  common::config::Server server_;
  std::unique_ptr<Worker> worker_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  std::unique_ptr<Scheduler> scheduler_;
};

/// The named field of a report's part about one recipient; empty: it is not there.
std::string field(const std::string& report, const std::string& name);
std::size_t count(const std::string& text, const std::string& what);

}  // namespace test
