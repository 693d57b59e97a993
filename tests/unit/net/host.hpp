#pragma once

#include <asio/awaitable.hpp>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "common/clock.hpp"
#include "common/net/listening.hpp"
#include "common/net/stream.hpp"
#include "common/net/worker.hpp"

/// What the tests of this folder stand on: a worker in a thread of its own, and connections to it.
namespace test {

using namespace common;
using namespace common::net;

/// Stands still until it is turned.
class HandClock final : public Clock {
 public:
  Wall wall() const override { return Wall{}; }
  Steady steady() const override { return Steady{std::chrono::milliseconds{now_.load()}}; }
  void turn(std::chrono::milliseconds by) { now_ += by.count(); }

 private:
  std::atomic<std::int64_t> now_{1'000'000};
};

/// A folder that goes when the test goes.
class Folder {
 public:
  Folder();
  ~Folder();
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Ends {
  Descriptor client, server;
};
enum class Over { tcp, unix_socket };
/// Two connected blocking sockets that give up after ten seconds. `send_buffer`: of the server's end, 0 for the usual
/// one.
Ends connect_pair(Over over, int send_buffer = 0);

/// How a session ended. What it threw is thrown anew on the thread that asks: an exception that two threads hold is
/// counted inside the C++ library, where the thread sanitizer does not look.
class Ending {
 public:
  struct Outcome {
    bool threw = false;
    std::error_code code;
    std::string what;
  };
  explicit Ending(std::future<Outcome> outcome) : outcome_(std::move(outcome)) {}
  void get();
  bool ready() const { return outcome_.wait_for(std::chrono::seconds{0}) == std::future_status::ready; }

 private:
  std::future<Outcome> outcome_;
};

using Session = std::function<asio::awaitable<void>(Stream&)>;

/// A worker and its thread.
class Host {
 public:
  explicit Host(const Clock& clock = system_clock_source());
  ~Host();
  Worker& worker() { return *worker_; }
  /// Runs a session over `socket`.
  Ending serve(Descriptor socket, Session session);
  /// Runs `what` on the thread and waits for it.
  void on_thread(const std::function<void()>& what);
  /// Turns the clock of the tests and ticks.
  void pass(HandClock& clock, std::chrono::milliseconds time);

 private:
  std::unique_ptr<Worker> worker_;
  std::thread thread_;
};

/// Everything the peer sends until it closes, or `count` octets.
std::string receive(int socket, std::size_t count = SIZE_MAX);
void send_all(int socket, std::string_view octets);
/// Octets that repeat nowhere soon.
std::string sample(std::size_t size, std::uint32_t seed = 1);
/// Reads exactly so many octets.
asio::awaitable<std::string> read_exactly(Stream& stream, std::size_t count);

}  // namespace test
