#include "mailstore/journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "mailstore/codec.hpp"

namespace mailstore {
namespace {

constexpr std::uint32_t magic = 0x314a5050;  // "PPJ1"
constexpr std::size_t frame_octets = 4 + 4 + 4 + 8 + 8;
constexpr std::uint64_t file_limit = std::uint64_t{64} << 20U;
constexpr std::size_t keep_limit = std::size_t{16} << 20U;

std::string journal_path(const std::string& folder, std::uint64_t number) {
  std::string name = std::to_string(number);
  return folder + "/" + std::string(10 - std::min<std::size_t>(10, name.size()), '0') + name + ".log";
}

}  // namespace

void JournalLines::message(JournalKind kind, MailboxNumber mailbox, MessageId id) {
  Encoder(entries_)
      .number(std::to_underlying(kind))
      .number(std::uint32_t{12})
      .number(std::to_underlying(mailbox))
      .number(id.value);
}

void JournalLines::row(JournalKind kind, std::string_view key, std::string_view value) {
  Encoder(entries_)
      .number(std::to_underlying(kind))
      .number(static_cast<std::uint32_t>(8 + key.size() + value.size()))
      .text(key)
      .text(value);
}

std::string JournalLines::finish(std::uint64_t commit) const {
  std::string out;
  Decoder from(entries_, "journal");
  while (!from.at_end()) {
    const auto kind = from.number<std::uint32_t>();
    const auto payload = from.text();
    const auto start = out.size();
    Encoder(out).number(magic).number(kind).number(static_cast<std::uint32_t>(payload.size())).number(commit);
    out.append(payload);
    Encoder(out).number(std::uint64_t{XXH3_64bits(out.data() + start, out.size() - start)});
  }
  return out;
}

Journal::Journal(Files& files, std::string folder) : files_(files), folder_(std::move(folder)) {
  open_newest();
}

void Journal::open_newest() {
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    std::uint64_t number = 0;
    const auto name = file.path().stem().string();
    if (std::sscanf(name.c_str(), "%lu", &number) == 1) number_ = std::max(number_, number);
  }
  number_ = std::max<std::uint64_t>(number_, 1);
  for (;;) {
    Descriptor file(files_,
                    files_.open(journal_path(folder_, number_), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    if (!file) throw Failure(from_errno("opening the journal"));
    struct stat about{};
    const bool full = fstat(file.get(), &about) == 0 && static_cast<std::uint64_t>(about.st_size) >= file_limit;
    file_ = std::move(file);  // until then the old one is written on
    if (!full) break;
    ++number_;
  }
  if (files_.sync_folder(folder_) != 0) throw Failure(from_errno("syncing the folder of the journal"));
}

void Journal::append(std::string_view octets, const std::function<void(std::string_view)>& warn) {
  unwritten_ += octets;
  dirty_ = dirty_ || !unwritten_.empty();
  write(warn);
}

void Journal::write(const std::function<void(std::string_view)>& warn) {
  if (unwritten_.empty()) return;
  // O_APPEND: several processes write whole entries behind each other, whatever the offset says (Linux pwrite(2),
  // BUGS). After a short write all is written again: the rest alone may come to lie behind another process's entry. One
  // that stands there twice does no harm.
  const iovec piece{unwritten_.data(), unwritten_.size()};
  ssize_t written = 0;
  do {
    written = files_.write(file_.get(), {&piece, 1}, 0);
  } while (written < 0 && errno == EINTR);
  if (written >= 0 && static_cast<std::size_t>(written) == unwritten_.size()) {
    unwritten_.clear();
    warned_ = false;
  } else {
    if (!warned_ && warn) warn(from_errno("writing the journal", written < 0 ? errno : ENOSPC).detail);
    warned_ = true;
    if (unwritten_.size() > keep_limit) unwritten_.clear();  // a rebuild would miss these; the index has them
  }
  struct stat about{};
  if (fstat(file_.get(), &about) == 0 && static_cast<std::uint64_t>(about.st_size) >= file_limit) {
    sync_file(warn);
    const auto opened = guarded([&]() -> Result<void> {
      open_newest();
      return {};
    });
    if (!opened && warn) warn(opened.error().detail);
  }
}

void Journal::sync(const std::function<void(std::string_view)>& warn) {
  if (!dirty_) return;
  write(warn);
  dirty_ = !unwritten_.empty();  // then tried again a second later
  sync_file(warn);
}

void Journal::sync_file(const std::function<void(std::string_view)>& warn) {
  if (files_.sync(file_.get()) != 0 && warn) warn("syncing the journal failed; the index itself is sound");
}

std::uint64_t read_journal(std::string_view octets, const std::function<void(const JournalEntry&)>& each) {
  std::uint64_t damaged = 0;
  bool in_damage = false;
  while (octets.size() >= frame_octets) {
    Decoder from(octets, "journal");
    const auto found = from.number<std::uint32_t>();
    const auto kind = from.number<std::uint32_t>();
    const auto size = from.number<std::uint32_t>();
    const auto commit = from.number<std::uint64_t>();
    const auto whole = frame_octets + std::uint64_t{size};
    bool sound = found == magic && whole <= octets.size();
    if (sound) {
      std::uint64_t checksum = 0;
      std::memcpy(&checksum, octets.data() + whole - 8, sizeof checksum);
      sound = checksum == XXH3_64bits(octets.data(), whole - 8);
    }
    if (!sound) {
      if (!in_damage) ++damaged;
      in_damage = true;
      octets.remove_prefix(1);
      continue;
    }
    in_damage = false;
    each(JournalEntry{commit, static_cast<JournalKind>(kind), octets.substr(frame_octets - 8, size)});
    octets.remove_prefix(whole);
  }
  return damaged;
}

}  // namespace mailstore
