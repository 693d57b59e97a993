#include "smtpd/folders/placed_in.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace smtpd::folders {

std::string folder_mark(const std::filesystem::path& folder) {
  struct statx about{};
  if (::statx(AT_FDCWD, folder.c_str(), 0, STATX_INO | STATX_BTIME, &about) != 0) return "?";
  if ((about.stx_mask & STATX_BTIME) == 0) return fmt::format("{}", about.stx_ino);
  return fmt::format("{} {}.{:09}", about.stx_ino, about.stx_btime.tv_sec, about.stx_btime.tv_nsec);
}

std::expected<void, std::string> check_folder(const std::filesystem::path& folder, const std::string& mark) {
  struct stat about{};
  if (::stat(folder.c_str(), &about) != 0)
    return std::unexpected(fmt::format("{}: {}", folder.string(), std::strerror(errno)));
  if (mark.empty() || (mark != "?" && folder_mark(folder) == mark)) return {};
  return std::unexpected(
      fmt::format("{} is not the folder into which this was being put; is a disk not mounted?", folder.string()));
}

}  // namespace smtpd::folders
