#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/directory.hpp"
#include "mailstore/types.hpp"

/// The mailbox store: messages, maildrops and the directory behind one interface. Nothing of LMDB or of segment
/// files shows here. Every awaitable is to be awaited on the executor that should go on with the result; reads
/// without `awaitable` take microseconds and may be called on an I/O thread.
namespace mailstore {

class Draft;
class MaildropLock;
class OpenMessage;
class Queue;
class Files;
struct Arrival;

struct Options {
  std::filesystem::path path;
  std::uint64_t map_size = std::uint64_t{256} << 30U;      ///< address space of the index
  std::uint64_t reserve = std::uint64_t{256} << 20U;       ///< free disk below which nothing is accepted
  std::uint64_t stream_threshold = 256 << 10U;             ///< a longer message streams to a segment of its own
  std::uint64_t memory_budget = std::uint64_t{64} << 20U;  ///< of all drafts together; above it shorter ones stream too
  std::uint64_t segment_size = std::uint64_t{128} << 20U;  ///< a segment is sealed once it is this long
  bool alone = false;  ///< refused (`conflict`) while another process has the store open; keeps others out
  std::chrono::seconds keep_done = std::chrono::days{3};  ///< of what left the queue; 0: no record of it
  bool past_damage = false;  ///< opened although segments are missing or cut off: for check and repair
  std::chrono::milliseconds care_every{30'000};  ///< files that others unlinked are closed, dead readers' pages freed
  std::function<std::uint64_t()> clock;          ///< microseconds since 2020, in place of the system's clock, for tests
  Files* files = nullptr;  ///< in place of the system's file calls, for fault tests; outlives the store
  std::function<void(std::string_view)> warn;  ///< told once for each trouble found; any thread
};

struct StoreStat {
  std::uint64_t format_version = 0;
  std::uint64_t generation = 0;
  std::uint64_t domains = 0, mailboxes = 0, aliases = 0, messages = 0, entries = 0, queued = 0;
  std::uint64_t segments = 0, open_segments = 0;
  std::uint64_t segment_octets = 0;  ///< on disk
  std::uint64_t live_octets = 0;     ///< of records that still have an owner
  std::uint64_t index_octets = 0;    ///< used pages of the index
  std::uint64_t index_map = 0;
  std::uint64_t free_octets = 0;  ///< of the file system
};

/// Counts since the process opened the store; for metrics and benchmarks.
struct CommitCounters {
  std::uint64_t commits = 0, accepted = 0, entries = 0, removed = 0, overlapped = 0, failed = 0;
  std::uint64_t queued = 0, settled = 0;  ///< recipients that came into the queue and that left it
};

struct CheckReport {
  std::uint64_t records = 0, entries = 0, mailboxes = 0, queued = 0;
  std::vector<std::string> problems;  ///< one sentence each; empty: the store is sound
};

struct CompactOptions {
  bool all = false;            ///< every segment with dead octets; else those that are half dead
  bool at_once = false;        ///< without rests for the sake of the mail that goes in and out
  std::function<bool()> stop;  ///< asked before each segment
};
struct CompactReport {
  std::uint64_t segments = 0;  ///< gone through
  std::uint64_t moved = 0, moved_octets = 0;
  std::uint64_t read_octets = 0;      ///< of the segments gone through
  std::vector<std::string> problems;  ///< records that were left where they are
};

struct RebuildReport {
  std::uint64_t domains = 0, mailboxes = 0, records = 0, messages = 0, entries = 0;
  std::uint64_t queued = 0;           ///< recipients; if there are any the queue is held
  std::string old_index;              ///< the folder where the index that was replaced is kept; empty: there was none
  std::vector<std::string> problems;  ///< what could not be brought back, and what should be looked at
};

struct NewMailbox {
  std::string address;  ///< canonical
  std::string display;
  std::optional<std::uint64_t> quota_octets;  ///< nullopt: its domain's
  std::uint64_t quota_messages = 0;
  Credential credential;  ///< version is ignored; empty hashes: no password
};

struct MailboxChange {
  std::optional<bool> locked;
  std::optional<std::optional<std::uint64_t>> quota_octets;  ///< the inner nullopt: its domain's
  std::optional<std::uint64_t> quota_messages;
  std::optional<Credential> credential;
  std::optional<std::string> apop_secret;           ///< empty: none
  std::optional<std::vector<std::string>> send_as;  ///< in place of what it was; `conflict` beyond its limits
  std::optional<std::vector<std::string>> forward;  ///< the same; `conflict` too where it leads back to the mailbox
  std::optional<bool> keep_copy;
  std::optional<std::optional<AutoReply>> auto_reply;  ///< the inner nullopt: none; who was answered is forgotten
};

struct DomainChange {
  std::optional<bool> locked;
  std::optional<std::string> catch_all;  ///< canonical; empty: none
  std::optional<std::uint64_t> quota_octets;
  std::optional<bool> plus_addressing;
  std::optional<std::string> journal;    ///< canonical; empty: none
  std::optional<FetchSettings> fetch;    ///< in place of all that were
  std::optional<RemoteSettings> remote;  ///< in place of all that were
};

struct PurgeResult {
  std::vector<std::string> mailboxes;  ///< those that are gone
  std::uint64_t busy = 0;              ///< left for another time: somebody reads them still
};

struct RemoveResult {
  std::uint64_t removed = 0;
};

struct ExpiryResult {
  std::uint64_t removed = 0;
  std::uint64_t busy = 0;  ///< maildrops left for another time: somebody reads them
};

class Store {
 public:
  /// Makes an empty store in an empty or missing folder; durable when it returns.
  static Result<void> init(const Options& options);
  /// Opens a store, recovers what an unclean stop left. Refuses (`unusable`, with the remedy in the detail) a missing
  /// store, another format version, a truncated or damaged index or segment.
  static Result<std::shared_ptr<Store>> open(Options options);
  /// Waits for what was handed in, seals this process's segment.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // ---- messages in

  /// Reserves an id and opens a draft. Rarely waits: for a durable range of ids. `full` below the disk's reserve.
  asio::awaitable<Result<Draft>> begin();
  /// Puts the message into the maildrops of all owners and its remotes into the queue, in one transaction: on success
  /// octets and index entries are on stable storage. Safe to repeat by id. An owner whose mailbox was removed meanwhile
  /// gets it kept for `restore`. An error means that nothing was delivered to anybody.
  asio::awaitable<Result<void>> accept(Draft draft, Envelope envelope, BodyFacts facts);
  /// The same; its remotes are in the queue from the first moment as held, for this reason.
  asio::awaitable<Result<void>> accept_held(Draft draft, Envelope envelope, BodyFacts facts, std::string reason);

  // ---- messages that are made of something outside, such as a file in a folder: once, whatever dies when

  /// The same as accept, and in the same transaction it is remembered that `origin` was taken: `exists`, and nothing
  /// happens, if it was before. `origin` names one thing for ever, a file by more than its path. Until it is forgotten
  /// the caller may put the thing away; then, with that on stable storage, it is to be forgotten. A rebuild of the
  /// index forgets all. `hold`: the reason of accept_held; empty: nothing is held.
  asio::awaitable<Result<void>> accept_once(Draft draft, Envelope envelope, BodyFacts facts, std::string origin,
                                            std::string hold = {});
  /// The message that was made of it.
  Result<std::optional<MessageId>> taken(std::string_view origin);
  /// Those that are remembered and begin with `prefix`.
  Result<std::vector<std::string>> taken_origins(std::string_view prefix);
  asio::awaitable<Result<void>> forget_taken(std::vector<std::string> origins);

  // ---- maildrops

  /// Takes the maildrop for a session or a removal; `in_use` at once when another session or process has it.
  Result<MaildropLock> lock_maildrop(MailboxNumber mailbox);
  Result<View> view(const MaildropLock& lock);
  /// A view without a lock, for looking on (message list, show).
  Result<View> peek(MailboxNumber mailbox);
  /// Fills `out` with the entries of the view that follow `after` (nullopt: from the first), in message number order.
  /// Returns how many; fewer than asked: that was the last. The caller counts the numbers.
  Result<std::size_t> list(const View& view, std::optional<MessageId> after, std::span<Entry> out);
  Result<std::optional<Entry>> find(const View& view, MessageId id);
  /// Opens the message for reading. `scratch` receives the head of the record and as much of the body as `want`
  /// asks and as fits; the views in the result live as long as `scratch` is left alone and the result lives.
  Result<OpenMessage> open_message(MailboxNumber mailbox, const Entry& entry, std::span<char> scratch,
                                   std::size_t want);
  /// Removes messages from the maildrop; durable on success. Ids that are gone already count as done.
  asio::awaitable<Result<RemoveResult>> remove(const MaildropLock& lock, std::vector<MessageId> ids);
  /// Notes that these messages were retrieved at `when` (microseconds since the Unix epoch), durable on success. The
  /// first time counts; ids that are gone are passed over.
  asio::awaitable<Result<void>> note_retrieved(const MaildropLock& lock, std::vector<MessageId> ids,
                                               std::uint64_t when);
  /// Removes every message of which it was noted that it was retrieved at `before` or earlier, in pieces, with rests.
  /// `told` hears of each piece once it is durable: the mailbox's address and the ids.
  asio::awaitable<Result<ExpiryResult>> remove_retrieved(
      std::uint64_t before, std::function<void(std::string_view, std::span<const MessageId>)> told);
  /// When the maildrop was last taken for a session, as noted below; 0: never. Outlives processes; the last notes
  /// before the machine stopped may be lost.
  Result<std::uint64_t> last_login(const MaildropLock& lock);
  Result<void> note_login(const MaildropLock& lock, std::uint64_t when);

  // ---- mail that leaves (mailstore/queue.hpp)

  Queue queue();

  // ---- directory

  std::unique_ptr<DirectoryView> directory();
  asio::awaitable<Result<void>> add_domain(Domain domain);
  asio::awaitable<Result<void>> lock_domain(std::string name, bool locked);
  /// `not_found` for a catch-all address that nobody has, `conflict` for settings that this kind of domain has not.
  asio::awaitable<Result<void>> change_domain(std::string name, DomainChange change);
  /// `purge`: its mailboxes, aliases and their mail go with it; else `conflict` while it has any.
  asio::awaitable<Result<void>> remove_domain(std::string name, bool purge);
  asio::awaitable<Result<MailboxNumber>> add_mailbox(NewMailbox mailbox);
  asio::awaitable<Result<void>> change_mailbox(std::string address, MailboxChange change);
  /// Without `purge` the mail stays and the address is not given to anybody else.
  asio::awaitable<Result<void>> remove_mailbox(std::string address, bool purge);
  /// Brings a removed mailbox back as it was, with what was accepted for it meanwhile. `exists`: it is there.
  asio::awaitable<Result<void>> restore_mailbox(std::string address);
  /// The same mailbox under another address; aliases and catch-alls that name it follow. Delivered-To of the mail it
  /// holds stays. `display` as in NewMailbox.
  asio::awaitable<Result<void>> rename_mailbox(std::string address, std::string to, std::string display);
  /// Purges the mailboxes that were removed at `before` (microseconds since the Unix epoch) or earlier, in pieces, with
  /// rests.
  asio::awaitable<Result<PurgeResult>> purge_removed(std::uint64_t before);
  /// Notes that a mailbox answers `sender` (canonical) by itself at `when` (microseconds since the Unix epoch), durable
  /// on success. False: it has done so within `period` before, has no answer any more, or remembers as many as it may.
  asio::awaitable<Result<bool>> note_answered(MailboxNumber mailbox, std::string sender, std::uint64_t when,
                                              std::chrono::seconds period);
  /// Adds the alias or replaces its targets and owner. `conflict` for a loop or a mailbox of that name.
  asio::awaitable<Result<void>> put_alias(Alias alias);
  asio::awaitable<Result<void>> remove_alias(std::string address);

  /// 32 octets, the same at each call and in each process, that nobody can know who does not have the store: another
  /// for each `purpose`.
  std::string secret(std::string_view purpose) const;

  // ---- care

  Result<StoreStat> stat();
  CommitCounters counters() const;
  /// Blocks until whoever handed something in before has been told, and the thread that told them is done with their
  /// executors: before an executor goes whose store stays.
  void wait_told();
  /// Reads the whole store and compares everything with everything. `progress`: records read so far.
  Result<CheckReport> check(const std::function<void(std::uint64_t)>& progress = {});

  /// Sets right what check() finds in the index, as far as records and rows tell; what it did is in `problems`. An
  /// entry whose record is damaged leaves its maildrop. Needs the store alone (Options::alone).
  Result<CheckReport> repair(const std::function<void(std::uint64_t)>& progress = {});
  /// Gives back the room of removed messages, beside live service. Blocks; any thread. `in_use`: another one is at
  /// work.
  Result<CompactReport> compact(const CompactOptions& options);
  /// Makes the index anew from segments and journal, with a new generation of ids; the old one is kept beside it. Needs
  /// the store alone. Removals of the last second before a crash may not be in the journal: those messages are back.
  static Result<RebuildReport> rebuild(const Options& options, const std::function<void(std::uint64_t)>& progress = {});

  class Impl;
  explicit Store(std::shared_ptr<Impl> impl);

 private:
  std::shared_ptr<Impl> impl_;
};

/// A message on its way in. Octets are appended in stored form: CRLF line ends, dot-stuffed, without the closing dot
/// line. Dropping a draft leaves nothing behind.
class Draft {
 public:
  Draft(Draft&&) noexcept;
  Draft& operator=(Draft&&) noexcept;
  ~Draft();
  MessageId id() const;
  std::uint64_t size() const;
  /// Keeps a copy of the octets in memory; never waits.
  void append(std::string_view octets);
  /// True when so much is held in memory that `spill` is due before more is appended.
  bool wants_spill() const;
  /// Writes what is held to the message's own segment, off the I/O thread.
  asio::awaitable<Result<void>> spill();
  /// Some of its octets from `offset` on, none behind the last: a view of its memory, or of `into` for what was
  /// spilled; blocks on the disk if that is not cached any more. Holds until the draft or `into` is changed.
  Result<std::string_view> read(std::uint64_t offset, std::span<char> into) const;
  /// An empty draft of the same id, for a changed message in place of this one. One of the two may be accepted.
  Draft beside() const;

  class Impl;
  explicit Draft(std::unique_ptr<Impl> impl);

 private:
  friend class Store;
  asio::awaitable<Result<void>> finish_stream(Arrival& arrival);
  std::unique_ptr<Impl> impl_;
};

/// The right to read and change one maildrop; held by one session of one process. Gives it back when it goes.
class MaildropLock {
 public:
  MaildropLock(MaildropLock&&) noexcept;
  MaildropLock& operator=(MaildropLock&&) noexcept;
  ~MaildropLock();
  MailboxNumber mailbox() const;

  class Impl;
  explicit MaildropLock(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// A message being read: the owner's own lines, then `stored_octets` as they lie on disk (dot-stuffed).
class OpenMessage {
 public:
  std::string front;        ///< Return-Path and Delivered-To lines of this owner, with CRLF
  std::string_view prefix;  ///< the first stored octets, in the scratch given to open_message
  std::uint64_t stored_octets = 0;
  std::uint64_t octets = 0;         ///< real ones, without `front`
  std::uint64_t header_octets = 0;  ///< stored ones of the header section
  bool stuffed = false;
  Envelope envelope() const;  ///< decoded anew from the scratch; empty if it is damaged

  /// Where the stored octets lie, for sendfile: descriptor and offset of the first. Valid while this object lives.
  int descriptor() const;
  std::uint64_t file_offset() const;
  /// Reads stored octets from `offset`; blocks on the disk if they are not cached.
  Result<std::size_t> read(std::uint64_t offset, std::span<char> out) const;

  class Source;
  std::shared_ptr<const Source> source;  ///< keeps the segment's descriptor open
  std::uint64_t body_at = 0;             ///< offset of the body in the segment
  std::string_view head;                 ///< encoded envelope, in the scratch or in `long_head`
  std::vector<char> long_head;           ///< used when the scratch is too small for the head of the record
};

}  // namespace mailstore
