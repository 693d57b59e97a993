#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/faults/disk_log.hpp"

namespace faults {

/// What becomes of that which was not synced when the power went.
enum class Loss : std::uint8_t {
  everything,  ///< it is gone
  nothing,     ///< it is there: what a killed process leaves
  anything     ///< by the seed: each write, each sector of 512 octets, each name by itself
};

/// A disk that forgets: fed with what was asked of it, it tells what may lie on it after a power failure.
class Disk {
 public:
  /// Everything below `root` as it is now, all of it durable.
  explicit Disk(const std::filesystem::path& root);
  /// The next entry of the log.
  void apply(const Logged& entry);
  /// Writes what a killed process leaves into the empty folder `image`: everything. Returns the disk below it, on which
  /// what was not synced still is not.
  Disk after_kill(const std::filesystem::path& image) const;
  /// Writes what is left into the empty folder `image`.
  void after_power_failure(const std::filesystem::path& image, Loss loss, std::uint64_t seed) const;

 private:
  Disk() = default;
  struct Change {
    std::uint64_t position;
    bool truncates;
    std::uint64_t offset;  // or the new size
    std::string octets;
    bool durable;
    bool forgotten;  // a sync of it failed: no later one keeps it
  };
  struct File {
    bool folder = false;
    std::string octets;           // durable
    std::vector<Change> changes;  // since then, in order
  };
  struct Naming {
    std::uint64_t position;
    Entry kind;
    std::string path, to;
    std::uint64_t file;
    bool durable;
  };
  static void write_into(std::string& octets, const Change& change);
  static std::string parent_of(const std::string& path);
  void synced(std::uint64_t file, std::uint64_t begin, bool succeeded);

  std::map<std::uint64_t, File> files_;
  std::map<std::string, std::uint64_t> names_;  // durable
  std::map<std::uint64_t, std::string> folders_;
  std::vector<Naming> namings_;  // since then
};

}  // namespace faults
