#pragma once

#include <pwd.h>
#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <filesystem>

namespace smtpd::folders {

enum class Made : std::uint8_t {
  was_there,
  fresh,
  without_setgid,  ///< fresh; a service manager or a file system refused the bit
};
/// Makes a folder that is missing, with this mode and for this owner (null: us): under a hidden name first, so that no
/// half-made one ever stands under its own. One that is there is left as it is: its mode is somebody's decision.
/// Follows no link but on the way to it, and believes the descriptor alone, since we may be root where others can
/// swap what we make. Error: the errno, ENOTDIR for what is no folder.
std::expected<Made, int> make_folder(const std::filesystem::path& where, mode_t mode, const passwd* owner);

}  // namespace smtpd::folders
