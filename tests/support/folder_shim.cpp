// Put before libc (LD_PRELOAD) in a daemon, for tests of folders: a disk that seems to be of a network, and a death
// before the N-th call that changes a disk.
//
// SHIM_FILE_SYSTEM=MAGIC: what statfs says. SHIM_NO_SETGID=1: that bit is refused, as by RestrictSUIDSGID= of systemd.
// SHIM_KILL_AT=N with SHIM_ARM=FILE: calls count once FILE is there.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>

namespace {

template <class Function>
Function* next(const char* name, Function*) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

long number_in(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? 0 : std::strtol(text, nullptr, 0);
}

/// As a crash ends a process: nothing is flushed, no destructor runs. (A signal to ourselves the sandbox may refuse.)
void step() {
  static const long last = number_in("SHIM_KILL_AT");
  static const char* const arm = std::getenv("SHIM_ARM");
  static std::atomic<bool> armed{false};
  static std::atomic<long> steps{0};
  if (last == 0 || arm == nullptr) return;
  if (!armed && ::syscall(SYS_access, arm, F_OK) != 0) return;
  armed = true;
  if (++steps >= last) ::syscall(SYS_exit_group, 99);
}

void pretend(struct statfs* about) {
  if (const long magic = number_in("SHIM_FILE_SYSTEM"); magic != 0) about->f_type = magic;
}

}  // namespace

extern "C" {

int statfs(const char* path, struct statfs* about) noexcept {
  const int result = static_cast<int>(::syscall(SYS_statfs, path, about));
  if (result == 0) pretend(about);
  return result;
}
int statfs64(const char* path, struct statfs64* about) noexcept {
  return statfs(path, reinterpret_cast<struct statfs*>(about));
}

int fchmod(int file, mode_t mode) noexcept {
  if ((mode & S_ISGID) != 0 && number_in("SHIM_NO_SETGID") != 0) {
    errno = EPERM;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fchmod, file, mode));
}
int fsync(int file) {
  step();
  return static_cast<int>(::syscall(SYS_fsync, file));
}
int fdatasync(int file) {
  step();
  return static_cast<int>(::syscall(SYS_fdatasync, file));
}
int syncfs(int file) noexcept {
  step();
  return static_cast<int>(::syscall(SYS_syncfs, file));
}
int openat64(int folder, const char* path, int flags, ...) {
  if ((flags & O_CREAT) == 0) return static_cast<int>(::syscall(SYS_openat, folder, path, flags));
  va_list rest;
  va_start(rest, flags);
  const auto mode = va_arg(rest, mode_t);
  va_end(rest);
  step();
  return static_cast<int>(::syscall(SYS_openat, folder, path, flags, mode));
}
int openat(int folder, const char* path, int flags, ...) {
  if ((flags & O_CREAT) == 0) return static_cast<int>(::syscall(SYS_openat, folder, path, flags));
  va_list rest;
  va_start(rest, flags);
  const auto mode = va_arg(rest, mode_t);
  va_end(rest);
  step();
  return static_cast<int>(::syscall(SYS_openat, folder, path, flags, mode));
}
ssize_t writev(int file, const iovec* pieces, int count) {
  struct stat about{};
  if (::fstat(file, &about) == 0 && S_ISREG(about.st_mode)) step();
  static auto* const real = next("writev", &writev);
  return real(file, pieces, count);
}
int unlink(const char* path) noexcept {
  step();
  return static_cast<int>(::syscall(SYS_unlink, path));
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  step();
  return static_cast<int>(::syscall(SYS_unlinkat, folder, path, flags));
}
int renameat(int from, const char* old, int to, const char* fresh) noexcept {
  step();
  return static_cast<int>(::syscall(SYS_renameat, from, old, to, fresh));
}
int renameat2(int from, const char* old, int to, const char* fresh, unsigned flags) noexcept {
  step();
  return static_cast<int>(::syscall(SYS_renameat2, from, old, to, fresh, flags));
}
int sync_file_range(int file, off64_t from, off64_t octets, unsigned flags) {
  step();
  return static_cast<int>(::syscall(SYS_sync_file_range, file, from, octets, flags));
}
ssize_t pwritev(int file, const iovec* pieces, int count, off_t at) {
  step();
  static auto* const real = next("pwritev", &pwritev);
  return real(file, pieces, count, at);
}
ssize_t pwrite(int file, const void* octets, size_t count, off_t at) {
  step();
  static auto* const real = next("pwrite", &pwrite);
  return real(file, octets, count, at);
}
ssize_t pwrite64(int file, const void* octets, size_t count, off64_t at) {
  step();
  static auto* const real = next("pwrite64", &pwrite64);
  return real(file, octets, count, at);
}
ssize_t pwritev64(int file, const iovec* pieces, int count, off64_t at) {
  step();
  static auto* const real = next("pwritev64", &pwritev64);
  return real(file, pieces, count, at);
}

}  // extern "C"
