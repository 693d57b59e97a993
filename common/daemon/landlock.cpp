#include "common/daemon/landlock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/daemon/instrumented.hpp"
#include "common/net/listening.hpp"

namespace common::daemon {
namespace {

// The header is as old as the machine that we are built on, the kernel as new as the one that we run on: what came
// later is named here.
constexpr std::uint64_t refer = 1U << 13U;      // version 2
constexpr std::uint64_t truncate = 1U << 14U;   // version 3
constexpr std::uint64_t ioctl_dev = 1U << 15U;  // version 5
constexpr std::uint64_t signals = 1U << 1U;     // version 6, a scope

struct Ruleset {
  std::uint64_t files = 0;
  std::uint64_t network =
      0;                     // version 4; ports are the configuration's, and what a mail server connects to is anywhere
  std::uint64_t scoped = 0;  // version 6
};

// Rights that make sense for a file that is not a folder; the kernel refuses the others there.
constexpr std::uint64_t of_file =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | truncate | ioctl_dev;

std::uint64_t known(int version) {
  std::uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1U) - 1;  // all of version 1
  if (version >= 2) rights |= refer;
  if (version >= 3) rights |= truncate;
  if (version >= 5) rights |= ioctl_dev;
  if (instrumented) rights &= ~std::uint64_t{LANDLOCK_ACCESS_FS_EXECUTE};
  return rights;
}

std::uint64_t rights_for(Access access) {
  std::uint64_t rights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  if (access == Access::read) return rights;
  rights |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE |
            LANDLOCK_ACCESS_FS_MAKE_SOCK | truncate;
  if (access == Access::files) return rights;
  return rights | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | refer;
}

std::unexpected<std::string> failed(const char* what) {
  return std::unexpected(fmt::format("Landlock: {}: {}", what, std::strerror(errno)));
}

}  // namespace

int landlock_version() {
  const auto version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version < 0 ? 0 : static_cast<int>(version);
}

std::expected<void, std::string> restrict_paths(std::span<const Allowed> allowed, int version) {
  if (version == 0) return std::unexpected("Landlock: this kernel has none, or it is switched off");
  const auto rights = known(version);
  const Ruleset handled{rights, 0, version >= 6 && !instrumented ? signals : 0};
  const net::Descriptor rules{static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0))};
  if (rules.get() < 0) return failed("no set of rules can be made");
  for (const auto& [path, access] : allowed) {
    const net::Descriptor place{::open(path.c_str(), O_PATH | O_CLOEXEC)};
    struct stat status{};
    if (place.get() < 0 || ::fstat(place.get(), &status) != 0) continue;
    landlock_path_beneath_attr rule{};
    rule.allowed_access = rights_for(access) & rights;
    if (!S_ISDIR(status.st_mode)) rule.allowed_access &= of_file;
    rule.parent_fd = place.get();
    if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
      return failed(path.c_str());
    }
  }
  if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) != 0) return failed("the rules cannot be put in force");
  return {};
}

}  // namespace common::daemon
