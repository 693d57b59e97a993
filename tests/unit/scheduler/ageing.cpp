// Who is told, and when: S52, S53, S56, S16.
#include <doctest/doctest.h>

#include "house.hpp"
#include "mailstore/queue.hpp"

using namespace test;
using mailstore::QueueOutcome;

TEST_CASE("S52: exactly one notice of the delay, at twelve hours") {
  House house;
  house.names.dead.insert("far.test");
  const auto id = house.send({.to = {"bob@far.test"}});
  house.pass(12h - 1min, 1min);
  CHECK(house.mailbox().empty());
  house.pass(1min);
  REQUIRE(house.mailbox().size() == 1);
  house.pass(36h, 5min);
  REQUIRE(house.mailbox().size() == 1);
  const auto report = house.mailbox()[0];
  CHECK(report.find("Return-Path: <>\r\n") != report.npos);
  CHECK(field(report, "Action") == "delayed");
  CHECK(field(report, "Status") == "4.4.1");
  CHECK(field(report, "Final-Recipient") == "rfc822;bob@far.test");
  CHECK(field(report, "Will-Retry-Until") == "Sat, 10 Jan 2026 00:00:00 +0000");
  CHECK(house.queued().size() == 1);
  CHECK(house.queued()[0].name.id == id);
  CHECK(house.queued()[0].delay_noticed);
}

TEST_CASE("S52: NOTIFY and the null reverse-path are honoured, and 0 is never") {
  struct Row {
    std::uint8_t notify;
    const char* from;
    std::size_t notices;
  };
  const Row rows[] = {
      {mailstore::notify_delay, "u0@example.test", 1},
      {mailstore::notify_failure, "u0@example.test", 0},
      {mailstore::notify_success, "u0@example.test", 0},
      {mailstore::notify_never, "u0@example.test", 0},
      {0, "", 0},
      {mailstore::notify_delay, "", 0},
  };
  for (const auto& row : rows) {
    CAPTURE(row.notify);
    CAPTURE(row.from);
    House house;
    house.names.dead.insert("far.test");
    house.send({.to = {"bob@far.test"}, .from = row.from, .notify = row.notify});
    house.pass(14h, 30min);
    CHECK(house.mailbox().size() == row.notices);
    CHECK(house.queued().size() == 1);
    CHECK(house.left().empty());
  }
  House house{{Ways{}}, [](common::config::Server& server) { server.delivery.delay_notice = 0s; }};
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  house.pass(48h, 30min);
  CHECK(house.mailbox().empty());
}

TEST_CASE("S52: everybody who waits gets the notice, however many wait on the domain before them") {
  House house;
  house.names.dead.insert("far.test");
  std::vector<std::string> first;
  for (int i = 0; i < 250; ++i) first.push_back("bob" + std::to_string(i) + "@far.test");
  house.send({.to = first});
  house.pass(6h, 30min);
  house.send({.to = {"eve@far.test"}, .from = "u1@example.test"});
  house.pass(6h, 30min);
  std::size_t noticed = 0;
  for (const auto& each : house.queued()) noticed += each.delay_noticed ? 1 : 0;
  CHECK(noticed == 250);
  CHECK(house.mailbox(1).empty());
  house.pass(6h - 1min, 30min);
  CHECK(house.mailbox(1).empty());
  house.pass(1min);
  CHECK(house.mailbox(1).size() == 1);
}

TEST_CASE("S53: the report of failure at the end of the message's time, and the queue is empty") {
  House house{{Ways{}}, [](common::config::Server& server) { server.delivery.expire = 48h; }};
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test", "eve@far.test"}});
  house.pass(48h - 1min, 1min);
  CHECK(house.mailbox().size() == 1);  // of the delay
  CHECK(house.queued().size() == 2);
  house.pass(1min);
  CHECK(house.queued().empty());
  REQUIRE(house.mailbox().size() == 2);
  const auto report = house.mailbox()[1];
  CHECK(count(report, "\r\nAction: failed\r\n") == 2);
  CHECK(count(report, "\r\nStatus: 4.4.7\r\n") == 2);
  CHECK(report.find("Its text.") != report.npos);
  const auto left = house.left();
  REQUIRE(left.size() == 2);
  CHECK(left[0].outcome == QueueOutcome::failed);
  CHECK(left[0].last.answer.enhanced == "4.4.7");
  CHECK(left[0].successor == left[1].successor);
  CHECK(house.scheduler().counters().failed == 2);
  CHECK(house.scheduler().counters().reports == 2);
}

TEST_CASE("S53: at the end of its time a message costs a dead domain no further attempts") {
  House house{{Ways{}}, [](common::config::Server& server) { server.delivery.expire = 15min; }};
  house.names.dead.insert("far.test");
  for (int i = 0; i < 30; ++i) house.accept({.to = {"bob" + std::to_string(i) + "@far.test"}});
  house.quiet();
  house.pass(15min, 1min);
  CHECK(house.queued().empty());
  CHECK(house.mailbox().size() == 30);
  CHECK(house.names.asked("far.test") <= 2);
}

TEST_CASE("what lay while the daemon was down is tried once more before it goes back") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  house.stop();
  house.clock.turn(std::chrono::days{9});
  house.names.dead.clear();
  house.start();
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 1);
  for (const auto& report : house.mailbox()) CHECK(field(report, "Action") != "failed");
}

TEST_CASE("while the whole queue is held nothing goes back and nobody is told") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  REQUIRE(tests::wait_for(house.queue().hold_all("restored")));
  house.tick();
  house.pass(std::chrono::days{9}, 6h);
  CHECK(house.queued().size() == 1);
  CHECK(house.mailbox().empty());
  house.names.dead.clear();
  REQUIRE(tests::wait_for(house.queue().release_all()));
  house.tick();
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 1);
}

TEST_CASE("S16, S56: a report goes the way of all mail, with the same attempts, and is then kept with its cause") {
  House house;
  house.names.dead.insert("home.test");
  house.names.failing["gone.test"] = smtpd::outbound::Lookup::no_name;
  house.send({.to = {"bob@gone.test"}, .from = "ann@home.test"});
  auto queued = house.queued();
  REQUIRE(queued.size() == 1);
  CHECK(queued[0].address == "ann@home.test");
  CHECK(queued[0].reverse_path.empty());
  house.pass(11h, 1min);
  CHECK(house.names.minutes("home.test") == std::vector<std::int64_t>{0, 15, 45, 105, 345, 585});
  house.pass(110h, 1h);
  queued = house.queued();
  REQUIRE(queued.size() == 1);
  CHECK(queued[0].state == mailstore::QueueState::held);
  CHECK(queued[0].reason == "badmail: ndr-of-dsn: it failed, and has no sender to be told");
  CHECK(queued[0].last.answer.enhanced == "4.4.7");
  // There it stays, until a person releases it.
  house.pass(std::chrono::days{10}, 24h);
  CHECK(house.queued().size() == 1);
}

TEST_CASE("S16: a refused report, a message of nobody that fails, and a sender of ours that nobody is, are badmail") {
  for (const std::string from : {"ann@home.test", "", "nobody@example.test"}) {
    CAPTURE(from);
    House house{{Ways{.answers = {{"RCPT", "550 5.1.1 no such user"}}}}};
    house.send({.to = {"bob@far.test"}, .from = from});
    const auto queued = house.queued();
    REQUIRE(queued.size() == 1);
    CHECK(queued[0].state == mailstore::QueueState::held);
    CHECK(queued[0].reason.starts_with("badmail: "));
    CHECK(queued[0].last.answer == mailstore::Answer{550, "5.1.1", "no such user"});
  }
}

TEST_CASE("S16: badmail that lies in front hides nobody else's end") {
  House house{{Ways{.answers = {{"RCPT", "450 4.2.0 later"}, {"RCPT TO:<bad@far.test>", "550 5.1.1 no"}}}}};
  for (int i = 0; i < 150; ++i) house.accept({.to = {"bad@far.test"}, .from = ""});
  house.quiet();
  CHECK(house.queued().size() == 150);
  house.send({.to = {"bob@far.test"}});
  house.pass(12h, 10min);
  CHECK(house.mailbox().size() == 1);
  REQUIRE(tests::wait_for(house.queue().suspend("far.test", "a test")));
  house.pass(109h, 10min);
  CHECK(house.queued().size() == 150);
  CHECK(house.mailbox().size() == 2);
}

TEST_CASE("S47: a copy of each report of failure, of no other, and none of the copy") {
  House house{{Ways{.answers = {{"RCPT TO:<bob@far.test>", "550 5.1.1 no such user"}}}},
              [](common::config::Server& server) { server.messages.ndr_copy = "u1@example.test"; }};
  house.names.dead.insert("slow.test");
  house.send({.to = {"bob@far.test"}});
  CHECK(house.mailbox(0).size() == 1);
  CHECK(house.mailbox(1).size() == 1);
  CHECK(house.mailbox_ids(0) == house.mailbox_ids(1));
  house.send({.to = {"bob@slow.test"}});
  house.pass(13h, 10min);
  CHECK(house.mailbox(0).size() == 2);
  CHECK(house.mailbox(1).size() == 1);
  // To somebody far away who is not there: it ends as badmail, and is not reported on.
  house.set([](common::config::Server& server) { server.messages.ndr_copy = "bob@far.test"; });
  house.send({.to = {"bob@far.test"}, .from = "u1@example.test"});
  CHECK(house.mailbox(1).size() == 2);
  std::size_t badmail = 0;
  for (const auto& each : house.queued()) badmail += each.reason.starts_with("badmail: ") ? 1 : 0;
  CHECK(badmail == 1);
}

TEST_CASE("S14: what may lie in a drop folder already does not go back, however long the folder cannot be seen") {
  House house;
  tests::got(tests::add_domain(*house.store, {.name = "programs.test", .kind = mailstore::DomainKind::drop}));
  house.stop();
  house.accept({.to = {"x@programs.test"}});
  const auto file = house.folder.path() / "nowhere" / "a.eml";
  std::vector<mailstore::Settlement> placing{{house.queued()[0].name, mailstore::Placing{file.string()}}};
  CHECK(tests::got(tests::wait_for(house.queue().settle(std::move(placing)))).settled == 1);
  house.start();
  house.pass(96h, 1h);
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].placing == file);
  for (const auto& report : house.mailbox()) CHECK(report.contains("Action: delayed"));
}
