#include "common/daemon/privileges.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace common::daemon {
namespace {

/// The right to bind low ports, which a service manager gives to a user that is not root: used up once they are bound.
std::expected<void, std::string> drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::syscall(SYS_capset, &header, none) == 0) return {};
  return std::unexpected(
      fmt::format("cannot give up capabilities: {}; start as root or as an ordinary user", std::strerror(errno)));
}

}  // namespace

std::expected<void, std::string> drop_privileges(const std::string& user) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return std::unexpected(
        fmt::format("no_new_privs cannot be set: {}; a kernel from 3.5 on is needed", std::strerror(errno)));
  }
  if (::geteuid() != 0) return drop_capabilities();
  if (user.empty()) return {};
  errno = 0;
  const passwd* const entry = ::getpwnam(user.c_str());
  if (entry == nullptr) {
    return std::unexpected(
        fmt::format("run.user: there is no user \"{}\"; make it (useradd --system {}), or set run.user", user, user));
  }
  const auto uid = entry->pw_uid;
  const auto gid = entry->pw_gid;
  // Groups first, while we still may. initgroups keeps those that let the user read a key of, say, group ssl-cert.
  if (::initgroups(entry->pw_name, gid) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0) {
    return std::unexpected(
        fmt::format("cannot become {}: {}; start as root or as that user", user, std::strerror(errno)));
  }
  if (uid != 0 && ::setresuid(0, 0, 0) == 0)
    return std::unexpected(fmt::format("became {} but may still become root", user));
  // No core dump and no debugger of the same user may see passwords and keys.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  return uid == 0 ? std::expected<void, std::string>{} : drop_capabilities();
}

void raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace common::daemon
