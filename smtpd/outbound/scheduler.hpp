#pragma once

#include <array>
#include <asio/awaitable.hpp>
#include <asio/thread_pool.hpp>
#include <atomic>
#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/config/config.hpp"
#include "common/daemon/snapshot.hpp"
#include "common/net/crowd.hpp"
#include "common/net/deadlines.hpp"
#include "common/net/worker.hpp"

#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

#include "smtpd/folders/badmail.hpp"
#include "smtpd/folders/drop_folder.hpp"
#include "smtpd/folders/put_file.hpp"
#include "smtpd/outbound/carrier.hpp"
#include "smtpd/outbound/lanes.hpp"
#include "smtpd/outbound/next_hop.hpp"
#include "smtpd/outbound/schedule.hpp"
#include "smtpd/outbound/triggers.hpp"
#include "smtpd/outbound/turns.hpp"
#include "smtpd/outbound/verdict.hpp"
#include "smtpd/report/reporter.hpp"
#include "smtpd/routing/resolver.hpp"

namespace smtpd::outbound {

/// A virtual server as the mail that it accepted needs it.
struct ServerPlan {
  report::Reporting reporting;
  Schedule schedule;
  Schedule local;  ///< for mailboxes of ours that have no room (S54, S55)
  common::config::Outbound outbound;
  std::string password;                       ///< what stands in its password_file
  std::shared_ptr<folders::DropFolder> drop;  ///< null: it has no home
};
/// By virtual server; those that have a home.
using DropFolders = std::map<std::string, std::shared_ptr<folders::DropFolder>, std::less<>>;

/// Of all of them; replaced whole by a reload.
struct Plans {
  std::map<std::string, ServerPlan, std::less<>> servers;
  // The shortest of all servers: nobody is told of a delay before the one (0: nobody ever), or given up before the
  // other.
  std::chrono::milliseconds least_notice{}, least_expire{};
  std::string first;  ///< whose rules hold for mail of a server that is gone; empty: there is none
};
/// Reads the password files. Error: a sentence with the remedy.
std::expected<Plans, std::string> make_plans(const std::vector<common::config::Server>& servers,
                                             const std::shared_ptr<const routing::Srs>& srs, const DropFolders& drops);

/// Takes what is in the queue to where it belongs: which domain when, how many at a time, what an answer means, who is
/// told. One for a store, on one worker's thread. Memory grows with the domains that mail waits for, not with the mail.
class Scheduler {
 public:
  struct Counters {
    std::uint64_t delivered = 0, failed = 0, deferred = 0, reports = 0;
    folders::BadmailCounts badmail{};
  };

  Scheduler(mailstore::Store& store, common::net::Worker& worker, NameService& names, Carrier::Setup setup,
            std::shared_ptr<const Plans> plans, std::chrono::seconds keep_done);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Before the worker runs, or on it. False: another process does this store's queue; tried again every minute.
  bool start();
  /// Any thread.
  void set_plans(std::shared_ptr<const Plans> plans) { plans_.set(std::move(plans)); }
  /// On the worker: nothing new is begun.
  void stop();
  /// On the worker: what waits for the next round of these goes now; where it is held until somebody asks, all of it
  /// (ETRN).
  void ask(std::vector<std::string> domains);
  /// On the worker: mail of the reserved domains goes over this connection (ATRN).
  void serve(Turned turned);
  /// Any thread: this process does the store's queue.
  bool schedules() const { return schedules_.load(std::memory_order_relaxed); }
  /// Any thread.
  Counters counters() const;
  /// What is under way; none is left some moments after `stop` when the worker's sessions are ended.
  common::net::Crowd& crowd() { return crowd_; }

 private:
  /// What is known of a domain that mail waits for.
  struct Line {
    bool running = false;       ///< or about to
    bool again = false;         ///< all of it is to be looked at once more
    bool asked = false;         ///< somebody wants its mail
    bool suspended = false;     ///< by a person
    bool proven = false;        ///< somebody there was spoken to since the last trouble: many may go at once
    std::uint32_t width = 100;  ///< attempts that its destination allows at a time
    std::optional<mailstore::QueuePlace> arrived;  ///< before the first of what was accepted since the last look
    /// Up to here everybody was told of the delay; none: not known.
    std::optional<mailstore::QueuePlace> noticed;
    Time timer{};  ///< of its entry among the timers; none: there is none
  };
  enum class Reach : std::uint8_t { arrivals, everything };
  struct Run;
  /// Recipients of one message that are tried together.
  struct Group {
    mailstore::MessageId id;
    std::string server, reroute;
    std::uint64_t changes = 0;  ///< QueueStatus::changes when they were read
    std::vector<mailstore::QueuedRecipient> recipients;
    std::map<std::uint16_t, mailstore::Remote> remotes;  ///< what the envelope says of them, by ordinal
  };
  using Hand = std::pair<std::uint64_t, std::uint16_t>;
  struct HandHash {
    std::size_t operator()(const Hand& hand) const { return std::hash<std::uint64_t>{}(hand.first * 31 + hand.second); }
  };

  /// Recipients that nobody else takes in hand, until this goes.
  class Hold {
   public:
    explicit Hold(Scheduler& scheduler) : scheduler_(&scheduler) {}
    Hold(Hold&& from) noexcept : scheduler_(from.scheduler_), hands_(std::exchange(from.hands_, {})) {}
    Hold& operator=(Hold&&) = delete;
    ~Hold() {
      for (const auto& hand : hands_) scheduler_->in_hand_.erase(hand);
    }
    /// False: somebody has it.
    bool take(const mailstore::QueueName& name) {
      const Hand hand{name.id.value, name.ordinal};
      if (!scheduler_->in_hand_.insert(hand).second) return false;
      hands_.push_back(hand);
      return true;
    }
    void join(Hold other) {
      for (const auto& hand : std::exchange(other.hands_, {})) hands_.push_back(hand);
    }
    /// Somebody else lets go of them.
    void give_up() { hands_.clear(); }

   private:
    Scheduler* scheduler_;
    std::vector<Hand> hands_;
  };
  /// A message that goes into one file, for all its recipients in a drop domain.
  struct Parcel {
    Hold hold;
    std::vector<mailstore::QueuedRecipient> recipients;
    std::shared_ptr<folders::DropFolder> folder;
    std::filesystem::path file;
    std::string placing;       ///< as the queue is told
    std::uint64_t octets = 0;  ///< of the file; 0: it was not written, as the message cannot be read
  };

  // scheduler.cpp: which domain when
  static void on_tick(void* context);
  void tick();
  void keep_house();
  void look_for_changes();
  void wake(std::vector<mailstore::QueueName> names);
  void begin(const std::string& domain, Reach reach);
  void spawn(const std::string& domain);
  void set_timer(const std::string& domain, Time at);
  asio::awaitable<void> run(std::string domain);
  asio::awaitable<void> do_round(Run& run);
  bool is_closed(const Run& run);
  bool may_go(const Run& run, const mailstore::QueuedRecipient& recipient, bool round);
  asio::awaitable<void> launch(Run& run, std::vector<mailstore::QueuedRecipient> recipients, std::uint64_t changes);
  void begin_attempt(Run& run, Group group);
  asio::awaitable<void> wait_for_lane(const std::string& destination, Lanes::Limits limits);
  void leave_lane(const std::string& destination, const std::string& owner, Pace::Sign sign);
  asio::awaitable<void> end_round(Run& run);
  void add_ordered(Run& run, std::vector<mailstore::Settlement>& own);
  bool is_ours(const std::string& domain) const;
  void leave(Run& run);
  static std::vector<Group> group_by_message(std::vector<mailstore::QueuedRecipient> recipients, std::uint64_t changes);

  // turned.cpp: mail that is asked for
  bool is_on_demand(const std::string& domain);
  asio::awaitable<void> serve_turned(Turned turned);
  bool is_stopped(const std::string& domain);
  asio::awaitable<std::uint64_t> hand_over(std::string domain, ClientSession& session);

  // attempt.cpp: one message to some recipients of one domain
  asio::awaitable<void> attempt(Run& run, Group group);
  asio::awaitable<void> put_off(const ServerPlan& plan, Group group, std::string why);
  /// Returns what stays in hand until it is known how the domain stands.
  asio::awaitable<std::vector<Hand>> carry(Run& run, Group& group, const mailstore::Envelope& envelope,
                                           const mailstore::OpenMessage& message, const ServerPlan& plan, NextHop hop);
  /// The same over the connection that the run was given.
  asio::awaitable<void> carry_there(Run& run, Group& group, const mailstore::Envelope& envelope,
                                    const mailstore::OpenMessage& message, const ServerPlan& plan);
  asio::awaitable<std::vector<Hand>> take_answers(Run& run, const Group& group, const mailstore::Envelope& envelope,
                                                  const mailstore::OpenMessage& open, const ServerPlan& plan,
                                                  const Message& message, const Delivery& delivery);
  static std::vector<Group> divide(Group group);
  mailstore::Result<std::string> return_path(const ServerPlan& plan, const mailstore::Envelope& envelope,
                                             const mailstore::Remote& remote);
  asio::awaitable<void> return_circling(const ServerPlan& plan, Group& group);
  void drop_changed(Group& group);
  asio::awaitable<void> wait_for_room(Run& run, const ServerPlan& plan, mailstore::QueuedRecipient recipient);

  // expand.cpp: recipients that are not elsewhere, or not there any more
  /// Where the directory has a recipient go on to.
  struct Moved {
    mailstore::QueuedRecipient recipient;
    mailstore::Remote before;  ///< what the envelope says of it
    routing::Resolution found;
  };
  /// `envelope` without its recipients, which are all of one message.
  asio::awaitable<void> expand(const ServerPlan& plan, const mailstore::Envelope& envelope,
                               const mailstore::OpenMessage& message, std::vector<Moved> moved);
  asio::awaitable<void> expand_together(const ServerPlan& plan, const mailstore::Envelope& envelope,
                                        const mailstore::OpenMessage& message, std::vector<Moved> moved);

  // placing.cpp: mail for drop domains, into files
  mailstore::Result<bool> is_drop_domain(const std::string& domain);
  asio::awaitable<void> place_round(Run& run);
  mailstore::Result<void> complete(Run& run, Parcel& parcel);
  void launch_parcels(Run& run, std::vector<Parcel> parcels);
  asio::awaitable<bool> place(Run& run, std::vector<Parcel> parcels);
  std::expected<void, std::string> write_parcels(const std::vector<Parcel*>& parcels);
  asio::awaitable<void> finish_placing(std::vector<mailstore::QueuedRecipient> recipients);
  asio::awaitable<std::expected<void, std::string>> on_files(
      std::move_only_function<std::expected<void, std::string>()> work);

  // settle.cpp: what an answer means, and who is told
  struct Failure {
    mailstore::QueuedRecipient recipient;
    mailstore::Attempt attempt;
    std::string why;
  };
  asio::awaitable<void> settle(std::vector<mailstore::Settlement> outcomes, std::vector<mailstore::Round> rounds = {});
  asio::awaitable<void> give_up(const ServerPlan& plan, mailstore::MessageId id, std::vector<Failure> failures);
  /// `recipients` speaks of those in `outcomes`, one by one.
  asio::awaitable<void> tell(const ServerPlan& plan, mailstore::MessageId id, const mailstore::Envelope& envelope,
                             const mailstore::OpenMessage& message, std::vector<mailstore::Settlement> outcomes,
                             std::vector<report::Recipient> recipients);
  asio::awaitable<void> tell_sender(const ServerPlan& plan, mailstore::MessageId id,
                                    const mailstore::Envelope& envelope, const mailstore::OpenMessage& message,
                                    std::vector<mailstore::Settlement> outcomes,
                                    std::vector<report::Recipient> recipients);
  asio::awaitable<void> set_aside(std::vector<mailstore::Settlement> outcomes, folders::BadmailCause cause,
                                  std::string_view why);
  asio::awaitable<void> rest();

  // ageing.cpp: those that have waited too long, and those that have waited long
  asio::awaitable<void> give_notice(Run& run);
  asio::awaitable<void> expire(Run& run);
  Time next_age(const Run& run);
  bool is_in_hand(const mailstore::QueuedRecipient& recipient) const {
    return in_hand_.contains({recipient.name.id.value, recipient.name.ordinal});
  }
  static bool is_badmail(const mailstore::QueuedRecipient& recipient);
  static mailstore::Attempt last_words(const Run& run, const mailstore::Attempt& domain_last,
                                       const mailstore::QueuedRecipient& recipient);

  const ServerPlan* plan_of(const Plans& plans, std::string_view server) const;
  std::shared_ptr<const Plans> plans();
  std::shared_ptr<const ClientTerms> terms_for(const ServerPlan& plan, const NextHop& hop);
  Time now() const;
  std::uint32_t chance();

  mailstore::Store& store_;
  mailstore::Queue queue_;
  common::net::Worker& worker_;
  Carrier carrier_;
  Dice dice_;
  Lanes lanes_;
  report::Reporter reporter_;
  common::daemon::Snapshot<Plans> plans_;
  std::chrono::seconds keep_done_;             ///< how long what left is told of; 0: not at all
  std::shared_ptr<const Plans> plans_in_use_;  ///< those that terms_ follows

  std::optional<mailstore::SchedulerLock> lock_;
  std::unordered_map<std::string, Line> lines_;
  std::multimap<Time, std::string> timers_;
  std::unordered_set<Hand, HandHash> in_hand_;
  std::unordered_map<std::string, std::shared_ptr<const ClientTerms>> terms_;
  std::deque<std::string> next_;  ///< domains that wait until fewer runs are under way
  std::size_t runs_ = 0;
  Turns turns_;
  asio::thread_pool files_{3};  ///< write files, and wait for the disk
  std::optional<std::uint64_t> known_changes_;
  bool held_ = false;
  bool stopping_ = false;
  bool trimming_ = false;
  std::atomic<bool> schedules_{false};
  common::net::Deadline ticking_;
  std::uint32_t ticks_ = 0;
  common::net::Crowd crowd_;
  std::array<std::atomic<std::uint64_t>, folders::badmail_causes> badmail_{};
  std::atomic<std::uint64_t> delivered_{0}, failed_{0}, deferred_{0}, reports_{0};
};

}  // namespace smtpd::outbound
