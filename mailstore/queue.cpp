#include "mailstore/queue.hpp"

#include <algorithm>
#include <utility>

#include "mailstore/locks.hpp"
#include "mailstore/queue_rows.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

constexpr std::size_t ready_rows = 1000, list_rows = 2000, domain_rows = 10'000;

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}
bool contains(std::string_view text, std::string_view part) {
  return part.empty() || !std::ranges::search(text, part, {}, lower, lower).empty();
}

/// Rows of `queue` whose keys begin with `prefix`, behind `after`: so many of them are looked at, and those that fit
/// are returned. `fits_key` spares decoding.
template <class FitsKey, class Fits>
RecipientPage read_page(const Index& index, MDB_txn* txn, std::string_view prefix,
                        const std::optional<QueuePlace>& after, std::size_t rows, std::size_t limit, FitsKey fits_key,
                        Fits fits) {
  RecipientPage page;
  const auto behind = after ? queue_key(*after) : std::string();
  lmdb::Cursor cursor(txn, index.tables().queue);
  const auto start = std::max(std::string(prefix), behind);
  auto row = start.empty() ? cursor.first() : cursor.seek(start);
  if (row && after && row->key == behind) row = cursor.next();
  std::string_view last;
  for (; row && row->key.starts_with(prefix); row = cursor.next()) {
    if (rows == 0 || page.recipients.size() >= limit) {
      page.more = true;
      break;
    }
    --rows;
    last = row->key;
    auto name = parse_queue_key(row->key);
    if (!fits_key(name)) continue;
    auto recipient = decode_queued(std::move(name), row->value);
    if (fits(recipient)) page.recipients.push_back(std::move(recipient));
  }
  if (!last.empty()) {
    page.last = parse_queue_key(last);
  } else if (after) {
    page.last = *after;
  }
  return page;
}

bool any_key(const QueueName& /*name*/) {
  return true;
}

Time next_due(const Index& index, MDB_txn* txn, const QueueDomain& domain) {
  if (domain.due_alone == 0) return no_time;
  const auto prefix = queue_prefix(domain.name);
  lmdb::Cursor cursor(txn, index.tables().queue_due);
  const auto row = cursor.seek(prefix);
  if (!row || !row->key.starts_with(prefix)) return no_time;
  return parse_queue_due_key(domain.name, row->key).due;
}

}  // namespace

class SchedulerLock::Impl {
 public:
  Impl(std::shared_ptr<Store::Impl> from, Descriptor locked) : store(std::move(from)), file(std::move(locked)) {}
  ~Impl() {
    auto& core = store->core;
    core.schedules = false;
    const std::lock_guard hold(core.scheduler.mutex);
    core.scheduler.wake = nullptr;
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  std::shared_ptr<Store::Impl> store;
  Descriptor file;
};

SchedulerLock::SchedulerLock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SchedulerLock::SchedulerLock(SchedulerLock&&) noexcept = default;
SchedulerLock& SchedulerLock::operator=(SchedulerLock&&) noexcept = default;
SchedulerLock::~SchedulerLock() = default;

Result<SchedulerLock> Queue::lock_scheduler(Wake wake) {
  return guarded([&]() -> Result<SchedulerLock> {
    auto file = take_scheduler_lock(store_->core.layout.locks);
    if (!file) return fail(Errc::in_use, "another process schedules this store's queue");
    auto lock = std::make_unique<SchedulerLock::Impl>(store_, std::move(*file));
    auto& core = store_->core;
    {
      const std::lock_guard hold(core.scheduler.mutex);
      core.scheduler.wake = std::move(wake);
    }
    core.schedules = true;
    return SchedulerLock(std::move(lock));
  });
}

Result<QueueStatus> Queue::status() const {
  return guarded([&]() -> Result<QueueStatus> {
    const ReadTxn txn(store_->core.index);
    return store_->core.index.queue_status(txn);
  });
}

Result<DomainPage> Queue::domains(std::string_view after, std::size_t limit, std::uint64_t changed_above) const {
  return guarded([&]() -> Result<DomainPage> {
    const auto& index = store_->core.index;
    DomainPage page{.domains = {}, .last = std::string(after)};
    const ReadTxn txn(index);
    lmdb::Cursor cursor(txn, index.tables().queue_domains);
    std::size_t looked = 0;
    auto row = after.empty() ? cursor.first() : cursor.seek(after);
    if (row && row->key == after) row = cursor.next();
    for (; row; row = cursor.next()) {
      if (looked++ == domain_rows || page.domains.size() >= limit) {
        page.more = true;
        break;
      }
      page.last = row->key;
      auto domain = decode_queue_domain(row->key, row->value);
      if (changed_above != 0 && domain.changed <= changed_above) continue;
      domain.next_due = next_due(index, txn, domain);
      page.domains.push_back(std::move(domain));
    }
    return page;
  });
}

Result<std::optional<QueueDomain>> Queue::domain(std::string_view name) const {
  return guarded([&]() -> Result<std::optional<QueueDomain>> {
    const auto& index = store_->core.index;
    const ReadTxn txn(index);
    auto domain = index.queue_domain(txn, name);
    if (domain) domain->next_due = next_due(index, txn, *domain);
    return domain;
  });
}

Result<RecipientPage> Queue::ready(std::string_view domain, Time now, const std::optional<QueuePlace>& after,
                                   std::size_t limit) const {
  return guarded([&]() -> Result<RecipientPage> {
    const auto& index = store_->core.index;
    const ReadTxn txn(index);
    const auto is_due = [&](const QueuedRecipient& row) {
      return row.state == QueueState::bounce || (row.state == QueueState::waiting && row.due <= now);
    };
    return read_page(index, txn, queue_prefix(domain), after, ready_rows, limit, any_key, is_due);
  });
}

Result<RecipientPage> Queue::by_age(std::string_view domain, const std::optional<QueuePlace>& after,
                                    std::size_t limit) const {
  return guarded([&]() -> Result<RecipientPage> {
    const auto& index = store_->core.index;
    const ReadTxn txn(index);
    const auto all = [](const QueuedRecipient&) { return true; };
    return read_page(index, txn, queue_prefix(domain), after, ready_rows, limit, any_key, all);
  });
}

Result<DuePage> Queue::due(std::string_view domain, Time now, const std::optional<DuePlace>& after,
                           std::size_t limit) const {
  return guarded([&]() -> Result<DuePage> {
    const auto& index = store_->core.index;
    DuePage page;
    if (after) page.last = *after;
    const auto prefix = queue_prefix(domain);
    const auto behind = after ? queue_due_key(domain, *after) : std::string();
    const ReadTxn txn(index);
    lmdb::Cursor cursor(txn, index.tables().queue_due);
    auto row = cursor.seek(after ? behind : prefix);
    if (row && after && row->key == behind) row = cursor.next();
    for (; row && row->key.starts_with(prefix); row = cursor.next()) {
      const auto place = parse_queue_due_key(domain, row->key);
      if (place.due > now) {
        page.next = place.due;
        break;
      }
      if (page.recipients.size() >= limit) {
        page.more = true;
        break;
      }
      page.last = place;
      auto recipient = index.queued(txn, {.domain = std::string(domain), .id = place.id, .ordinal = place.ordinal});
      if (!recipient) throw Failure(Errc::corrupt, "an own due time of the queue leads to no recipient");
      page.recipients.push_back(std::move(*recipient));
    }
    return page;
  });
}

Result<OpenMessage> Queue::open_message(MessageId id, std::span<char> scratch, std::size_t want) const {
  return guarded([&]() -> Result<OpenMessage> {
    auto& core = store_->core;
    const auto find = [&]() -> Result<MessageRow> {
      const ReadTxn txn(core.index);
      const auto row = core.index.message(txn, id);
      if (!row) return fail(Errc::not_found, "the message is gone");
      return *row;
    };
    return open_record(core, id, find, scratch, want);
  });
}

Result<std::vector<QueuedRecipient>> Queue::recipients(MessageId id) const {
  return guarded([&]() -> Result<std::vector<QueuedRecipient>> {
    const auto& index = store_->core.index;
    std::vector<QueuedRecipient> found;
    const ReadTxn txn(index);
    lmdb::Cursor cursor(txn, index.tables().queue_ids);
    for (auto row = cursor.seek(QueueIdKey(id, 0)); row; row = cursor.next()) {
      const auto key = parse_queue_id_key(row->key);
      if (key.id != id) break;
      auto recipient = index.queued(txn, {.domain = std::string(row->value), .id = id, .ordinal = key.ordinal});
      if (!recipient) throw Failure(Errc::corrupt, "an id of the queue leads to no recipient");
      found.push_back(std::move(*recipient));
    }
    return found;
  });
}

Result<RecipientPage> Queue::list(const QueueFilter& filter, const std::optional<QueuePlace>& after,
                                  std::size_t limit) const {
  return guarded([&]() -> Result<RecipientPage> {
    const auto& index = store_->core.index;
    const ReadTxn txn(index);
    // Whose rows are being read, for the words that its last round brought.
    std::optional<QueueDomain> domain;
    const auto right_age = [&](const QueueName& name) {
      const auto accepted = accepted_at(name.id);
      return (filter.older == no_time || accepted < filter.older) &&
             (filter.newer == no_time || accepted > filter.newer);
    };
    const auto right_words = [&](const QueuedRecipient& row) {
      if (filter.error.empty() || contains(row.last.answer.text, filter.error)) return true;
      if (!domain || domain->name != row.name.domain) domain = index.queue_domain(txn, row.name.domain);
      return domain && contains(domain->last.answer.text, filter.error);
    };
    const auto fits = [&](const QueuedRecipient& row) {
      if (filter.state && row.state != *filter.state) return false;
      if (filter.sender == "<>" ? !row.reverse_path.empty() : !contains(row.reverse_path, filter.sender)) return false;
      return contains(row.address, filter.recipient) && right_words(row);
    };
    const auto prefix = filter.domain.empty() ? std::string() : queue_prefix(filter.domain);
    return read_page(index, txn, prefix, after, list_rows, limit, right_age, fits);
  });
}

Result<DonePage> Queue::done(const DonePlace& after, std::size_t limit, std::optional<MessageId> id) const {
  return guarded([&]() -> Result<DonePage> {
    const auto& index = store_->core.index;
    auto from = after;
    if (id && from.at < accepted_at(*id)) from = {.at = accepted_at(*id), .id = {}, .ordinal = 0};
    DonePage page{.recipients = {}, .last = from};
    const auto behind = done_key(from);
    const ReadTxn txn(index);
    lmdb::Cursor cursor(txn, index.tables().done);
    std::size_t looked = 0;
    auto row = cursor.seek(behind);
    if (row && row->key == behind) row = cursor.next();
    for (; row; row = cursor.next()) {
      if (looked++ == list_rows || page.recipients.size() >= limit) {
        page.more = true;
        break;
      }
      page.last = parse_done_key(row->key);
      if (id && page.last.id != *id) continue;
      page.recipients.push_back(decode_done(page.last, row->value));
    }
    return page;
  });
}

Result<QueueStat> Queue::stat() const {
  return guarded([&]() -> Result<QueueStat> {
    constexpr std::size_t page_rows = 1000;
    const auto& index = store_->core.index;
    QueueStat stat;
    {
      const ReadTxn txn(index);
      MDB_stat about{};
      lmdb::expect(mdb_stat(txn, index.tables().done, &about), "mdb_stat");
      stat.done = about.ms_entries;
    }
    std::string after;
    for (bool more = true; more;) {
      const ReadTxn txn(index);
      lmdb::Cursor rows(txn, index.tables().queue_domains);
      lmdb::Cursor recipients(txn, index.tables().queue);
      std::size_t looked = 0;
      auto row = after.empty() ? rows.first() : rows.seek(after);
      if (row && row->key == after) row = rows.next();
      for (; row && looked < page_rows; row = rows.next(), ++looked) {
        after = row->key;
        const auto domain = decode_queue_domain(row->key, row->value);
        stat.waiting += domain.waiting;
        stat.held += domain.held;
        stat.due_alone += domain.due_alone;
        stat.domains += domain.waiting + domain.held > 0 ? 1 : 0;
        stat.suspended += domain.suspended ? 1 : 0;
        stat.failing += domain.failed_rounds > 0 ? 1 : 0;
        const auto prefix = queue_prefix(domain.name);
        const auto oldest = recipients.seek(prefix);
        if (!oldest || !oldest->key.starts_with(prefix)) continue;
        const auto accepted = accepted_at(parse_queue_key(oldest->key).id);
        if (stat.oldest == no_time || accepted < stat.oldest) stat.oldest = accepted;
      }
      more = row.has_value();
    }
    return stat;
  });
}

}  // namespace mailstore
