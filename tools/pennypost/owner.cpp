#include "tools/pennypost/owner.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

#include "tools/pennypost/failure.hpp"

namespace tools {
namespace {

std::string reason() {
  return std::strerror(errno);
}

bool is_root() {
  return geteuid() == 0;
}

/// A folder that holds nothing: only such a one is given away.
bool is_empty_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_empty(path, error) && !error;
}

}  // namespace

std::optional<User> find_user(const std::string& name) {
  const passwd* entry = getpwnam(name.c_str());
  if (entry == nullptr && !name.empty() && name.find_first_not_of("0123456789") == std::string::npos) {
    entry = getpwuid(static_cast<uid_t>(std::strtoul(name.c_str(), nullptr, 10)));
  }
  if (entry == nullptr) return std::nullopt;
  return User{entry->pw_name, entry->pw_uid, entry->pw_gid};
}

void become(const User& user) {
  // Groups before the user: afterwards we may no longer.
  const bool grouped = user.name.empty() ? setgroups(0, nullptr) == 0 : initgroups(user.name.c_str(), user.gid) == 0;
  if (!grouped || setresgid(user.gid, user.gid, user.gid) != 0 || setresuid(user.uid, user.uid, user.uid) != 0) {
    fail(fmt::format("cannot become user {}: {}", user.name.empty() ? std::to_string(user.uid) : user.name, reason()));
  }
}

void become_owner_of(const std::filesystem::path& store, const std::string& run_user) {
  if (!is_root()) return;
  struct stat status{};
  if (stat(store.c_str(), &status) != 0) return;  // opening it will say what is wrong
  if (status.st_uid != 0) {
    const passwd* entry = getpwuid(status.st_uid);
    become({entry == nullptr ? "" : entry->pw_name, status.st_uid, status.st_gid});
    return;
  }
  const auto user = run_user.empty() ? std::nullopt : find_user(run_user);
  if (user && user->uid != 0) {
    fail(
        fmt::format("the store {} belongs to root, but the daemons run as {} ([run] user); "
                    "give it to them with 'chown -R {}: {}' while no daemon runs, or set user = \"\"",
                    store.string(), user->name, user->name, store.string()));
  }
}

void make_folder_for(const std::filesystem::path& store, const std::string& run_user) {
  std::error_code error;
  const auto parent = std::filesystem::absolute(store).parent_path();
  // Other users pass through the folders above; the store itself is its owner's alone.
  const mode_t before = umask(022);
  std::filesystem::create_directories(parent, error);
  umask(before);
  if (error) fail(fmt::format("cannot make the folder {}: {}", parent.string(), error.message()));
  if (!is_root() || run_user.empty()) return;

  const auto user = find_user(run_user);
  if (!user) {
    refuse(
        fmt::format("[run] user = \"{}\": no such user on this system; make one with 'useradd --system {}', or set "
                    "user = \"\" to run as whoever starts the daemons",
                    run_user, run_user));
  }
  if (user->uid == 0) return;
  if (mkdir(store.c_str(), 0700) != 0 && errno != EEXIST) {
    fail(fmt::format("cannot make the folder {}: {}", store.string(), reason()));
  }
  if (is_empty_folder(store)) {
    // By descriptor and without following links: the parent may belong to somebody who is not root.
    const int folder = open(store.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const bool given = folder >= 0 && fchown(folder, user->uid, user->gid) == 0 && fchmod(folder, 0700) == 0;
    const auto why = reason();
    if (folder >= 0) close(folder);
    if (!given) fail(fmt::format("cannot give the folder {} to {}: {}", store.string(), user->name, why));
    become(*user);
    if (access(store.c_str(), R_OK | W_OK | X_OK) != 0) {
      fail(fmt::format(
          "user {} ([run] user) cannot reach {}: {}; let others pass through the folders above it (chmod o+x), choose "
          "another [store] path, or set user = \"\"",
          user->name, store.string(), reason()));
    }
    return;
  }
  become_owner_of(store, run_user);
}

}  // namespace tools
