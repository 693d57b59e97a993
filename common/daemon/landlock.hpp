#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <span>
#include <string>

namespace common::daemon {

/// What may be done at a path and beneath it; each includes the one before. Nowhere may a file be executed.
enum class Access : std::uint8_t {
  read,     ///< files are read, folders listed
  files,    ///< files are also made, written, renamed and removed, sockets made
  folders,  ///< folders too
};

struct Allowed {
  std::filesystem::path path;
  Access access = Access::read;
};

/// The version of Landlock that the kernel has; 0: none, or it is switched off.
int landlock_version();

/// From now on this thread, and those that it starts, reach what `allowed` names and no other file, within what the
/// user may anyway. A path that is not there, or that the user cannot get to, is passed over. Files that are open stay
/// open. `version`: of Landlock, the kernel's or an older one; a right that came later is not asked for. Needs "no new
/// privileges"; cannot be undone. Error: a sentence.
std::expected<void, std::string> restrict_paths(std::span<const Allowed> allowed, int version);

}  // namespace common::daemon
