#include "smtpd/folders/put_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <utility>

#include "common/net/listening.hpp"

#include "smtpd/folders/drop_file.hpp"
#include "smtpd/folders/placed_in.hpp"
#include "smtpd/folders/unstuff.hpp"

namespace smtpd::folders {
namespace {

using common::net::Descriptor;
using std::filesystem::path;

constexpr std::size_t piece_octets = 64 * 1024;
constexpr mode_t readable_by_group = 0640;
constexpr std::size_t syncs_at_once = 8;

std::unexpected<std::string> failed(const path& where) {
  return std::unexpected(fmt::format("{}: {}", where.string(), std::strerror(errno)));
}

path hidden(const path& file) {
  return file.parent_path() / placing_name(file.filename().native());
}

bool write_all(int file, std::string_view octets) {
  while (!octets.empty()) {
    const auto written = ::write(file, octets.data(), octets.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    octets.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::expected<void, std::string> write_one(int out, FileToPut& file, const path& where, std::span<char> piece) {
  if (!write_all(out, file.front)) return failed(where);
  file.octets = file.front.size();
  const auto& body = *file.body;
  Unstuff unstuff;
  std::string plain;
  for (std::uint64_t at = 0; at < body.stored_octets;) {
    const auto got = body.read(at, piece);
    if (!got || *got == 0) return std::unexpected(got ? "a message ends too early" : got.error().detail);
    at += *got;
    std::string_view octets{piece.data(), *got};
    if (body.stuffed) {
      plain.clear();
      unstuff.feed(octets, plain);
      octets = plain;
    }
    if (!write_all(out, octets)) return failed(where);
    file.octets += octets.size();
  }
  return {};
}

std::expected<void, std::string> sync_folders(const std::vector<FileToPut>& files) {
  std::set<path> folders;
  for (const auto& file : files) folders.insert(file.file.parent_path());
  for (const auto& folder : folders) {
    const Descriptor open{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (open.get() < 0 || ::fsync(open.get()) != 0) return failed(folder);
  }
  return {};
}

/// The first that could not be synced, and why. Many at a time: the kernel makes one flush of the disk of those that
/// come together, where one after the other would be a flush each.
std::optional<std::pair<std::size_t, int>> sync_all(const std::vector<Descriptor>& files) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::optional<std::pair<std::size_t, int>> broken;
  const auto work = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      if (::fdatasync(files[i].get()) == 0) continue;
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

}  // namespace

std::expected<void, std::string> write_hidden(std::vector<FileToPut>& files) {
  std::vector<char> piece(piece_octets);
  std::vector<Descriptor> open;
  for (auto& file : files) {
    const auto where = hidden(file.file);
    // What an earlier try left, which the queue was never told of.
    ::unlink(where.c_str());
    auto& out = open.emplace_back(
        ::open(where.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, readable_by_group));
    if (out.get() < 0) return failed(where);
    if (auto written = write_one(out.get(), file, where, piece); !written) {
      ::unlink(where.c_str());
      return written;
    }
    // All are on their way before the first is waited for: then one sync of the file system's journal serves them.
    ::sync_file_range(out.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }
  if (const auto broken = sync_all(open)) {
    errno = broken->second;
    auto error = failed(hidden(files[broken->first].file));
    // Never asked again to be believed.
    for (const auto& file : files) ::unlink(hidden(file.file).c_str());
    return error;
  }
  return sync_folders(files);
}

std::expected<void, std::string> uncover(const std::vector<FileToPut>& files) {
  for (const auto& file : files) {
    const auto from = hidden(file.file);
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, file.file.c_str(), RENAME_NOREPLACE) == 0) continue;
    if (errno == EEXIST) {
      // The same message, which a rebuilt index brought back: ids are given once.
      if (::unlink(from.c_str()) != 0) return failed(from);
      continue;
    }
    if (errno != ENOENT) return failed(from);
    if (auto same = check_folder(file.file.parent_path(), file.folder_mark); !same) return same;
  }
  return sync_folders(files);
}

}  // namespace smtpd::folders
