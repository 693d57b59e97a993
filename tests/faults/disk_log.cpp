#include "tests/faults/disk_log.hpp"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstring>
#include <mutex>
#include <stdexcept>

namespace faults {
namespace {

constexpr std::size_t capacity = std::size_t{256} << 20U;

struct Head {
  Entry kind;
  std::uint32_t done;
  std::uint64_t file, offset, octets;
};

std::size_t padded(std::size_t octets) {
  return (octets + 7) & ~std::size_t{7};
}

}  // namespace

struct DiskLog::Shared {
  std::atomic<std::uint64_t> used, entries, calls;
  alignas(8) char room[1];
};

namespace {

// One armed log a process, reached from inside libc's calls: nothing here may allocate.
struct Armed {
  std::atomic<bool> on{false};
  std::atomic<std::uint64_t>* used = nullptr;
  std::atomic<std::uint64_t>* entries = nullptr;
  std::atomic<std::uint64_t>* calls = nullptr;
  char* room = nullptr;
  std::array<char, PATH_MAX> root{};
  std::size_t root_size = 0;
  Failing failing;
  std::mutex mutex;
};
Armed armed_log;

}  // namespace

DiskLog::DiskLog() {
  void* const memory =
      mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the log of calls");
  shared_ = static_cast<Shared*>(memory);
}

DiskLog::~DiskLog() {
  munmap(shared_, capacity);
}

void DiskLog::arm(const std::string& root, const Failing& failing) {
  auto& log = armed_log;
  if (root.size() + 2 > log.root.size()) throw std::runtime_error("the path is too long");
  std::memcpy(log.root.data(), root.c_str(), root.size() + 1);
  log.root_size = root.size();
  log.used = &shared_->used;
  log.entries = &shared_->entries;
  log.calls = &shared_->calls;
  log.room = shared_->room;
  log.failing = failing;
  log.on = true;
}

void DiskLog::note(std::string_view what) {
  if (calls::armed()) calls::add(Entry::note, 0, true, 0, what);
}

std::uint64_t DiskLog::size() const {
  return shared_->entries;
}

std::uint64_t DiskLog::calls() const {
  return shared_->calls;
}

void DiskLog::clear() {
  shared_->used = 0;
  shared_->entries = 0;
  shared_->calls = 0;
}

void DiskLog::read(const std::function<void(const Logged&)>& each) const {
  const std::uint64_t end = shared_->used;
  std::uint64_t position = 0;
  for (std::uint64_t at = 0; at < end; ++position) {
    Head head;
    std::memcpy(&head, shared_->room + at, sizeof head);
    at += sizeof head;
    each({.position = position,
          .kind = head.kind,
          .done = head.done != 0,
          .file = head.file,
          .offset = head.offset,
          .octets = {shared_->room + at, head.octets}});
    at += padded(head.octets);
  }
}

namespace calls {

bool armed() {
  return armed_log.on.load(std::memory_order_relaxed);
}

std::optional<std::string_view> below_root(const char* path) {
  const auto& log = armed_log;
  if (path == nullptr || std::strncmp(path, log.root.data(), log.root_size) != 0) return std::nullopt;
  const char* rest = path + log.root_size;
  if (*rest == '\0') return std::string_view(rest);
  if (*rest != '/') return std::nullopt;
  return std::string_view(rest + 1);
}

std::optional<Failing> next_call() {
  auto& log = armed_log;
  const auto number = log.calls->fetch_add(1) + 1;
  if (number != log.failing.call) return std::nullopt;
  return log.failing;
}

std::uint64_t add(Entry kind, std::uint64_t file, bool done, std::uint64_t offset, std::string_view octets) {
  auto& log = armed_log;
  const std::lock_guard hold(log.mutex);
  const Head head{.kind = kind, .done = done ? 1U : 0U, .file = file, .offset = offset, .octets = octets.size()};
  const std::uint64_t at = *log.used;
  if (at + sizeof head + octets.size() + 64 > capacity - sizeof(Armed)) __builtin_trap();
  std::memcpy(log.room + at, &head, sizeof head);
  if (!octets.empty()) std::memcpy(log.room + at + sizeof head, octets.data(), octets.size());
  *log.used = at + sizeof head + padded(octets.size());
  return (*log.entries)++;
}

}  // namespace calls
}  // namespace faults
