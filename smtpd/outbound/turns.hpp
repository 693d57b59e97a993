#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

namespace smtpd::outbound {

/// Those who wait for a lane, first come first served, a line for each thing that can be short. A wake is a hint: who
/// wakes looks again, and goes back to the head of its line if it was in vain. One thread.
class Turns {
 public:
  enum class Place : std::uint8_t { tail, head };

  explicit Turns(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  /// Until it is called, or until `until`.
  asio::awaitable<void> wait(
      std::string line, Place place,
      std::chrono::steady_clock::time_point until = std::chrono::steady_clock::time_point::max());
  /// Calls the first `count` of a line.
  void call(std::string_view line, std::size_t count);
  void call_all();
  std::size_t waiting() const { return waiting_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Line = std::list<asio::steady_timer*>;

  asio::any_io_executor executor_;
  std::unordered_map<std::string, Line, Hash, std::equal_to<>> lines_;
  std::size_t waiting_ = 0;
};

}  // namespace smtpd::outbound
