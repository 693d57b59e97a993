#include "smtpd/folders/opened_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace smtpd::folders {

using Why = OpenedFile::Refusal::Why;

OpenedFile::OpenedFile(int descriptor, std::uint32_t owner, std::string identity)
    : descriptor_(descriptor), owner_(owner), identity_(std::move(identity)) {}
OpenedFile::OpenedFile(OpenedFile&& from) noexcept
    : descriptor_(std::exchange(from.descriptor_, -1)), owner_(from.owner_), identity_(std::move(from.identity_)) {}
OpenedFile::~OpenedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::expected<OpenedFile, OpenedFile::Refusal> OpenedFile::open(int folder, const std::string& name) {
  const auto refuse = [](Why why, std::string text) { return std::unexpected(Refusal{why, std::move(text)}); };
  // O_NONBLOCK: a pipe must not hold us up. What it is, the descriptor tells; the name may be somebody else's by then.
  const int descriptor = ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return refuse(Why::gone, "gone");
    if (errno == ELOOP) return refuse(Why::no_mail, "a symbolic link");
    if (errno == ENXIO || errno == ENODEV) return refuse(Why::no_mail, "no plain file");
    if (errno == EACCES || errno == EPERM) return refuse(Why::no_mail, "smtpd may not read it");
    return refuse(Why::trouble, std::strerror(errno));
  }
  OpenedFile file{descriptor, 0, {}};
  struct statx about{};
  if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &about) != 0)
    return refuse(Why::trouble, std::strerror(errno));
  if (!S_ISREG(about.stx_mode)) return refuse(Why::no_mail, "no plain file");
  // With a hard link anybody could hand in a file that somebody else wrote.
  if (about.stx_nlink == 0) return refuse(Why::gone, "gone");
  if (about.stx_nlink != 1) return refuse(Why::no_mail, "a file with several names (hard links)");
  const bool born = (about.stx_mask & STATX_BTIME) != 0;
  const auto& time = born ? about.stx_btime : about.stx_mtime;
  file.owner_ = about.stx_uid;
  file.identity_ = fmt::format("{} {}{}.{:09}", about.stx_ino, born ? "b" : "m", time.tv_sec, time.tv_nsec);
  return file;
}

}  // namespace smtpd::folders
