#include "common/local_disk.hpp"

#include <doctest/doctest.h>

#include <filesystem>

using namespace common;

TEST_CASE("file systems of a network are known by their magic (LEGACY S06)") {
  CHECK(network_file_system(0x6969) == "NFS");
  CHECK(network_file_system(0xff534d42) == "CIFS");
  CHECK(network_file_system(0xfe534d42) == "SMB2");
  CHECK(network_file_system(0x65735546) == "FUSE");
  for (const auto local : {0xef53, 0x58465342, 0x01021994, 0x0}) CHECK(network_file_system(local).empty());
}

TEST_CASE("a folder that is not there yet lies where its way begins") {
  const auto here = std::filesystem::temp_directory_path();
  CHECK(check_local_disk(here));
  CHECK(check_local_disk(here / "no such folder" / "nor this"));
  const auto wrong = check_local_disk(std::filesystem::path{"/dev/null/x"});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().starts_with("/dev/null/x: "));
}
