#include "smtpd/folders/put_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "smtpd/folders/drop_file.hpp"
#include "smtpd/folders/placed_in.hpp"
#include "smtpd/folders/unstuff.hpp"

namespace smtpd::folders {
namespace {

using common::net::Descriptor;
using std::filesystem::path;

constexpr mode_t readable_by_group = 0640;
constexpr std::size_t syncs_at_once = 8;
/// Open at a time, where each is synced by itself.
constexpr std::size_t most_open = 128;
/// From so many on one sync of the file system is the shorter way.
constexpr std::size_t many_files = 8;

std::unexpected<std::string> failed(const path& where) {
  return std::unexpected(fmt::format("{}: {}", where.string(), std::strerror(errno)));
}

bool write_all(int file, std::string_view first, std::string_view second) {
  while (!first.empty() || !second.empty()) {
    const std::array<iovec, 2> pieces{iovec{const_cast<char*>(first.data()), first.size()},
                                      iovec{const_cast<char*>(second.data()), second.size()}};
    const auto written = ::writev(file, pieces.data(), pieces.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    const auto octets = static_cast<std::size_t>(written);
    const auto of_first = std::min(octets, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(octets - of_first);
  }
  return true;
}

std::expected<std::uint64_t, std::string> write_one(int out, std::string_view front, const mailstore::OpenMessage& body,
                                                    std::span<char> piece, const path& where) {
  std::uint64_t octets = 0;
  Unstuff unstuff;
  std::string plain;
  for (std::uint64_t at = 0; at < body.stored_octets || !front.empty();) {
    std::string_view next;
    if (at == 0 && !body.prefix.empty()) {
      next = body.prefix;
      at = next.size();
    } else if (at < body.stored_octets) {
      const auto got = body.read(at, piece);
      if (!got || *got == 0) return std::unexpected(got ? "a message ends too early" : got.error().detail);
      at += *got;
      next = {piece.data(), *got};
    }
    if (body.stuffed) {
      plain.clear();
      unstuff.feed(next, plain);
      next = plain;
    }
    if (!write_all(out, front, next)) return failed(where);
    octets += front.size() + next.size();
    front = {};
  }
  return octets;
}

/// The first that could not be synced, and why. Many at a time: the kernel makes one flush of the disk of those that
/// come together, where one after the other would be a flush each.
std::optional<std::pair<std::size_t, int>> sync_all(const std::vector<int>& files) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::optional<std::pair<std::size_t, int>> broken;
  const auto work = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      if (::fdatasync(files[i]) == 0) continue;
      const std::lock_guard hold{mutex};
      if (!broken) broken = {i, errno};
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min(files.size(), syncs_at_once); ++i) others.emplace_back(work);
    work();
  }
  return broken;
}

/// Since 5.8 it says what could not be written.
bool syncfs_tells_errors() {
  static const bool tells = [] {
    utsname about{};
    int major = 0;
    int minor = 0;
    return ::uname(&about) == 0 && std::sscanf(about.release, "%d.%d", &major, &minor) == 2 &&
           std::pair{major, minor} >= std::pair{5, 8};
  }();
  return tells;
}

}  // namespace

std::expected<int, std::string> OpenFolders::get(const path& folder) {
  const auto known = folders_.find(folder);
  if (known != folders_.end()) return known->second.get();
  Descriptor open{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (open.get() < 0) return failed(folder);
  return folders_.emplace(folder, std::move(open)).first->second.get();
}

std::expected<void, std::string> OpenFolders::sync() {
  for (const auto& [folder, open] : folders_) {
    if (::fsync(open.get()) != 0) return failed(folder);
  }
  return {};
}

SyncBy choose_sync(int folder, std::size_t files) {
  if (files < many_files || !syncfs_tells_errors()) return SyncBy::file;
  struct statfs about{};
  if (::fstatfs(folder, &about) != 0) return SyncBy::file;
  // As the kernel has it: 32 bits, whatever the type of the field.
  const auto magic = static_cast<std::uint32_t>(about.f_type);
  return magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC ? SyncBy::file_system : SyncBy::file;
}

HiddenFiles::~HiddenFiles() {
  for (const auto& each : written_) ::unlinkat(each.folder, each.name.c_str(), 0);
}

std::expected<std::uint64_t, std::string> HiddenFiles::write(const path& file, std::string_view front,
                                                             const mailstore::OpenMessage& body) {
  const auto folder = folders_.get(file.parent_path());
  if (!folder) return std::unexpected(folder.error());
  auto name = placing_name(file.filename().native());
  const auto open = [&] {
    return Descriptor{
        ::openat(*folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, readable_by_group)};
  };
  auto out = open();
  if (out.get() < 0 && errno == EEXIST) {
    // What an earlier try left, which the queue was never told of.
    ::unlinkat(*folder, name.c_str(), 0);
    out = open();
  }
  if (out.get() < 0) return failed(file.parent_path() / name);
  written_.push_back({*folder, std::move(name), {}});
  auto& one = written_.back();
  auto octets = write_one(out.get(), front, body, piece_, file);
  if (!octets) return octets;
  if (!sync_by_.contains(*folder)) sync_by_[*folder] = choose_sync(*folder, expected_);
  if (sync_by_[*folder] == SyncBy::file_system) return octets;
  // All are on their way before the first is waited for: then one sync of the file system's journal serves many.
  ::sync_file_range(out.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  one.file = std::move(out);
  if (written_.size() - synced_ < most_open) return octets;
  if (auto synced = sync_each(); !synced) return std::unexpected(std::move(synced.error()));
  return octets;
}

std::expected<void, std::string> HiddenFiles::sync_each() {
  std::vector<int> open;
  for (std::size_t i = synced_; i < written_.size(); ++i) {
    if (written_[i].file.get() >= 0) open.push_back(written_[i].file.get());
  }
  if (const auto broken = sync_all(open)) {
    errno = broken->second;
    return failed("a file that was written");
  }
  for (; synced_ < written_.size(); ++synced_) written_[synced_].file = {};
  return {};
}

std::expected<void, std::string> HiddenFiles::sync() {
  if (auto synced = sync_each(); !synced) return synced;
  for (const auto& [folder, open] : folders_.all()) {
    const auto by = sync_by_.find(open.get());
    if (by != sync_by_.end() && by->second == SyncBy::file_system && ::syncfs(open.get()) != 0) return failed(folder);
  }
  // Kernels before 5.17 keep from syncfs what ails the journal; here it is told.
  if (auto synced = folders_.sync(); !synced) return synced;
  written_.clear();
  return {};
}

std::expected<void, std::string> uncover(std::span<const PlacedFile> files) {
  OpenFolders folders;
  for (const auto& file : files) {
    const auto folder = folders.get(file.file.parent_path());
    if (!folder) return std::unexpected(folder.error());
    const auto name = file.file.filename();
    const auto from = placing_name(name.native());
    if (::renameat2(*folder, from.c_str(), *folder, name.c_str(), RENAME_NOREPLACE) == 0) continue;
    if (errno == EEXIST) {
      // The same message, which a rebuilt index brought back: ids are given once.
      if (::unlinkat(*folder, from.c_str(), 0) != 0) return failed(file.file);
      continue;
    }
    if (errno != ENOENT) return failed(file.file);
    if (auto same = check_folder(file.file.parent_path(), file.folder_mark); !same) return same;
  }
  return folders.sync();
}

}  // namespace smtpd::folders
