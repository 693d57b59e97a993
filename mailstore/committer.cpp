#include "mailstore/committer.hpp"

#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <future>

namespace mailstore {
namespace {

constexpr std::size_t batch_entries = 256;
constexpr std::size_t batch_octets = std::size_t{8} << 20U;
constexpr std::size_t batch_rows = 1000;
// Above these a second thread costs more than the time it saves (measured: 0.40 instead of 0.55 ms for one message).
constexpr std::size_t overlap_messages = 4;
constexpr std::size_t overlap_owners = 8;
constexpr std::chrono::seconds journal_patience{1};
constexpr char padding[record_alignment] = {};

std::size_t entries_of(const Arrival& arrival) {
  return std::max<std::size_t>(arrival.envelope.owners.size() + arrival.envelope.remotes.size(), 1);
}

}  // namespace

Committer::Committer(Core& core)
    : core_(core),
      journal_(core.files, core.layout.journal),
      care_due_(std::chrono::steady_clock::now() + core.options.care_every) {
  sync_thread_ = std::thread([this] { sync_loop(); });
  thread_ = std::thread([this] { loop(); });
}

Committer::~Committer() {
  {
    const std::lock_guard hold(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
  {
    const std::lock_guard hold(sync_mutex_);
    sync_stop_ = true;
  }
  sync_wake_.notify_all();
  sync_thread_.join();
}

void Committer::submit(Arrival arrival) {
  publish(std::move(arrival));
}
void Committer::submit(Work work) {
  publish(std::move(work));
}

void Committer::publish(Job job) {
  bool notify = false;
  {
    const std::lock_guard hold(mutex_);
    jobs_.push_back(std::move(job));
    notify = std::exchange(waiting_, false);
  }
  if (notify) wake_.notify_one();
}

Result<void> Committer::run(Work work) {
  std::promise<Result<void>> promise;
  auto future = promise.get_future();
  work.done = [&promise](Result<void> result) { promise.set_value(std::move(result)); };
  submit(std::move(work));
  return future.get();
}

void Committer::loop() {
  pthread_setname_np(pthread_self(), "commit");
  std::unique_lock hold(mutex_);
  for (;;) {
    if (jobs_.empty()) {
      if (stop_) break;
      waiting_ = true;
      const auto due = [&] { return !jobs_.empty() || stop_; };
      wake_.wait_until(hold, journal_.dirty() ? std::min(journal_sync_due_, care_due_) : care_due_, due);
      waiting_ = false;
    }
    auto batch = take_batch(hold);
    hold.unlock();
    if (!batch.empty()) process(batch);
    batch.clear();
    // Busy or not.
    const auto now = std::chrono::steady_clock::now();
    if (journal_.dirty() && now >= journal_sync_due_) {
      journal_.sync(core_.options.warn);
      journal_sync_due_ = now + journal_patience;
    }
    if (now >= care_due_) take_care(now);
    hold.lock();
  }
  hold.unlock();
  if (writer_ || failed_segment_) {
    const auto sealed = guarded([&]() -> Result<void> {
      std::optional<Turnstile::Pass> pass(std::in_place, core_.turnstile);
      lmdb::Txn txn(core_.index.env(), 0);
      pass.reset();
      Change change(core_.index, txn.get());
      seal_segment(change);
      change.settle();
      commit(txn);
      after_commit(change);
      return {};
    });
    if (!sealed) core_.warn("sealing the segment at the end: " + sealed.error().detail);
  }
  journal_.sync(core_.options.warn);
}

void Committer::take_care(std::chrono::steady_clock::time_point now) {
  care_due_ = now + core_.options.care_every;
  // Another process may have emptied and unlinked segments that this one has read.
  core_.segments.forget_unlinked();
  // One that was killed while it read keeps every page of its time from being used again.
  if (const auto freed = guarded([&] { return core_.index.forget_dead_readers(); }); !freed)
    core_.warn("looking for dead readers of the index: " + freed.error().detail);
}

std::vector<Committer::Job> Committer::take_batch(std::unique_lock<std::mutex>& /*held*/) {
  std::vector<Job> batch;
  std::size_t entries = 0;
  std::size_t octets = 0;
  std::size_t rows = 0;
  while (!jobs_.empty()) {
    auto& job = jobs_.front();
    if (auto* arrival = std::get_if<Arrival>(&job)) {
      const auto more = entries_of(*arrival);
      if (!batch.empty() && (entries + more > batch_entries || octets + arrival->body.size() > batch_octets ||
                             rows + arrival->beside_rows > batch_rows))
        break;
      entries += more;
      rows += arrival->beside_rows;
      octets += arrival->body.size();
    } else {
      const auto more = std::get<Work>(job).rows;
      if (!batch.empty() && rows + more > batch_rows) break;
      rows += more;
    }
    batch.push_back(std::move(job));
    jobs_.pop_front();
  }
  return batch;
}

void Committer::process(std::vector<Job>& batch) {
  std::vector<MessageRow> rows(batch.size());
  std::vector<std::optional<Error>> failures(batch.size());
  std::size_t messages = 0;
  std::size_t owners = 0;
  std::size_t arrivals = 0;
  bool successors = false;
  for (const auto& job : batch) {
    const auto* arrival = std::get_if<Arrival>(&job);
    if (arrival == nullptr) continue;
    successors = successors || arrival->beside;
    arrivals += entries_of(*arrival);
    if (!arrival->streamed) {
      ++messages;
      owners += entries_of(*arrival);
    }
  }
  // What a message is accepted in place of cannot be put back: its octets are synced before the commit.
  const bool overlap = messages > 0 && messages <= overlap_messages && owners <= overlap_owners && !successors;
  std::vector<Unproven> unproven;
  bool written = messages > 0;
  Error error{};
  const auto fail_arrivals = [&] {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (std::holds_alternative<Arrival>(batch[i])) failures[i] = error;
    }
    written = false;
  };
  const auto fail_records = [&] {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto* arrival = std::get_if<Arrival>(&batch[i]);
      if (arrival != nullptr && !arrival->streamed) failures[i] = error;
    }
    written = false;
  };
  if (arrivals > 0) {
    const auto room = guarded([&] { return index_has_room(arrivals); });
    if (!room) {
      error = room.error();
      fail_arrivals();
    }
  }
  const auto give_segment_up = [&] {
    // A sync that failed is final: never asked again, the segment never written again.
    failed_segment_ = writer_->number();
    writer_.reset();
    core_.warn("a segment could not be synced and is sealed: " + error.detail);
  };

  if (written && !write_records(batch, rows, error)) fail_records();
  const bool recorded = written;
  bool syncing = false;
  if (written) {
    if (overlap) {
      start_sync(writer_->descriptor());
      syncing = true;
    } else {
      try {
        writer_->sync();
        durable_ = writer_->end();
      } catch (const Failure& failure) {
        error = failure.error();
        give_segment_up();
        fail_records();
      }
    }
  }

  bool committed = false;
  std::vector<QueueName> queued;
  const auto commit_batch = [&] {
    // Work alone that turns out to change nothing still commits: it is rare, and the rule stays simple.
    std::optional<Turnstile::Pass> pass(std::in_place, core_.turnstile);
    lmdb::Txn txn(core_.index.env(), 0);
    pass.reset();
    Change change(core_.index, txn.get());
    // Work first: where the last pages of the index are at stake, removals have them.
    for (std::size_t i = 0; i < batch.size(); ++i) {
      auto* work = std::get_if<Work>(&batch[i]);
      if (work == nullptr || failures[i]) continue;
      const auto result = apply_work(change, *work);
      if (!result) failures[i] = result.error();
    }
    if (written && !core_.index.segment(txn.get(), writer_->number())) {
      core_.index.put_segment(txn.get(), writer_->number(), SegmentRow{.unproven = {}});
    }
    for (std::size_t i = 0; i < batch.size(); ++i) {
      auto* arrival = std::get_if<Arrival>(&batch[i]);
      if (arrival == nullptr || failures[i]) continue;
      if (arrival->beside) {
        const auto result = apply_successor(change, *arrival, rows[i]);
        if (!result) failures[i] = result.error();
      } else {
        apply_arrival(change, *arrival, rows[i], syncing && !arrival->streamed ? &unproven : nullptr);
      }
    }
    change.settle();
    if (written) {
      auto row = core_.index.segment(txn.get(), writer_->number());
      row->durable = durable_;
      row->unproven = unproven;
      row->last_batch = batch_;
      core_.index.put_segment(txn.get(), writer_->number(), *row);
    }
    raise_id_limit(change);
    commit_number_ = core_.index.take_number(txn.get(), meta::commits);
    commit(txn);
    committed = true;
    queued = change.queued();
    after_commit(change);
  };
  for (bool again = true; again;) {
    again = false;
    try {
      commit_batch();
    } catch (const Failure& failure) {
      core_.counters.failed.fetch_add(1, std::memory_order_relaxed);
      core_.ids.raise_later(0);
      end_if_broken();
      // Mail that finds no room must not keep out the removals beside it, which make room.
      bool mail = false;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        if (failures[i]) continue;
        const bool arrival = std::holds_alternative<Arrival>(batch[i]);
        mail = mail || arrival;
        again = again || !arrival;
        if (arrival) failures[i] = failure.error();
      }
      again = again && mail && failure.error().code == Errc::full;
      if (again) {
        written = false;
        unproven.clear();
        continue;
      }
      for (auto& one : failures) {
        if (!one) one = failure.error();
      }
    }
  }

  if (syncing) {
    if (finish_sync()) {
      durable_ = writer_->end();
    } else {
      error = Error{Errc::unavailable, "syncing a segment failed"};
      give_segment_up();
      fail_records();
      if (committed) undo(unproven);
      committed = false;
    }
  }
  if (committed) {
    core_.counters.commits.fetch_add(1, std::memory_order_relaxed);
    if (written) {
      last_batch_ = batch_;
      if (syncing) core_.counters.overlapped.fetch_add(1, std::memory_order_relaxed);
    }
    core_.counters.queued.fetch_add(queued.size(), std::memory_order_relaxed);
    wake_scheduler(std::move(queued));
  }
  if (recorded) disown_refused(batch, failures);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Result<void> result;
    if (failures[i]) result = std::unexpected(*failures[i]);
    if (auto* arrival = std::get_if<Arrival>(&batch[i])) {
      if (result) {
        if (arrival->streamed) arrival->streamed->keep();
        core_.counters.accepted.fetch_add(1, std::memory_order_relaxed);
        core_.counters.entries.fetch_add(arrival->envelope.owners.size(), std::memory_order_relaxed);
      }
      arrival->streamed.reset();  // before anybody is told: its file goes unless it is kept
      if (arrival->done) arrival->done(std::move(result));
    } else if (auto& work = std::get<Work>(batch[i]); work.done) {
      work.done(std::move(result));
    }
  }
}

void Committer::disown_refused(const std::vector<Job>& batch, const std::vector<std::optional<Error>>& failures) {
  // Their records are whole and may be the newest of their segment: a rebuild would deliver what its sender was told to
  // send again.
  JournalLines lines;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto* arrival = std::get_if<Arrival>(&batch[i]);
    if (arrival == nullptr || arrival->streamed || !failures[i]) continue;
    for (const auto& owner : arrival->envelope.owners) lines.message(JournalKind::refused, owner.mailbox, arrival->id);
    for (std::size_t ordinal = 0; ordinal < arrival->envelope.remotes.size(); ++ordinal)
      lines.left(arrival->id, static_cast<std::uint16_t>(ordinal));
  }
  write_journal(lines);
}

void Committer::write_journal(const JournalLines& lines) {
  if (lines.empty()) return;
  if (!journal_.dirty()) journal_sync_due_ = std::chrono::steady_clock::now() + journal_patience;
  journal_.append(lines.finish(commit_number_), core_.options.warn);
}

bool Committer::write_records(std::vector<Job>& batch, std::vector<MessageRow>& rows, Error& error) {
  try {
    std::uint64_t octets = 0;
    for (const auto& job : batch) {
      const auto* arrival = std::get_if<Arrival>(&job);
      if (arrival != nullptr && !arrival->streamed) octets += arrival->body.size();
    }
    roll_segment(octets);
    ++batch_;
    std::vector<std::string> heads;
    heads.reserve(batch.size());
    std::vector<iovec> pieces;
    pieces.reserve(3 * batch.size());
    auto offset = writer_->end();
    for (std::size_t i = 0; i < batch.size(); ++i) {
      auto* arrival = std::get_if<Arrival>(&batch[i]);
      if (arrival == nullptr || arrival->streamed) continue;
      auto& row = rows[i];
      row.segment = writer_->number();
      row.head_offset = offset;
      row.head_octets = static_cast<std::uint32_t>(record_header_octets + arrival->encoded_envelope.size());
      row.body_offset = offset + row.head_octets;
      row.stored_octets = arrival->body.size();
      row.stuffed = arrival->facts.stuffed;
      const RecordHeader header{.id = arrival->id,
                                .segment = row.segment,
                                .offset = row.head_offset,
                                .body_offset = row.body_offset,
                                .stored_octets = row.stored_octets,
                                .octets = arrival->facts.octets,
                                .header_octets = arrival->facts.header_octets,
                                .body_checksum = arrival->checksum,
                                .batch = batch_,
                                .last_batch = last_batch_,
                                .envelope_octets = 0,
                                .stuffed = arrival->facts.stuffed};
      auto& head = heads.emplace_back();
      head.reserve(row.head_octets);
      encode_head(header, arrival->encoded_envelope, core_.identity.key, head);
      pieces.push_back({head.data(), head.size()});
      if (!arrival->body.empty()) pieces.push_back({arrival->body.data(), arrival->body.size()});
      const auto end = row.body_offset + row.stored_octets;
      offset = aligned(end);
      if (offset != end) pieces.push_back({const_cast<char*>(padding), offset - end});
    }
    writer_->append(pieces, offset - writer_->end());
    return true;
  } catch (const Failure& failure) {
    error = failure.error();
    core_.warn("writing messages: " + error.detail);
    return false;
  }
}

Result<void> Committer::index_has_room(std::size_t entries) {
  // The last pages are kept for removals, which make room. What a removal of a piece needs; less in a small map.
  constexpr std::int64_t kept = 2048, counted_ahead = 4096;
  const auto need = static_cast<std::int64_t>(16 + entries / 2);
  if (pages_left_ < need) {
    const auto aside = std::min(kept, core_.index.pages() / 4);
    pages_left_ = core_.index.spare_pages(aside + counted_ahead) - aside;
    pages_left_ = std::min(pages_left_, counted_ahead);
  }
  if (pages_left_ < need)
    return fail(Errc::full, "the index is full but for what removals need: raise [store] map_size and restart");
  pages_left_ -= need;
  return {};
}

void Committer::roll_segment(std::uint64_t octets) {
  if (writer_ && (writer_->end() + octets <= core_.options.segment_size || writer_->end() == segment_header_octets))
    return;
  auto number = core_.segment_numbers.take();
  if (writer_ || failed_segment_ || !number) {
    std::optional<Turnstile::Pass> pass(std::in_place, core_.turnstile);
    lmdb::Txn txn(core_.index.env(), 0);
    pass.reset();
    Change change(core_.index, txn.get());
    seal_segment(change);
    change.settle();
    std::uint64_t first = 0;
    if (!number) first = core_.index.take_number(txn.get(), meta::next_segment, SegmentNumbers::block);
    commit(txn);
    after_commit(change);
    if (!number) {
      core_.segment_numbers.give(first + 1, SegmentNumbers::block - 1);
      number = first;
    }
  }
  writer_ = std::make_unique<SegmentWriter>(core_.files, core_.turnstile, core_.layout.segments,
                                            SegmentHeader{.number = *number, .store = core_.identity.name},
                                            core_.identity.key);
  durable_ = writer_->end();
  batch_ = 0;
  last_batch_ = 0;
}

void Committer::seal_segment(Change& change) {
  const auto seal = [&](std::uint64_t number, std::uint64_t durable) {
    auto row = core_.index.segment(change.txn(), number);
    if (!row) {
      change.drop_segment(number);  // nothing in it was ever committed
      return;
    }
    row->state = SegmentState::sealed;
    row->durable = std::max(row->durable, durable);
    row->unproven.clear();
    core_.index.put_segment(change.txn(), number, *row);
    change.look_at_segment(number);
  };
  if (failed_segment_) seal(*failed_segment_, 0);
  if (writer_) seal(writer_->number(), durable_);
  failed_segment_.reset();
  writer_.reset();
}

void Committer::commit(lmdb::Txn& txn) {
  const int code = txn.try_commit();
  if (code == MDB_SUCCESS) return;
  // These happen before the meta page is written: the old state stands. If it was the meta page itself that could not
  // be written, LMDB will not serve this process any more.
  const bool before = code == MDB_MAP_FULL || code == ENOSPC || code == EDQUOT || code == ENOMEM ||
                      code == MDB_TXN_FULL || code == MDB_BAD_TXN;
  if (before && !core_.index.broken()) lmdb::raise(code, "mdb_txn_commit");
  core_.warn(std::string("the outcome of a commit is unknown, so this process ends and another must look: ") +
             mdb_strerror(code));
  ::_exit(1);
}

void Committer::end_if_broken() {
  if (!core_.index.broken()) return;
  core_.warn("the index failed while it was written and serves this process no more, so it ends");
  ::_exit(1);
}

void Committer::undo(const std::vector<Unproven>& unproven) {
  try {
    std::optional<Turnstile::Pass> pass(std::in_place, core_.turnstile);
    lmdb::Txn txn(core_.index.env(), 0);
    pass.reset();
    Change change(core_.index, txn.get());
    for (const auto& one : unproven) {
      for (const auto owner : one.owners) change.remove_entry(owner, one.id);
      change.drop_queued(one.id);
    }
    change.settle();
    commit_number_ = core_.index.take_number(txn.get(), meta::commits);
    commit(txn);
    after_commit(change);
  } catch (const Failure& failure) {
    // Entries would lead to octets that may be gone. Nobody was told 250: the next process finds out what is true.
    core_.warn("a message that could not be synced could not be taken back, so this process ends: " +
               failure.error().detail);
    ::_exit(1);
  }
}

void Committer::raise_id_limit(Change& change) {
  const auto now = core_.now();
  if (!core_.ids.low(now)) return;
  const auto limit = std::max(core_.index.number(change.txn(), meta::id_limit), core_.ids.wanted_limit(now));
  core_.index.set_number(change.txn(), meta::id_limit, limit);
  // Only believed once committed; a commit that fails leaves the old limit, which is lower.
  core_.ids.raise_later(limit);
}

void Committer::after_commit(Change& change) {
  core_.ids.raised();
  write_journal(change.journal());
  for (const auto number : change.emptied()) {
    core_.segments.forget(number);
    if (core_.files.unlink(segment_path(core_.layout.segments, number)) != 0 && errno != ENOENT) {
      core_.warn(from_errno("unlinking an emptied segment").detail);
    }
  }
}

void Committer::sync_loop() {
  pthread_setname_np(pthread_self(), "sync");
  std::unique_lock hold(sync_mutex_);
  for (;;) {
    sync_wake_.wait(hold, [&] { return sync_stop_ || sync_descriptor_ >= 0; });
    if (sync_stop_) return;
    const int descriptor = sync_descriptor_;
    hold.unlock();
    const int result = core_.files.sync(descriptor);
    hold.lock();
    sync_descriptor_ = -1;
    sync_result_ = result;
    sync_wake_.notify_all();
  }
}

void Committer::start_sync(int descriptor) {
  const std::lock_guard hold(sync_mutex_);
  sync_result_.reset();
  sync_descriptor_ = descriptor;
  sync_wake_.notify_all();
}

bool Committer::finish_sync() {
  std::unique_lock hold(sync_mutex_);
  sync_wake_.wait(hold, [&] { return sync_result_.has_value(); });
  return *sync_result_ == 0;
}

}  // namespace mailstore
