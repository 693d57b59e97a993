#include "smtpd/folders/opened_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace smtpd::folders {

namespace {

std::string identify(int file, const struct statx& about) {
  if ((about.stx_mask & STATX_BTIME) != 0)
    return fmt::format("{} b{}.{:09}", about.stx_ino, about.stx_btime.tv_sec, about.stx_btime.tv_nsec);
  // The time of the last change of the inode would be another one once it was renamed.
  int generation = 0;
  if (::ioctl(file, FS_IOC_GETVERSION, &generation) != 0) generation = 0;
  return fmt::format("{} m{}.{:09} g{}", about.stx_ino, about.stx_mtime.tv_sec, about.stx_mtime.tv_nsec,
                     static_cast<unsigned>(generation));
}

/// Of one that may not be opened.
std::string identify(int folder, const std::string& name) {
  struct statx about{};
  const bool told = ::statx(folder, name.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &about) == 0;
  return told && S_ISREG(about.stx_mode) ? identify(-1, about) : std::string{};
}

}  // namespace

using Why = OpenedFile::Refusal::Why;

OpenedFile::OpenedFile(int descriptor, std::uint32_t owner, std::string identity)
    : descriptor_(descriptor), owner_(owner), identity_(std::move(identity)) {}
OpenedFile::OpenedFile(OpenedFile&& from) noexcept
    : descriptor_(std::exchange(from.descriptor_, -1)), owner_(from.owner_), identity_(std::move(from.identity_)) {}
OpenedFile::~OpenedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool OpenedFile::has_name() const {
  struct stat about{};
  return ::fstat(descriptor_, &about) != 0 || about.st_nlink != 0;
}

std::expected<OpenedFile, OpenedFile::Refusal> OpenedFile::open(int folder, const std::string& name) {
  const auto refuse = [](Why why, std::string text) { return std::unexpected(Refusal{why, std::move(text)}); };
  // O_NONBLOCK: a pipe must not hold us up. What it is, the descriptor tells; the name may be somebody else's by then.
  const int descriptor = ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return refuse(Why::gone, "gone");
    if (errno == ELOOP) return refuse(Why::no_mail, "a symbolic link");
    if (errno == ENXIO || errno == ENODEV) return refuse(Why::no_mail, "no plain file");
    if (errno == EACCES || errno == EPERM)
      return std::unexpected(Refusal{Why::no_mail, "smtpd may not read it", identify(folder, name)});
    return refuse(Why::trouble, std::strerror(errno));
  }
  OpenedFile file{descriptor, 0, {}};
  struct statx about{};
  if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &about) != 0)
    return refuse(Why::trouble, std::strerror(errno));
  if (!S_ISREG(about.stx_mode)) return refuse(Why::no_mail, "no plain file");
  // With a hard link anybody could hand in a file that somebody else wrote.
  if (about.stx_nlink == 0) return refuse(Why::gone, "gone");
  file.identity_ = identify(descriptor, about);
  if (about.stx_nlink != 1)
    return std::unexpected(Refusal{Why::no_mail, "a file with several names (hard links)", std::move(file.identity_)});
  file.owner_ = about.stx_uid;
  return file;
}

}  // namespace smtpd::folders
