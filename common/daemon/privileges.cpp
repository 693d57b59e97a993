#include "common/daemon/privileges.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace common::daemon {

std::expected<void, std::string> drop_privileges(const std::string& user) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return std::unexpected(
        fmt::format("no_new_privs cannot be set: {}; a kernel from 3.5 on is needed", std::strerror(errno)));
  }
  if (::geteuid() != 0 || user.empty()) return {};
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
  return {};
}

void raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace common::daemon
