#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "mailstore/files.hpp"
#include "mailstore/types.hpp"

/// What the segments do not tell: removals and the directory. Written behind the commit, synced once a second; with it
/// and the segments the index can be made again. Entries of several processes may stand in any order: the commit number
/// orders them.
namespace mailstore {

enum class JournalKind : std::uint32_t {
  removed = 1,       ///< mailbox, id: an owner is gone
  refused = 2,       ///< mailbox, id: the mailbox was purged before the commit, or the commit failed
  domain = 3,        ///< name, row; empty row: gone
  mailbox = 4,       ///< key, row; empty row: gone
  alias = 5,         ///< key, row; empty row: gone
  number = 6,        ///< name of a counter, value
  left = 7,          ///< id, ordinal: a recipient is not in the queue any more
  queued = 8,        ///< key, row: what people said of a recipient in the queue, and that its delay notice was sent
  queue_domain = 9,  ///< name, row; empty row: not suspended
  auto_reply = 10,   ///< mailbox's key, row; empty row: none
  taken = 11,        ///< origin, row; empty row: forgotten
};

/// Entries of one transaction, gathered while it runs.
class JournalLines {
 public:
  void message(JournalKind kind, MailboxNumber mailbox, MessageId id);
  void left(MessageId id, std::uint16_t ordinal);
  void row(JournalKind kind, std::string_view key, std::string_view value);
  bool empty() const { return entries_.empty(); }
  void append(const JournalLines& other) { entries_ += other.entries_; }
  /// The octets for the file, with the number of the commit that made them true.
  std::string finish(std::uint64_t commit) const;

 private:
  std::string entries_;  // kind, payload length, payload
};

class Journal {
 public:
  Journal(Files& files, std::string folder);
  /// Appends behind the commit. A failure is reported and the octets are kept for the next try: the commit stands
  /// either way.
  void append(std::string_view octets, const std::function<void(std::string_view)>& warn);
  bool dirty() const { return dirty_; }
  /// Tries again what could not be written, then syncs; `dirty` stays when that failed again.
  void sync(const std::function<void(std::string_view)>& warn);

 private:
  void open_newest();
  void write(const std::function<void(std::string_view)>& warn);
  void sync_file(const std::function<void(std::string_view)>& warn);
  Files& files_;
  std::string folder_;
  Descriptor file_;
  std::uint64_t number_ = 0;
  std::string unwritten_;
  bool dirty_ = false;
  bool warned_ = false;
};

struct JournalEntry {
  std::uint64_t commit;
  JournalKind kind;
  std::string_view payload;
};
/// Calls `each` for every sound entry of one journal file's octets; returns how many damaged stretches were passed
/// over.
std::uint64_t read_journal(std::string_view octets, const std::function<void(const JournalEntry&)>& each);

}  // namespace mailstore
