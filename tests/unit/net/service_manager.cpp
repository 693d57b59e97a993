// What a service manager hands over and wants to hear: listening sockets, the watchdog.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "common/daemon/watchdog.hpp"
#include "common/net/inherited.hpp"
#include "host.hpp"

using namespace test;
using namespace common::daemon;

namespace {

config::Listen at(const std::string& address, std::uint16_t port) {
  config::Listen listen;
  listen.address = address;
  listen.port = port;
  return listen;
}

/// Listens on a port of the kernel's choice, with the descriptor `number`.
std::uint16_t listen_as(int number) {
  const Descriptor socket{::socket(AF_INET, SOCK_STREAM, 0)};
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  REQUIRE(::listen(socket.get(), 8) == 0);
  socklen_t length = sizeof name;
  REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &length) == 0);
  REQUIRE(::dup2(socket.get(), number) == number);
  return ntohs(name.sin_port);
}

constexpr int first = 200;

}  // namespace

TEST_CASE("sockets that were handed over are found by their address, one for each worker") {
  const Folder folder;
  const auto port = listen_as(first);
  const auto other = listen_as(first + 1);
  const Descriptor datagrams{::socket(AF_INET, SOCK_DGRAM, 0)};
  REQUIRE(::dup2(datagrams.get(), first + 2) == first + 2);
  const Descriptor local{::socket(AF_UNIX, SOCK_STREAM, 0)};
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  (folder / "lmtp").string().copy(name.sun_path, sizeof name.sun_path - 1);
  REQUIRE(::bind(local.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  REQUIRE(::listen(local.get(), 8) == 0);
  REQUIRE(::dup2(local.get(), first + 3) == first + 3);

  Inherited sockets{first, {"mx", "spare", "datagrams", "lmtp"}};
  CHECK(sockets.unclaimed().size() == 3);  // datagrams were no use
  CHECK(::fcntl(first + 2, F_GETFD) < 0);

  CHECK(!sockets.find(at("127.0.0.2", port), 3));
  CHECK(!sockets.find(at("127.0.0.1", 1), 3));
  const auto found = sockets.find(at("127.0.0.1", port), 3);
  REQUIRE(found);
  REQUIRE(*found);
  const auto& listening = **found;
  CHECK(listening.sockets.size() == 3);
  CHECK(listening.port == port);
  CHECK(listening.inherited);
  CHECK(listening.address == "127.0.0.1:" + std::to_string(port));
  for (const auto& socket : listening.sockets) {
    CHECK((::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(socket.get(), F_GETFL) & O_NONBLOCK) != 0);
  }
  config::Listen path;
  path.path = folder / "lmtp";
  const auto unix_found = sockets.find(path, 3);
  REQUIRE(unix_found);
  REQUIRE(*unix_found);
  CHECK((*unix_found)->sockets.size() == 1);
  CHECK((*unix_found)->address == "unix:" + path.path);
  CHECK(sockets.unclaimed() == std::vector<std::string>{"spare (127.0.0.1:" + std::to_string(other) + ")"});
  // Taken away by one reload and back by another.
  CHECK(sockets.find(at("127.0.0.1", port), 1));
}

TEST_CASE("the environment's word is taken once, and only if it is meant for this process") {
  ::setenv("LISTEN_PID", "1", 1);
  ::setenv("LISTEN_FDS", "3", 1);
  ::setenv("LISTEN_FDNAMES", "a:b:c", 1);
  const auto sockets = Inherited::from_environment();
  CHECK(sockets.unclaimed().empty());
  for (const char* const variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    CHECK(std::getenv(variable) == nullptr);
}

TEST_CASE("the watchdog's interval, and whom it is meant for") {
  struct Row {
    const char* interval;
    const char* pid;
    std::int64_t want;
    const char* why;
  };
  const auto me = std::to_string(::getpid());
  const Row rows[] = {
      {nullptr, nullptr, 0, "there is none"},
      {"30000000", nullptr, 30'000'000, "meant for whoever reads it"},
      {"30000000", me.c_str(), 30'000'000, "meant for us"},
      {"30000000", "1", 0, "meant for another"},
      {"soon", nullptr, 0, "no number"},
      {"0", nullptr, 0, "off"},
  };
  for (const auto& [interval, pid, want, why] : rows) {
    CAPTURE(why);
    if (interval != nullptr) ::setenv("WATCHDOG_USEC", interval, 1);
    if (pid != nullptr) ::setenv("WATCHDOG_PID", pid, 1);
    const auto got = watchdog_interval();
    CHECK((got ? got->count() : 0) == want);
    ::unsetenv("WATCHDOG_USEC");
    ::unsetenv("WATCHDOG_PID");
  }
}

TEST_CASE("the watchdog's word goes out while every loop turns, and not while one stands still") {
  asio::io_context context{1};
  asio::io_context one{1};
  asio::io_context two{1};
  int words = 0;
  Watchdog watchdog{context, {&one, &two}, std::chrono::milliseconds{8}, [&words] { ++words; }};
  watchdog.start();
  context.run_one();
  CHECK(words == 0);
  one.poll();
  one.restart();
  context.run_one();
  CHECK_MESSAGE(words == 0, "one loop has not turned");
  two.poll();
  two.restart();
  context.run_one();
  CHECK(words == 1);
  context.run_one();
  CHECK_MESSAGE(words == 1, "asked again, and not answered yet");
  one.poll();
  two.poll();
  context.run_one();
  CHECK(words == 2);
}
