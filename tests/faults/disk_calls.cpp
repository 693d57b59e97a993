// libc's calls that change files, replaced for this program and the libraries it loads. Unless a log is armed, and for
// files elsewhere, they are the system's calls and nothing more.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <optional>
#include <string_view>

#include "tests/faults/disk_log.hpp"

namespace {

using faults::Entry;
namespace calls = faults::calls;

struct Open {
  std::atomic<std::uint64_t> file{0};  // inode number; 0: not below the root
  std::atomic<bool> durable{false};    // O_DSYNC
  std::atomic<bool> appends{false};    // O_APPEND: the offset that is asked for does not matter
};
std::array<Open, 4096> open_files;

Open* ours(int descriptor) {
  if (!calls::armed() || descriptor < 0 || static_cast<std::size_t>(descriptor) >= open_files.size()) return nullptr;
  auto& open = open_files[static_cast<std::size_t>(descriptor)];
  return open.file != 0 ? &open : nullptr;
}

std::uint64_t inode_of(int descriptor) {
  struct stat about{};
  return ::fstat(descriptor, &about) == 0 ? about.st_ino : 0;
}

long system_open(const char* path, int flags, mode_t mode) {
  return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open_file(const char* path, int flags, mode_t mode) {
  if (!calls::armed()) return static_cast<int>(system_open(path, flags, mode));
  const auto name = calls::below_root(path);
  if (!name) return static_cast<int>(system_open(path, flags, mode));
  struct stat about{};
  const bool makes = (flags & O_CREAT) != 0 && ::lstat(path, &about) != 0;
  if (makes) {
    if (const auto failing = calls::next_call()) {
      errno = failing->error;
      return -1;
    }
  }
  const int descriptor = static_cast<int>(system_open(path, flags, mode));
  if (descriptor < 0) return descriptor;
  const auto file = inode_of(descriptor);
  if (static_cast<std::size_t>(descriptor) < open_files.size()) {
    auto& open = open_files[static_cast<std::size_t>(descriptor)];
    open.file = file;
    open.durable = (flags & O_DSYNC) == O_DSYNC;
    open.appends = (flags & O_APPEND) != 0;
  }
  if (makes)
    calls::add(Entry::create, file, false, 0, *name);
  else if ((flags & O_TRUNC) != 0)
    calls::add(Entry::truncate, file, false, 0, {});
  return descriptor;
}

int sync_file(int descriptor, long number) {
  auto* const open = ours(descriptor);
  if (open == nullptr) return static_cast<int>(syscall(number, descriptor));
  const auto failing = calls::next_call();
  if (failing && !failing->after) {
    // Nothing was written, and the pages count as clean from now on all the same.
    const auto begin = calls::add(Entry::sync_begin, open->file, true, 0, {});
    calls::add(Entry::sync_end, open->file, false, begin, {});
    errno = failing->error;
    return -1;
  }
  const auto begin = calls::add(Entry::sync_begin, open->file, true, 0, {});
  // No need to trouble the disk: what is durable is this log's to say.
  calls::add(Entry::sync_end, open->file, !failing, begin, {});
  if (failing) {
    errno = failing->error;
    return -1;
  }
  return 0;
}

/// Writes pieces at an offset; -1 there: at the file's own position.
ssize_t write_pieces(int descriptor, const iovec* pieces, int count, off_t offset) {
  const auto system = [&](const iovec* from, int many) -> ssize_t {
    if (offset >= 0) return syscall(SYS_pwritev, descriptor, from, many, offset, 0L);
    return syscall(SYS_writev, descriptor, from, many);
  };
  auto* const open = ours(descriptor);
  if (open == nullptr) return system(pieces, count);
  auto at = offset >= 0 ? offset : ::lseek(descriptor, 0, SEEK_CUR);
  if (open->appends) at = ::lseek(descriptor, 0, SEEK_END);
  const auto failing = calls::next_call();
  if (failing && !failing->after) {
    errno = failing->error;
    return -1;
  }
  ssize_t written = 0;
  if (failing) {
    // Half of the first piece, then the failure: the caller hears of the half.
    iovec half = pieces[0];
    half.iov_len = half.iov_len > 1 ? half.iov_len / 2 : half.iov_len;
    written = system(&half, 1);
  } else {
    written = system(pieces, count);
  }
  if (written < 0) return written;
  auto left = static_cast<std::size_t>(written);
  for (int i = 0; i < count && left > 0; ++i) {
    const auto some = left < pieces[i].iov_len ? left : pieces[i].iov_len;
    calls::add(Entry::write, open->file, open->durable, static_cast<std::uint64_t>(at),
               {static_cast<const char*>(pieces[i].iov_base), some});
    at += static_cast<off_t>(some);
    left -= some;
  }
  return written;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  return open_file(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  return open_file(path, flags, mode);
}
int __open_2(const char* path, int flags) {
  return open_file(path, flags, 0);
}
int __open64_2(const char* path, int flags) {
  return open_file(path, flags, 0);
}

int close(int descriptor) {
  if (auto* const open = ours(descriptor)) open->file = 0;
  return static_cast<int>(syscall(SYS_close, descriptor));
}

int fdatasync(int descriptor) {
  return sync_file(descriptor, SYS_fdatasync);
}
int fsync(int descriptor) {
  return sync_file(descriptor, SYS_fsync);
}

ssize_t pwrite(int descriptor, const void* octets, size_t size, off_t offset) {
  const iovec piece{const_cast<void*>(octets), size};
  return write_pieces(descriptor, &piece, 1, offset);
}
ssize_t pwrite64(int descriptor, const void* octets, size_t size, off_t offset) {
  return pwrite(descriptor, octets, size, offset);
}
ssize_t write(int descriptor, const void* octets, size_t size) {
  if (ours(descriptor) == nullptr) return syscall(SYS_write, descriptor, octets, size);
  const iovec piece{const_cast<void*>(octets), size};
  return write_pieces(descriptor, &piece, 1, -1);
}
ssize_t writev(int descriptor, const iovec* pieces, int count) {
  return write_pieces(descriptor, pieces, count, -1);
}
ssize_t pwritev(int descriptor, const iovec* pieces, int count, off_t offset) {
  return write_pieces(descriptor, pieces, count, offset);
}
ssize_t pwritev64(int descriptor, const iovec* pieces, int count, off_t offset) {
  return write_pieces(descriptor, pieces, count, offset);
}

int ftruncate(int descriptor, off_t size) noexcept {
  auto* const open = ours(descriptor);
  if (open != nullptr) {
    if (const auto failing = calls::next_call()) {
      errno = failing->error;
      return -1;
    }
  }
  const int result = static_cast<int>(syscall(SYS_ftruncate, descriptor, size));
  if (open != nullptr && result == 0) {
    calls::add(Entry::truncate, open->file, false, static_cast<std::uint64_t>(size), {});
  }
  return result;
}
int ftruncate64(int descriptor, off_t size) noexcept {
  return ftruncate(descriptor, size);
}

int unlink(const char* path) noexcept {
  const auto name = calls::armed() ? calls::below_root(path) : std::nullopt;
  if (name) {
    if (const auto failing = calls::next_call()) {
      errno = failing->error;
      return -1;
    }
  }
  const int result = static_cast<int>(syscall(SYS_unlink, path));
  if (name && result == 0) calls::add(Entry::unlink, 0, true, 0, *name);
  return result;
}

int rename(const char* from, const char* to) noexcept {
  const auto old_name = calls::armed() ? calls::below_root(from) : std::nullopt;
  const auto new_name = calls::below_root(to).value_or(std::string_view());
  if (old_name) {
    if (const auto failing = calls::next_call()) {
      errno = failing->error;
      return -1;
    }
  }
  const int result = static_cast<int>(syscall(SYS_rename, from, to));
  if (old_name && !new_name.empty() && result == 0) {
    std::array<char, 512> both{};
    const auto size = old_name->size() + 1 + new_name.size();
    if (size > both.size()) __builtin_trap();
    std::memcpy(both.data(), old_name->data(), old_name->size());
    std::memcpy(both.data() + old_name->size() + 1, new_name.data(), new_name.size());
    calls::add(Entry::rename, 0, true, 0, {both.data(), size});
  }
  return result;
}

int mkdir(const char* path, mode_t mode) noexcept {
  const auto name = calls::armed() ? calls::below_root(path) : std::nullopt;
  if (name) {
    if (const auto failing = calls::next_call()) {
      errno = failing->error;
      return -1;
    }
  }
  const int result = static_cast<int>(syscall(SYS_mkdir, path, mode));
  if (name && result == 0) {
    struct stat about{};
    if (::stat(path, &about) == 0) calls::add(Entry::create, about.st_ino, true, 0, *name);
  }
  return result;
}

}  // extern "C"
