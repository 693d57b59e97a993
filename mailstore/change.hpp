#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/index.hpp"
#include "mailstore/journal.hpp"

namespace mailstore {

/// What one write transaction has done so far beside its rows: the lines for the journal, the segments that lost
/// records. Used on the thread that holds the transaction.
class Change {
 public:
  Change(const Index& index, MDB_txn* txn) : index_(index), txn_(txn) {}

  const Index& index() const { return index_; }
  MDB_txn* txn() const { return txn_; }
  JournalLines& journal() { return journal_; }

  void put_domain(const Domain& domain);
  void erase_domain(std::string_view name);
  void put_mailbox(const MailboxRow& row);
  void erase_mailbox(const MailboxRow& row);
  /// `row` has the new address, and takes the place of what stands under `old`: the same number, the same mail.
  void rename_mailbox(const MailboxRow& row, std::string_view old);
  void put_alias(const Alias& alias);
  void erase_alias(std::string_view address);

  /// Puts a message's entry into a maildrop; false when it is there already.
  bool add_entry(MailboxNumber mailbox, const Entry& entry);
  /// Takes one owner's entry away; when it was the last, the record is dead. False: it was not there.
  bool remove_entry(MailboxNumber mailbox, MessageId id);
  /// Notes when an entry's message was retrieved, unless that is noted or it is not there.
  void note_retrieved(MailboxNumber mailbox, MessageId id, std::uint64_t when);
  /// Up to `limit` entries of a maildrop, whatever view; returns how many went. For purges.
  std::uint64_t purge_entries(MailboxNumber mailbox, std::uint64_t limit);

  void segment_lost(std::uint64_t segment, std::uint64_t octets);
  void segment_gained(std::uint64_t segment, std::uint64_t octets);
  /// Nothing changed in it, but it may have been sealed empty.
  void look_at_segment(std::uint64_t segment) { segments_[segment]; }
  /// Its file goes after the commit; it has no row.
  void drop_segment(std::uint64_t segment) { emptied_.push_back(segment); }
  /// Writes the segments' rows. Sealed ones without a living record lose their row; their numbers are left in
  /// `emptied`.
  void settle_segments();
  const std::vector<std::uint64_t>& emptied() const { return emptied_; }
  /// Takes over what a nested transaction did, once that has committed.
  void adopt(Change&& nested);

 private:
  struct Delta {
    std::int64_t records = 0, octets = 0;
  };
  const Index& index_;
  MDB_txn* txn_;
  JournalLines journal_;
  std::map<std::uint64_t, Delta> segments_;
  std::vector<std::uint64_t> emptied_;
};

/// What a record and its octets occupy, for a segment's account.
inline std::uint64_t record_octets(const MessageRow& row) {
  return row.head_octets + row.stored_octets;
}

}  // namespace mailstore
