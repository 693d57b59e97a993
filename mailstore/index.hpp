#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/lmdb.hpp"
#include "mailstore/queue_rows.hpp"
#include "mailstore/rows.hpp"

/// The index: one LMDB environment and its tables.
namespace mailstore {

struct Tables {
  MDB_dbi meta, domains, mailboxes, mailbox_numbers, aliases, messages, maildrop, segments;
  MDB_dbi queue, queue_ids, queue_due, queue_domains, done;
  MDB_dbi taken;
};

/// The numbers that the store itself keeps, by name in the table `meta`.
namespace meta {
inline constexpr std::string_view format = "format", generation = "generation", id_limit = "id_limit",
                                  next_segment = "next_segment", next_mailbox = "next_mailbox", commits = "commits",
                                  credential = "credential", queue_changes = "queue_changes",
                                  queue_status = "queue_status";
}

inline constexpr std::uint64_t format_version = 1;

class Index {
 public:
  /// `create`: makes the tables. Else a missing table is `corrupt`, but for those that came later (of the queue, of
  /// what was taken): an older store gets them.
  void open(const std::string& folder, std::uint64_t map_size, bool create);
  MDB_env* env() const { return env_.get(); }
  /// How many pages can still be had, free ones included; counts only up to `enough`.
  std::int64_t spare_pages(std::int64_t enough) const;
  std::int64_t pages() const;
  /// Frees what processes that died reading hold on to.
  Result<void> forget_dead_readers() const;
  /// True after a failure that LMDB cannot get over: every transaction of this process is refused from then on.
  bool broken() const;
  const Tables& tables() const { return tables_; }
  /// Rows that a long listing walked over, the last of them at `row` in the map. Now and again the map's pages leave
  /// the process, to stay in the system's cache: what was read once must not count as memory of a daemon that lists a
  /// million messages.
  void walked(std::size_t rows, const char* row) const;

  std::uint64_t number(MDB_txn* txn, std::string_view name) const;
  void set_number(MDB_txn* txn, std::string_view name, std::uint64_t value) const;
  /// Returns the first of `count` numbers that were never given before.
  std::uint64_t take_number(MDB_txn* txn, std::string_view name, std::uint64_t count = 1) const;

  std::optional<MessageRow> message(MDB_txn* txn, MessageId id) const;
  std::optional<Entry> entry(MDB_txn* txn, MailboxNumber mailbox, MessageId id) const;
  Totals totals(MDB_txn* txn, MailboxNumber mailbox) const;
  /// The highest id in a maildrop; 0: it is empty.
  MessageId last_entry(MDB_txn* txn, MailboxNumber mailbox) const;
  std::optional<SegmentRow> segment(MDB_txn* txn, std::uint64_t number) const;
  void put_segment(MDB_txn* txn, std::uint64_t number, const SegmentRow& row) const;
  std::optional<Domain> domain(MDB_txn* txn, std::string_view name) const;
  std::optional<MailboxRow> mailbox(MDB_txn* txn, std::string_view address) const;
  std::optional<MailboxRow> mailbox(MDB_txn* txn, MailboxNumber number) const;
  std::optional<Alias> alias(MDB_txn* txn, std::string_view address) const;
  std::optional<QueuedRecipient> queued(MDB_txn* txn, const QueueName& name) const;
  /// Without `next_due`.
  std::optional<QueueDomain> queue_domain(MDB_txn* txn, std::string_view name) const;
  /// The message that was made of what is called so, if it is remembered.
  std::optional<MessageId> taken(MDB_txn* txn, std::string_view origin) const;
  QueueStatus queue_status(MDB_txn* txn) const;
  void put_queue_status(MDB_txn* txn, const QueueStatus& status) const;

 private:
  friend class ReadTxn;
  /// False, and nothing is open: a table that came later is missing.
  bool open_tables(bool create, bool create_later);
  lmdb::Env env_;
  Tables tables_{};
  mutable std::atomic<std::uint64_t> walked_{0};
  mutable std::mutex idle_mutex_;
  mutable std::vector<MDB_txn*> idle_;  // reset read transactions, so that beginning one costs no slot search

 public:
  ~Index();
  Index() = default;
};

/// A read transaction of the index, taken from those at rest. Short: never across a wait.
class ReadTxn {
 public:
  explicit ReadTxn(const Index& index);
  ~ReadTxn();
  ReadTxn(const ReadTxn&) = delete;
  ReadTxn& operator=(const ReadTxn&) = delete;
  operator MDB_txn*() const { return txn_; }

 private:
  const Index& index_;
  MDB_txn* txn_ = nullptr;
};

}  // namespace mailstore
