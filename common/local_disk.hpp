#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>
#include <string_view>

namespace common {

/// The name of the network file system that a magic number of statfs(2) is of; empty: it is of none.
std::string_view network_file_system(std::uint64_t magic);

/// Whether `folder`, or what of its path is there, lies on a disk of this machine: on others a rename or a sync does
/// not mean what mail needs it to mean. Error: why not, with the remedy.
std::expected<void, std::string> check_local_disk(const std::filesystem::path& folder);

}  // namespace common
