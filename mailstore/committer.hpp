#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "mailstore/change.hpp"
#include "mailstore/core.hpp"
#include "mailstore/journal.hpp"

namespace mailstore {

/// Where a message lies that was streamed to a segment of its own. Its octets are synced already.
struct StreamedBody {
  std::uint64_t segment = 0, head_offset = 0, body_offset = 0, stored_octets = 0, end = 0;
  std::uint32_t head_octets = 0;
};

/// The segment of one long message, locked while no row names it. It goes with its owner unless it is kept: the draft
/// owns it while octets come in, then the arrival, so that a session that goes away meanwhile takes nothing along.
class StreamSegment {
 public:
  /// Makes the file; blocks. The row comes with the message.
  StreamSegment(Core& core, std::uint64_t number);
  ~StreamSegment();
  StreamSegment(const StreamSegment&) = delete;
  StreamSegment& operator=(const StreamSegment&) = delete;
  void write(std::string_view octets);
  /// Octets that were written, some of them, but one at least; throws Failure.
  std::string_view read(std::uint64_t offset, std::span<char> into) const;
  /// Record and footer behind the octets, all synced; blocks.
  void finish(const RecordHeader& header, std::string_view envelope);
  const StreamedBody& body() const { return body_; }
  /// A commit names it, or says that it goes.
  void keep() { kept_ = true; }

 private:
  Core& core_;
  SegmentWriter writer_;
  StreamedBody body_;
  bool kept_ = false;
};

/// A message to be put into its maildrops.
struct Arrival {
  MessageId id;
  Envelope envelope;
  BodyFacts facts;
  std::string encoded_envelope;
  std::string body;  ///< stored octets; empty when `streamed`
  std::uint64_t checksum = 0;
  std::unique_ptr<StreamSegment> streamed;
  /// Of a message that is accepted together with a change of the queue: makes the change in a transaction of its own,
  /// nested in the batch's; false: there was nothing to change, so the message is not wanted.
  std::move_only_function<bool(Change&)> beside;
  std::size_t beside_rows = 0;
  std::string hold;  ///< why its remotes are held from the first moment; empty: they are not
  std::move_only_function<void(Result<void>)> done;  ///< called on the commit thread
};

/// A change of rows. `apply` runs inside the batch's transaction, in one of its own nested in it when `nested` (then an
/// error of it undoes its rows and nobody else's).
struct Work {
  std::size_t rows = 1;
  bool nested = true;
  std::move_only_function<Result<void>(Change&)> apply;
  std::move_only_function<void(Result<void>)> done;  ///< called on the commit thread
};

/// The one thread of a process that changes the store. It takes what sessions have handed in, writes the octets, syncs
/// the segment, commits the index, in that order, and tells everybody. For a few messages sync and commit run side by
/// side; what that asks of recovery stands in ARCHITECTURE.md.
class Committer {
 public:
  explicit Committer(Core& core);
  /// Does what was handed in, seals the segment, ends the threads.
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  /// Any thread.
  void submit(Arrival arrival);
  void submit(Work work);
  /// The same for callers that may block.
  Result<void> run(Work work);

 private:
  using Job = std::variant<Arrival, Work>;
  void loop();
  std::vector<Job> take_batch(std::unique_lock<std::mutex>& hold);
  void process(std::vector<Job>& batch);
  /// Writes the arrivals that are not streamed; false and `error` when they cannot be.
  bool write_records(std::vector<Job>& batch, std::vector<MessageRow>& rows, Error& error);
  /// `full`: the index has only the pages left that are kept for removals.
  Result<void> index_has_room(std::size_t entries);
  void roll_segment(std::uint64_t octets);
  void seal_segment(Change& change);
  void apply_arrival(Change& change, Arrival& arrival, const MessageRow& row, std::vector<Unproven>* unproven);
  /// The same for one with `beside`: both, or nothing of either.
  Result<void> apply_successor(Change& change, Arrival& arrival, const MessageRow& row);
  void wake_scheduler(std::vector<QueueName> queued);
  Result<void> apply_work(Change& change, Work& work);
  /// Commits or throws; a commit whose outcome is unknown ends the process.
  void commit(lmdb::Txn& txn);
  /// Ends the process when LMDB refuses it for good.
  void end_if_broken();
  void undo(const std::vector<Unproven>& unproven);
  void raise_id_limit(Change& change);
  void after_commit(Change& change);
  void write_journal(const JournalLines& lines);
  /// Written, but not delivered: the journal says so.
  void disown_refused(const std::vector<Job>& batch, const std::vector<std::optional<Error>>& failures);
  void publish(Job job);
  void take_care(std::chrono::steady_clock::time_point now);

  // The second thread, for the sync that runs beside the commit.
  void sync_loop();
  void start_sync(int descriptor);
  bool finish_sync();

  Core& core_;
  Journal journal_;
  std::chrono::steady_clock::time_point journal_sync_due_, care_due_;
  std::uint64_t commit_number_ = 0;
  std::int64_t pages_left_ = 0;  // of the index, for arrivals, when they were last counted

  std::unique_ptr<SegmentWriter> writer_;
  std::uint64_t durable_ = 0;  // of the writer's segment
  std::uint32_t batch_ = 0, last_batch_ = 0;
  std::optional<std::uint64_t> failed_segment_;  // its last sync failed: to be sealed with the next

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool waiting_ = false;
  bool stop_ = false;

  std::mutex sync_mutex_;
  std::condition_variable sync_wake_;
  int sync_descriptor_ = -1;
  bool sync_stop_ = false;
  std::optional<int> sync_result_;

  std::thread sync_thread_;
  std::thread thread_;
};

}  // namespace mailstore
