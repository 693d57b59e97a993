#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mailstore/store.hpp"
#include "mailstore/types.hpp"

/// The queue: the recipients of accepted messages that live elsewhere. `Store::accept` puts them there in the
/// transaction that acknowledges the message; each leaves by one settlement. Rows lie by recipient's domain, then id,
/// so by age; a domain's row carries the next round of all that wait on it, so that a failed round of a dead domain
/// writes one row however many wait. A recipient with an answer of its own has its own due time.
///
/// Every operation is safe to repeat by name: a recipient that is not there any more is passed over and counted.
namespace mailstore {

/// Microseconds of the Unix epoch; the epoch itself: none.
using Time = std::chrono::sys_time<std::chrono::microseconds>;
inline constexpr Time no_time{};
/// The own due time of those that are to be bounced: before all others, so that `due` finds them and no others with it.
inline constexpr Time bounce_time{std::chrono::microseconds{1}};
/// That of those which a person wants to be tried again: long past by any clock.
inline constexpr Time retry_time{std::chrono::microseconds{2}};

/// When the message's id was given, which is when its acceptance began.
Time accepted_at(MessageId id);

/// Names one queued recipient for ever: `ordinal` is its place in its envelope's remotes. `domain` is the part behind
/// the address's last @ (QueueName::of), at most 255 octets.
struct QueueName {
  std::string domain;
  MessageId id;
  std::uint16_t ordinal = 0;
  friend auto operator<=>(const QueueName&, const QueueName&) = default;
};
std::string queue_domain_of(std::string_view address);

/// What a peer said last, or what kept us from asking it.
struct Answer {
  std::uint16_t code = 0;  ///< of the reply; 0: there was none (no connection, no DNS), and `text` says what there was
  std::string enhanced;    ///< RFC 3463, such as "4.4.1"; ours where the peer gave none
  std::string text;        ///< without codes; cut at 400 octets when stored
  friend bool operator==(const Answer&, const Answer&) = default;
};

/// One attempt to get a message to one recipient, or to reach a domain at all.
struct Attempt {
  Time at = no_time;  ///< when it ended; none: never tried
  Answer answer;
  std::string peer;  ///< name[address]:port of who answered, empty: nobody; cut at 255 octets
  std::string tls;   ///< the TLS outcome in words ("TLSv1.3 verified", "not offered"), cut at 80 octets
  friend bool operator==(const Attempt&, const Attempt&) = default;
};

enum class QueueState : std::uint8_t {
  waiting = 1,  ///< for its own due time or its domain's next round
  held = 2,     ///< by a person, who gave `reason`
  bounce = 3,   ///< a person wants a failure report: due at once, even where its domain is suspended or all is held
};

/// A recipient in the queue, with what a scheduler and a list need of its message without opening it.
struct QueuedRecipient {
  QueueName name;
  std::string address;       ///< canonical forward-path
  std::string reverse_path;  ///< of the message; cut at 256 octets: the envelope has it whole
  std::string server;        ///< the virtual server that accepted it; whose [delivery] and [outbound] hold
  std::uint64_t octets = 0;  ///< real octets of the message
  std::uint8_t notify = 0;   ///< NOTIFY flags, as in Envelope
  QueueState state = QueueState::waiting;
  std::uint32_t attempts = 0;  ///< with an answer of its own; the domain's failed rounds are counted there
  Time due = no_time;          ///< its own; none: its domain's next round
  Attempt last;                ///< with an answer of its own
  bool delay_noticed = false;
  std::string reroute;   ///< HOST[:PORT] in place of what routing says, empty: none
  std::string reason;    ///< of a hold or a bounce, who and why; cut at 160 octets
  Time since = no_time;  ///< of the hold or the bounce
  std::string placing;   ///< see Placing; empty: that was not said of it
};
/// Of `placing`: it is kept whole or not at all.
inline constexpr std::size_t placing_limit = 400;

/// What holds for all that wait on one domain. One that nothing waits on and nobody has suspended is not there.
struct QueueDomain {
  std::string name;
  std::uint64_t waiting = 0;  ///< recipients, those with an own due time and those to be bounced among them
  std::uint64_t held = 0;
  std::uint64_t bounces = 0;        ///< of those that wait: to be bounced
  std::uint64_t due_alone = 0;      ///< of those that wait: with an own due time, bounces among them
  Time next_due = no_time;          ///< the earliest own due time, found when read; none: there is none
  Time next_round = no_time;        ///< none: at once
  std::uint32_t failed_rounds = 0;  ///< in a row
  Time first_failure = no_time;     ///< of those
  Attempt last;                     ///< of the last failed round
  bool suspended = false;           ///< by a person: nothing is tried, bounces alone are done
  std::string reason;               ///< who suspended it and why
  Time since = no_time;
  std::uint64_t changed = 0;  ///< QueueStatus::changes when a person, or mail taken by another process than the
                              ///< scheduler's, last changed something of this domain
};

/// Of the queue as a whole.
struct QueueStatus {
  bool held = false;  ///< nothing is tried: set by rebuild and by people
  std::string reason;
  Time since = no_time;
  std::uint64_t changes = 0;  ///< grows with every order and with mail taken by another process than the scheduler's
};

/// How a recipient left the queue.
enum class QueueOutcome : std::uint8_t {
  delivered = 1,  ///< the next server took it
  relayed = 2,    ///< the same, to one that knows no DSN
  failed = 3,
  expanded = 4,  ///< it goes on under the id of its successor: a mailbox of ours, or other addresses
  deleted = 5,   ///< by a person, without report
};

/// The record of what left, kept for Options::keep_done.
struct DoneRecipient {
  Time at = no_time;
  QueueName name;
  std::string address, reverse_path, server;
  QueueOutcome outcome = QueueOutcome::delivered;
  std::uint32_t attempts = 0;
  Attempt last;
  MessageId successor;  ///< the report or the copy that was accepted with it; 0: none
};

// ---- what the scheduler says

/// The recipient leaves the queue; when it was the last owner the message's record is dead.
struct Leaves {
  QueueOutcome outcome = QueueOutcome::delivered;
  Attempt attempt;
};
/// It got an answer of its own and stays, a held one as held. `due` none: with its domain's next round.
struct Stays {
  Attempt attempt;
  Time due = no_time;
};
/// Its delay notice is on its way.
struct Noticed {};
/// It is about to be put into a file of this name, whose octets lie under another name on stable storage: if that other
/// name is gone, it was put. `conflict` for a name of more than placing_limit octets. Neighbours of one message and one
/// file are settled in one transaction.
struct Placing {
  std::string file;
};

struct Settlement {
  QueueName name;
  std::variant<Leaves, Stays, Noticed, Placing> what;
};

/// The end of a round to a domain, or of the first connection that tells how it stands.
struct Round {
  std::string domain;
  Time next = no_time;  ///< none: it went well and what failed before is forgotten; else the next one
  Attempt attempt;      ///< of one that failed
  bool ahead =
      false;  ///< one that failed was asked for before its time: it counts for nothing, `next` is not looked at
};

/// A message accepted in the very transaction that settles: a report on the recipients, or the copy that carries their
/// mail on to a mailbox of ours or to other addresses. Never lost, never doubled.
struct Successor {
  Draft draft;
  Envelope envelope;
  BodyFacts facts;
};

struct SettleResult {
  std::uint64_t settled = 0;
  std::uint64_t gone = 0;        ///< not in the queue any more, or noticed already
  bool successor_taken = false;  ///< false: every recipient that it speaks of was gone, so it was not accepted
};

// ---- what reads bring

struct DomainPage {
  std::vector<QueueDomain> domains;  ///< in the order of their names
  std::string last;                  ///< how far was looked: go on behind it
  bool more = false;
};

/// A place in the queue's order: domain, id, ordinal. Need not be there any more.
using QueuePlace = QueueName;

struct RecipientPage {
  std::vector<QueuedRecipient> recipients;
  QueuePlace last;    ///< how far was looked, found or not: go on behind it
  bool more = false;  ///< there is something behind `last`; perhaps nothing that fits
};

/// A place among a domain's own due times. Need not be there any more.
struct DuePlace {
  Time due = no_time;
  MessageId id;
  std::uint16_t ordinal = 0;
};
struct DuePage {
  std::vector<QueuedRecipient> recipients;  ///< those to be bounced, then the earliest first
  DuePlace last;
  bool more = false;    ///< there are others whose time has come behind `last`
  Time next = no_time;  ///< the earliest time that has not come yet; none: there is none, or `more`
};

/// Every condition that is given must hold. Texts are found anywhere and without regard to (ASCII) case, but for
/// `domain`, which is exact.
struct QueueFilter {
  std::string domain;
  std::string sender;  ///< in the reverse-path; "<>": the null reverse-path
  std::string recipient;
  std::string error;                ///< in the last answer, its own or its domain's
  std::optional<QueueState> state;  ///< `held` is for those that are held one by one
  Time older = no_time;             ///< accepted before this
  Time newer = no_time;             ///< accepted after this
};

struct DonePlace {
  Time at = no_time;
  MessageId id;
  std::uint16_t ordinal = 0;
};
struct DonePage {
  std::vector<DoneRecipient> recipients;  ///< in the order in which they left
  DonePlace last;
  bool more = false;
};

struct QueueStat {
  std::uint64_t waiting = 0, held = 0, domains = 0, suspended = 0;
  std::uint64_t failing = 0;    ///< domains whose last round failed
  std::uint64_t due_alone = 0;  ///< recipients with an own due time
  std::uint64_t done = 0;       ///< in the record of what left
  Time oldest = no_time;        ///< when the message that waits longest was accepted
};

// ---- what people say

struct HoldOrder {
  std::string reason;
};
struct ReleaseOrder {};  ///< of held ones: they wait again, for what they waited before
struct RetryOrder {};    ///< of those that wait: due at once, each by itself
struct ReviveOrder {};   ///< of held ones: they wait again, and are due at once
/// Without a report.
struct DeleteOrder {
  std::string held_for{};  ///< not empty: only those that are held now, for a reason that begins so
};
/// The scheduler sends a failure report and takes it out, a held one too; `reason` stands in the report.
struct BounceOrder {
  std::string reason;
};
/// One that waits is tried there at once.
struct RerouteOrder {
  std::string to;  ///< HOST[:PORT] or [ADDRESS][:PORT]; empty: as routing says
};
using QueueOrder =
    std::variant<HoldOrder, ReleaseOrder, RetryOrder, ReviveOrder, DeleteOrder, BounceOrder, RerouteOrder>;

/// The right to schedule: one process a store. Gives it back when it goes; so does the death of its process.
class SchedulerLock {
 public:
  SchedulerLock(SchedulerLock&&) noexcept;
  SchedulerLock& operator=(SchedulerLock&&) noexcept;
  ~SchedulerLock();

  class Impl;
  explicit SchedulerLock(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// A handle on the queue of an open store, which outlives what is asked of it; cheap to copy. Reads take well under a
/// millisecond for the limits named and may be called on an I/O thread; nothing of the index is held between calls.
class Queue {
 public:
  explicit Queue(std::shared_ptr<Store::Impl> store) : store_(std::move(store)) {}

  // ---- for the scheduler

  /// Called once for each commit of this process that queued mail, behind it, with the names. On the commit thread:
  /// it posts them to the scheduler's executor and returns.
  using Wake = std::function<void(std::vector<QueueName>)>;
  /// `in_use`: another process schedules, or this one already. From then on mail that this process accepts is told to
  /// `wake` and does not move QueueStatus::changes. Take the lock, then read status() and domains(): nothing falls
  /// between.
  Result<SchedulerLock> lock_scheduler(Wake wake);

  /// Microseconds: one row. A scheduler looks once a second; when `changes` grew it reads the domains whose `changed`
  /// is above what it knew.
  Result<QueueStatus> status() const;
  /// The domains behind `after` of which something changed above `changed_above`, at most `limit` (1,000 take a
  /// millisecond; 10,000 are looked at). A start reads these and no recipients.
  Result<DomainPage> domains(std::string_view after, std::size_t limit, std::uint64_t changed_above = 0) const;
  Result<std::optional<QueueDomain>> domain(std::string_view name) const;
  /// Recipients of one domain behind `after` that wait and are due at `now`: those without an own due time (the caller
  /// knows whether the round is due), those whose own due time has come, and those to be bounced. Looks at 1,000 rows
  /// at most. Oldest first. Those that the scheduler has in hand are among them until they are settled.
  Result<RecipientPage> ready(std::string_view domain, Time now, const std::optional<QueuePlace>& after,
                              std::size_t limit) const;
  /// Recipients of one domain whose own due time has come at `now`, and before them those to be bounced: what there is
  /// to do while its round is not due.
  Result<DuePage> due(std::string_view domain, Time now, const std::optional<DuePlace>& after, std::size_t limit) const;
  /// The recipients of one domain by age whatever they wait for, behind `after`: for expiry and delay notices. Held
  /// ones are among them.
  Result<RecipientPage> by_age(std::string_view domain, const std::optional<QueuePlace>& after,
                               std::size_t limit) const;

  /// Opens a message that has recipients in the queue; `front` is empty. Else as Store::open_message. `not_found`: it
  /// is gone, as its last owner is.
  Result<OpenMessage> open_message(MessageId id, std::span<char> scratch, std::size_t want) const;

  /// Durable on success. Without a successor many outcomes go in several transactions, each whole by itself; all the
  /// same the order is kept. Rounds go with the last.
  asio::awaitable<Result<SettleResult>> settle(std::vector<Settlement> outcomes, std::vector<Round> rounds = {});
  /// The same in one transaction together with the successor, which is accepted if any of the outcomes changes
  /// something: so `outcomes` are those that it speaks of, at most 1,000. An error: nothing happened.
  asio::awaitable<Result<SettleResult>> settle(std::vector<Settlement> outcomes, Successor successor);
  /// A draft with the stored octets of a message in the queue, long ones streamed, for a successor that carries it on.
  asio::awaitable<Result<Draft>> copy(MessageId id);
  /// Forgets what left before `before`, in pieces with rests. Returns how many.
  asio::awaitable<Result<std::uint64_t>> trim_done(Time before);

  // ---- for people

  Result<std::vector<QueuedRecipient>> recipients(MessageId id) const;
  /// What fits, behind `after`. One call looks at 2,000 rows at most.
  Result<RecipientPage> list(const QueueFilter& filter, const std::optional<QueuePlace>& after,
                             std::size_t limit) const;
  /// What left, from `after` on. `id`: of this message alone, beginning when it was accepted.
  Result<DonePage> done(const DonePlace& after, std::size_t limit, std::optional<MessageId> id = {}) const;
  /// Counted over all domains in short looks.
  Result<QueueStat> stat() const;

  /// Returns how many were changed; those that left or are so already are passed over. In pieces with rests. Takes
  /// effect at once for what the scheduler does not have in hand, and the scheduler learns of it within a second.
  asio::awaitable<Result<std::uint64_t>> order(std::vector<QueueName> names, QueueOrder order);
  /// A domain may be suspended before anything waits on it. `conflict`: no domain's name.
  asio::awaitable<Result<void>> suspend(std::string domain, std::string reason);
  /// `not_found`: it is not suspended.
  asio::awaitable<Result<void>> resume(std::string domain);
  /// The next round of a domain is due now, and so is everything of it that has its own due time. `not_found`: nothing
  /// waits on it. Empty: all domains.
  asio::awaitable<Result<void>> flush(std::string domain);
  /// Nothing leaves until release_all(); what is accepted is queued.
  asio::awaitable<Result<void>> hold_all(std::string reason);
  asio::awaitable<Result<void>> release_all();

 private:
  std::shared_ptr<Store::Impl> store_;
};

}  // namespace mailstore
