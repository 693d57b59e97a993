#pragma once

#include <expected>
#include <string>

namespace common::daemon {

/// As root: becomes `user` for good, with its groups. Otherwise, or with an empty `user`: stays who it is. Whoever is
/// not root afterwards has no capability left. In any case this process and its children can gain no new privileges
/// afterwards. Error: a sentence with the remedy.
std::expected<void, std::string> drop_privileges(const std::string& user);

/// Lets the process open as many files as it may.
void raise_open_files();

}  // namespace common::daemon
