#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "mailstore/recovery.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

struct Sum {
  std::uint64_t records = 0, octets = 0;
};

constexpr std::size_t problems_told = 1000;

std::uint64_t entries_of(MDB_txn* txn, MDB_dbi table) {
  MDB_stat about{};
  lmdb::expect(mdb_stat(txn, table, &about), "mdb_stat");
  return about.ms_entries;
}

class Checker {
 public:
  Checker(Core& core, CheckReport& report, const std::function<void(std::uint64_t)>& progress)
      : core_(core), report_(report), progress_(progress) {}

  void run() {
    check_records();
    // One transaction for what must agree. It reads rows alone: a held reader costs room with every commit.
    const ReadTxn txn(core_.index);
    each(txn, core_.index.tables().messages, [&](const lmdb::Row& row) { take_message(row); });
    each(txn, core_.index.tables().maildrop, [&](const lmdb::Row& row) { take_maildrop_row(txn, row); });
    end_mailbox();
    check_queue(txn);
    for (const auto& [id, left] : owners_) {
      if (left != 0)
        problem(fmt::format("message {} says {} more owners than there are entries and recipients in the queue",
                            format_id(MessageId{id}), left));
    }
    each(txn, core_.index.tables().segments, [&](const lmdb::Row& row) { check_segment(row); });
    for (const auto& [number, sum] : segments_) {
      problem(fmt::format("segment {:016x} has {} messages and no row", number, sum.records));
    }
    each(txn, core_.index.tables().mailboxes, [&](const lmdb::Row& row) { check_mailbox(txn, row); });
    each(txn, core_.index.tables().taken, [](const lmdb::Row& row) { static_cast<void>(decode_taken(row.value)); });
  }

 private:
  void problem(std::string what) {
    if (report_.problems.size() < problems_told) report_.problems.push_back(std::move(what));
  }

  /// A row that cannot be read is a problem like others.
  template <class Look>
  void looking(Look look) {
    const auto looked = guarded([&]() -> Result<void> {
      look();
      return {};
    });
    if (!looked) problem(looked.error().detail);
  }

  template <class Look>
  void each(MDB_txn* txn, MDB_dbi table, Look look) {
    lmdb::Cursor cursor(txn, table);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      looking([&] { look(*row); });
    }
  }

  static std::uint64_t number_of(const lmdb::Row& row, const char* what) {
    if (row.key.size() != 8)
      throw Failure(Errc::corrupt, std::string("a key that is no number is in the table of ") + what);
    return from_big_endian<std::uint64_t>(row.key.data());
  }

  /// Every record, in short transactions: reading the disk takes its time.
  void check_records() {
    constexpr std::size_t page = 256;
    std::string after;
    for (bool more = true; more;) {
      std::vector<std::pair<MessageId, MessageRow>> rows;
      {
        const ReadTxn txn(core_.index);
        lmdb::Cursor cursor(txn, core_.index.tables().messages);
        std::size_t seen = 0;
        auto row = after.empty() ? cursor.first() : cursor.seek(after);
        if (row && row->key == after) row = cursor.next();
        for (; row && seen < page; row = cursor.next(), ++seen) {
          after = row->key;
          // What is wrong with the row itself is told later.
          (void)guarded([&]() -> Result<void> {
            rows.emplace_back(MessageId{number_of(*row, "messages")}, decode_message(row->value));
            return {};
          });
        }
        more = seen == page;
      }
      for (const auto& [id, row] : rows) check_record(id, row);
    }
  }

  void check_record(MessageId id, const MessageRow& row) {
    looking([&] {
      if (!record_is_sound(core_, id, row)) {
        // Removed while we looked: the record may be gone with its segment.
        const ReadTxn txn(core_.index);
        const auto now = core_.index.message(txn, id);
        if (now && now->segment == row.segment)
          problem(fmt::format("message {}: its record is damaged or missing", format_id(id)));
      } else {
        check_remotes(id, row);
      }
    });
    if (++report_.records % 1000 == 0 && progress_) progress_(report_.records);
  }

  /// What waits in the queue is what the record says.
  void check_remotes(MessageId id, const MessageRow& row) {
    std::vector<QueuedRecipient> waiting;
    {
      const ReadTxn txn(core_.index);
      lmdb::Cursor cursor(txn, core_.index.tables().queue_ids);
      for (auto found = cursor.seek(QueueIdKey(id, 0)); found; found = cursor.next()) {
        const auto key = parse_queue_id_key(found->key);
        if (key.id != id) break;
        auto recipient =
            core_.index.queued(txn, {.domain = std::string(found->value), .id = id, .ordinal = key.ordinal});
        if (!recipient) {
          problem(fmt::format("queue: the id {} leads to no recipient {}", format_id(id), key.ordinal));
        } else {
          waiting.push_back(std::move(*recipient));
        }
      }
    }
    if (waiting.empty()) return;
    const auto message = open_record(core_, id, [&]() -> Result<MessageRow> { return row; }, {}, 0);
    if (!message) return;  // removed while we looked
    const auto envelope = message->envelope();
    for (const auto& one : waiting) {
      if (one.name.ordinal >= envelope.remotes.size() || envelope.remotes[one.name.ordinal].address != one.address)
        problem(fmt::format("queue: recipient {} of message {} is not in its record", one.name.ordinal, format_id(id)));
    }
  }

  void take_message(const lmdb::Row& row) {
    const MessageId id{number_of(row, "messages")};
    const auto message = decode_message(row.value);
    auto& sum = segments_[message.segment];
    sum.records += 1;
    sum.octets += record_octets(message);
    owners_.emplace_back(id.value, static_cast<std::int64_t>(message.owners));
  }

  void take_maildrop_row(MDB_txn* txn, const lmdb::Row& row) {
    if (row.key.size() != 12) throw Failure(Errc::corrupt, "a maildrop's key has the wrong size");
    const auto mailbox = from_big_endian<std::uint32_t>(row.key.data());
    const auto id = from_big_endian<std::uint64_t>(row.key.data() + 4);
    if (mailbox_ != mailbox) {
      end_mailbox();
      mailbox_ = mailbox;
    }
    if (id == totals_id) {
      const auto seen = std::exchange(seen_, {});
      mailbox_.reset();
      const auto told = decode_totals(row.value);
      if (told.messages != seen.messages || told.octets != seen.octets || told.arrivals < seen.arrivals) {
        problem(fmt::format("mailbox {}: totals say {} messages, {} octets; entries are {} and {}", mailbox,
                            told.messages, told.octets, seen.messages, seen.octets));
      }
      return;
    }
    ++report_.entries;
    const auto entry = decode_entry(MessageId{id}, row.value);
    seen_.messages += 1;
    seen_.octets += entry.octets;
    seen_.arrivals = std::max(seen_.arrivals, entry.arrival);
    const auto owners = std::ranges::lower_bound(owners_, id, {}, &Owners::first);
    if (owners == owners_.end() || owners->first != id) {
      problem(fmt::format("mailbox {}: message {} is in no segment", mailbox, format_id(MessageId{id})));
    } else {
      owners->second -= 1;
    }
    if (!core_.index.mailbox(txn, MailboxNumber{mailbox})) {
      problem(fmt::format("mailbox {}: message {} belongs to a mailbox that does not exist", mailbox,
                          format_id(MessageId{id})));
    }
  }

  /// The rows of a mailbox end with its totals.
  void end_mailbox() {
    if (mailbox_) problem(fmt::format("mailbox {}: its totals are missing", *mailbox_));
    mailbox_.reset();
    seen_ = {};
  }

  /// Rows of the queue, both ways to them, and what domains count.
  void check_queue(MDB_txn* txn) {
    const auto& tables = core_.index.tables();
    std::map<std::string, QueueDomain> seen;
    std::uint64_t due = 0;
    each(txn, tables.queue, [&](const lmdb::Row& row) {
      const auto recipient = decode_queued(parse_queue_key(row.key), row.value);
      const auto& name = recipient.name;
      const auto told = fmt::format("queue: recipient {} of message {}", name.ordinal, format_id(name.id));
      ++report_.queued;
      auto& domain = seen[name.domain];
      (recipient.state == QueueState::held ? domain.held : domain.waiting) += 1;
      domain.bounces += recipient.state == QueueState::bounce ? 1 : 0;
      const auto owners = std::ranges::lower_bound(owners_, name.id.value, {}, &Owners::first);
      if (owners == owners_.end() || owners->first != name.id.value) {
        problem(told + " is in no segment");
      } else {
        owners->second -= 1;
      }
      const auto back = lmdb::get(txn, tables.queue_ids, QueueIdKey(name.id, name.ordinal));
      if (!back || *back != name.domain) problem(told + " is not found by its id");
      if (const auto time = due_alone(recipient); time != no_time) {
        ++due;
        ++domain.due_alone;
        const DuePlace place{.due = time, .id = name.id, .ordinal = name.ordinal};
        if (!lmdb::get(txn, tables.queue_due, queue_due_key(name.domain, place)))
          problem(told + " is not found by its due time");
      }
    });
    if (entries_of(txn, tables.queue_ids) != report_.queued)
      problem(fmt::format("queue: {} ids lead to {} recipients", entries_of(txn, tables.queue_ids), report_.queued));
    if (entries_of(txn, tables.queue_due) != due)
      problem(fmt::format("queue: {} due times lead to {} recipients", entries_of(txn, tables.queue_due), due));
    each(txn, tables.queue_domains, [&](const lmdb::Row& row) {
      const auto told = decode_queue_domain(row.key, row.value);
      const auto counts = [](const QueueDomain& of) {
        return std::tuple(of.waiting, of.held, of.bounces, of.due_alone);
      };
      if (counts(told) != counts(seen[told.name])) {
        problem(fmt::format("queue: domain {} says {} waiting and {} held; they are {} and {}", told.name, told.waiting,
                            told.held, seen[told.name].waiting, seen[told.name].held));
      }
      seen.erase(told.name);
    });
    for (const auto& [name, domain] : seen) problem(fmt::format("queue: domain {} has no row", name));
    each(txn, tables.done,
         [](const lmdb::Row& row) { static_cast<void>(decode_done(parse_done_key(row.key), row.value)); });
  }

  void check_segment(const lmdb::Row& row) {
    const auto number = number_of(row, "segments");
    const auto sum = segments_[number];
    segments_.erase(number);
    const auto segment = decode_segment(row.value);
    if (segment.live_records != sum.records || segment.live_octets != sum.octets) {
      problem(fmt::format("segment {:016x}: its row says {} records, {} octets; messages are {} and {}", number,
                          segment.live_records, segment.live_octets, sum.records, sum.octets));
    }
    struct stat about{};
    if (::stat(segment_path(core_.layout.segments, number).c_str(), &about) != 0) {
      const auto trouble = from_errno("its file");
      const ReadTxn now(core_.index);
      // Emptied and unlinked while we looked?
      if (core_.index.segment(now, number)) problem(fmt::format("segment {:016x}: {}", number, trouble.detail));
    } else if (static_cast<std::uint64_t>(about.st_size) < segment.durable) {
      problem(fmt::format("segment {:016x} is cut off at {} octets, {} were synced", number, about.st_size,
                          segment.durable));
    }
  }

  void check_mailbox(MDB_txn* txn, const lmdb::Row& row) {
    ++report_.mailboxes;
    const auto box = decode_mailbox(row.key, row.value).mailbox;
    const auto back = lmdb::get(txn, core_.index.tables().mailbox_numbers, MailboxKey(box.number));
    if (!back || *back != row.key)
      problem(fmt::format("mailbox {}: its number {} does not lead back to it", box.address,
                          std::to_underlying(box.number)));
    const auto divide = row.key.find('\0');
    if (!core_.index.domain(txn, row.key.substr(0, divide)))
      problem(fmt::format("mailbox {}: its domain does not exist", box.address));
  }

  Core& core_;
  CheckReport& report_;
  const std::function<void(std::uint64_t)>& progress_;
  std::map<std::uint64_t, Sum> segments_;
  using Owners = std::pair<std::uint64_t, std::int64_t>;
  std::vector<Owners> owners_;            // by id: owners without an entry or a row of the queue so far
  std::optional<std::uint32_t> mailbox_;  // whose rows are being read
  Totals seen_;                           // of that mailbox
};

}  // namespace

Result<CheckReport> Store::check(const std::function<void(std::uint64_t)>& progress) {
  return guarded([&]() -> Result<CheckReport> {
    CheckReport report;
    Checker(impl_->core, report, progress).run();
    return report;
  });
}

Result<StoreStat> Store::stat() {
  return guarded([&]() -> Result<StoreStat> {
    auto& core = impl_->core;
    const ReadTxn txn(core.index);
    const auto& tables = core.index.tables();
    StoreStat about{.format_version = format_version, .generation = core.generation};
    about.domains = entries_of(txn, tables.domains);
    about.mailboxes = entries_of(txn, tables.mailboxes);
    about.aliases = entries_of(txn, tables.aliases);
    about.messages = entries_of(txn, tables.messages);
    about.queued = entries_of(txn, tables.queue);
    about.segments = entries_of(txn, tables.segments);
    lmdb::Cursor cursor(txn, tables.segments);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      const auto segment = decode_segment(row->value);
      about.open_segments += segment.state == SegmentState::open ? 1 : 0;
      about.live_octets += segment.live_octets;
      struct stat file{};
      if (::stat(segment_path(core.layout.segments, from_big_endian<std::uint64_t>(row->key.data())).c_str(), &file) ==
          0) {
        about.segment_octets += static_cast<std::uint64_t>(file.st_size);
      }
    }
    // Totals stand among the entries, one for each mailbox that ever got a message.
    lmdb::Cursor boxes(txn, tables.mailbox_numbers);
    for (auto row = boxes.first(); row; row = boxes.next()) {
      about.entries += core.index.totals(txn, MailboxNumber{from_big_endian<std::uint32_t>(row->key.data())}).messages;
    }
    MDB_envinfo info{};
    lmdb::expect(mdb_env_info(core.index.env(), &info), "mdb_env_info");
    MDB_stat pages{};
    lmdb::expect(mdb_env_stat(core.index.env(), &pages), "mdb_env_stat");
    about.index_map = info.me_mapsize;
    about.index_octets = (info.me_last_pgno + 1) * pages.ms_psize;
    struct statvfs disk{};
    if (statvfs(core.layout.root.c_str(), &disk) == 0) about.free_octets = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    return about;
  });
}

}  // namespace mailstore
