// The calls of libc by which LMDB writes pages, replaced for this program and the libraries it loads. The store's own
// files are written by pwritev.
#include "index_writes.hpp"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace {

std::atomic<bool> index_full{false};
std::atomic<std::size_t> failures{0};

bool fails() {
  if (!index_full) return false;
  ++failures;
  errno = ENOSPC;
  return true;
}

}  // namespace

namespace test {

void fill_index(bool full) {
  index_full = full;
}
std::size_t failed_index_writes() {
  return failures;
}

}  // namespace test

extern "C" {

ssize_t pwrite(int descriptor, const void* octets, size_t size, off_t offset) {
  return fails() ? -1 : syscall(SYS_pwrite64, descriptor, octets, size, offset);
}
ssize_t pwrite64(int descriptor, const void* octets, size_t size, off_t offset) {
  return fails() ? -1 : syscall(SYS_pwrite64, descriptor, octets, size, offset);
}
ssize_t writev(int descriptor, const iovec* pieces, int count) {
  return fails() ? -1 : syscall(SYS_writev, descriptor, pieces, count);
}
}
