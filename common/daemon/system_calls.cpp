#include "common/daemon/system_calls.hpp"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string_view>

#include "common/daemon/instrumented.hpp"

namespace common::daemon {
namespace {

using Comparisons = std::initializer_list<scmp_arg_cmp>;

// By name: what an architecture lacks is passed over there.
constexpr auto calls = std::to_array<const char*>(
    {// files
     "access", "chmod", "close", "close_range", "copy_file_range", "dup", "dup2", "dup3", "faccessat", "faccessat2",
     "fadvise64", "fallocate", "fchmod", "fchmodat", "fcntl", "fdatasync", "flock", "fstat", "fstatfs", "fsync",
     "ftruncate", "getcwd", "getdents64", "link", "linkat", "lseek", "lstat", "mkdir", "mkdirat", "newfstatat", "open",
     "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead",
     "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile", "splice", "stat",
     "statfs", "statx", "sync_file_range", "syncfs", "truncate", "umask", "unlink", "unlinkat", "utimensat", "write",
     "writev",
     // sockets
     "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
     "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
     // waiting
     "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2",
     "futex", "futex_waitv", "inotify_add_watch", "inotify_init1", "inotify_rm_watch", "pipe", "pipe2", "poll", "ppoll",
     "pselect6", "select", "timerfd_create", "timerfd_gettime", "timerfd_settime",
     // memory
     "brk", "madvise", "memfd_create", "mlock", "mlock2", "mremap", "msync", "munlock", "munmap",
     // time and chance
     "clock_getres", "clock_gettime", "clock_nanosleep", "getrandom", "gettimeofday", "nanosleep", "time",
     // threads and the process itself
     "arch_prctl", "exit", "exit_group", "get_robust_list", "getcpu", "getegid", "geteuid", "getgid", "getgroups",
     "getpid", "getppid", "getresgid", "getresuid", "getrlimit", "getrusage", "gettid", "getuid", "membarrier",
     "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend",
     "rt_sigtimedwait", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getparam",
     "sched_getscheduler", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack", "sysinfo", "times",
     "uname"});

// Nothing that we do and no library that we use comes near these: whoever calls them has taken the process over.
constexpr auto hostile = std::to_array<const char*>(
    {// the kernel
     "bpf", "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load",
     "perf_event_open", "reboot", "swapoff", "swapon", "userfaultfd",
     // file systems and namespaces
     "chroot", "mount", "mount_setattr", "move_mount", "open_by_handle_at", "open_tree", "pivot_root", "setns",
     "umount2", "unshare",
     // other processes
     "kcmp", "pidfd_getfd", "process_vm_writev"});

// These a sanitizer's runtime needs.
constexpr auto watched =
    std::to_array<const char*>({"execve", "execveat", "fork", "process_vm_readv", "ptrace", "vfork"});
constexpr auto for_sanitizers = std::to_array<const char*>(
    {"clone", "clone3", "getdents", "getpgrp", "ioctl", "kill", "mincore", "mmap", "mprotect", "personality", "prctl",
     "prlimit64", "rt_sigqueueinfo", "setrlimit", "tgkill", "wait4", "waitid"});

struct Release {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};

/// A filter in the making; the first failure is kept.
class Filter {
 public:
  Filter() : filter_(::seccomp_init(SCMP_ACT_ERRNO(ENOSYS))) {
    if (!filter_) error_ = ENOMEM;
  }

  void set(scmp_filter_attr attribute, std::uint32_t value) {
    if (error_ == 0) error_ = -::seccomp_attr_set(filter_.get(), attribute, value);
  }
  /// What an older kernel or library may lack.
  void prefer(scmp_filter_attr attribute, std::uint32_t value) {
    if (error_ == 0) ::seccomp_attr_set(filter_.get(), attribute, value);
  }
  void add(std::uint32_t action, const char* name, Comparisons comparisons = {}) {
    const int number = ::seccomp_syscall_resolve_name(name);
    if (error_ != 0 || number == __NR_SCMP_ERROR) return;
    error_ = -::seccomp_rule_add_array(filter_.get(), action, number, static_cast<unsigned>(comparisons.size()),
                                       comparisons.begin());
    if (error_ != 0) where_ = name;
  }
  void allow(const char* name, Comparisons comparisons = {}) { add(SCMP_ACT_ALLOW, name, comparisons); }

  std::expected<void, std::string> load() {
    if (error_ == 0) error_ = -::seccomp_load(filter_.get());
    if (error_ == 0) return {};
    return std::unexpected(fmt::format("the system calls cannot be restricted{}{}: {}", *where_ == '\0' ? "" : ": ",
                                       where_, std::strerror(error_)));
  }

 private:
  std::unique_ptr<void, Release> filter_;
  int error_ = 0;
  const char* where_ = "";
};

scmp_arg_cmp bits(unsigned argument, std::uint64_t mask, std::uint64_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}
/// An int: the kernel looks at these 32 bits of the register, and what the others hold is nobody's concern.
scmp_arg_cmp equal(unsigned argument, int value) {
  return bits(argument, 0xffffffff, static_cast<std::uint32_t>(value));
}

/// Calls that are right with some arguments only.
void allow_in_part(Filter& filter) {
  for (const int family : {AF_UNIX, AF_INET, AF_INET6}) {
    filter.allow("socket", {equal(0, family)});
  }
  // getaddrinfo asks which addresses this machine has.
  filter.allow("socket", {equal(0, AF_NETLINK), equal(2, NETLINK_ROUTE)});
  filter.allow("socketpair", {equal(0, AF_UNIX)});
  for (const int request : {FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ}) filter.allow("ioctl", {equal(1, request)});
  for (const int rights : {PROT_NONE, PROT_WRITE, PROT_EXEC}) {
    filter.allow("mmap", {bits(2, PROT_WRITE | PROT_EXEC, static_cast<std::uint64_t>(rights))});
  }
  filter.allow("mprotect", {bits(2, PROT_EXEC, 0)});
  // Threads, and no other process. clone3 hides its flags from us: libc takes ENOSYS and calls clone.
  filter.allow("clone", {bits(0, CLONE_THREAD, CLONE_THREAD)});
  filter.allow("tgkill", {equal(0, ::getpid())});
  filter.allow("prlimit64", {equal(0, 0)});
  filter.allow("prctl", {equal(0, PR_SET_NAME)});
  filter.allow("prctl", {equal(0, PR_GET_NAME)});
}

}  // namespace

std::expected<void, std::string> restrict_calls() {
  Filter filter;
  filter.set(SCMP_FLTATR_CTL_TSYNC, 1);
  // A call in the numbering of another architecture.
  filter.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // Kernels before 5.16 would slow every thread down for a leak between threads that trust each other.
  filter.prefer(SCMP_FLTATR_CTL_SSB, 1);
  // A tree, for calls whose arguments are looked at.
  filter.prefer(SCMP_FLTATR_CTL_OPTIMIZE, 2);
  for (const char* const name : calls) filter.allow(name);
  for (const char* const name : hostile) filter.add(SCMP_ACT_KILL_PROCESS, name);
  for (const char* const name : watched) filter.add(instrumented ? SCMP_ACT_ALLOW : SCMP_ACT_KILL_PROCESS, name);
  if (instrumented) {
    for (const char* const name : for_sanitizers) filter.allow(name);
    filter.allow("socket");
    filter.allow("socketpair");
  } else {
    allow_in_part(filter);
  }
  return filter.load();
}

}  // namespace common::daemon
