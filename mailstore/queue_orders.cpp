// What people say about the queue. In pieces, so that a filter that fits a million does not hold the index from the
// mail; each piece is durable by itself.
#include <fmt/format.h>
#include <algorithm>
#include <utility>

#include "mailstore/awaitable.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/queue_rows.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

constexpr std::size_t piece = 150;  // six rows each
constexpr std::size_t domains_at_once = 300;

Time now() {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

/// What each order makes of a row; false: it is so already, or not for this row.
struct Apply {
  QueuedRecipient& row;
  bool operator()(const HoldOrder& order) const {
    if (row.state == QueueState::held) return false;
    row.state = QueueState::held;
    row.reason = order.reason;
    row.since = now();
    return true;
  }
  bool operator()(const ReleaseOrder& /*order*/) const {
    if (row.state != QueueState::held) return false;
    row.state = QueueState::waiting;
    row.reason.clear();
    row.since = no_time;
    return true;
  }
  bool operator()(const RetryOrder& /*order*/) const {
    if (row.state != QueueState::waiting || row.due == retry_time) return false;
    row.due = retry_time;
    return true;
  }
  bool operator()(const ReviveOrder& /*order*/) const {
    if (row.state != QueueState::held) return false;
    row.state = QueueState::waiting;
    row.reason.clear();
    row.since = no_time;
    row.due = retry_time;
    return true;
  }
  bool operator()(const BounceOrder& order) const {
    if (row.state == QueueState::bounce) return false;
    row.state = QueueState::bounce;
    row.reason = order.reason;
    row.since = now();
    return true;
  }
  bool operator()(const RerouteOrder& order) const {
    if (row.reroute == order.to) return false;
    row.reroute = order.to;
    row.due = retry_time;
    return true;
  }
  bool operator()(const DeleteOrder& /*order*/) const { return false; }  // not a change of the row
};

bool delete_one(Change& change, const QueueName& name, const DeleteOrder& order, bool record) {
  if (!order.held_for.empty()) {
    const auto there = change.index().queued(change.txn(), name);
    if (!there || there->state != QueueState::held || !there->reason.starts_with(order.held_for)) return false;
  }
  const auto row = change.take_queued(name);
  if (!row) return false;
  if (record) {
    change.record_done({.at = now(),
                        .name = name,
                        .address = row->address,
                        .reverse_path = row->reverse_path,
                        .server = row->server,
                        .outcome = QueueOutcome::deleted,
                        .attempts = row->attempts,
                        .last = row->last,
                        .successor = {}});
  }
  return true;
}

bool change_one(Change& change, const QueueName& name, const QueueOrder& order) {
  const auto old = change.index().queued(change.txn(), name);
  if (!old) return false;
  auto row = *old;
  if (!std::visit(Apply{row}, order)) return false;
  change.replace_queued(*old, row);
  change.journal_queued(row);
  return true;
}

Result<void> is_domain(std::string_view name) {
  if (name.empty() || name.size() > queue_domain_limit || name.find('\0') != std::string_view::npos)
    return fail(Errc::conflict, fmt::format("{} is no domain's name", name));
  return {};
}

void put_suspended(Change& change, const QueueDomain& row) {
  change.put_queue_domain(row);
  change.mark_changed(row.name);
  std::string value;
  if (row.suspended) encode(row, value);
  change.journal().row(JournalKind::queue_domain, row.name, value);
}

/// So many of the recipients that have their own due time wait for their domain's round again; false: there are more.
bool join_round(Change& change, const std::string& domain) {
  std::vector<DuePlace> places;
  const auto prefix = queue_prefix(domain);
  {
    lmdb::Cursor cursor(change.txn(), change.index().tables().queue_due);
    for (auto row = cursor.seek(prefix); row && row->key.starts_with(prefix); row = cursor.next()) {
      const auto place = parse_queue_due_key(domain, row->key);
      if (place.due == bounce_time) continue;
      if (places.size() == piece) break;
      places.push_back(place);
    }
  }
  for (const auto& place : places) {
    const auto old = change.index().queued(change.txn(), {.domain = domain, .id = place.id, .ordinal = place.ordinal});
    if (!old) throw Failure(Errc::corrupt, "an own due time of the queue leads to no recipient");
    auto row = *old;
    row.due = no_time;
    change.replace_queued(*old, row);
  }
  return places.size() < piece;
}

void due_now(Change& change, const std::string& name) {
  auto row = change.index().queue_domain(change.txn(), name);
  if (!row) return;
  row->next_round = no_time;
  change.put_queue_domain(*row);
  change.mark_changed(name);
}

asio::awaitable<Result<void>> flush_one(std::shared_ptr<Store::Impl> store, std::string domain) {
  for (;;) {
    const auto since = std::chrono::steady_clock::now();
    const auto whole = std::make_shared<bool>(false);
    auto apply = [domain, whole](Change& change) -> Result<void> {
      *whole = join_round(change, domain);
      due_now(change, domain);
      return {};
    };
    auto flushing = store->commit(4 * piece, std::move(apply));
    const auto flushed = co_await std::move(flushing);
    if (!flushed || *whole) co_return flushed;
    auto resting = rest(std::chrono::steady_clock::now() - since);
    co_await std::move(resting);
  }
}

asio::awaitable<Result<void>> put_status(std::shared_ptr<Store::Impl> store, QueueStatus status) {
  auto apply = [status = std::move(status)](Change& change) -> Result<void> {
    change.index().put_queue_status(change.txn(), status);
    change.index().take_number(change.txn(), meta::queue_changes);
    return {};
  };
  return store->commit(2, std::move(apply));
}

asio::awaitable<Result<std::uint64_t>> order_all(std::shared_ptr<Store::Impl> store, std::vector<QueueName> names,
                                                 QueueOrder order) {
  const auto all = std::make_shared<const std::vector<QueueName>>(std::move(names));
  const auto what = std::make_shared<const QueueOrder>(std::move(order));
  const bool record = store->core.options.keep_done.count() > 0;
  std::uint64_t total = 0;
  for (std::size_t at = 0; at < all->size(); at += piece) {
    const auto since = std::chrono::steady_clock::now();
    const auto end = std::min(all->size(), at + piece);
    const auto changed = std::make_shared<std::uint64_t>(0);
    auto apply = [all, what, at, end, record, changed](Change& change) -> Result<void> {
      *changed = 0;
      for (auto i = at; i < end; ++i) {
        const auto& name = (*all)[i];
        const auto* deleting = std::get_if<DeleteOrder>(what.get());
        const bool did =
            deleting != nullptr ? delete_one(change, name, *deleting, record) : change_one(change, name, *what);
        if (!did) continue;
        change.mark_changed(name.domain);
        ++*changed;
      }
      return {};
    };
    auto ordering = store->commit(6 * (end - at), std::move(apply));
    const auto done = co_await std::move(ordering);
    if (!done) co_return std::unexpected(done.error());
    total += *changed;
    if (end == all->size()) break;
    auto resting = rest(std::chrono::steady_clock::now() - since);
    co_await std::move(resting);
  }
  co_return total;
}

asio::awaitable<Result<void>> suspend_one(std::shared_ptr<Store::Impl> store, std::string domain, std::string reason) {
  if (auto named = is_domain(domain); !named) co_return named;
  auto apply = [domain = std::move(domain), reason = std::move(reason)](Change& change) -> Result<void> {
    auto row = change.index().queue_domain(change.txn(), domain).value_or(QueueDomain{.name = domain});
    row.suspended = true;
    row.reason = reason;
    row.since = now();
    put_suspended(change, row);
    return {};
  };
  auto suspending = store->commit(2, std::move(apply));
  co_return co_await std::move(suspending);
}

asio::awaitable<Result<void>> resume_one(std::shared_ptr<Store::Impl> store, std::string domain) {
  auto apply = [domain = std::move(domain)](Change& change) -> Result<void> {
    auto row = change.index().queue_domain(change.txn(), domain);
    if (!row || !row->suspended) return fail(Errc::not_found, fmt::format("{} is not suspended", domain));
    row->suspended = false;
    row->reason.clear();
    row->since = no_time;
    put_suspended(change, *row);
    return {};
  };
  auto resuming = store->commit(2, std::move(apply));
  co_return co_await std::move(resuming);
}

asio::awaitable<Result<void>> flush_all(std::shared_ptr<Store::Impl> store, std::string domain) {
  if (!domain.empty()) {
    const auto there = Queue(store).domain(domain);
    if (!there) co_return std::unexpected(there.error());
    if (!*there || (*there)->waiting == 0) co_return fail(Errc::not_found, fmt::format("nothing waits for {}", domain));
    auto flushing = flush_one(store, std::move(domain));
    co_return co_await std::move(flushing);
  }
  std::string after;
  for (bool more = true; more;) {
    const auto since = std::chrono::steady_clock::now();
    auto page = Queue(store).domains(after, domains_at_once);
    if (!page) co_return std::unexpected(page.error());
    more = page->more;
    after = page->last;
    std::vector<std::string> names;
    std::vector<std::string> others;  // with more than a row to change
    for (auto& one : page->domains) {
      if (one.waiting > 0) (one.due_alone > one.bounces ? others : names).push_back(std::move(one.name));
    }
    auto apply = [names = std::move(names)](Change& change) -> Result<void> {
      for (const auto& name : names) due_now(change, name);
      return {};
    };
    auto flushing = store->commit(2 * domains_at_once, std::move(apply));
    const auto flushed = co_await std::move(flushing);
    if (!flushed) co_return flushed;
    for (auto& name : others) {
      auto one = flush_one(store, std::move(name));
      const auto done = co_await std::move(one);
      if (!done) co_return done;
    }
    if (!more) break;
    auto resting = rest(std::chrono::steady_clock::now() - since);
    co_await std::move(resting);
  }
  co_return Result<void>{};
}

}  // namespace

// The handle may be gone before its operation begins: the operation has the store itself.

asio::awaitable<Result<std::uint64_t>> Queue::order(std::vector<QueueName> names, QueueOrder order) {
  return order_all(store_, std::move(names), std::move(order));
}

asio::awaitable<Result<void>> Queue::suspend(std::string domain, std::string reason) {
  return suspend_one(store_, std::move(domain), std::move(reason));
}

asio::awaitable<Result<void>> Queue::resume(std::string domain) {
  return resume_one(store_, std::move(domain));
}

asio::awaitable<Result<void>> Queue::flush(std::string domain) {
  return flush_all(store_, std::move(domain));
}

asio::awaitable<Result<void>> Queue::hold_all(std::string reason) {
  return put_status(store_, {.held = true, .reason = std::move(reason), .since = now()});
}

asio::awaitable<Result<void>> Queue::release_all() {
  return put_status(store_, {});
}

}  // namespace mailstore
