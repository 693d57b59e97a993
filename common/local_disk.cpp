#include "common/local_disk.hpp"

#include <fmt/format.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace common {
namespace {

struct Magic {
  std::uint64_t number;
  std::string_view name;
};

// statfs(2) and the kernel's magic.h. FUSE: what is behind it may be anywhere, and mostly is elsewhere.
constexpr auto elsewhere = std::to_array<Magic>({
    {0x6969, "NFS"},
    {0x517b, "SMB"},
    {0xff534d42, "CIFS"},
    {0xfe534d42, "SMB2"},
    {0x65735546, "FUSE"},
    {0x01021997, "9p"},
    {0x00c36400, "Ceph"},
    {0x5346414f, "AFS"},
    {0x6b414653, "AFS"},
    {0x73757245, "Coda"},
    {0x564c, "NCP"},
    {0x0bd00bd0, "Lustre"},
    {0x7461636f, "OCFS2"},
    {0x01161970, "GFS2"},
    {0xaad7aaea, "PanFS"},
});

}  // namespace

std::string_view network_file_system(std::uint64_t magic) {
  for (const auto& each : elsewhere) {
    if (each.number == magic) return each.name;
  }
  return {};
}

std::expected<void, std::string> check_local_disk(const std::filesystem::path& folder) {
  struct statfs about{};
  auto place = folder;
  while (::statfs(place.c_str(), &about) != 0) {
    if (errno != ENOENT || !place.has_relative_path())
      return std::unexpected(fmt::format("{}: {}", place.string(), std::strerror(errno)));
    place = place.parent_path();
  }
  // As the kernel has it: 32 bits, whatever the type of the field.
  const auto name = network_file_system(static_cast<std::uint32_t>(about.f_type));
  if (name.empty()) return {};
  return std::unexpected(
      fmt::format("{} lies on a network file system ({}), where a file could be taken or put twice; name a folder on a "
                  "disk of this machine",
                  place.string(), name));
}

}  // namespace common
