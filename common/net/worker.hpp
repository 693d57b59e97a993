#pragma once

#include <array>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <cstddef>
#include <span>

#include "common/clock.hpp"
#include "common/net/deadlines.hpp"

namespace common::net {

/// Something of a worker's thread that waits for a peer and is told when the daemon stops: a Stream's inside.
class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  /// The daemon stops: give up waiting, if idle; `now`: whatever it is doing. Neither throws nor destroys anything.
  virtual void end(bool now) noexcept = 0;

 protected:
  ~Waiter() = default;

 private:
  friend class Worker;
  Waiter* next_ = this;
  Waiter* previous_ = this;
};

/// TLS records on their way in and out, and the octets gathered into the next one. Stream's alone; between two
/// co_awaits only.
struct Wire {
  static constexpr std::size_t records = 5;  // leave in one call: a message of 75 KiB with what stands around it
  std::array<char, 47 * 1024> in;            // with a part record held back, what it decrypts to fits Worker::buffer()
  std::array<char, 16 * 1024> record;
  std::array<char, records * 17 * 1024> out;
  std::size_t out_used = 0;
};

/// One I/O thread: its io_context, the buffer that its sessions read into, and their deadlines. Everything but
/// `context()` and `stop()` belongs to that thread. Large: lives on the heap.
class Worker {
 public:
  static constexpr std::size_t scratch_size = 128 * 1024;

  explicit Worker(const Clock& clock);
  ~Worker();
  asio::io_context& context() { return context_; }
  /// 64 KiB for the moment between readability and the next co_await. Whoever needs octets longer copies them.
  std::span<char> buffer() { return buffer_; }
  /// A second one, for what is on its way out (message bodies read from the store).
  std::span<char> scratch() { return scratch_; }
  Wire& wire() { return wire_; }
  Deadlines& deadlines() { return deadlines_; }
  const Clock& clock() const { return clock_; }
  /// Runs the context until `stop`, ticking the deadlines (a tick is a second at most; none while there are no
  /// deadlines). Called on the thread.
  void run();
  void stop();

  void enlist(Waiter& waiter);
  void dismiss(Waiter& waiter);
  /// From now on idle sessions end (End::shutdown), those that wait and those that come to it; `now`: all others too.
  void end_sessions(bool now);
  bool ending() const { return ending_; }
  bool ending_now() const { return ending_now_; }

 private:
  void arm();

  // What sessions point to stands before the context: destroying the context destroys the sessions left in it.
  const Clock& clock_;
  Deadlines deadlines_;
  std::array<char, 64 * 1024> buffer_;
  std::array<char, scratch_size> scratch_;
  Wire wire_;
  class Sentinel final : public Waiter {
   public:
    void end(bool) noexcept override {}
  } waiters_;
  bool ending_ = false;
  bool ending_now_ = false;
  bool armed_ = false;
  asio::io_context context_{1};
  asio::steady_timer ticker_{context_};
};

}  // namespace common::net
