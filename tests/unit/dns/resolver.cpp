#include "common/dns/resolver.hpp"

#include <doctest/doctest.h>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/dns/verify.hpp"

using namespace common::dns;

namespace {

asio::ip::address address(const char* text) {
  return asio::ip::make_address(text);
}

/// A name server that hears and never answers.
class Silence {
 public:
  std::string server() const { return "127.0.0.1@" + std::to_string(socket_.local_endpoint().port()); }
  /// Waits for a question; its octets.
  std::string hear() {
    std::string packet(4096, '\0');
    packet.resize(socket_.receive(asio::buffer(packet)));
    return packet;
  }

 private:
  asio::io_context context_;
  asio::ip::udp::socket socket_{context_, asio::ip::udp::endpoint{asio::ip::address_v4::loopback(), 0}};
};

Settings fixed() {
  Settings settings;
  settings.hosts["good.test"] = {address("192.0.2.1"), address("2001:db8::1")};
  settings.hosts["other.test"] = {address("192.0.2.2")};
  settings.servers = {"127.0.0.1@9"};
  settings.insecure = {"."};
  settings.timeout = std::chrono::seconds{20};
  return settings;
}

template <class Make>
auto run(asio::io_context& context, Make make) {
  using Value = typename decltype(make())::value_type;
  std::optional<Value> value;
  asio::co_spawn(context, make(), [&](const std::exception_ptr& error, Value got) {
    REQUIRE(!error);
    value = std::move(got);
  });
  context.restart();
  context.run();
  REQUIRE(value);
  return std::move(*value);
}

}  // namespace

TEST_CASE("lookups answer on the caller's executor") {
  Resolver resolver;
  asio::io_context context{1};
  const auto unset = run(context, [&] { return resolver.addresses("good.test", Family::v4); });
  REQUIRE(!unset);
  CHECK(unset.error().code == Errc::temporary);

  REQUIRE(resolver.configure(fixed()));
  std::thread::id resumed;
  const auto look = [&]() -> asio::awaitable<Result<asio::ip::address>> {
    auto found = co_await resolver.addresses("GOOD.test.", Family::v4);
    resumed = std::this_thread::get_id();
    co_return found;
  };
  const auto four = run(context, look);
  REQUIRE(four);
  CHECK(four->records == std::vector{address("192.0.2.1")});
  CHECK(resumed == std::this_thread::get_id());
  const auto six = run(context, [&] { return resolver.addresses("good.test", Family::v6); });
  REQUIRE(six);
  CHECK(six->records == std::vector{address("2001:db8::1")});
  const auto none = run(context, [&] { return resolver.exchangers("good.test"); });
  REQUIRE(!none);
  CHECK(none.error().code == Errc::no_data);
  for (const auto* odd : {"", "a b.test", "[192.0.2.1]", "192.0.2.1", "a\r\n.test"}) {
    const auto refused = run(context, [&] { return resolver.addresses(odd, Family::v4); });
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::no_name);
  }
}

TEST_CASE("a name is verified that leads back to its address") {
  Resolver resolver;
  auto settings = fixed();
  settings.hosts["zz.test"] = {address("192.0.2.9")};
  REQUIRE(resolver.configure(std::move(settings)));
  asio::io_context context{1};
  const auto name = run(context, [&] { return verified_name(resolver, address("2001:db8::1")); });
  REQUIRE(name);
  CHECK(*name == "good.test");
  const auto yes = run(context, [&] { return leads_to(resolver, "good.test", address("192.0.2.1")); });
  CHECK(yes == true);
  const auto no = run(context, [&] { return leads_to(resolver, "other.test", address("192.0.2.1")); });
  CHECK(no == false);
  // A link-local client has a scope, its record has none.
  settings = fixed();
  settings.hosts["near.test"] = {address("fe80::1")};
  REQUIRE(resolver.configure(std::move(settings)));
  const auto near = run(context, [&] { return verified_name(resolver, address("fe80::1%1")); });
  CHECK(near == "near.test");
  const auto gone = run(context, [&] { return leads_to(resolver, "other.test", address("2001:db8::1")); });
  CHECK(gone == false);
}

TEST_CASE("no answer ends with the time for it") {
  Silence server;
  Resolver resolver;
  auto settings = fixed();
  settings.servers = {server.server()};
  settings.timeout = std::chrono::milliseconds{100};
  REQUIRE(resolver.configure(std::move(settings)));
  asio::io_context context{1};
  const auto found = run(context, [&] { return resolver.names(address("192.0.2.77")); });
  REQUIRE(!found);
  CHECK(found.error().code == Errc::timeout);
  const auto unknown = run(context, [&] { return leads_to(resolver, "x.test", address("192.0.2.1")); });
  CHECK(!unknown);
}

TEST_CASE("whoever waits can be called off") {
  Silence server;
  Resolver resolver;
  auto settings = fixed();
  settings.servers = {server.server()};
  REQUIRE(resolver.configure(std::move(settings)));
  asio::io_context context{1};
  asio::cancellation_signal signal;
  std::optional<Errc> code;
  // The name is of the resolver's making, and its `.test` goes to the server that we named.
  const auto look = [&]() -> asio::awaitable<void> {
    const auto found = co_await resolver.addresses("unanswered.test", Family::v4);
    REQUIRE(!found);
    code = found.error().code;
  };
  asio::co_spawn(context, look(), asio::bind_cancellation_slot(signal.slot(), [](const std::exception_ptr&) {}));
  context.poll();
  CHECK(server.hear().find("unanswered") != std::string::npos);
  CHECK(!code);
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  CHECK(code == Errc::cancelled);
}

TEST_CASE("the end of the resolver ends all waits") {
  Silence server;
  asio::io_context context{1};
  std::vector<Errc> codes;
  // Outlives the coroutines, which use what it holds.
  const auto look = [&codes](Resolver& asked, std::string wanted) -> asio::awaitable<void> {
    const auto found = co_await asked.addresses(std::move(wanted), Family::v4);
    if (!found) codes.push_back(found.error().code);
  };
  {
    Resolver resolver;
    auto settings = fixed();
    settings.servers = {server.server()};
    REQUIRE(resolver.configure(std::move(settings)));
    for (const auto* name : {"one.test", "two.test"}) {
      asio::co_spawn(context, look(resolver, name), [](const std::exception_ptr&) {});
      context.poll();
      server.hear();
    }
  }
  context.run();
  CHECK(codes == std::vector<Errc>{Errc::cancelled, Errc::cancelled});
}

TEST_CASE("there is a limit of lookups under way, and new settings are for the next ones") {
  Silence server;
  std::size_t refused = 0;
  std::size_t ended = 0;
  std::optional<bool> late;
  asio::io_context context{1};  // outlives the resolver, which still has something to tell
  Resolver resolver;
  auto settings = fixed();
  settings.servers = {server.server()};
  REQUIRE(resolver.configure(settings));
  const auto look = [&](std::string wanted) -> asio::awaitable<void> {
    const auto found = co_await resolver.addresses(std::move(wanted), Family::v4);
    ++ended;
    if (!found && found.error().code == Errc::temporary) ++refused;
  };
  for (std::size_t i = 0; i < Resolver::most_asking + 3; ++i) {
    asio::co_spawn(context, look("n" + std::to_string(i) + ".test"), [](const std::exception_ptr&) {});
  }
  while (ended < 3) context.run_one();
  CHECK(refused == 3);

  // Those under way stay so; what a fixed answer has needs none.
  settings.hosts["late.test"] = {address("192.0.2.8")};
  REQUIRE(resolver.configure(settings));
  const auto look_late = [&]() -> asio::awaitable<void> {
    const auto found = co_await resolver.addresses("late.test", Family::v4);
    late = found.has_value();
  };
  asio::co_spawn(context, look_late(), [](const std::exception_ptr&) {});
  while (!late) context.run_one();
  CHECK(*late);
  CHECK(ended == 3);
}
