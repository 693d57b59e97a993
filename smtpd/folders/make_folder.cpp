#include "smtpd/folders/make_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "common/net/listening.hpp"

namespace smtpd::folders {
namespace {

using common::net::Descriptor;

constexpr mode_t ours_alone = 0700;

/// What the last one that died here left is ours, and is gone on with.
std::expected<Made, int> finish(int parent, const std::string& hidden, mode_t mode, const passwd* owner) {
  const Descriptor folder{::openat(parent, hidden.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  struct stat about{};
  if (folder.get() < 0 || ::fstat(folder.get(), &about) != 0) return std::unexpected(errno);
  const bool given = owner != nullptr && about.st_uid == owner->pw_uid;
  if (about.st_uid != ::geteuid() && !given) return std::unexpected(EPERM);
  if (owner != nullptr && ::fchown(folder.get(), owner->pw_uid, owner->pw_gid) != 0) return std::unexpected(errno);
  // The umask has taken from the mode, and the new owner the bit of the group.
  if (::fchmod(folder.get(), mode) == 0) return Made::fresh;
  if (errno == EPERM && (mode & S_ISGID) != 0 && ::fchmod(folder.get(), mode & ~mode_t{S_ISGID}) == 0)
    return Made::without_setgid;
  return std::unexpected(errno);
}

}  // namespace

std::expected<Made, int> make_folder(const std::filesystem::path& where, mode_t mode, const passwd* owner) {
  // "/srv/home/" too.
  const auto place = where.has_filename() ? where : where.parent_path();
  const auto name = place.filename().native();
  const Descriptor parent{::open(place.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (parent.get() < 0) return std::unexpected(errno);
  struct stat there{};
  if (::fstatat(parent.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!S_ISDIR(there.st_mode)) return std::unexpected(ENOTDIR);
    return Made::was_there;
  }
  if (errno != ENOENT) return std::unexpected(errno);
  const auto hidden = "." + name + ".new";
  if (::mkdirat(parent.get(), hidden.c_str(), ours_alone) != 0 && errno != EEXIST) return std::unexpected(errno);
  auto made = finish(parent.get(), hidden, mode, owner);
  if (!made) {
    ::unlinkat(parent.get(), hidden.c_str(), AT_REMOVEDIR);
    return made;
  }
  if (::renameat2(parent.get(), hidden.c_str(), parent.get(), name.c_str(), RENAME_NOREPLACE) != 0)
    return std::unexpected(errno);
  return made;
}

}  // namespace smtpd::folders
