#include "mailstore/index.hpp"

#include <sys/mman.h>

#include <cstring>

namespace mailstore {
namespace {
// The first process to open the environment decides; so every program says the same.
constexpr unsigned readers = 1022;
}  // namespace

Index::~Index() {
  for (auto* txn : idle_) mdb_txn_abort(txn);
}

void Index::open(const std::string& folder, std::uint64_t map_size, bool create) {
  // No WRITEMAP: slower here, and a full disk would be SIGBUS. NOTLS: a read transaction is not bound to its thread.
  env_.open(folder, map_size, 16, readers, MDB_NOTLS);
  int dead = 0;
  lmdb::expect(mdb_reader_check(env_.get(), &dead), "mdb_reader_check");
  if (open_tables(create, create)) return;
  // Made before there were those.
  open_tables(false, true);
}

bool Index::open_tables(bool create, bool create_later) {
  lmdb::Txn txn(env_.get(), create || create_later ? 0 : MDB_RDONLY);
  bool complete = true;
  const auto open = [&](const char* name, bool make) {
    MDB_dbi dbi = 0;
    const int code = mdb_dbi_open(txn.get(), name, make ? MDB_CREATE : 0, &dbi);
    if (code == MDB_NOTFOUND) return std::optional<MDB_dbi>();
    lmdb::expect(code, "mdb_dbi_open");
    return std::optional(dbi);
  };
  const auto table = [&](const char* name) {
    const auto dbi = open(name, create);
    if (!dbi) throw Failure(Errc::corrupt, std::string("the index has no table ") + name);
    return *dbi;
  };
  const auto later_table = [&](const char* name) {
    const auto dbi = open(name, create_later);
    complete = complete && dbi;
    return dbi.value_or(0);
  };
  tables_ = Tables{.meta = table("meta"),
                   .domains = table("domains"),
                   .mailboxes = table("mailboxes"),
                   .mailbox_numbers = table("mailbox_numbers"),
                   .aliases = table("aliases"),
                   .messages = table("messages"),
                   .maildrop = table("maildrop"),
                   .segments = table("segments"),
                   .queue = later_table("queue"),
                   .queue_ids = later_table("queue_ids"),
                   .queue_due = later_table("queue_due"),
                   .queue_domains = later_table("queue_domains"),
                   .done = later_table("done"),
                   .taken = later_table("taken")};
  if (complete) txn.commit();  // a read transaction too: its table handles stay open
  return complete;
}

std::int64_t Index::pages() const {
  MDB_envinfo info{};
  MDB_stat about{};
  lmdb::expect(mdb_env_info(env_.get(), &info), "mdb_env_info");
  lmdb::expect(mdb_env_stat(env_.get(), &about), "mdb_env_stat");
  return static_cast<std::int64_t>(info.me_mapsize / about.ms_psize);
}

std::int64_t Index::spare_pages(std::int64_t enough) const {
  MDB_envinfo info{};
  lmdb::expect(mdb_env_info(env_.get(), &info), "mdb_env_info");
  auto spare = pages() - 1 - static_cast<std::int64_t>(info.me_last_pgno);
  if (spare >= enough) return spare;
  // What earlier transactions gave back stands in LMDB's first table: a transaction's number, and how many pages and
  // which.
  constexpr MDB_dbi free_list = 0;
  const ReadTxn txn(*this);
  lmdb::Cursor cursor(txn, free_list);
  for (auto row = cursor.first(); row && spare < enough; row = cursor.next()) {
    std::size_t count = 0;
    if (row->value.size() < sizeof count) break;
    std::memcpy(&count, row->value.data(), sizeof count);
    spare += static_cast<std::int64_t>(count);
  }
  return spare;
}

Result<void> Index::forget_dead_readers() const {
  int dead = 0;
  lmdb::expect(mdb_reader_check(env_.get(), &dead), "mdb_reader_check");
  return {};
}

void Index::walked(std::size_t rows, const char* row) const {
  // Some 20 MB of the map at a time.
  constexpr std::uint64_t enough = 131072;
  const auto before = walked_.fetch_add(rows, std::memory_order_relaxed);
  if (row == nullptr || before / enough == (before + rows) / enough) return;
  MDB_envinfo info{};
  MDB_stat about{};
  lmdb::expect(mdb_env_info(env_.get(), &info), "mdb_env_info");
  lmdb::expect(mdb_env_stat(env_.get(), &about), "mdb_env_stat");
  // LMDB does not tell where its map begins, but every page begins with its number.
  const std::size_t page_octets = about.ms_psize;
  const char* page = row - reinterpret_cast<std::uintptr_t>(row) % page_octets;
  std::uint64_t number = 0;
  std::memcpy(&number, page, sizeof number);
  if (number > info.me_last_pgno) return;
  char* map = const_cast<char*>(page) - number * page_octets;
  // The map is only read, so nothing is lost; whoever looks again finds the pages in the cache.
  ::madvise(map, info.me_mapsize, MADV_DONTNEED);
}

bool Index::broken() const {
  MDB_txn* txn = nullptr;
  const int code = mdb_txn_begin(env_.get(), nullptr, MDB_RDONLY, &txn);
  if (code == MDB_SUCCESS) mdb_txn_abort(txn);
  return code == MDB_PANIC;
}

std::uint64_t Index::number(MDB_txn* txn, std::string_view name) const {
  const auto value = lmdb::get(txn, tables_.meta, name);
  return value ? Decoder(*value, "number of the index").number<std::uint64_t>() : 0;
}

void Index::set_number(MDB_txn* txn, std::string_view name, std::uint64_t value) const {
  std::string octets;
  Encoder(octets).number(value);
  lmdb::put(txn, tables_.meta, name, octets);
}

std::uint64_t Index::take_number(MDB_txn* txn, std::string_view name, std::uint64_t count) const {
  const auto given = number(txn, name);
  set_number(txn, name, given + count);
  return given + 1;
}

std::optional<MessageRow> Index::message(MDB_txn* txn, MessageId id) const {
  const auto value = lmdb::get(txn, tables_.messages, NumberKey(id.value));
  if (!value) return std::nullopt;
  return decode_message(*value);
}

std::optional<MessageId> Index::taken(MDB_txn* txn, std::string_view origin) const {
  const auto value = lmdb::get(txn, tables_.taken, origin);
  if (!value) return std::nullopt;
  return decode_taken(*value);
}

std::optional<Entry> Index::entry(MDB_txn* txn, MailboxNumber mailbox, MessageId id) const {
  if (id.value == totals_id) return std::nullopt;
  const auto value = lmdb::get(txn, tables_.maildrop, MaildropKey(mailbox, id.value));
  if (!value) return std::nullopt;
  return decode_entry(id, *value);
}

Totals Index::totals(MDB_txn* txn, MailboxNumber mailbox) const {
  const auto value = lmdb::get(txn, tables_.maildrop, MaildropKey(mailbox, totals_id));
  return value ? decode_totals(*value) : Totals{};
}

MessageId Index::last_entry(MDB_txn* txn, MailboxNumber mailbox) const {
  lmdb::Cursor cursor(txn, tables_.maildrop);
  if (!cursor.seek(MaildropKey(mailbox, totals_id))) return {};  // nothing ever arrived
  const auto row = cursor.previous();
  if (!row || row->key.size() != 12 || from_big_endian<std::uint32_t>(row->key.data()) != std::to_underlying(mailbox))
    return {};
  return MessageId{from_big_endian<std::uint64_t>(row->key.data() + 4)};
}

std::optional<SegmentRow> Index::segment(MDB_txn* txn, std::uint64_t number) const {
  const auto value = lmdb::get(txn, tables_.segments, NumberKey(number));
  if (!value) return std::nullopt;
  return decode_segment(*value);
}

void Index::put_segment(MDB_txn* txn, std::uint64_t number, const SegmentRow& row) const {
  std::string value;
  encode(row, value);
  lmdb::put(txn, tables_.segments, NumberKey(number), value);
}

std::optional<Domain> Index::domain(MDB_txn* txn, std::string_view name) const {
  if (name.empty() || name.size() > 255) return std::nullopt;
  const auto value = lmdb::get(txn, tables_.domains, name);
  if (!value) return std::nullopt;
  return decode_domain(name, *value);
}

std::optional<MailboxRow> Index::mailbox(MDB_txn* txn, std::string_view address) const {
  const auto key = address_key(address);
  if (key.size() > 480) return std::nullopt;  // LMDB's keys end at 511; no address is that long
  const auto value = lmdb::get(txn, tables_.mailboxes, key);
  if (!value) return std::nullopt;
  return decode_mailbox(key, *value);
}

std::optional<MailboxRow> Index::mailbox(MDB_txn* txn, MailboxNumber number) const {
  const auto key = lmdb::get(txn, tables_.mailbox_numbers, MailboxKey(number));
  if (!key) return std::nullopt;
  const auto value = lmdb::get(txn, tables_.mailboxes, *key);
  if (!value) throw Failure(Errc::corrupt, "a mailbox's number leads to no mailbox");
  return decode_mailbox(*key, *value);
}

std::optional<Alias> Index::alias(MDB_txn* txn, std::string_view address) const {
  const auto key = address_key(address);
  if (key.size() > 480) return std::nullopt;
  const auto value = lmdb::get(txn, tables_.aliases, key);
  if (!value) return std::nullopt;
  return decode_alias(key, *value);
}

std::optional<QueuedRecipient> Index::queued(MDB_txn* txn, const QueueName& name) const {
  if (name.domain.size() > queue_domain_limit) return std::nullopt;
  const auto value = lmdb::get(txn, tables_.queue, queue_key(name));
  if (!value) return std::nullopt;
  return decode_queued(name, *value);
}

std::optional<QueueDomain> Index::queue_domain(MDB_txn* txn, std::string_view name) const {
  if (name.empty() || name.size() > queue_domain_limit) return std::nullopt;
  const auto value = lmdb::get(txn, tables_.queue_domains, name);
  if (!value) return std::nullopt;
  return decode_queue_domain(name, *value);
}

QueueStatus Index::queue_status(MDB_txn* txn) const {
  const auto value = lmdb::get(txn, tables_.meta, meta::queue_status);
  auto status = value ? decode_queue_status(*value) : QueueStatus{};
  status.changes = number(txn, meta::queue_changes);
  return status;
}

void Index::put_queue_status(MDB_txn* txn, const QueueStatus& status) const {
  std::string value;
  encode(status, value);
  lmdb::put(txn, tables_.meta, meta::queue_status, value);
}

ReadTxn::ReadTxn(const Index& index) : index_(index) {
  {
    const std::lock_guard hold(index.idle_mutex_);
    if (!index.idle_.empty()) {
      txn_ = index.idle_.back();
      index.idle_.pop_back();
    }
  }
  if (txn_ != nullptr) {
    if (const int code = mdb_txn_renew(txn_); code != MDB_SUCCESS) {
      mdb_txn_abort(txn_);
      lmdb::raise(code, "mdb_txn_renew");
    }
  } else {
    lmdb::expect(mdb_txn_begin(index.env_.get(), nullptr, MDB_RDONLY, &txn_), "mdb_txn_begin");
  }
}

ReadTxn::~ReadTxn() {
  mdb_txn_reset(txn_);
  const std::lock_guard hold(index_.idle_mutex_);
  index_.idle_.push_back(txn_);
}

}  // namespace mailstore
