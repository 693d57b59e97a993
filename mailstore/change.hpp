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
  /// Takes one owner of a message away, in a maildrop or in the queue; when it was the last, the record is dead.
  void owner_left(MessageId id);

  /// Remembers that a message was made of `origin`. False: it was remembered already.
  bool take(std::string_view origin, MessageId id);
  void forget_taken(std::string_view origin);

  // The queue (queue_change.cpp).

  /// False: it is there already. The row of the message is the caller's.
  bool add_queued(const QueuedRecipient& row);
  /// Out of the queue, and the message has one owner less. nullopt: it was not there.
  std::optional<QueuedRecipient> take_queued(const QueueName& name);
  /// Whatever is queued of a message that proves to be none.
  void drop_queued(MessageId id);
  /// `row` in the place of `old`, which has the same name.
  void replace_queued(const QueuedRecipient& old, const QueuedRecipient& row);
  /// For what a rebuild must not forget.
  void journal_queued(const QueuedRecipient& row);
  void put_queue_domain(const QueueDomain& row);
  /// The scheduler of another process, or of this one, has to look at this domain again.
  void mark_changed(std::string_view domain);
  void record_done(const DoneRecipient& row);
  const std::vector<QueueName>& queued() const { return queued_; }

  /// Writes the rows of segments and of the queue's domains. Sealed segments without a living record lose their row;
  /// their numbers are left in `emptied`. Domains that nothing waits on go.
  void settle();
  const std::vector<std::uint64_t>& emptied() const { return emptied_; }
  /// Takes over what a nested transaction did, once that has committed.
  void adopt(Change&& nested);

 private:
  void settle_segments();
  void settle_domains();
  struct Delta {
    std::int64_t records = 0, octets = 0;
  };
  struct DomainDelta {
    std::int64_t waiting = 0, held = 0, bounces = 0, due_alone = 0;
    bool changed = false;
  };
  void count(const QueuedRecipient& row, std::int64_t sign);
  const Index& index_;
  MDB_txn* txn_;
  JournalLines journal_;
  std::map<std::uint64_t, Delta> segments_;
  std::map<std::string, DomainDelta, std::less<>> domains_;
  std::vector<QueueName> queued_;
  std::vector<std::uint64_t> emptied_;
};

/// What a record and its octets occupy, for a segment's account.
inline std::uint64_t record_octets(const MessageRow& row) {
  return row.head_octets + row.stored_octets;
}

}  // namespace mailstore
