#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>

namespace tools {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

/// By name, or by number as text. nullopt: there is none.
std::optional<User> find_user(const std::string& name);

/// Gives up root for good: groups, group, user.
void become(const User& user);

/// Run as root: becomes whoever owns the store, for what root writes there the daemons could not open. Otherwise, or
/// when there is no store yet, does nothing. Fails when the store is root's although [run] user names somebody else.
void become_owner_of(const std::filesystem::path& store, const std::string& run_user);

/// `store init` as root with a [run] user: makes the folder, gives it to that user, and becomes the user.
void make_folder_for(const std::filesystem::path& store, const std::string& run_user);

}  // namespace tools
