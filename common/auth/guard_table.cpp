#include "common/auth/guard_table.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace common::auth {
namespace {

constexpr std::uint64_t magic = 0x3144524155475050;  // "PPGUARD1": another layout has another number
constexpr std::size_t sets = 4096;
constexpr std::size_t log_in_sets = 8192;

// An entry: the name's tag above, a time below; 0: free.
std::uint32_t tag_of(std::uint64_t word) {
  return static_cast<std::uint32_t>(word >> 32);
}
std::uint32_t time_of(std::uint64_t word) {
  return static_cast<std::uint32_t>(word);
}
std::uint64_t make_word(std::uint64_t hash, std::uint32_t time) {
  return (hash << 32) | time;
}
bool is_of(std::uint64_t word, std::uint64_t hash) {
  return word != 0 && tag_of(word) == static_cast<std::uint32_t>(hash);
}
std::atomic_ref<std::uint64_t> shared(std::uint64_t& word) {
  static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free, "two processes share it");
  return std::atomic_ref{word};
}

std::uint32_t ticks_left(std::uint64_t word, std::uint32_t now, std::uint32_t most) {
  const auto left = static_cast<std::int32_t>(time_of(word) - now);
  return left < 0 || static_cast<std::uint32_t>(left) > most ? 0 : static_cast<std::uint32_t>(left);
}

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ < 0) return;
    // A mapping keeps the open file, and so its lock, for as long as it is there.
    ::flock(descriptor_, LOCK_UN);
    ::close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

std::string because(const std::filesystem::path& path, int error) {
  return fmt::format(
      "{}: {}; run.directory must be writable for the user that the daemon is started as, with 2 MB free",
      path.string(), std::strerror(error));
}

/// Another daemon that starts has it for a moment.
bool lock(int file) {
  int done = 0;
  do {
    done = ::flock(file, LOCK_EX);
  } while (done != 0 && errno == EINTR);
  return done == 0;
}

bool give(int file, const std::string& owner) {
  if (::geteuid() != 0 || owner.empty()) return true;
  const passwd* const entry = ::getpwnam(owner.c_str());
  return entry != nullptr && ::fchown(file, entry->pw_uid, entry->pw_gid) == 0;
}

}  // namespace

struct GuardTable::Layout {
  struct Header {
    std::uint64_t magic;
    std::uint64_t size;
    std::array<unsigned char, crypto_shorthash_KEYBYTES> key;
    std::array<unsigned char, 8> seal;  ///< of the three above, under the key
  };
  Header header;
  alignas(4096) std::array<std::array<Set, sets>, 3> failures;
  std::array<Set, log_in_sets> log_ins;

  static Header make_header() {
    Header made{magic, sizeof(Layout), {}, {}};
    randombytes_buf(made.key.data(), made.key.size());
    made.seal = seal(made);
    return made;
  }
  static std::array<unsigned char, 8> seal(const Header& header) {
    std::array<unsigned char, 8> out{};
    crypto_shorthash(out.data(), reinterpret_cast<const unsigned char*>(&header), offsetof(Header, seal),
                     header.key.data());
    return out;
  }
  /// Whether the file is one of ours, whole.
  static bool sound(int file) {
    struct stat there{};
    Header header{};
    return ::fstat(file, &there) == 0 && S_ISREG(there.st_mode) &&
           there.st_size == static_cast<off_t>(sizeof(Layout)) &&
           ::pread(file, &header, sizeof header, 0) == static_cast<ssize_t>(sizeof header) && header.magic == magic &&
           header.size == sizeof(Layout) && header.seal == seal(header);
  }
};

std::expected<GuardTable, std::string> GuardTable::open(const std::filesystem::path& path, const std::string& owner) {
  constexpr std::size_t file_octets = sizeof(Layout);
  static_assert(file_octets < 2'000'000);
  if (sodium_init() < 0) return std::unexpected("the system gives no random numbers");
  const auto map = [&](int file) -> std::expected<GuardTable, std::string> {
    void* const at = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) return std::unexpected(because(path, errno));
    return GuardTable{static_cast<Layout*>(at)};
  };
  // Daemons that start together come one by one; a lock on a file that another has replaced meanwhile is none.
  for (;;) {
    const File file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (file.get() < 0 || !lock(file.get())) return std::unexpected(because(path, errno));
    struct stat mine{};
    struct stat now{};
    if (::fstat(file.get(), &mine) != 0) return std::unexpected(because(path, errno));
    if (::lstat(path.c_str(), &now) != 0 || mine.st_ino != now.st_ino || mine.st_dev != now.st_dev) continue;
    if (Layout::sound(file.get())) return map(file.get());

    // Beside it and then in its place: whoever has the old one mapped keeps what it has.
    const std::filesystem::path fresh = path.string() + ".new";
    const File made{::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (made.get() < 0) return std::unexpected(because(fresh, errno));
    // With its blocks: a hole that finds no room when it is written to would be a SIGBUS.
    if (const int error = ::posix_fallocate(made.get(), 0, sizeof(Layout))) {
      ::unlink(fresh.c_str());
      return std::unexpected(because(fresh, error));
    }
    const auto header = Layout::make_header();
    if (::pwrite(made.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header) ||
        !give(made.get(), owner) || ::rename(fresh.c_str(), path.c_str()) != 0) {
      return std::unexpected(because(fresh, errno));
    }
    return map(made.get());
  }
}

GuardTable::GuardTable(GuardTable&& other) noexcept : layout_(std::exchange(other.layout_, nullptr)) {}
GuardTable::~GuardTable() {
  if (layout_ != nullptr) ::munmap(layout_, sizeof(Layout));
}

std::uint64_t GuardTable::hash(std::string_view octets) const {
  std::uint64_t out = 0;
  static_assert(sizeof out == crypto_shorthash_BYTES);
  crypto_shorthash(reinterpret_cast<unsigned char*>(&out), reinterpret_cast<const unsigned char*>(octets.data()),
                   octets.size(), layout_->header.key.data());
  return out;
}

// The tag is the lower half of the hash, the set comes from the upper one.
GuardTable::Set& GuardTable::failures(Count count, std::uint64_t hash) const {
  return layout_->failures[static_cast<std::size_t>(count)][(hash >> 32) % sets];
}
GuardTable::Set& GuardTable::log_ins(std::uint64_t account) const {
  return layout_->log_ins[(account >> 32) % log_in_sets];
}

GuardTable::Ticks GuardTable::left(Count count, std::uint64_t hash, Ticks now, Ticks most) const {
  for (auto& entry : failures(count, hash)) {
    const auto word = shared(entry).load(std::memory_order_relaxed);
    if (is_of(word, hash)) return ticks_left(word, now, most);
  }
  return 0;
}

GuardTable::Ticks GuardTable::add(Count count, std::uint64_t hash, Ticks cost, Ticks now, Ticks most) {
  auto& set = failures(count, hash);
  for (;;) {
    std::uint64_t* chosen = nullptr;
    std::uint64_t before = 0;
    Ticks least = 0;
    for (auto& entry : set) {
      const auto word = shared(entry).load(std::memory_order_relaxed);
      const auto left = ticks_left(word, now, most);
      if (chosen == nullptr || left < least || is_of(word, hash)) {
        chosen = &entry;
        before = word;
        least = left;
      }
      if (is_of(word, hash)) break;
    }
    const Ticks left = std::min(most, (is_of(before, hash) ? least : 0) + cost);
    if (shared(*chosen).compare_exchange_weak(before, make_word(hash, now + left), std::memory_order_relaxed))
      return left;
  }
}

void GuardTable::forget(Count count, std::uint64_t hash) {
  for (auto& entry : failures(count, hash)) {
    auto word = shared(entry).load(std::memory_order_relaxed);
    // Should somebody else have changed it, a failure came in this moment: it stays.
    if (is_of(word, hash)) shared(entry).compare_exchange_strong(word, 0, std::memory_order_relaxed);
  }
}

void GuardTable::forget_all() {
  for (auto& table : layout_->failures) {
    for (auto& set : table) {
      for (auto& entry : set) shared(entry).store(0, std::memory_order_relaxed);
    }
  }
}

std::uint32_t GuardTable::last_log_in(std::uint64_t account, std::uint64_t pair) const {
  for (auto& entry : log_ins(account)) {
    const auto word = shared(entry).load(std::memory_order_relaxed);
    if (is_of(word, pair)) return time_of(word);
  }
  return 0;
}

void GuardTable::remember(std::uint64_t account, std::uint64_t pair, std::uint32_t now) {
  auto& set = log_ins(account);
  for (;;) {
    std::uint64_t* chosen = nullptr;
    std::uint64_t before = 0;
    for (auto& entry : set) {
      const auto word = shared(entry).load(std::memory_order_relaxed);
      if (chosen == nullptr || time_of(word) < time_of(before) || is_of(word, pair)) {
        chosen = &entry;
        before = word;
      }
      if (is_of(word, pair)) break;
    }
    // A mailbox that is looked into every second need not dirty the line every second.
    if (is_of(before, pair) && now - time_of(before) < 60) return;
    if (shared(*chosen).compare_exchange_weak(before, make_word(pair, now), std::memory_order_relaxed)) return;
  }
}

}  // namespace common::auth
