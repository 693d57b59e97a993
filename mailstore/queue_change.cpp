// What a transaction does to the queue's tables: rows, the two ways to them by id and by due time, and what each domain
// counts.
#include <utility>

#include "mailstore/change.hpp"

namespace mailstore {
namespace {

std::string due_key_of(const QueuedRecipient& row, Time due) {
  return queue_due_key(row.name.domain, {.due = due, .id = row.name.id, .ordinal = row.name.ordinal});
}

std::uint64_t counted(std::uint64_t before, std::int64_t more) {
  const auto after = static_cast<std::int64_t>(before) + more;
  if (after < 0) {
    throw Failure(Errc::corrupt,
                  "a domain of the queue counts less than what waits on it; run 'pennypost store check'");
  }
  return static_cast<std::uint64_t>(after);
}

}  // namespace

void Change::count(const QueuedRecipient& row, std::int64_t sign) {
  const auto at = domains_.find(row.name.domain);
  auto& delta = at == domains_.end() ? domains_[row.name.domain] : at->second;
  (row.state == QueueState::held ? delta.held : delta.waiting) += sign;
  if (row.state == QueueState::bounce) delta.bounces += sign;
  if (due_alone(row) != no_time) delta.due_alone += sign;
}

bool Change::add_queued(const QueuedRecipient& row) {
  const auto& tables = index_.tables();
  const QueueIdKey id(row.name.id, row.name.ordinal);
  if (!lmdb::put(txn_, tables.queue_ids, id, row.name.domain, MDB_NOOVERWRITE)) return false;
  std::string value;
  encode(row, value);
  lmdb::put(txn_, tables.queue, queue_key(row.name), value);
  if (const auto due = due_alone(row); due != no_time) lmdb::put(txn_, tables.queue_due, due_key_of(row, due), {});
  count(row, 1);
  queued_.push_back(row.name);
  return true;
}

std::optional<QueuedRecipient> Change::take_queued(const QueueName& name) {
  const auto& tables = index_.tables();
  auto row = index_.queued(txn_, name);
  if (!row) return std::nullopt;
  lmdb::erase(txn_, tables.queue, queue_key(name));
  lmdb::erase(txn_, tables.queue_ids, QueueIdKey(name.id, name.ordinal));
  if (const auto due = due_alone(*row); due != no_time) lmdb::erase(txn_, tables.queue_due, due_key_of(*row, due));
  count(*row, -1);
  journal_.left(name.id, name.ordinal);
  owner_left(name.id);
  return row;
}

void Change::drop_queued(MessageId id) {
  std::vector<QueueName> names;
  {
    lmdb::Cursor cursor(txn_, index_.tables().queue_ids);
    for (auto row = cursor.seek(QueueIdKey(id, 0)); row; row = cursor.next()) {
      const auto found = parse_queue_id_key(row->key);
      if (found.id != id) break;
      names.push_back({.domain = std::string(row->value), .id = id, .ordinal = found.ordinal});
    }
  }
  for (const auto& name : names) take_queued(name);
}

void Change::replace_queued(const QueuedRecipient& old, const QueuedRecipient& row) {
  const auto& tables = index_.tables();
  std::string value;
  encode(row, value);
  lmdb::put(txn_, tables.queue, queue_key(row.name), value);
  const auto before = due_alone(old);
  const auto now = due_alone(row);
  if (before != now) {
    if (before != no_time) lmdb::erase(txn_, tables.queue_due, due_key_of(old, before));
    if (now != no_time) lmdb::put(txn_, tables.queue_due, due_key_of(row, now), {});
  }
  if (before != now || old.state != row.state) {
    count(old, -1);
    count(row, 1);
  }
}

void Change::journal_queued(const QueuedRecipient& row) {
  std::string value;
  encode(row, value);
  journal_.row(JournalKind::queued, queue_key(row.name), value);
}

void Change::put_queue_domain(const QueueDomain& row) {
  std::string value;
  encode(row, value);
  lmdb::put(txn_, index_.tables().queue_domains, row.name, value);
  domains_[row.name];  // looked at when all is settled: it may be one that nothing waits on
}

void Change::mark_changed(std::string_view domain) {
  domains_[std::string(domain)].changed = true;
}

void Change::record_done(const DoneRecipient& row) {
  std::string value;
  encode(row, value);
  const auto key = done_key({.at = row.at, .id = row.name.id, .ordinal = row.name.ordinal});
  lmdb::put(txn_, index_.tables().done, key, value);
}

void Change::settle_domains() {
  std::uint64_t changes = 0;
  for (const auto& [name, delta] : domains_) {
    auto row = index_.queue_domain(txn_, name).value_or(QueueDomain{.name = name});
    row.waiting = counted(row.waiting, delta.waiting);
    row.held = counted(row.held, delta.held);
    row.bounces = counted(row.bounces, delta.bounces);
    row.due_alone = counted(row.due_alone, delta.due_alone);
    if (delta.changed) {
      if (changes == 0) changes = index_.take_number(txn_, meta::queue_changes);
      row.changed = changes;
    }
    if (row.waiting + row.held == 0 && !row.suspended) {
      lmdb::erase(txn_, index_.tables().queue_domains, name);
      continue;
    }
    std::string value;
    encode(row, value);
    lmdb::put(txn_, index_.tables().queue_domains, name, value);
  }
  domains_.clear();
}

}  // namespace mailstore
