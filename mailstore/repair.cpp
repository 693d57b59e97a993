// Sets right what does not agree in the index: records decide about messages, entries about totals.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "mailstore/recovery.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

constexpr std::size_t rows_at_once = 1000;

class Repairer {
 public:
  Repairer(Store::Impl& store, CheckReport& report, const std::function<void(std::uint64_t)>& progress)
      : store_(store), core_(store.core), report_(report), progress_(progress) {}

  void run() {
    mend_mailboxes();
    judge_messages();
    mend_maildrops();
    mend_queue();
    mend_messages();
    mend_segments();
    mend_taken();
  }

 private:
  void did(std::string what) {
    if (report_.problems.size() < 1000) report_.problems.push_back(std::move(what));
  }

  /// One transaction of its own on the commit thread.
  void change(std::move_only_function<void(Change&)> apply) {
    auto work = [apply = std::move(apply)](Change& to) mutable -> Result<void> {
      apply(to);
      return {};
    };
    const auto done =
        store_.committer->run(Work{.rows = rows_at_once, .nested = true, .apply = std::move(work), .done = nullptr});
    if (!done) throw Failure(done.error());
  }

  /// Keys and values of a table, so many at a time; nothing is held while they are looked at.
  template <class Each>
  void each(MDB_dbi table, Each look) {
    std::string after;
    for (bool first = true;; first = false) {
      std::vector<std::pair<std::string, std::string>> rows;
      {
        const ReadTxn txn(core_.index);
        lmdb::Cursor cursor(txn, table);
        auto row = first ? cursor.first() : cursor.seek(after);
        if (!first && row && row->key == after) row = cursor.next();
        for (; row && rows.size() < rows_at_once; row = cursor.next()) rows.emplace_back(row->key, row->value);
      }
      if (rows.empty()) return;
      after = rows.back().first;
      for (const auto& [key, value] : rows) look(std::string_view(key), std::string_view(value));
    }
  }

  static std::uint64_t number_of(std::string_view key) {
    if (key.size() != 8) throw Failure(Errc::corrupt, "a key that is no number is in the index; rebuild it");
    return from_big_endian<std::uint64_t>(key.data());
  }

  /// That something was taken is what counts; which message it became, nobody can tell any more.
  void mend_taken() {
    each(core_.index.tables().taken, [&](std::string_view key, std::string_view value) {
      const auto read = guarded([&]() -> Result<void> {
        decode_taken(value);
        return {};
      });
      if (read) return;
      const std::string origin{key};
      change([origin](Change& to) {
        to.forget_taken(origin);
        to.take(origin, {});
      });
      did(fmt::format("what was taken: the row of {} could not be read and is made anew", origin));
    });
  }

  void mend_mailboxes() {
    each(core_.index.tables().mailboxes, [&](std::string_view key, std::string_view value) {
      ++report_.mailboxes;
      const auto row = decode_mailbox(key, value);
      {
        const ReadTxn txn(core_.index);
        const auto back = lmdb::get(txn, core_.index.tables().mailbox_numbers, MailboxKey(row.mailbox.number));
        const bool domain = core_.index.domain(txn, key.substr(0, key.find('\0'))).has_value();
        if (back && *back == key && domain) return;
      }
      const std::string name(key.substr(0, key.find('\0')));
      change([row, name](Change& to) {
        to.put_mailbox(row);
        if (!to.index().domain(to.txn(), name)) to.put_domain(Domain{.name = name});
      });
      did(fmt::format("mailbox {}: its number and its domain lead to it again", row.mailbox.address));
    });
  }

  void judge_messages() {
    each(core_.index.tables().messages, [&](std::string_view key, std::string_view value) {
      const MessageId id{number_of(key)};
      bool sound = false;
      const auto looked = guarded([&]() -> Result<void> {
        sound = record_is_sound(core_, id, decode_message(value));
        return {};
      });
      if (looked && sound) {
        owners_.emplace(id.value, 0);
      } else {
        damaged_.insert(id.value);
      }
      if (++report_.records % 1000 == 0 && progress_) progress_(report_.records);
    });
  }

  void mend_maildrops() {
    struct Seen {
      Totals totals;
      std::vector<std::uint64_t> lost;
    };
    std::map<std::uint32_t, Totals> told;
    std::map<std::uint32_t, Seen> seen;
    each(core_.index.tables().maildrop, [&](std::string_view key, std::string_view value) {
      if (key.size() != 12) throw Failure(Errc::corrupt, "a maildrop's key has the wrong size; rebuild the index");
      const auto mailbox = from_big_endian<std::uint32_t>(key.data());
      const auto id = from_big_endian<std::uint64_t>(key.data() + 4);
      if (id == totals_id) {
        told[mailbox] = decode_totals(value);
        return;
      }
      auto& box = seen[mailbox];
      const auto entry = decode_entry(MessageId{id}, value);
      box.totals.arrivals = std::max(box.totals.arrivals, entry.arrival);
      const auto owners = owners_.find(id);
      if (owners == owners_.end()) {
        box.lost.push_back(id);
        return;
      }
      ++report_.entries;
      ++owners->second;
      box.totals.messages += 1;
      box.totals.octets += entry.octets;
    });
    for (auto& [mailbox, box] : seen) {
      const MailboxNumber number{mailbox};
      for (const auto id : box.lost) {
        change([number, id](Change& to) {
          lmdb::erase(to.txn(), to.index().tables().maildrop, MaildropKey(number, id));
          to.journal().message(JournalKind::removed, number, MessageId{id});
        });
        did(fmt::format("mailbox {}: message {} is gone, its record is damaged or missing", mailbox,
                        format_id(MessageId{id})));
      }
    }
    // A mailbox of which nothing is left in the table of entries still has its totals.
    for (const auto& [mailbox, totals] : told) {
      if (!seen.contains(mailbox)) seen[mailbox].totals.arrivals = totals.arrivals;
    }
    for (auto& [mailbox, box] : seen) {
      const auto& before = told[mailbox];
      box.totals.arrivals = std::max(box.totals.arrivals, before.arrivals);
      if (before.messages == box.totals.messages && before.octets == box.totals.octets &&
          before.arrivals == box.totals.arrivals)
        continue;
      const MailboxNumber number{mailbox};
      change([number, totals = box.totals](Change& to) {
        std::string value;
        encode(totals, value);
        lmdb::put(to.txn(), to.index().tables().maildrop, MaildropKey(number, totals_id), value);
      });
      did(fmt::format("mailbox {}: its totals are counted anew", mailbox));
    }
  }

  void mend_queue() {
    const auto& tables = core_.index.tables();
    std::map<std::string, QueueDomain> counted;
    std::uint64_t wrong = 0;
    each(tables.queue, [&](std::string_view key, std::string_view value) {
      const auto row = decode_queued(parse_queue_key(key), value);
      const auto& name = row.name;
      const auto due = due_alone(row);
      const DuePlace place{.due = due, .id = name.id, .ordinal = name.ordinal};
      const auto owners = owners_.find(name.id.value);
      if (owners == owners_.end()) {
        change([row, place](Change& to) {
          const auto& at = to.index().tables();
          lmdb::erase(to.txn(), at.queue, queue_key(row.name));
          lmdb::erase(to.txn(), at.queue_ids, QueueIdKey(row.name.id, row.name.ordinal));
          if (place.due != no_time) lmdb::erase(to.txn(), at.queue_due, queue_due_key(row.name.domain, place));
          to.journal().left(row.name.id, row.name.ordinal);
        });
        did(fmt::format("queue: message {} to {} is gone, its record is damaged or missing", format_id(name.id),
                        row.address));
        return;
      }
      ++report_.queued;
      ++owners->second;
      auto& domain = counted[name.domain];
      (row.state == QueueState::held ? domain.held : domain.waiting) += 1;
      domain.bounces += row.state == QueueState::bounce ? 1 : 0;
      domain.due_alone += due == no_time ? 0 : 1;
      {
        const ReadTxn txn(core_.index);
        const auto back = lmdb::get(txn, tables.queue_ids, QueueIdKey(name.id, name.ordinal));
        const bool timed = due == no_time || lmdb::get(txn, tables.queue_due, queue_due_key(name.domain, place));
        if (back && *back == name.domain && timed) return;
      }
      change([row, place](Change& to) {
        const auto& at = to.index().tables();
        lmdb::put(to.txn(), at.queue_ids, QueueIdKey(row.name.id, row.name.ordinal), row.name.domain);
        if (place.due != no_time) lmdb::put(to.txn(), at.queue_due, queue_due_key(row.name.domain, place), {});
      });
      did(fmt::format("queue: recipient {} of message {} is found again", name.ordinal, format_id(name.id)));
    });
    // Ways that lead nowhere.
    std::vector<std::pair<MDB_dbi, std::string>> loose;
    each(tables.queue_ids, [&](std::string_view key, std::string_view value) {
      const auto id = parse_queue_id_key(key);
      const ReadTxn txn(core_.index);
      if (!core_.index.queued(txn, {.domain = std::string(value), .id = id.id, .ordinal = id.ordinal}))
        loose.emplace_back(tables.queue_ids, key);
    });
    each(tables.queue_due, [&](std::string_view key, std::string_view) {
      const auto domain = key.substr(0, key.find('\0'));
      const auto place = parse_queue_due_key(domain, key);
      const ReadTxn txn(core_.index);
      const auto row =
          core_.index.queued(txn, {.domain = std::string(domain), .id = place.id, .ordinal = place.ordinal});
      if (!row || due_alone(*row) != place.due) loose.emplace_back(tables.queue_due, key);
    });
    for (const auto& [table, key] : loose) {
      change([table, key](Change& to) { lmdb::erase(to.txn(), table, key); });
      ++wrong;
    }
    if (wrong > 0) did(fmt::format("queue: {} ids and due times led to no recipient and are gone", wrong));
    mend_queue_domains(counted);
  }

  void mend_queue_domains(std::map<std::string, QueueDomain>& counted) {
    each(core_.index.tables().queue_domains, [&](std::string_view key, std::string_view value) {
      counted.try_emplace(std::string(key));
      // One that cannot be read is made anew from what waits on it.
      (void)guarded([&]() -> Result<void> {
        auto row = decode_queue_domain(key, value);
        auto& now = counted.at(std::string(key));
        if (std::tie(row.waiting, row.held, row.bounces, row.due_alone) ==
            std::tie(now.waiting, now.held, now.bounces, now.due_alone)) {
          counted.erase(std::string(key));
          return {};
        }
        row.waiting = now.waiting;
        row.held = now.held;
        row.bounces = now.bounces;
        row.due_alone = now.due_alone;
        now = std::move(row);
        return {};
      });
    });
    for (auto& [name, row] : counted) {
      row.name = name;
      change([row](Change& to) { to.put_queue_domain(row); });
      did(fmt::format("queue: what waits on {} is counted anew", name));
    }
  }

  void mend_messages() {
    for (const auto id : damaged_) {
      change([id](Change& to) { lmdb::erase(to.txn(), to.index().tables().messages, NumberKey(id)); });
    }
    std::vector<std::pair<std::uint64_t, std::uint32_t>> wrong;
    each(core_.index.tables().messages, [&](std::string_view key, std::string_view value) {
      const auto id = number_of(key);
      const auto counted = owners_.at(id);
      if (decode_message(value).owners != counted) wrong.emplace_back(id, counted);
    });
    for (const auto& [id, owners] : wrong) {
      change([id, owners](Change& to) {
        auto row = to.index().message(to.txn(), MessageId{id});
        if (!row) return;
        row->owners = owners;
        std::string value;
        encode(*row, value);
        if (owners == 0)
          lmdb::erase(to.txn(), to.index().tables().messages, NumberKey(id));
        else
          lmdb::put(to.txn(), to.index().tables().messages, NumberKey(id), value);
      });
      did(fmt::format("message {}: its owners are counted anew", format_id(MessageId{id})));
    }
  }

  void mend_segments() {
    struct Sum {
      std::uint64_t records = 0, octets = 0;
    };
    std::map<std::uint64_t, Sum> living;
    each(core_.index.tables().messages, [&](std::string_view, std::string_view value) {
      const auto row = decode_message(value);
      auto& sum = living[row.segment];
      sum.records += 1;
      sum.octets += record_octets(row);
    });
    std::set<std::uint64_t> known;
    std::vector<std::uint64_t> wrong;
    each(core_.index.tables().segments, [&](std::string_view key, std::string_view value) {
      const auto number = number_of(key);
      known.insert(number);
      const auto row = decode_segment(value);
      const auto sum = living[number];
      // One of which nothing is alive any more keeps its row and its file: what was in it was damaged, not removed.
      if (row.live_records != sum.records || row.live_octets != sum.octets) wrong.push_back(number);
    });
    for (const auto& [number, sum] : living) {
      if (sum.records > 0 && !known.contains(number)) wrong.push_back(number);
    }
    for (const auto number : wrong) {
      const auto sum = living[number];
      change([number, sum](Change& to) {
        auto row =
            to.index().segment(to.txn(), number).value_or(SegmentRow{.state = SegmentState::sealed, .unproven = {}});
        row.live_records = sum.records;
        row.live_octets = sum.octets;
        to.index().put_segment(to.txn(), number, row);
      });
      did(fmt::format("segment {:016x}: what is alive in it is counted anew", number));
    }
  }

  Store::Impl& store_;
  Core& core_;
  CheckReport& report_;
  const std::function<void(std::uint64_t)>& progress_;
  std::unordered_map<std::uint64_t, std::uint32_t> owners_;  // of sound messages: entries found
  std::set<std::uint64_t> damaged_;
};

}  // namespace

Result<CheckReport> Store::repair(const std::function<void(std::uint64_t)>& progress) {
  return guarded([&]() -> Result<CheckReport> {
    if (!impl_->core.options.alone) return fail(Errc::conflict, "a repair needs the store alone");
    CheckReport report;
    Repairer(*impl_, report, progress).run();
    return report;
  });
}

}  // namespace mailstore
