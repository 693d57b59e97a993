#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace common::daemon {

/// What the service manager wants to hear of us at least: WATCHDOG_USEC, if it is meant for this process.
std::optional<std::chrono::microseconds> watchdog_interval();

/// Tells the service manager that the daemon lives, while it does: four times in an interval every loop is given
/// something to do, and the word is sent when all of them have done what they were given before. A loop that stands
/// still keeps it silent; then the manager ends the daemon and starts it again. All calls come from `context`'s thread.
class Watchdog {
 public:
  /// `loops`: the workers'; `context` itself is one by nature. `alive` sends the word. `loops` outlive the watchdog.
  Watchdog(asio::io_context& context, std::vector<asio::io_context*> loops, std::chrono::microseconds interval,
           std::function<void()> alive);
  void start();

 private:
  void ask();
  void wait();

  std::vector<asio::io_context*> loops_;
  std::chrono::microseconds pause_;
  std::function<void()> alive_;
  asio::steady_timer timer_;
  // Outlives us: a loop may come to it late.
  std::shared_ptr<std::atomic<std::size_t>> unanswered_ = std::make_shared<std::atomic<std::size_t>>(0);
  bool complained_ = false;
};

}  // namespace common::daemon
