// How recipients leave the queue, or stay in it with an answer: what the scheduler says.
#include <algorithm>
#include <array>
#include <utility>

#include "mailstore/awaitable.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/queue_rows.hpp"
#include "mailstore/recovery.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

using std::chrono::microseconds;

constexpr std::size_t most_rows = 2700;
/// Where the index is full: what is kept free for removals is enough for so many, wherever they lie.
constexpr std::size_t least_rows = 900;
constexpr std::size_t successor_limit = 1000;

enum class Record : std::uint8_t { done, nothing };

Time now() {
  return std::chrono::time_point_cast<microseconds>(std::chrono::system_clock::now());
}

DoneRecipient done_of(const QueuedRecipient& row, const Leaves& how, MessageId successor) {
  DoneRecipient done{.at = how.attempt.at == no_time ? now() : how.attempt.at,
                     .name = row.name,
                     .address = row.address,
                     .reverse_path = row.reverse_path,
                     .server = row.server,
                     .outcome = how.outcome,
                     .attempts = row.attempts + 1,
                     .last = how.attempt,
                     .successor = successor};
  return done;
}

/// That it changes.
std::size_t rows_of(const Settlement& one) {
  struct Rows {
    std::size_t operator()(const Leaves& /*its*/) const { return 6; }
    std::size_t operator()(const Stays& /*its*/) const { return 4; }
    std::size_t operator()(const Noticed& /*its*/) const { return 2; }
    std::size_t operator()(const Placing& /*its*/) const { return 2; }
  };
  return std::visit(Rows{}, one.what);
}

bool is_placed_with(const Settlement& one, const Settlement& next) {
  const auto* a = std::get_if<Placing>(&one.what);
  const auto* b = std::get_if<Placing>(&next.what);
  return a != nullptr && b != nullptr && one.name.id == next.name.id && a->file == b->file;
}

/// False: nothing changed, it is gone.
bool settle_one(Change& change, const Settlement& one, Record record, MessageId successor) {
  if (const auto* leaves = std::get_if<Leaves>(&one.what)) {
    const auto row = change.take_queued(one.name);
    if (row && record == Record::done) change.record_done(done_of(*row, *leaves, successor));
    return row.has_value();
  }
  const auto old = change.index().queued(change.txn(), one.name);
  if (!old) return false;
  auto row = *old;
  if (const auto* stays = std::get_if<Stays>(&one.what)) {
    row.attempts += 1;
    row.last = stays->attempt;
    row.due = stays->due;
    change.replace_queued(*old, row);
    return true;
  }
  if (const auto* placing = std::get_if<Placing>(&one.what)) {
    if (row.placing == placing->file) return false;
    row.placing = placing->file;
    change.replace_queued(*old, row);
    change.journal_queued(row);
    return true;
  }
  if (row.delay_noticed) return false;
  row.delay_noticed = true;
  change.replace_queued(*old, row);
  change.journal_queued(row);
  return true;
}

void settle_round(Change& change, const Round& round) {
  auto row = change.index().queue_domain(change.txn(), round.domain);
  if (!row) return;
  if (round.ahead) {
    row->last = round.attempt;
    change.put_queue_domain(*row);
    return;
  }
  row->next_round = round.next;
  if (round.next == no_time) {
    row->failed_rounds = 0;
    row->first_failure = no_time;
    row->last = {};
  } else {
    row->failed_rounds += 1;
    if (row->first_failure == no_time) row->first_failure = round.attempt.at;
    row->last = round.attempt;
  }
  change.put_queue_domain(*row);
}

/// Runs blocking work beside the I/O threads.
template <class Work>
asio::awaitable<Result<void>> on_pool(std::shared_ptr<Store::Impl> store, Work work) {
  auto start = [store = std::move(store), work = std::move(work)](auto done) mutable {
    auto& pool = store->spills;
    asio::post(pool, [work = std::move(work), done = std::move(done)]() mutable { done(guarded(work)); });
  };
  return await_completion<Result<void>>(std::move(start));
}

asio::awaitable<Result<SettleResult>> settle_all(std::shared_ptr<Store::Impl> store, std::vector<Settlement> outcomes,
                                                 std::vector<Round> rounds) {
  for (const auto& one : outcomes) {
    const auto* placing = std::get_if<Placing>(&one.what);
    if (placing != nullptr && placing->file.size() > placing_limit)
      co_return fail(Errc::conflict, "the name of a file that is to be placed is too long");
  }
  SettleResult total;
  const auto all = std::make_shared<const std::vector<Settlement>>(std::move(outcomes));
  const auto ends = std::make_shared<const std::vector<Round>>(std::move(rounds));
  auto record = store->core.options.keep_done.count() > 0 ? Record::done : Record::nothing;
  auto counted = std::make_shared<SettleResult>();
  auto piece_rows = most_rows;
  for (std::size_t at = 0; at < all->size() || (at == 0 && !ends->empty());) {
    auto end = at;
    std::size_t rows = 0;
    // The recipients that one file names are placed together, or who is left is placed again.
    for (; end < all->size(); ++end) {
      const bool together = end > at && is_placed_with((*all)[end - 1], (*all)[end]);
      if (rows >= piece_rows && !together) break;
      rows += rows_of((*all)[end]);
    }
    const bool last = end == all->size();
    auto apply = [all, ends, at, end, last, record, counted](Change& change) -> Result<void> {
      *counted = {};
      for (auto i = at; i < end; ++i)
        ++(settle_one(change, (*all)[i], record, MessageId{}) ? counted->settled : counted->gone);
      if (last) {
        for (const auto& round : *ends) settle_round(change, round);
      }
      return {};
    };
    auto settling = store->commit(rows + (last ? ends->size() : 0) + 1, std::move(apply));
    const auto settled = co_await std::move(settling);
    if (!settled && settled.error().code == Errc::full && rows > least_rows && piece_rows > least_rows) {
      piece_rows = least_rows;
      continue;
    }
    if (!settled && settled.error().code == Errc::full && record == Record::done) {
      // What was sent must leave the queue, whether there is room to remember it or not.
      record = Record::nothing;
      continue;
    }
    if (!settled) co_return std::unexpected(settled.error());
    total.settled += counted->settled;
    total.gone += counted->gone;
    store->core.counters.settled.fetch_add(counted->settled, std::memory_order_relaxed);
    if (last) break;
    at = end;
  }
  co_return total;
}

asio::awaitable<Result<SettleResult>> settle_with(std::shared_ptr<Store::Impl> store, std::vector<Settlement> outcomes,
                                                  Successor successor) {
  if (outcomes.empty() || outcomes.size() > successor_limit)
    co_return fail(Errc::conflict, "a report speaks of one recipient at least, and not of more than 1,000");
  const auto counted = std::make_shared<SettleResult>();
  const auto id = successor.draft.id();
  const auto rows = 6 * outcomes.size();
  const auto record = store->core.options.keep_done.count() > 0 ? Record::done : Record::nothing;
  auto beside = [outcomes = std::move(outcomes), id, record, counted](Change& change) {
    *counted = {};
    for (const auto& one : outcomes) ++(settle_one(change, one, record, id) ? counted->settled : counted->gone);
    return counted->settled > 0;
  };
  auto accepting = store->accept(std::move(successor.draft), std::move(successor.envelope), successor.facts,
                                 std::move(beside), rows);
  const auto accepted = co_await std::move(accepting);
  if (!accepted && accepted.error().code != Errc::not_found) co_return std::unexpected(accepted.error());
  counted->successor_taken = accepted.has_value();
  store->core.counters.settled.fetch_add(counted->settled, std::memory_order_relaxed);
  co_return *counted;
}

asio::awaitable<Result<Draft>> copy_message(std::shared_ptr<Store::Impl> store, MessageId id) {
  constexpr std::size_t chunk = 64 << 10U;
  auto beginning = store->begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return draft;
  std::optional<OpenMessage> message;
  std::vector<char> room(chunk);
  auto open = [store, id, &message, &room]() -> Result<void> {
    {
      const ReadTxn txn(store->core.index);
      const auto row = store->core.index.message(txn, id);
      if (!row) return fail(Errc::not_found, "the message is gone");
      // A copy would hide the damage.
      if (!record_is_sound(store->core, id, *row))
        return fail(Errc::corrupt, "the message's record is damaged; run 'pennypost store check'");
    }
    auto opened = Queue(store).open_message(id, room, 0);
    if (!opened) return std::unexpected(opened.error());
    message.emplace(std::move(*opened));
    return {};
  };
  auto opening = on_pool(store, std::move(open));
  const auto opened = co_await std::move(opening);
  if (!opened) co_return std::unexpected(opened.error());
  std::vector<char> octets(chunk);
  for (std::uint64_t at = 0; at < message->stored_octets;) {
    std::size_t got = 0;
    auto read = [&message, &octets, at, &got]() -> Result<void> {
      const auto size = message->read(at, octets);
      if (!size) return std::unexpected(size.error());
      got = *size;
      return {};
    };
    auto reading = on_pool(store, std::move(read));
    const auto done = co_await std::move(reading);
    if (!done) co_return std::unexpected(done.error());
    draft->append({octets.data(), got});
    at += got;
    if (!draft->wants_spill()) continue;
    auto spilling = draft->spill();
    const auto spilled = co_await std::move(spilling);
    if (!spilled) co_return std::unexpected(spilled.error());
  }
  co_return draft;
}

asio::awaitable<Result<std::uint64_t>> trim_until(std::shared_ptr<Store::Impl> store, Time before) {
  constexpr std::size_t rows = 900;
  const auto end = done_key({.at = before, .id = {}, .ordinal = 0});
  std::uint64_t total = 0;
  for (;;) {
    const auto since = std::chrono::steady_clock::now();
    {
      const ReadTxn txn(store->core.index);
      lmdb::Cursor cursor(txn, store->core.index.tables().done);
      const auto first = cursor.first();
      if (!first || first->key >= end) break;
    }
    const auto gone = std::make_shared<std::uint64_t>(0);
    auto apply = [end, gone](Change& change) -> Result<void> {
      std::vector<std::string> keys;
      {
        lmdb::Cursor cursor(change.txn(), change.index().tables().done);
        for (auto row = cursor.first(); row && row->key < end && keys.size() < rows; row = cursor.next())
          keys.emplace_back(row->key);
      }
      for (const auto& key : keys) lmdb::erase(change.txn(), change.index().tables().done, key);
      *gone = keys.size();
      return {};
    };
    auto trimming = store->commit(rows, std::move(apply));
    const auto trimmed = co_await std::move(trimming);
    if (!trimmed) co_return std::unexpected(trimmed.error());
    total += *gone;
    auto resting = rest(std::chrono::steady_clock::now() - since);
    co_await std::move(resting);
  }
  co_return total;
}

}  // namespace

// The handle may be gone before its operation begins: the operation has the store itself.

asio::awaitable<Result<SettleResult>> Queue::settle(std::vector<Settlement> outcomes, std::vector<Round> rounds) {
  return settle_all(store_, std::move(outcomes), std::move(rounds));
}

asio::awaitable<Result<SettleResult>> Queue::settle(std::vector<Settlement> outcomes, Successor successor) {
  return settle_with(store_, std::move(outcomes), std::move(successor));
}

asio::awaitable<Result<Draft>> Queue::copy(MessageId id) {
  return copy_message(store_, id);
}

asio::awaitable<Result<std::uint64_t>> Queue::trim_done(Time before) {
  return trim_until(store_, before);
}

}  // namespace mailstore
