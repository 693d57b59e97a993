// Stops, restarts and trouble with the store: nothing lost, nothing sent twice.
#include <doctest/doctest.h>

#include "house.hpp"
#include "index_writes.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

using namespace test;
using mailstore::QueueOutcome;

TEST_CASE("a restart in the middle goes on where it was") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  house.pass(20min, 1min);
  house.restart();
  CHECK(house.names.minutes("far.test") == std::vector<std::int64_t>{0, 15});
  house.pass(4h, 1min);
  CHECK(house.names.minutes("far.test") == std::vector<std::int64_t>{0, 15, 45, 105});
  // Due while nobody was there: at once.
  house.stop();
  house.clock.turn(24h);
  house.start();
  CHECK(house.names.asked("far.test") == 5);
  CHECK(house.mailbox().size() == 1);
}

TEST_CASE("mail taken while no scheduler ran is found by the next") {
  House house;
  house.stop();
  house.accept({.to = {"bob@far.test"}});
  house.start();
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 1);
}

TEST_CASE("a stop in the middle of an attempt leaves the message as it was") {
  for (const std::string moment : {"GREETING", "EHLO", "RCPT", "DATA", "HALF"}) {
    CAPTURE(moment);
    House house{{Ways{.answers = {{moment, "!stall"}}}, Ways{}}};
    const auto octets = "Subject: long\r\n\r\n" + std::string(8000000, 'x') + "\r\n";
    house.accept({.to = {"bob@far.test"}, .octets = octets});
    house.run_until([&] { return house.stub.heard().stalls == 1; });
    house.stop();
    REQUIRE(house.queued().size() == 1);
    CHECK(house.queued()[0].attempts == 0);
    CHECK(house.queued()[0].due == mailstore::no_time);
    CHECK((!house.domain("far.test") || house.domain("far.test")->failed_rounds == 0));
    house.start();
    CHECK(house.queued().empty());
    CHECK(house.stub.heard().messages.size() == 1);
  }
}

TEST_CASE("a lost reply to the end of data is tried again, after the first wait and not at once") {
  House house{{Ways{.answers = {{"END", "!close"}}}, Ways{}}};
  house.send({.to = {"bob@far.test"}});
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].attempts == 1);
  CHECK(house.stub.heard().messages.size() == 1);
  house.pass(14min, 1min);
  CHECK(house.stub.heard().messages.size() == 1);
  house.pass(1min);
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 2);
}

TEST_CASE("what was delivered while the store failed is settled later and not sent twice") {
  House house;
  house.accept({.to = {"bob@far.test"}});
  const auto errors = failed_index_writes();
  fill_index(true);
  house.run_until([&] { return failed_index_writes() >= errors + 2; });
  CHECK(house.stub.heard().messages.size() == 1);
  CHECK(house.queued().size() == 1);
  fill_index(false);
  house.quiet();
  house.pass(5h, 1min);
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 1);
  REQUIRE(house.left().size() == 1);
  CHECK(house.left()[0].outcome == QueueOutcome::relayed);
}

TEST_CASE("a report that finds no room in the store is written later, once") {
  House house{{Ways{.answers = {{"RCPT", "550 5.1.1 no such user"}}}}};
  house.accept({.to = {"bob@far.test"}});
  house.files.free = 0;
  house.files.writes = ENOSPC;
  house.run_until([&] { return house.stub.heard().lines.size() >= 4; });
  for (int i = 0; i < 20; ++i) house.worker().context().run_one_for(5ms);
  CHECK(house.queued().size() == 1);
  house.files.writes = 0;
  house.files.free = -1;
  house.quiet();
  CHECK(house.queued().empty());
  CHECK(house.mailbox().size() == 1);
  CHECK(house.left().size() == 1);
}

TEST_CASE("the time of a message that nobody could be asked about ends all the same, with its settings gone") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  house.set([](common::config::Server& server) { server.delivery.expire = 1h; });
  house.pass(61min, 1min);
  CHECK(house.queued().empty());
  CHECK(house.mailbox().size() == 1);
}
