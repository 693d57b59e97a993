#include "mailstore/change.hpp"

#include <utility>

namespace mailstore {

void Change::put_domain(const Domain& domain) {
  std::string value;
  encode(domain, value);
  lmdb::put(txn_, index_.tables().domains, domain.name, value);
  journal_.row(JournalKind::domain, domain.name, value);
}

void Change::erase_domain(std::string_view name) {
  lmdb::erase(txn_, index_.tables().domains, name);
  journal_.row(JournalKind::domain, name, {});
}

void Change::put_mailbox(const MailboxRow& row) {
  const auto key = address_key(row.mailbox.address);
  std::string value;
  encode(row, value);
  lmdb::put(txn_, index_.tables().mailboxes, key, value);
  lmdb::put(txn_, index_.tables().mailbox_numbers, MailboxKey(row.mailbox.number), key);
  journal_.row(JournalKind::mailbox, key, value);
}

void Change::erase_mailbox(const MailboxRow& row) {
  const auto key = address_key(row.mailbox.address);
  lmdb::erase(txn_, index_.tables().mailboxes, key);
  lmdb::erase(txn_, index_.tables().mailbox_numbers, MailboxKey(row.mailbox.number));
  lmdb::erase(txn_, index_.tables().maildrop, MaildropKey(row.mailbox.number, totals_id));
  if (row.mailbox.auto_reply) erase_auto_reply(row.mailbox.number);
  journal_.row(JournalKind::mailbox, key, {});
}

void Change::rename_mailbox(const MailboxRow& row, std::string_view old) {
  const auto key = address_key(old);
  lmdb::erase(txn_, index_.tables().mailboxes, key);
  journal_.row(JournalKind::mailbox, key, {});
  put_mailbox(row);
}

void Change::put_auto_reply(MailboxNumber mailbox, const AutoReply& reply) {
  erase_auto_reply(mailbox);
  std::string value;
  encode(reply, value);
  lmdb::put(txn_, index_.tables().auto_replies, MailboxKey(mailbox), value);
  journal_.row(JournalKind::auto_reply, MailboxKey(mailbox), value);
}

void Change::erase_auto_reply(MailboxNumber mailbox) {
  const auto table = index_.tables().auto_replies;
  std::vector<std::string> keys;
  {
    lmdb::Cursor cursor(txn_, table);
    const MailboxKey of(mailbox);
    const std::string own{std::string_view{of}};
    for (auto row = cursor.seek(own); row && row->key.starts_with(own); row = cursor.next())
      keys.emplace_back(row->key);
  }
  for (const auto& key : keys) lmdb::erase(txn_, table, key);
  journal_.row(JournalKind::auto_reply, MailboxKey(mailbox), {});
}

bool Change::note_answered(MailboxNumber mailbox, std::uint64_t sender, std::uint64_t when, std::uint64_t before) {
  const auto table = index_.tables().auto_replies;
  const AnsweredKey first(mailbox, 0);
  const std::string own{std::string_view{first}.substr(0, 4)};
  const AnsweredKey whom(mailbox, sender);
  const std::string wanted{std::string_view{whom}};
  std::vector<std::string> old;
  std::size_t kept = 0;
  bool answered = false;
  {
    lmdb::Cursor cursor(txn_, table);
    for (auto row = cursor.seek(first); row && row->key.starts_with(own); row = cursor.next()) {
      if (decode_answered(row->value) < before) {
        old.emplace_back(row->key);
        continue;
      }
      ++kept;
      answered = answered || row->key == wanted;
    }
  }
  for (const auto& key : old) lmdb::erase(txn_, table, key);
  if (answered || kept >= answered_limit) return false;
  std::string value;
  encode_answered(when, value);
  lmdb::put(txn_, table, wanted, value);
  return true;
}

void Change::put_alias(const Alias& alias) {
  const auto key = address_key(alias.address);
  std::string value;
  encode(alias, value);
  lmdb::put(txn_, index_.tables().aliases, key, value);
  journal_.row(JournalKind::alias, key, value);
}

void Change::erase_alias(std::string_view address) {
  const auto key = address_key(address);
  lmdb::erase(txn_, index_.tables().aliases, key);
  journal_.row(JournalKind::alias, key, {});
}

bool Change::add_entry(MailboxNumber mailbox, const Entry& entry) {
  const auto table = index_.tables().maildrop;
  auto totals = index_.totals(txn_, mailbox);
  Entry placed = entry;
  placed.arrival = totals.arrivals + 1;
  std::string value;
  encode(placed, value);
  if (!lmdb::put(txn_, table, MaildropKey(mailbox, entry.id.value), value, MDB_NOOVERWRITE)) return false;
  totals.arrivals += 1;
  totals.messages += 1;
  totals.octets += entry.octets;
  value.clear();
  encode(totals, value);
  lmdb::put(txn_, table, MaildropKey(mailbox, totals_id), value);
  return true;
}

bool Change::remove_entry(MailboxNumber mailbox, MessageId id) {
  const auto& tables = index_.tables();
  const auto entry = index_.entry(txn_, mailbox, id);
  if (!entry) return false;
  lmdb::erase(txn_, tables.maildrop, MaildropKey(mailbox, id.value));
  auto totals = index_.totals(txn_, mailbox);
  if (totals.messages == 0 || totals.octets < entry->octets) {
    throw Failure(Errc::corrupt, "the totals of a maildrop are below its entries; run 'pennypost store check'");
  }
  totals.messages -= 1;
  totals.octets -= entry->octets;
  std::string value;
  encode(totals, value);
  lmdb::put(txn_, tables.maildrop, MaildropKey(mailbox, totals_id), value);
  journal_.message(JournalKind::removed, mailbox, id);
  owner_left(id);
  return true;
}

void Change::owner_left(MessageId id) {
  const auto& tables = index_.tables();
  std::string value;
  auto message = index_.message(txn_, id);
  if (!message || message->owners == 0) {
    throw Failure(Errc::corrupt,
                  "an entry of a maildrop or the queue leads to no message; run 'pennypost store check'");
  }
  message->owners -= 1;
  if (message->owners > 0) {
    encode(*message, value);
    lmdb::put(txn_, tables.messages, NumberKey(id.value), value);
  } else {
    lmdb::erase(txn_, tables.messages, NumberKey(id.value));
    segment_lost(message->segment, record_octets(*message));
  }
}

void Change::note_retrieved(MailboxNumber mailbox, MessageId id, std::uint64_t when) {
  auto entry = index_.entry(txn_, mailbox, id);
  if (!entry || entry->retrieved != 0) return;
  entry->retrieved = when;
  std::string value;
  encode(*entry, value);
  lmdb::put(txn_, index_.tables().maildrop, MaildropKey(mailbox, id.value), value);
}

std::uint64_t Change::purge_entries(MailboxNumber mailbox, std::uint64_t limit) {
  std::vector<MessageId> ids;
  {
    lmdb::Cursor cursor(txn_, index_.tables().maildrop);
    for (auto row = cursor.seek(MaildropKey(mailbox, 0)); row && ids.size() < limit; row = cursor.next()) {
      if (row->key.size() != 12 || from_big_endian<std::uint32_t>(row->key.data()) != std::to_underlying(mailbox))
        break;
      const auto id = from_big_endian<std::uint64_t>(row->key.data() + 4);
      if (id == totals_id) break;
      ids.push_back(MessageId{id});
    }
  }
  for (const auto id : ids) remove_entry(mailbox, id);
  return ids.size();
}

void Change::segment_lost(std::uint64_t segment, std::uint64_t octets) {
  auto& delta = segments_[segment];
  delta.records -= 1;
  delta.octets -= static_cast<std::int64_t>(octets);
}

void Change::segment_gained(std::uint64_t segment, std::uint64_t octets) {
  auto& delta = segments_[segment];
  delta.records += 1;
  delta.octets += static_cast<std::int64_t>(octets);
}

void Change::settle() {
  settle_segments();
  settle_domains();
}

void Change::settle_segments() {
  for (const auto& [number, delta] : segments_) {
    auto row = index_.segment(txn_, number);
    if (!row) throw Failure(Errc::corrupt, "a message lies in a segment that the index does not know");
    row->live_records = static_cast<std::uint64_t>(static_cast<std::int64_t>(row->live_records) + delta.records);
    row->live_octets = static_cast<std::uint64_t>(static_cast<std::int64_t>(row->live_octets) + delta.octets);
    if (row->state == SegmentState::sealed && row->live_records == 0) {
      lmdb::erase(txn_, index_.tables().segments, NumberKey(number));
      emptied_.push_back(number);
    } else {
      index_.put_segment(txn_, number, *row);
    }
  }
  segments_.clear();
}

void Change::adopt(Change&& nested) {
  journal_.append(nested.journal_);
  for (const auto& [number, delta] : nested.segments_) {
    auto& mine = segments_[number];
    mine.records += delta.records;
    mine.octets += delta.octets;
  }
  emptied_.insert(emptied_.end(), nested.emptied_.begin(), nested.emptied_.end());
  queued_.insert(queued_.end(), nested.queued_.begin(), nested.queued_.end());
}

bool Change::take(std::string_view origin, MessageId id) {
  std::string value;
  encode_taken(id, value);
  if (!lmdb::put(txn_, index_.tables().taken, origin, value, MDB_NOOVERWRITE)) return false;
  journal_.row(JournalKind::taken, origin, value);
  return true;
}

void Change::forget_taken(std::string_view origin) {
  if (lmdb::erase(txn_, index_.tables().taken, origin)) journal_.row(JournalKind::taken, origin, {});
}

}  // namespace mailstore
