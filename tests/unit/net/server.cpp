#include "common/net/server.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <stdexcept>

#include "host.hpp"

using namespace test;
using namespace std::chrono_literals;

namespace {

config::Listen at(std::string address, std::uint16_t port = 0) {
  config::Listen listen;
  listen.address = std::move(address);
  listen.port = port;
  listen.text = listen.address + ":" + std::to_string(port);
  return listen;
}

config::Listen at_path(const std::filesystem::path& path) {
  config::Listen listen;
  listen.path = path.string();
  listen.text = "unix:" + listen.path;
  return listen;
}

config::Server server_on(std::string id, std::vector<config::Listen> listen) {
  config::Server server;
  server.id = std::move(id);
  server.listen = std::move(listen);
  return server;
}

std::uint16_t port_of(const std::string& address) {
  return static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
}

Descriptor dial(const std::string& address) {
  Descriptor socket;
  int result = -1;
  if (address.starts_with("unix:")) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    address.copy(name.sun_path, sizeof name.sun_path - 1, 5);
    socket = Descriptor{::socket(AF_UNIX, SOCK_STREAM, 0)};
    result = ::connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name);
  } else if (address.starts_with("[")) {
    sockaddr_in6 name{};
    name.sin6_family = AF_INET6;
    name.sin6_port = htons(port_of(address));
    name.sin6_addr = in6addr_loopback;
    socket = Descriptor{::socket(AF_INET6, SOCK_STREAM, 0)};
    result = ::connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name);
  } else {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port_of(address));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socket = Descriptor{::socket(AF_INET, SOCK_STREAM, 0)};
    result = ::connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name);
  }
  const timeval patience{10, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return result == 0 ? std::move(socket) : Descriptor{};
}

std::string line_of(int socket) {
  std::string line;
  char octet;
  while (!line.ends_with("\n") && ::recv(socket, &octet, 1, 0) == 1) line += octet;
  return line;
}

/// Greets with the server's id, then echoes lines; "throw" throws.
asio::awaitable<void> greet(Worker&, Stream stream, Door door) {
  const auto greeting = door.config->id + " " + std::to_string(door.server) + "\r\n";
  co_await stream.write(greeting);
  for (;;) {
    stream.set_idle(true);
    const auto got = co_await stream.read();
    if (!got) {
      if (got.error() == End::shutdown) co_await stream.write("421 4.3.2 bye\r\n");
      co_return;
    }
    stream.set_idle(false);
    if (got->starts_with("throw")) throw std::runtime_error("a session that fails");
    if (got->starts_with("work")) {
      const auto more = co_await stream.read();
      if (!more) co_return;
    }
    co_await stream.write("ok\r\n");
  }
}

std::string refuse(const config::Server& server) {
  return "421 4.7.0 " + server.id + " is full\r\n";
}

void wait_until(const std::function<bool()>& condition) {
  for (int i = 0; i < 10'000 && !condition(); ++i) std::this_thread::yield();
  for (int i = 0; i < 1'000 && !condition(); ++i) std::this_thread::sleep_for(1ms);
}

}  // namespace

TEST_CASE("every address answers, with the port that the kernel chose, on all workers") {
  const Folder folder;
  Server server{3, system_clock_source(), greet, refuse};
  const std::vector servers{server_on("mx", {at("127.0.0.1"), at("::1")}),
                            server_on("lmtp", {at_path(folder / "lmtp")})};
  REQUIRE(server.listen(servers));
  server.start();
  const auto addresses = server.addresses();
  REQUIRE(addresses.size() == 3);
  CHECK(addresses[0].server == "mx");
  CHECK(addresses[0].address.starts_with("127.0.0.1:"));
  CHECK(addresses[1].address.starts_with("[::1]:"));
  CHECK(addresses[2].address == "unix:" + (folder / "lmtp").string());
  for (int i = 0; i < 30; ++i) {
    for (const auto& bound : addresses) {
      const auto socket = dial(bound.address);
      REQUIRE(socket.get() >= 0);
      CHECK(line_of(socket.get()) == (bound.server == "mx" ? "mx 0\r\n" : "lmtp 1\r\n"));
    }
  }
  struct stat mode{};
  REQUIRE(::stat((folder / "lmtp").c_str(), &mode) == 0);
  CHECK((mode.st_mode & 0777) == 0666);
  CHECK(server.counters().total == 90);
  wait_until([&] { return server.counters().open == 0; });
  CHECK(server.counters().open == 0);
  server.stop(1s);
  CHECK(!std::filesystem::exists(folder / "lmtp"));
}

TEST_CASE("a busy port is an error that names it, also when the other shares it") {
  Server first{2, system_clock_source(), greet, refuse};
  REQUIRE(first.listen({server_on("a", {at("127.0.0.1")})}));
  const auto port = port_of(first.addresses()[0].address);
  Server second{2, system_clock_source(), greet, refuse};
  const auto result = second.listen({server_on("b", {at("127.0.0.1"), at("127.0.0.1", port)})});
  REQUIRE(!result);
  CHECK_MESSAGE(result.error().find("127.0.0.1:" + std::to_string(port)) != std::string::npos, result.error());
  CHECK_MESSAGE(result.error().find("Address already in use") != std::string::npos, result.error());
  CHECK(second.addresses().empty());
}

TEST_CASE("a Unix socket's path: a stale socket is replaced, a living one and a file are not") {
  const Folder folder;
  const auto path = folder / "socket";
  {
    const Descriptor dead{::socket(AF_UNIX, SOCK_STREAM, 0)};
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.string().copy(name.sun_path, sizeof name.sun_path - 1);
    REQUIRE(::bind(dead.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
    REQUIRE(::listen(dead.get(), 1) == 0);
  }
  Server first{1, system_clock_source(), greet, refuse};
  CHECK(first.listen({server_on("a", {at_path(path)})}));
  first.start();
  Server second{1, system_clock_source(), greet, refuse};
  CHECK(!second.listen({server_on("b", {at_path(path)})}));
  CHECK(line_of(dial("unix:" + path.string()).get()) == "a 0\r\n");
  std::ofstream{folder / "file"} << "precious";
  CHECK(!second.listen({server_on("b", {at_path(folder / "file")})}));
  CHECK(std::filesystem::file_size(folder / "file") == 8);
}

TEST_CASE("over the limit, in all or for one address, a connection is told so and closed") {
  for (const bool per_address : {false, true}) {
    auto settings = server_on("mx", {at("127.0.0.1")});
    (per_address ? settings.connections.per_address : settings.connections.limit) = 3;
    Server server{2, system_clock_source(), greet, refuse};
    REQUIRE(server.listen({settings}));
    server.start();
    const auto address = server.addresses()[0].address;
    std::vector<Descriptor> open;
    for (int i = 0; i < 3; ++i) {
      open.push_back(dial(address));
      CHECK(line_of(open.back().get()) == "mx 0\r\n");
    }
    for (int i = 0; i < 5; ++i) {
      const auto over = dial(address);
      CHECK(receive(over.get()) == "421 4.7.0 mx is full\r\n");
    }
    CHECK(server.counters().refused == 5);
    CHECK(server.counters("mx").open == 3);
    CHECK(server.counters("other").open == 0);
    open.pop_back();
    wait_until([&] { return server.counters().open == 2; });
    const auto again = dial(address);
    CHECK(line_of(again.get()) == "mx 0\r\n");
  }
}

TEST_CASE("without descriptors the server waits, and serves when there are some again") {
  Server server{1, system_clock_source(), greet, refuse};
  REQUIRE(server.listen({server_on("mx", {at("127.0.0.1")})}));
  server.start();
  const auto address = server.addresses()[0].address;
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const auto first = dial(address);
  CHECK(line_of(first.get()) == "mx 0\r\n");
  // As many as are open, and one for the client's end of the next connection.
  Descriptor waiting{::socket(AF_INET, SOCK_STREAM, 0)};
  const rlimit none{static_cast<rlim_t>(waiting.get()) + 1, before.rlim_max};
  std::vector<Descriptor> fill;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  for (int made; (made = ::dup(first.get())) >= 0;) fill.emplace_back(made);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port_of(address));
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(waiting.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  const timeval short_patience{0, 200'000};
  ::setsockopt(waiting.get(), SOL_SOCKET, SO_RCVTIMEO, &short_patience, sizeof short_patience);
  CHECK(line_of(waiting.get()).empty());
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  const timeval patience{10, 0};
  ::setsockopt(waiting.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  CHECK(line_of(waiting.get()) == "mx 0\r\n");
}

TEST_CASE("a session that throws ends alone") {
  Server server{1, system_clock_source(), greet, refuse};
  REQUIRE(server.listen({server_on("mx", {at("127.0.0.1")})}));
  server.start();
  const auto address = server.addresses()[0].address;
  const auto good = dial(address);
  const auto bad = dial(address);
  CHECK(line_of(good.get()) == "mx 0\r\n");
  CHECK(line_of(bad.get()) == "mx 0\r\n");
  send_all(bad.get(), "throw");
  CHECK(receive(bad.get()).empty());
  send_all(good.get(), "x");
  CHECK(line_of(good.get()) == "ok\r\n");
}

TEST_CASE("stopping: idle sessions are told, work in hand finishes, who is too slow is cut off") {
  Server server{2, system_clock_source(), greet, refuse};
  REQUIRE(server.listen({server_on("mx", {at("127.0.0.1")})}));
  server.start();
  const auto address = server.addresses()[0].address;
  const auto idle = dial(address);
  const auto working = dial(address);
  const auto stuck = dial(address);
  for (const auto* socket : {&idle, &working, &stuck}) CHECK(line_of(socket->get()) == "mx 0\r\n");
  send_all(working.get(), "work");
  send_all(stuck.get(), "work");
  std::this_thread::sleep_for(50ms);  // until the two are read: nothing tells that from outside
  std::thread stopper{[&] { server.stop(300ms); }};
  CHECK(receive(idle.get()) == "421 4.3.2 bye\r\n");
  // Each worker closes its own listener; the other one may be a moment behind the one that said goodbye.
  bool closed = false;
  for (int attempt = 0; attempt < 20 && !closed; ++attempt) {
    closed = dial(address).get() < 0;
    if (!closed) std::this_thread::sleep_for(5ms);
  }
  CHECK(closed);
  send_all(working.get(), "done");
  CHECK(receive(working.get()) == "ok\r\n421 4.3.2 bye\r\n");
  CHECK(receive(stuck.get()).empty());
  stopper.join();
  CHECK(server.counters().open == 0);
}

TEST_CASE("a reload keeps the sockets of addresses that stay, opens new ones, closes others; or changes nothing") {
  const Folder folder;
  Server server{2, system_clock_source(), greet, refuse};
  auto mx = server_on("mx", {at("127.0.0.1")});
  REQUIRE(server.listen({mx, server_on("old", {at_path(folder / "old")})}));
  server.start();
  const auto address = server.addresses()[0].address;
  const auto before = dial(address);
  CHECK(line_of(before.get()) == "mx 0\r\n");

  SUBCASE("one stays, one goes, one comes, and the order changes") {
    REQUIRE(server.reload({server_on("new", {at_path(folder / "new")}), mx}));
    CHECK(server.addresses()[1].address == address);
    CHECK(line_of(dial(address).get()) == "mx 1\r\n");
    CHECK(line_of(dial("unix:" + (folder / "new").string()).get()) == "new 0\r\n");
    CHECK(dial("unix:" + (folder / "old").string()).get() < 0);
    CHECK(!std::filesystem::exists(folder / "old"));
  }
  SUBCASE("new limits hold for the next connection") {
    mx.connections.limit = 1;
    REQUIRE(server.reload({mx}));
    CHECK(receive(dial(address).get()) == "421 4.7.0 mx is full\r\n");
  }
  SUBCASE("an address that cannot be had: everything stays") {
    Server other{1, system_clock_source(), greet, refuse};
    REQUIRE(other.listen({server_on("other", {at("127.0.0.1")})}));
    const auto busy = port_of(other.addresses()[0].address);
    CHECK(!server.reload({server_on("new", {at_path(folder / "new"), at("127.0.0.1", busy)})}));
    CHECK(!std::filesystem::exists(folder / "new"));
    CHECK(line_of(dial(address).get()) == "mx 0\r\n");
    CHECK(line_of(dial("unix:" + (folder / "old").string()).get()) == "old 1\r\n");
  }
  send_all(before.get(), "x");
  CHECK(line_of(before.get()) == "ok\r\n");
}
