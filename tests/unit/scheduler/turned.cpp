// Mail that is handed over through a connection of whoever asked (ATRN, RFC 2645): S95.
#include <doctest/doctest.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>

#include "house.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

using namespace test;
using tests::got;
using tests::wait_for;

namespace {

/// A connection to `customer`, which takes the mail of "far.test" through it.
void hand_over(House& house, StubServer& customer) {
  auto calling = [](House& from, std::uint16_t port) -> asio::awaitable<void> {
    auto connecting = common::net::Stream::connect(from.worker(), "127.0.0.1", port, {}, 5s);
    auto stream = co_await std::move(connecting);
    REQUIRE(stream);
    auto taken = std::make_shared<smtpd::outbound::Reservation::Taken>();
    std::vector<std::string> domains{"far.test"};
    taken->domains.insert(domains.front());
    smtpd::outbound::Turned turned{stream->let_go(),
                                   std::make_unique<smtpd::outbound::Reservation>(std::move(taken), std::move(domains)),
                                   "u1@example.test", "test", nullptr};
    from.scheduler().serve(std::move(turned));
  };
  asio::co_spawn(house.worker().context(), calling(house, customer.port()), asio::detached);
}

void hold(House& house) {
  mailstore::Domain domain{.name = "far.test", .kind = mailstore::DomainKind::remote, .alias_of = {}};
  domain.remote.hold = true;
  got(tests::add_domain(*house.store, std::move(domain)));
}

}  // namespace

TEST_CASE("S95: what waits goes over the connection of who asked, one message after the other") {
  House house;
  hold(house);
  for (int i = 0; i < 3; ++i) house.send({.to = {"bob@far.test", "eve@far.test"}});
  StubServer customer{{Ways{}}};
  hand_over(house, customer);
  house.run_until([&] { return house.queued().empty(); });
  house.quiet();
  CHECK(customer.heard().messages.size() == 3);
  CHECK(customer.heard().lines.back() == "QUIT");
  CHECK(house.stub.heard().connections == 0);
}

TEST_CASE("S57, S95: what a person holds back in the middle of it stays: a domain, and all the queue") {
  for (const std::string_view what : {"domain", "all"}) {
    CAPTURE(what);
    House house;
    hold(house);
    for (int i = 0; i < 3; ++i) house.send({.to = {"bob@far.test"}});
    StubServer customer{{Ways{}}};
    hand_over(house, customer);
    house.run_until([&] { return customer.heard().messages.size() == 1; });
    got(wait_for(what == "all" ? house.queue().hold_all("a test") : house.queue().suspend("far.test", "a test")));
    house.quiet();
    CHECK(customer.heard().messages.size() == 1);
    CHECK(customer.heard().lines.back() == "QUIT");
    REQUIRE(house.queued().size() == 2);
    for (const auto& each : house.queued()) CHECK(each.attempts == 0);
    // Nothing of it is in hand any more.
    got(wait_for(what == "all" ? house.queue().release_all() : house.queue().resume("far.test")));
    hand_over(house, customer);
    house.run_until([&] { return house.queued().empty(); });
    house.quiet();
    CHECK(customer.heard().messages.size() == 3);
  }
}

TEST_CASE("S15, S95: mail of a drop domain goes to its folder, and to nobody who asks") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  got(tests::add_domain(*house.store, {.name = "far.test", .kind = mailstore::DomainKind::drop, .alias_of = {}}));
  StubServer customer{{Ways{}}};
  hand_over(house, customer);
  house.run_until([&] { return !customer.heard().lines.empty() && customer.heard().lines.back() == "QUIT"; });
  house.quiet();
  CHECK(customer.heard().messages.empty());
  CHECK(house.queued().size() == 1);
}

TEST_CASE("S95: a connection that breaks at the first copy of a message costs the others no attempt") {
  House house;
  hold(house);
  // Their copies begin with different lines.
  tests::Letter letter{.to = {}, .octets = "Subject: a letter\r\n\r\nIts text.\r\n", .from = "u0@example.test"};
  for (const std::string by : {"one@example.test", "two@example.test", "three@example.test"}) {
    letter.remotes.push_back({.address = by.substr(0, by.find('@')) + "@far.test", .original_recipient = {}});
    letter.remotes.back().sent_on_by = by;
  }
  got(tests::deliver(*house.store, letter));
  house.quiet();
  StubServer customer{{Ways{.answers = {{"DATA", "!close"}}}}};
  hand_over(house, customer);
  house.run_until([&] { return house.queued().at(0).attempts > 0; });
  house.quiet();
  REQUIRE(house.queued().size() == 3);
  CHECK(house.queued()[0].attempts == 1);
  CHECK(house.queued()[1].attempts == 0);
  CHECK(house.queued()[2].attempts == 0);
}
