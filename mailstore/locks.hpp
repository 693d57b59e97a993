#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>

#include "mailstore/files.hpp"
#include "mailstore/types.hpp"

/// Locks between processes: open-file-description locks, which belong to the descriptor and not to the process, so that
/// closing another descriptor of the file loses nothing. A dead process's locks are free.
namespace mailstore {

/// False: somebody else holds it. `length` 0: to the end of the file.
bool try_lock(int descriptor, std::uint64_t offset, std::uint64_t length);
void wait_lock(int descriptor, std::uint64_t offset, std::uint64_t length);
void unlock(int descriptor, std::uint64_t offset, std::uint64_t length);

/// One maildrop, one holder, over all processes and all sessions of each. 256 files share the mailboxes: the kernel
/// looks through a file's locks one by one.
class MaildropLocks {
 public:
  explicit MaildropLocks(std::string folder);
  /// False: in use.
  bool take(MailboxNumber mailbox);
  void release(MailboxNumber mailbox);

 private:
  static constexpr std::size_t count = 256;
  struct Shard {
    std::mutex mutex;
    Descriptor file;
    std::unordered_set<std::uint32_t> held;  // locks of one description do not exclude each other
  };
  std::string folder_;
  std::array<Shard, count> shards_;
};

/// LMDB's write lock is not fair. Every writer passes this first and leaves it once it has LMDB's.
class Turnstile {
 public:
  explicit Turnstile(const std::string& path);
  class Pass {
   public:
    explicit Pass(Turnstile& turnstile);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Turnstile& turnstile_;
  };

 private:
  std::mutex mutex_;  // the threads of this process; the file lock is for the others
  Descriptor file_;
};

/// Every process that has the store open is present; what replaces the index must be alone. Kept until the object goes.
class Presence {
 public:
  enum class Kind : std::uint8_t { among_others, alone };
  /// Throws Failure (conflict): somebody is present, or somebody wants to be alone.
  Presence(const std::string& folder, Kind kind);

 private:
  Descriptor file_;
};

/// One compaction at a time over all processes. Throws Failure (conflict).
class CareLock {
 public:
  explicit CareLock(const std::string& folder);

 private:
  Descriptor file_;
};

/// One scheduler of the queue over all processes; held for as long as the descriptor is. nullopt: another has it.
std::optional<Descriptor> take_scheduler_lock(const std::string& folder);

/// A number from 0 to 15 that no other process has; kept until the process ends.
class WriterSlot {
 public:
  explicit WriterSlot(std::string folder) : folder_(std::move(folder)) {}
  static constexpr unsigned count = 16;
  /// Takes one if there is none yet. Throws Failure (unavailable) when sixteen processes write already.
  unsigned take();

 private:
  std::string folder_;
  Descriptor file_;
  std::optional<unsigned> slot_;
};

}  // namespace mailstore
