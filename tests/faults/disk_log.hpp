#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

/// What a process asked the disk to do, call by call, written down in memory that outlives the process. The calls of
/// libc that change files are replaced in the fault tests' programs (disk_calls.cpp), so LMDB's are seen as well as
/// ours.
namespace faults {

enum class Entry : std::uint32_t {
  write,       ///< file, offset, octets; `done`: on stable storage when it returned (O_DSYNC)
  truncate,    ///< file, offset: the new size
  sync_begin,  ///< file (or folder), `done` unused
  sync_end,    ///< file; `done`: succeeded; offset: position of its beginning among the entries
  create,      ///< file, octets: path below the root; `done`: a folder
  unlink,      ///< octets: path
  rename,      ///< octets: from NUL to
  note         ///< octets: what the test says happened; offset: its number
};

struct Logged {
  std::uint64_t position;  ///< among all entries, from 0
  Entry kind;
  bool done;
  std::uint64_t file;  ///< inode number
  std::uint64_t offset;
  std::string_view octets;
};

/// How one call is made to fail.
struct Failing {
  std::uint64_t call = 0;  ///< the how manieth one that changes a file; 0: none
  int error = 0;           ///< errno
  /// The call does its work and fails nevertheless; a sync loses what it should have kept, and the next one does not
  /// know of it (as Linux does).
  bool after = false;
};

/// Memory shared with children; made before they are forked.
class DiskLog {
 public:
  DiskLog();
  ~DiskLog();
  DiskLog(const DiskLog&) = delete;
  DiskLog& operator=(const DiskLog&) = delete;

  /// From now on the calls of this process on files below `root` are written down; one of them may fail.
  void arm(const std::string& root, const Failing& failing = {});
  /// A remark of the test between the calls. Any thread.
  void note(std::string_view what);
  /// Entries so far; to be read when the writer is done.
  std::uint64_t size() const;
  /// Calls of the armed process that could have been made to fail.
  std::uint64_t calls() const;
  void clear();
  void read(const std::function<void(const Logged&)>& each) const;

 private:
  struct Shared;
  Shared* shared_;
};

/// The calls' side. All do nothing unless a log is armed in this process.
namespace calls {
bool armed();
/// The path below the root; nullopt: not ours.
std::optional<std::string_view> below_root(const char* path);
/// Whether the call that is about to be made fails; counts it.
std::optional<Failing> next_call();
std::uint64_t add(Entry kind, std::uint64_t file, bool done, std::uint64_t offset, std::string_view octets);
}  // namespace calls

}  // namespace faults
