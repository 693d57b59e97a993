// When mail is tried: S50, S51, and how the messages of one domain share its rounds.
#include <doctest/doctest.h>

#include <algorithm>

#include "house.hpp"
#include "mailstore/queue.hpp"

using namespace test;
using smtpd::outbound::Lookup;
using Minutes = std::vector<std::int64_t>;

TEST_CASE("S50, S51: attempts 15, 30, 60 and then 240 minutes apart, where nobody answers at all") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  house.pass(11h, 1min);
  CHECK(house.names.minutes("far.test") == Minutes{0, 15, 45, 105, 345, 585});
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].attempts == 0);
  const auto row = house.domain("far.test");
  REQUIRE(row);
  CHECK(row->failed_rounds == 6);
  CHECK(row->last.answer.enhanced == "4.4.1");
}

TEST_CASE("S50, S51: the same intervals where the server answers, and defers this one recipient") {
  House house{{Ways{.answers = {{"RCPT TO:<bob@far.test>", "450 4.2.1 try later"}}}}};
  house.send({.to = {"bob@far.test"}});
  house.pass(11h, 1min);
  CHECK(house.names.minutes("far.test") == Minutes{0, 15, 45, 105, 345, 585});
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].attempts == 6);
  CHECK(house.queued()[0].last.answer == mailstore::Answer{450, "4.2.1", "try later"});
  // Its own affair: others of the domain go at once.
  house.send({.to = {"eve@far.test"}});
  CHECK(house.queued().size() == 1);
}

TEST_CASE("jitter is only ever added, and is as long as the settings say") {
  House house{{Ways{}}, [](common::config::Server& server) { server.delivery.jitter = 10; }};
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});  // the dice always show the most
  house.pass(120min, 10s);
  CHECK(house.names.minutes("far.test") == Minutes{0, 16, 49, 115});
}

TEST_CASE("a message to a domain that waits joins its next round") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  house.pass(5min, 1min);
  house.send({.to = {"eve@far.test"}});
  CHECK(house.names.minutes("far.test") == Minutes{0});
  house.names.dead.clear();
  house.pass(10min, 1min);
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 2);
  CHECK(house.names.minutes("far.test").at(1) == 15);
  // And what failed before is forgotten.
  CHECK(!house.domain("far.test"));
}

TEST_CASE("a dead domain costs one attempt a round however many wait") {
  House house;
  house.names.dead.insert("far.test");
  for (int i = 0; i < 40; ++i) house.accept({.to = {"bob" + std::to_string(i) + "@far.test"}});
  house.quiet();
  CHECK(house.names.asked("far.test") == 1);
  house.pass(11h, 1min);
  CHECK(house.names.minutes("far.test") == Minutes{0, 15, 45, 105, 345, 585});
  CHECK(house.queued().size() == 40);
  house.names.dead.clear();
  house.pass(4h, 1min);
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 40);
}

TEST_CASE("a domain that took mail and is then down is not asked by everybody who waits") {
  House house;
  house.send({.to = {"ann@far.test"}});
  house.names.dead.insert("far.test");
  house.pass(10s, 1s);  // the connection that rested is gone
  for (int i = 0; i < 300; ++i) house.accept({.to = {"bob" + std::to_string(i) + "@far.test"}});
  house.quiet();
  // Those that were under way beside the first one to fail, and no more.
  CHECK(house.names.asked("far.test") <= 1 + 10);
  CHECK(house.queued().size() == 300);
  const auto row = house.domain("far.test");
  REQUIRE(row);
  CHECK(row->failed_rounds == 1);
  CHECK(row->due_alone == 0);
}

TEST_CASE("one message that a live domain refuses for now does not hold the others up") {
  House house{
      {Ways{.extensions = {"SIZE"}, .answers = {{"MAIL FROM:<u1@example.test> SIZE=32", "451 4.7.1 greylisted"}}}}};
  house.accept({.to = {"bob@far.test"}, .from = "u1@example.test"});
  house.accept({.to = {"bob@far.test"}});
  house.quiet();
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].reverse_path == "u1@example.test");
  CHECK(house.queued()[0].attempts == 1);
  CHECK(house.stub.heard().messages.size() == 1);
}

TEST_CASE(
    "a domain whose names cannot be looked up waits, one that does not exist does not (S68: without a smart host)") {
  House house;
  house.names.failing["slow.test"] = Lookup::trouble;
  house.names.failing["gone.test"] = Lookup::no_name;
  house.send({.to = {"bob@slow.test"}});
  house.send({.to = {"bob@gone.test"}});
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].address == "bob@slow.test");
  CHECK(house.domain("slow.test")->last.answer.enhanced == "4.4.3");
  REQUIRE(house.mailbox().size() == 1);
  CHECK(field(house.mailbox()[0], "Status") == "5.1.2");
}

TEST_CASE("S11, S45: a hundred messages to one domain go in five connections, one after the other") {
  House house{{Ways{}}, [](common::config::Server& server) { server.outbound.per_domain = 1; }};
  for (int i = 0; i < 100; ++i) house.accept({.to = {"bob@far.test"}});
  house.quiet();
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 100);
  CHECK(house.stub.heard().connections == 5);
}

TEST_CASE("S46: 105 recipients of one message go as 100 and 5") {
  House house;
  std::vector<std::string> to;
  for (int i = 0; i < 105; ++i) to.push_back("bob" + std::to_string(i) + "@far.test");
  house.send({.to = to});
  CHECK(house.queued().empty());
  const auto lines = house.stub.heard().lines;
  std::vector<std::size_t> transactions;
  for (const auto& line : lines) {
    if (line.starts_with("MAIL ")) transactions.push_back(0);
    if (line.starts_with("RCPT ")) ++transactions.back();
  }
  std::ranges::sort(transactions);
  CHECK(transactions == std::vector<std::size_t>{5, 100});
}
