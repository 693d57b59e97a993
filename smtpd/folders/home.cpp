#include "smtpd/folders/home.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/local_disk.hpp"
#include "common/log.hpp"

#include "smtpd/folders/make_folder.hpp"

namespace smtpd::folders {
namespace {

using std::filesystem::path;

// Files in pickup and drop belong to the folder's group, whoever puts them there: so smtpd reads what its group's
// people put into pickup, and they take what it put into drop.
constexpr mode_t shared = 02770, closed = 0750;
/// The queue remembers the names of files there (mailstore::placing_limit).
constexpr std::size_t longest_home = 300;

std::unexpected<std::string> wrong(const common::config::Server& server, std::string_view what) {
  return std::unexpected(fmt::format("{}: home: {}", server.file.string(), what));
}

std::unexpected<std::string> failed(const common::config::Server& server, const path& where, int error,
                                    std::string_view remedy) {
  return wrong(server, fmt::format("{}: {}; {}", where.string(), std::strerror(error), remedy));
}

std::expected<void, std::string> make(const common::config::Server& server, const path& where, mode_t mode,
                                      const passwd* owner) {
  const auto made = make_folder(where, mode, owner);
  if (!made && made.error() == ENOTDIR) return wrong(server, where.string() + " is no folder; move it away");
  if (!made) return failed(server, where, made.error(), "make it for the user of run.user, or name another home");
  if (*made == Made::without_setgid) {
    common::log::warning(
        "folder.no_setgid",
        {{"server", server.id}, {"folder", where.string()}, {"why", "files there keep the group of who wrote them"}});
  }
  return {};
}

/// What is missing on the way to it, which everybody may go.
std::expected<void, std::string> make_way(const common::config::Server& server, const path& where) {
  std::error_code ignored;
  if (where.empty() || std::filesystem::is_directory(where, ignored)) return {};
  if (auto made = make_way(server, where.parent_path()); !made) return made;
  return make(server, where, 0755, nullptr);
}

}  // namespace

Home home_of(const common::config::Server& server) {
  Home home;
  if (server.home.empty()) return home;
  if (server.kind == common::config::Kind::smtp) home.pickup = server.home / "pickup";
  home.drop = server.home / "drop";
  home.badmail = server.home / "badmail";
  return home;
}

std::expected<void, std::string> make_home(const common::config::Server& server, const std::string& user) {
  if (server.home.empty()) return {};
  if (server.home.native().size() > longest_home)
    return wrong(server, fmt::format("its path has more than {} octets; name a shorter one", longest_home));
  if (auto local = common::check_local_disk(server.home); !local) return wrong(server, local.error());
  const passwd* owner = nullptr;
  if (::geteuid() == 0 && !user.empty()) {
    owner = ::getpwnam(user.c_str());
    if (owner == nullptr) return wrong(server, fmt::format("there is no user \"{}\" to make it for", user));
  }
  if (auto made = make_way(server, server.home.parent_path()); !made) return made;
  // A home itself may be a link to where there is room.
  std::error_code ignored;
  if (!std::filesystem::is_directory(server.home, ignored)) {
    if (auto made = make(server, server.home, closed, owner); !made) return made;
  }
  const auto home = home_of(server);
  for (const auto& [where, mode] : {std::pair{home.pickup, shared}, {home.drop, shared}, {home.badmail, closed}}) {
    if (where.empty()) continue;
    if (auto made = make(server, where, mode, owner); !made) return made;
    if (auto local = common::check_local_disk(where); !local) return wrong(server, local.error());
  }
  if (auto fit = check_pickup(home.pickup); !fit) return wrong(server, fit.error());
  return {};
}

std::expected<void, std::string> check_pickup(const path& folder) {
  struct stat about{};
  if (folder.empty() || ::stat(folder.c_str(), &about) != 0 || (about.st_mode & S_IWOTH) == 0) return {};
  return std::unexpected(
      fmt::format("everybody may write to {}, and so send as anybody; chmod o-w, and let programs of others use "
                  "pennypost-sendmail",
                  folder.string()));
}

std::expected<void, std::string> try_home(const common::config::Server& server) {
  const auto home = home_of(server);
  for (const auto& where : {home.pickup, home.drop, home.badmail}) {
    if (where.empty() || ::access(where.c_str(), R_OK | W_OK | X_OK) == 0) continue;
    return failed(server, where, errno, "the user of run.user must be able to read and to change it");
  }
  return {};
}

}  // namespace smtpd::folders
