#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <map>

#include "mailstore/recovery.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

struct Sum {
  std::uint64_t records = 0, octets = 0;
};

constexpr std::size_t problems_told = 1000;

class Checker {
 public:
  Checker(Core& core, CheckReport& report, const std::function<void(std::uint64_t)>& progress)
      : core_(core), report_(report), progress_(progress), txn_(core.index) {}

  void run() {
    check_messages();
    check_maildrops();
    for (const auto& [id, owners] : owners_) {
      if (owners != 0)
        problem(fmt::format("message {} says {} more owners than there are entries", format_id(MessageId{id}), owners));
    }
    check_segments();
    check_mailboxes();
  }

 private:
  void problem(std::string what) {
    if (report_.problems.size() < problems_told) report_.problems.push_back(std::move(what));
  }

  void check_messages() {
    lmdb::Cursor cursor(txn_, core_.index.tables().messages);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      const MessageId id{from_big_endian<std::uint64_t>(row->key.data())};
      const auto message = decode_message(row->value);
      if (!record_is_sound(core_, id, message))
        problem(fmt::format("message {}: its record is damaged or missing", format_id(id)));
      auto& sum = segments_[message.segment];
      sum.records += 1;
      sum.octets += record_octets(message);
      owners_[id.value] = static_cast<std::int64_t>(message.owners);
      if (++report_.records % 1000 == 0 && progress_) progress_(report_.records);
    }
  }

  void check_maildrops() {
    lmdb::Cursor cursor(txn_, core_.index.tables().maildrop);
    Totals seen;
    for (auto row = cursor.first(); row; row = cursor.next()) {
      const auto mailbox = from_big_endian<std::uint32_t>(row->key.data());
      const auto id = from_big_endian<std::uint64_t>(row->key.data() + 4);
      if (id == totals_id) {
        const auto told = decode_totals(row->value);
        if (told.messages != seen.messages || told.octets != seen.octets || told.arrivals < seen.arrivals) {
          problem(fmt::format("mailbox {}: totals say {} messages, {} octets; entries are {} and {}", mailbox,
                              told.messages, told.octets, seen.messages, seen.octets));
        }
        seen = {};
        continue;
      }
      const auto entry = decode_entry(MessageId{id}, row->value);
      seen.messages += 1;
      seen.octets += entry.octets;
      seen.arrivals = std::max(seen.arrivals, entry.arrival);
      const auto owners = owners_.find(id);
      if (owners == owners_.end()) {
        problem(fmt::format("mailbox {}: message {} is in no segment", mailbox, format_id(MessageId{id})));
      } else {
        owners->second -= 1;
      }
      if (!core_.index.mailbox(txn_, MailboxNumber{mailbox})) {
        problem(fmt::format("mailbox {}: message {} belongs to a mailbox that does not exist", mailbox,
                            format_id(MessageId{id})));
      }
      ++report_.entries;
    }
  }

  void check_segments() {
    lmdb::Cursor cursor(txn_, core_.index.tables().segments);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      const auto number = from_big_endian<std::uint64_t>(row->key.data());
      const auto segment = decode_segment(row->value);
      const auto sum = segments_[number];
      segments_.erase(number);
      if (segment.live_records != sum.records || segment.live_octets != sum.octets) {
        problem(fmt::format("segment {:016x}: its row says {} records, {} octets; messages are {} and {}", number,
                            segment.live_records, segment.live_octets, sum.records, sum.octets));
      }
      struct stat about{};
      if (::stat(segment_path(core_.layout.segments, number).c_str(), &about) != 0) {
        problem(fmt::format("segment {:016x}: {}", number, from_errno("no file").detail));
      } else if (static_cast<std::uint64_t>(about.st_size) < segment.durable) {
        problem(fmt::format("segment {:016x} is cut off at {} octets, {} were synced", number, about.st_size,
                            segment.durable));
      }
    }
    for (const auto& [number, sum] : segments_) {
      problem(fmt::format("segment {:016x} has {} messages and no row", number, sum.records));
    }
  }

  void check_mailboxes() {
    lmdb::Cursor cursor(txn_, core_.index.tables().mailboxes);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      const auto box = decode_mailbox(row->key, row->value).mailbox;
      const auto back = lmdb::get(txn_, core_.index.tables().mailbox_numbers, MailboxKey(box.number));
      if (!back || *back != row->key)
        problem(fmt::format("mailbox {}: its number {} does not lead back to it", box.address,
                            std::to_underlying(box.number)));
      const auto divide = row->key.find('\0');
      if (!core_.index.domain(txn_, row->key.substr(0, divide)))
        problem(fmt::format("mailbox {}: its domain does not exist", box.address));
      ++report_.mailboxes;
    }
  }

  Core& core_;
  CheckReport& report_;
  const std::function<void(std::uint64_t)>& progress_;
  ReadTxn txn_;
  std::map<std::uint64_t, Sum> segments_;
  std::map<std::uint64_t, std::int64_t> owners_;
};

std::uint64_t entries_of(MDB_txn* txn, MDB_dbi table) {
  MDB_stat about{};
  lmdb::expect(mdb_stat(txn, table, &about), "mdb_stat");
  return about.ms_entries;
}

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
