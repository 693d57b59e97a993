#include "smtpd/folders/badmail_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <system_error>

#include "common/net/listening.hpp"

#include "mailstore/types.hpp"

namespace smtpd::folders {
namespace {

using common::net::Descriptor;

constexpr mode_t mode_of_notes = 0640;

/// In the form of a message's id, and in the order of time as those are. The store gives none: it may be what is in
/// trouble.
std::string make_id(const common::Clock& clock) {
  thread_local std::mt19937 chance{std::random_device{}()};
  constexpr std::uint64_t of_time = 12;
  const auto since = clock.wall() - std::chrono::sys_days{std::chrono::year{2020} / std::chrono::January / 1};
  const auto micros = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(since).count());
  return mailstore::format_id({micros << of_time | (chance() & ((1U << of_time) - 1))});
}

std::unexpected<std::string> failed(const char* what) {
  return std::unexpected(std::string{what} + ": " + std::strerror(errno));
}

}  // namespace

std::expected<std::string, std::string> BadmailFolder::put(int folder, const std::string& name, const BadmailNote& note,
                                                           const common::Clock& clock) {
  struct stat about{};
  if (::fstatat(folder, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(about.st_mode))
    return std::unexpected(std::string{});
  auto id = make_id(clock);
  const auto beside = path_ / (id + std::string{bad_note_suffix});
  const auto text = format_badmail_note(note);
  {
    const Descriptor file{::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode_of_notes)};
    const bool written = file.get() >= 0 &&
                         ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                         ::fsync(file.get()) == 0;
    if (!written) {
      auto error = failed("the note could not be written");
      ::unlink(beside.c_str());
      return error;
    }
  }
  const auto place = path_ / (id + std::string{bad_file_suffix});
  if (::renameat2(folder, name.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) != 0) {
    auto error = failed("the file could not be moved to the badmail folder");
    ::unlink(beside.c_str());
    return error;
  }
  return id;
}

std::vector<BadmailFolder::Item> BadmailFolder::list() const {
  std::vector<Item> items;
  std::error_code error;
  for (std::filesystem::directory_iterator at{path_, error}, end; !error && at != end; at.increment(error)) {
    const auto& file = at->path();
    if (file.extension() != bad_file_suffix || !mailstore::parse_id(file.stem().native())) continue;
    struct stat about{};
    if (::lstat(file.c_str(), &about) != 0) continue;
    // A hole of terabytes takes no room, and must not push everything else out.
    const auto on_disk = std::max<std::uint64_t>(static_cast<std::uint64_t>(about.st_blocks) * 512, 4096);
    items.push_back({file.stem().native(), std::min(static_cast<std::uint64_t>(about.st_size), on_disk)});
  }
  std::ranges::sort(items, {}, [](const Item& item) { return mailstore::parse_id(item.id)->value; });
  return items;
}

void BadmailFolder::remove(const std::string& id) {
  std::error_code ignored;
  std::filesystem::remove(path_ / (id + std::string{bad_file_suffix}), ignored);
  std::filesystem::remove(path_ / (id + std::string{bad_note_suffix}), ignored);
}

void BadmailFolder::clear_notes() {
  std::vector<std::filesystem::path> alone;
  std::error_code error;
  for (std::filesystem::directory_iterator at{path_, error}, end; !error && at != end; at.increment(error)) {
    auto file = at->path();
    if (file.extension() != bad_note_suffix || !mailstore::parse_id(file.stem().native())) continue;
    auto beside = file;
    beside.replace_extension(bad_file_suffix);
    struct stat about{};
    if (::lstat(beside.c_str(), &about) != 0 && errno == ENOENT) alone.push_back(std::move(file));
  }
  for (const auto& file : alone) std::filesystem::remove(file, error);
}

}  // namespace smtpd::folders
