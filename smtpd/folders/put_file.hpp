#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/net/listening.hpp"

#include "mailstore/store.hpp"

/// Messages on their way into files, exactly once: the octets are written and synced under a hidden name, the queue is
/// told that they are being placed, the name is changed. All calls block; errors are sentences.
namespace smtpd::folders {

/// Folders that are open, each once however many files go into it.
class OpenFolders {
 public:
  /// The descriptor of `folder`, until this object goes.
  std::expected<int, std::string> get(const std::filesystem::path& folder);
  /// What changed in them survives whatever comes.
  std::expected<void, std::string> sync();
  const auto& all() const { return folders_; }

 private:
  std::map<std::filesystem::path, common::net::Descriptor> folders_;
};

/// How many files are made durable. A sync of one file waits for the disk to flush what it holds, which is nearly all
/// that the file costs; a sync of the file system does so once for all of them, and for what others have written too.
enum class SyncBy : std::uint8_t { file, file_system };
/// `folder`: a descriptor. Where we do not know that a file system syncs as a whole what it has, files are synced.
SyncBy choose_sync(int folder, std::size_t files);

/// Files that become durable together. Those that are written and not synced are taken away again with this object.
class HiddenFiles {
 public:
  /// `files`: about how many there will be.
  explicit HiddenFiles(std::size_t files) : expected_(files), piece_(piece_octets) {}
  ~HiddenFiles();
  HiddenFiles(const HiddenFiles&) = delete;
  HiddenFiles& operator=(const HiddenFiles&) = delete;

  /// Writes `front` and the message under the hidden name of `file`, in place of what an earlier try left there.
  /// Returns how many octets that were.
  std::expected<std::uint64_t, std::string> write(const std::filesystem::path& file, std::string_view front,
                                                  const mailstore::OpenMessage& body);
  /// All of them, and then their names, are there after whatever comes. Never to be asked twice: what failed once would
  /// seem to be well.
  std::expected<void, std::string> sync();

 private:
  static constexpr std::size_t piece_octets = 64 * 1024;
  struct Written {
    int folder;
    std::string name;
    common::net::Descriptor file;  ///< where it is to be synced by itself
  };

  std::expected<void, std::string> sync_each();

  std::size_t expected_;
  std::vector<char> piece_;
  OpenFolders folders_;
  std::map<int, SyncBy> sync_by_;
  std::vector<Written> written_;
  std::size_t synced_ = 0;  ///< of them, by themselves
};

/// A file whose octets lie under its hidden name, or did.
struct PlacedFile {
  std::filesystem::path file;
  std::string folder_mark;  ///< of its folder, as the queue has it (placed_in.hpp)
};
/// Gives them their names, durably. One whose hidden name is gone was put before; one that cannot be told, since its
/// folder is not to be seen or is another one, is an error.
std::expected<void, std::string> uncover(std::span<const PlacedFile> files);

}  // namespace smtpd::folders
