#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace common::daemon {

/// The newest of something that is replaced whole: a configuration, certificates. A session takes it once and keeps
/// what it took; a reload puts the next one in. Any thread.
template <typename T>
class Snapshot {
 public:
  Snapshot() = default;
  explicit Snapshot(std::shared_ptr<const T> first) : held_(std::move(first)) {}

  std::shared_ptr<const T> get() const {
    const std::lock_guard guard{mutex_};
    return held_;
  }
  void set(std::shared_ptr<const T> next) {
    // Swapped, so that the old one is destroyed outside the lock.
    const std::lock_guard guard{mutex_};
    held_.swap(next);
  }

 private:
  // A lock, not std::atomic<std::shared_ptr>: that one is a spin lock inside, which the thread sanitizer does not see.
  mutable std::mutex mutex_;
  std::shared_ptr<const T> held_;
};

}  // namespace common::daemon
