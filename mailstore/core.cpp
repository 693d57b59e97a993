#include "mailstore/core.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sodium/utils.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>

namespace mailstore {

Core::Core(Options given, const Identity& who)
    : options(std::move(given)),
      files(options.files != nullptr ? *options.files : system_files()),
      layout(options.path),
      identity(who),
      presence(layout.locks, options.alone ? Presence::Kind::alone : Presence::Kind::among_others),
      maildrops(layout.locks),
      logins(layout.locks + "/logins"),
      turnstile(layout.locks + "/turnstile"),
      writer_slot(layout.locks),
      segments(files, layout.segments) {}

void write_identity(Files& files, const Layout& layout, const Identity& identity) {
  std::array<char, 2 * std::tuple_size_v<RecordKey> + 1> key{};
  sodium_bin2hex(key.data(), key.size(), identity.key.data(), identity.key.size());
  std::string text = fmt::format(
      "pennypost-store {}\nname {:016x}\nkey {}\n# Needed to read this store; keep a copy with its backup.\n",
      identity.format, identity.name, key.data());
  const auto temporary = layout.identity + ".new";
  Descriptor file(files, files.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  if (!file) throw Failure(from_errno(temporary));
  iovec piece{text.data(), text.size()};
  write_fully(files, file.get(), {&piece, 1}, 0, "writing STORE");
  if (files.sync(file.get()) != 0 || files.rename(temporary, layout.identity) != 0 ||
      files.sync_folder(layout.root) != 0) {
    throw Failure(from_errno(layout.identity));
  }
}

Identity read_identity(const Layout& layout) {
  std::ifstream file(layout.identity);
  if (!file) {
    // Nothing is wrong with the store then.
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) throw Failure(from_errno(layout.identity));
    throw Failure(Errc::unusable,
                  fmt::format("there is no store at {} ({}); make one with 'pennypost store init', or mount "
                              "the disk that holds it",
                              layout.root, from_errno("STORE").detail));
  }
  Identity identity;
  std::string word;
  std::string key;
  file >> word >> identity.format;
  if (!file || word != "pennypost-store") {
    throw Failure(Errc::unusable, layout.identity + " is not the identity of a store; restore it from a backup");
  }
  if (identity.format != format_version) {
    throw Failure(Errc::unusable,
                  fmt::format("the store at {} has format {}, this program knows format {}; use the program "
                              "that wrote it",
                              layout.root, identity.format, format_version));
  }
  file >> word >> std::hex >> identity.name >> word >> key;
  std::size_t size = 0;
  if (!file ||
      sodium_hex2bin(identity.key.data(), identity.key.size(), key.data(), key.size(), nullptr, &size, nullptr) != 0 ||
      size != identity.key.size()) {
    throw Failure(Errc::unusable, layout.identity + " is damaged; restore it from a backup");
  }
  return identity;
}

std::optional<std::uint64_t> SegmentNumbers::take() {
  const std::lock_guard hold(mutex_);
  if (left_ == 0) return std::nullopt;
  --left_;
  return next_++;
}

void SegmentNumbers::give(std::uint64_t first, std::uint64_t count) {
  const std::lock_guard hold(mutex_);
  next_ = first;
  left_ = count;
}

bool look_for_room(Core& core) {
  const auto left = core.files.free_octets(core.layout.root);
  if (!left) return core.room.load(std::memory_order_relaxed);
  const bool room = *left > core.options.reserve;
  if (core.room.exchange(room) != room) {
    core.warn(room ? "there is room on the disk again: mail is taken"
                   : "the disk is down to [store] reserve: mail is answered 452");
  }
  return room;
}

bool has_room(Core& core) {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  auto checked = core.room_checked.load(std::memory_order_relaxed);
  if (checked != now && core.room_checked.compare_exchange_strong(checked, now, std::memory_order_relaxed))
    return look_for_room(core);
  return core.room.load(std::memory_order_relaxed);
}

}  // namespace mailstore
