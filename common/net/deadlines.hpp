#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace common::net {

class Deadlines;

/// A point in time at which something that waits is told. Links itself into its thread's list: no allocation, no timer
/// system call for a session that is served in time.
class Deadline {
 public:
  Deadline() = default;
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  ~Deadline();

 private:
  friend class Deadlines;
  Deadlines* owner_ = nullptr;
  Deadline* next_ = nullptr;
  Deadline* previous_ = nullptr;
  std::chrono::steady_clock::time_point at_{};
  void (*expired_)(void*) = nullptr;
  void* context_ = nullptr;
};

/// The deadlines of one thread, in buckets of half a second; exact to one tick, never early. Setting one again costs an
/// assignment while it only moves to later (the bucket it is found in then passes it on).
class Deadlines {
 public:
  /// The width of a bucket, and how often `tick` wants to be called.
  static constexpr std::chrono::milliseconds tick_width{500};

  Deadlines();
  ~Deadlines();
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;
  /// `expired(context)` is called once, by the first tick at which `at` has passed.
  void set(Deadline& deadline, std::chrono::steady_clock::time_point at, void (*expired)(void*), void* context);
  void clear(Deadline& deadline);
  /// Tells everything that is due at `now`. What is told may set or clear any deadline; one set for a time that has
  /// passed already is told by the next tick.
  void tick(std::chrono::steady_clock::time_point now);
  std::size_t size() const { return size_; }
  /// Called when the first deadline is set after there was none: whoever ticks may have gone to sleep.
  void on_first(std::function<void()> wake) { wake_ = std::move(wake); }

 private:
  struct Bucket;
  void link(Deadline& deadline);
  std::unique_ptr<Bucket[]> buckets_;
  std::size_t size_ = 0;
  std::int64_t last_ = 0;  ///< the newest bucket whose time has come
  std::function<void()> wake_;
};

}  // namespace common::net
