#pragma once

#include <expected>
#include <filesystem>
#include <string>

/// In which folder a file is being placed. That its hidden name is gone says that it was placed, but in that folder
/// only: where a disk is not mounted, another one stands under the same path.
namespace smtpd::folders {

/// What tells the folder from others, whatever stands under its path later: its number and its time of birth, which
/// no copy and no other disk has. No slash in it. "?": it cannot be told.
std::string folder_mark(const std::filesystem::path& folder);
/// Error: it is another folder, or cannot be seen; a sentence. An empty mark is of a time when none was kept.
std::expected<void, std::string> check_folder(const std::filesystem::path& folder, const std::string& mark);

}  // namespace smtpd::folders
