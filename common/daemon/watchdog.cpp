#include "common/daemon/watchdog.hpp"

#include <unistd.h>

#include <asio/post.hpp>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "common/log.hpp"

namespace common::daemon {
namespace {

std::optional<std::int64_t> number(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  const std::string_view digits{text};
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value <= 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::chrono::microseconds> watchdog_interval() {
  const auto interval = number("WATCHDOG_USEC");
  // sd_watchdog_enabled(3): without WATCHDOG_PID it is meant for whoever reads it.
  if (!interval || number("WATCHDOG_PID").value_or(::getpid()) != ::getpid()) return std::nullopt;
  return std::chrono::microseconds{*interval};
}

Watchdog::Watchdog(asio::io_context& context, std::vector<asio::io_context*> loops, std::chrono::microseconds interval,
                   std::function<void()> alive)
    : loops_(std::move(loops)), pause_(interval / 4), alive_(std::move(alive)), timer_(context) {}

void Watchdog::start() {
  ask();
  wait();
}

void Watchdog::ask() {
  unanswered_->store(loops_.size());
  for (auto* const loop : loops_) {
    asio::post(*loop, [unanswered = unanswered_] { unanswered->fetch_sub(1); });
  }
}

void Watchdog::wait() {
  timer_.expires_after(pause_);
  timer_.async_wait([this](const asio::error_code& cancelled) {
    if (cancelled) return;
    if (const auto still = unanswered_->load(); still == 0) {
      complained_ = false;
      alive_();
      ask();
    } else if (!std::exchange(complained_, true)) {
      log::error("watchdog", {{"standing_still", static_cast<std::uint64_t>(still)}});
    }
    wait();
  });
}

}  // namespace common::daemon
