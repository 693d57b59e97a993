#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>

namespace smtpd::folders {

/// The drop folder of a virtual server, and how much may still go in: what lies there and what is on its way count
/// (LEGACY S15). Shared by the sessions, the scheduler and whoever sees what programs take out. Any thread.
class DropFolder {
 public:
  /// `quota` 0: no limit.
  DropFolder(std::filesystem::path path, std::uint64_t quota) : path_(std::move(path)), quota_(quota) {}
  const std::filesystem::path& path() const { return path_; }
  void set_quota(std::uint64_t quota) { quota_ = quota; }

  /// For a message of `declared` octets (0: not known).
  bool has_room(std::uint64_t declared) const;
  /// A message is accepted that has to go here, or is about to be.
  void expect(std::uint64_t octets) { waiting_ += octets; }
  /// It does not come.
  void forget(std::uint64_t octets);
  /// It has come, in a file of so many octets.
  void on_put(std::uint64_t octets, std::uint64_t file_octets);
  /// Looks how much is there. Blocks.
  void count();
  std::uint64_t waiting() const { return waiting_; }
  /// So much is on its way by the queue, which was read after waiting() said `before`. Nothing changes if that has.
  void correct(std::uint64_t before, std::uint64_t octets) { waiting_.compare_exchange_strong(before, octets); }
  std::uint64_t used() const { return there_ + waiting_; }

 private:
  std::filesystem::path path_;
  std::atomic<std::uint64_t> quota_;
  std::atomic<std::uint64_t> there_{0};
  std::atomic<std::uint64_t> waiting_{0};
};

}  // namespace smtpd::folders
