#include "common/daemon/run_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "common/daemon/control_client.hpp"

namespace common::daemon {
namespace {

std::string because(const std::filesystem::path& path, const char* remedy) {
  return fmt::format("{}: {}; {}", path.string(), std::strerror(errno), remedy);
}

/// As root: gives `path` to the run user, so that the daemon may write there when it is root no longer.
bool give(const std::filesystem::path& path, const std::string& owner) {
  if (::geteuid() != 0 || owner.empty()) return true;
  const passwd* const entry = ::getpwnam(owner.c_str());
  return entry != nullptr && ::chown(path.c_str(), entry->pw_uid, entry->pw_gid) == 0;
}

}  // namespace

std::expected<RunDirectory, std::string> RunDirectory::take(const std::filesystem::path& directory,
                                                            std::string_view name, const std::string& owner) {
  struct stat there{};
  if (::stat(directory.c_str(), &there) != 0) {
    std::error_code ignored;
    std::filesystem::create_directories(directory.parent_path(), ignored);
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
      return std::unexpected(
          because(directory, "make it for the user of run.user, or name another one in run.directory"));
    }
    // The umask says who reads our files; the folder itself is for the tool's users to look into.
    if (::chmod(directory.c_str(), 0755) != 0 || !give(directory, owner)) {
      return std::unexpected(because(directory, "it must belong to the user of run.user"));
    }
  }
  const auto path = directory / (std::string{name} + ".lock");
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (lock < 0) {
    return std::unexpected(because(path, "run.directory must be writable for the user that the daemon is started as"));
  }
  RunDirectory taken{directory, std::string{name}, lock};
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return std::unexpected(
        fmt::format("{}: another {} runs with this run directory; stop it first, or name another one in run.directory",
                    path.string(), name));
  }
  if (!give(path, owner)) return std::unexpected(because(path, "it must belong to the user of run.user"));
  return taken;
}

RunDirectory::RunDirectory(std::filesystem::path directory, std::string name, int lock)
    : directory_(std::move(directory)), name_(std::move(name)), lock_(lock) {}
RunDirectory::RunDirectory(RunDirectory&& other) noexcept
    : directory_(std::move(other.directory_)),
      name_(std::move(other.name_)),
      lock_(std::exchange(other.lock_, -1)),
      pid_written_(std::exchange(other.pid_written_, false)) {}

RunDirectory::~RunDirectory() {
  if (lock_ < 0) return;
  // Before the lock is let go: a successor's pid file is not ours to remove. The lock file stays, since removing it
  // would let two daemons hold locks on two files of one name.
  if (pid_written_) ::unlink((directory_ / (name_ + ".pid")).c_str());
  ::close(lock_);
}

std::expected<void, std::string> RunDirectory::write_pid() {
  const auto path = directory_ / (name_ + ".pid");
  const auto fresh = directory_ / (name_ + ".pid.new");
  static constexpr const char* remedy = "run.directory must be writable for the user of run.user";
  const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (file < 0) return std::unexpected(because(fresh, remedy));
  const auto text = fmt::format("{}\n", ::getpid());
  const bool written =
      ::fchmod(file, 0644) == 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(file);
  if (!written || ::rename(fresh.c_str(), path.c_str()) != 0) return std::unexpected(because(path, remedy));
  pid_written_ = true;
  return {};
}

std::filesystem::path RunDirectory::control() const {
  return control_path(directory_, name_);
}

}  // namespace common::daemon
