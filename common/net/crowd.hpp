#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>

namespace common::net {

/// Opens when it has been told `count` times.
class Gate {
 public:
  explicit Gate(std::size_t count) : missing_(count) {}
  void tell() {
    const std::lock_guard guard{mutex_};
    --missing_;
    told_.notify_all();
  }
  void wait() {
    std::unique_lock lock{mutex_};
    told_.wait(lock, [&] { return missing_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  std::size_t missing_;
};

/// Sessions running, for whoever waits until there are none.
class Crowd {
 public:
  void enter() { count_.fetch_add(1, std::memory_order_relaxed); }
  void leave() {
    if (count_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    const std::lock_guard guard{mutex_};
    gone_.notify_all();
  }
  bool wait_empty(std::chrono::milliseconds patience) {
    std::unique_lock lock{mutex_};
    return gone_.wait_for(lock, patience, [&] { return count_.load(std::memory_order_acquire) == 0; });
  }

 private:
  std::atomic<std::size_t> count_{0};
  std::mutex mutex_;
  std::condition_variable gone_;
};

/// A session that counts, until its coroutine is gone, however it went.
class Member {
 public:
  explicit Member(Crowd& crowd) : crowd_(&crowd) { crowd.enter(); }
  Member(Member&& other) noexcept : crowd_(std::exchange(other.crowd_, nullptr)) {}
  Member& operator=(Member&&) = delete;
  ~Member() {
    if (crowd_ != nullptr) crowd_->leave();
  }

 private:
  Crowd* crowd_;
};

}  // namespace common::net
