// What people say takes effect within a second: S57, S86, S88, S92, and a domain that became ours.
#include <doctest/doctest.h>

#include "house.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

using namespace test;
using mailstore::QueueOutcome;
using tests::got;
using tests::wait_for;

namespace {

mailstore::Domain remote_domain(const std::string& name, mailstore::RemoteSettings settings) {
  mailstore::Domain domain{.name = name, .kind = mailstore::DomainKind::remote, .alias_of = {}};
  domain.remote = std::move(settings);
  return domain;
}

}  // namespace

TEST_CASE("S57: hold and release, delete, retry, bounce, reroute and flush are heard within a second") {
  House house;
  house.names.dead.insert("far.test");
  for (const auto* name : {"held", "deleted", "retried", "bounced", "rerouted"})
    house.accept({.to = {std::string{name} + "@far.test"}});
  house.quiet();
  CHECK(house.names.asked("far.test") == 1);
  CHECK(house.order("held@far.test", mailstore::HoldOrder{"wait"}) == 1);
  CHECK(house.order("deleted@far.test", mailstore::DeleteOrder{}) == 1);
  house.tick();
  CHECK(house.queued().size() == 4);
  CHECK(house.mailbox().empty());

  CHECK(house.order("bounced@far.test", mailstore::BounceOrder{"not wanted here"}) == 1);
  house.tick();
  REQUIRE(house.mailbox().size() == 1);
  CHECK(house.mailbox()[0].find("not wanted here") != std::string::npos);
  CHECK(field(house.mailbox()[0], "Final-Recipient") == "rfc822;bounced@far.test");
  CHECK(field(house.mailbox()[0], "Action") == "failed");

  CHECK(house.order("retried@far.test", mailstore::RetryOrder{}) == 1);
  house.tick();
  CHECK(house.names.asked("far.test") == 2);
  CHECK(house.queued().size() == 3);

  CHECK(house.order("rerouted@far.test", mailstore::RerouteOrder{"[127.0.0.1]:" + std::to_string(house.stub.port())}) ==
        1);
  house.tick();
  CHECK(house.stub.heard().messages.size() == 1);
  CHECK(house.queued().size() == 2);

  house.names.dead.clear();
  got(wait_for(house.queue().flush("far.test")));
  house.tick();
  CHECK(house.stub.heard().messages.size() == 2);
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].address == "held@far.test");
  CHECK(house.order("held@far.test", mailstore::ReleaseOrder{}) == 1);
  house.tick();
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 3);
  CHECK(house.names.minutes("far.test").back() == 0);
}

TEST_CASE("a hundred orders to try a dead domain at once cost one attempt, and so do a hundred times that have come") {
  House house{{Ways{.answers = {{"RCPT", "450 4.2.1 later"}}}}};
  for (int i = 0; i < 100; ++i) house.accept({.to = {"bob" + std::to_string(i) + "@far.test"}});
  house.quiet();
  CHECK(house.domain("far.test")->due_alone == 100);
  house.names.dead.insert("far.test");
  house.pass(15min);
  const auto asked = house.names.asked("far.test");
  std::size_t connected = 0;
  house.pass(14min, 1min);
  connected = house.names.asked("far.test") - asked;
  CHECK(connected <= 1);
  std::vector<mailstore::QueueName> all;
  for (const auto& each : house.queued()) all.push_back(each.name);
  const auto before = house.names.asked("far.test");
  CHECK(got(wait_for(house.queue().order(all, mailstore::RetryOrder{}))) == 100);
  house.pass(10s, 1500ms);
  CHECK(house.names.asked("far.test") == before + 1);
  house.names.dead.clear();
  CHECK(got(wait_for(house.queue().order(all, mailstore::RetryOrder{}))) == 100);
  house.pass(10s, 1500ms);
  CHECK(house.names.asked("far.test") > before + 1);
}

TEST_CASE("S57: a suspended domain is left alone until it is resumed, but for what is to be bounced") {
  House house;
  got(wait_for(house.queue().suspend("far.test", "moving")));
  house.tick();
  house.send({.to = {"bob@far.test", "eve@far.test"}});
  house.send({.to = {"bob@else.test"}});
  CHECK(house.names.asked("far.test") == 0);
  CHECK(house.stub.heard().messages.size() == 1);
  house.order("eve@far.test", mailstore::BounceOrder{"moved"});
  house.tick();
  CHECK(house.mailbox().size() == 1);
  CHECK(house.names.asked("far.test") == 0);
  got(wait_for(house.queue().resume("far.test")));
  house.tick();
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 2);
}

TEST_CASE("S57: what is ordered while mail waits for its turn holds for that mail") {
  // One at a time, and the first is stuck.
  House house{{Ways{.answers = {{"RCPT TO:<first@far.test>", "!stall"}}}, Ways{}},
              [](common::config::Server& server) { server.outbound.per_domain = 1; }};
  // All are read before the first is stuck.
  for (const auto* name : {"first", "held", "deleted", "bounced", "plain"})
    house.accept({.to = {std::string{name} + "@far.test"}});
  house.run_until([&] { return house.stub.heard().stalls == 1; });
  CHECK(house.order("held@far.test", mailstore::HoldOrder{"wait"}) == 1);
  CHECK(house.order("deleted@far.test", mailstore::DeleteOrder{}) == 1);
  CHECK(house.order("bounced@far.test", mailstore::BounceOrder{"no"}) == 1);
  // The stuck one's time is over; the others have their turn.
  house.pass(6min);
  house.pass(2s);
  std::vector<std::string> named;
  for (const auto& line : house.stub.heard().lines) {
    if (line.starts_with("RCPT ")) named.push_back(line.substr(9, line.find('@') - 9));
  }
  CHECK(named == std::vector<std::string>{"first", "plain"});
  CHECK(house.mailbox().size() == 1);
}

TEST_CASE("S57: holding the queue or suspending the domain stops a long round in its middle") {
  for (const bool all : {true, false}) {
    CAPTURE(all);
    House house{{Ways{.answers = {{"RCPT TO:<first@far.test>", "!stall"}}}, Ways{}},
                [](common::config::Server& server) { server.outbound.per_domain = 1; }};
    house.accept({.to = {"first@far.test"}});
    for (int i = 0; i < 150; ++i) house.accept({.to = {"bob@far.test"}});
    house.run_until([&] { return house.stub.heard().stalls == 1; });
    if (all) {
      got(wait_for(house.queue().hold_all("a test")));
    } else {
      got(wait_for(house.queue().suspend("far.test", "a test")));
    }
    house.clock.turn(2s);
    house.worker().deadlines().tick(house.clock.steady());
    for (int i = 0; i < 200; ++i) house.worker().context().poll();
    house.pass(6min);
    house.pass(2s);
    CHECK(house.stub.heard().messages.empty());
    CHECK(house.queued().size() == 151);
    if (all) {
      got(wait_for(house.queue().release_all()));
    } else {
      got(wait_for(house.queue().resume("far.test")));
    }
    house.pass(2s);
    house.pass(16min);
    house.pass(16min);
    CHECK(house.stub.heard().messages.size() == 151);
  }
}

TEST_CASE("S86, S92: a corrected route reaches mail that already waits") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  CHECK(house.queued().size() == 1);
  got(tests::add_domain(*house.store,
                        remote_domain("far.test", {.route = "[127.0.0.1]:" + std::to_string(house.stub.port())})));
  house.pass(15min);
  CHECK(house.queued().empty());
  CHECK(house.stub.heard().messages.size() == 1);
  CHECK(house.names.asked("far.test") == 1);
}

TEST_CASE("S87, S92: the settings of the longest suffix hold, and not for the suffix itself") {
  House house;
  const auto there = "[127.0.0.1]:" + std::to_string(house.stub.port());
  house.names.dead = {"example.com", "a.example.com", "b.a.example.com"};
  got(tests::add_domain(*house.store, remote_domain("*.example.com", {.route = there})));
  got(tests::add_domain(*house.store, remote_domain("*.a.example.com", {.route = "dns"})));
  house.send({.to = {"one@sub.example.com"}});
  house.send({.to = {"two@a.example.com"}});
  house.send({.to = {"three@example.com"}});
  house.send({.to = {"four@b.a.example.com"}});
  std::vector<std::string> waiting;
  for (const auto& each : house.queued()) waiting.push_back(each.address);
  CHECK(waiting == std::vector<std::string>{"four@b.a.example.com", "three@example.com"});
  CHECK(house.stub.heard().messages.size() == 2);
}

TEST_CASE("S84, S85, S88: mail that waits for a domain which became ours goes into its mailboxes") {
  House house;
  house.names.dead = {"far.test", "other.test"};
  house.send({.to = {"ann@far.test", "nobody@far.test"}, .octets = "Subject: x\r\n\r\n..dotted\r\ntext\r\n"});
  house.send({.to = {"u1@other.test"}});
  got(tests::add_domain(*house.store, {.name = "far.test", .alias_of = {}}));
  const auto box = got(tests::add_mailbox(*house.store, "ann@far.test"));
  got(tests::add_domain(*house.store,
                        {.name = "other.test", .kind = mailstore::DomainKind::alias, .alias_of = "example.test"}));
  house.pass(15min);
  CHECK(house.queued().empty());
  const auto entries = got(tests::entries(*house.store, box));
  REQUIRE(entries.size() == 1);
  const auto text = got(tests::read_message(*house.store, box, entries[0]));
  CHECK(text ==
        "Return-Path: <u0@example.test>\r\nDelivered-To: ann@far.test\r\n"
        "Subject: x\r\n\r\n..dotted\r\ntext\r\n");
  CHECK(entries[0].header_octets == 14);
  CHECK(entries[0].octets == text.size() - 1);
  CHECK(house.mailbox(1).size() == 1);
  // Whom nobody is there.
  REQUIRE(house.mailbox().size() == 1);
  CHECK(field(house.mailbox()[0], "Final-Recipient") == "rfc822;nobody@far.test");
  CHECK(field(house.mailbox()[0], "Status") == "5.1.1");
  std::size_t expanded = 0;
  for (const auto& each : house.left()) expanded += each.outcome == QueueOutcome::expanded ? 1 : 0;
  CHECK(expanded == 2);
}

TEST_CASE("an alias made meanwhile leads waiting mail on, to mailboxes and to other domains") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"all@far.test"}});
  got(tests::add_domain(*house.store, {.name = "far.test", .alias_of = {}}));
  got(tests::put_alias(*house.store, {"all@far.test", {"u1@example.test", "bob@else.test"}}));
  house.pass(15min);
  CHECK(house.queued().empty());
  CHECK(house.mailbox(1).size() == 1);
  CHECK(house.stub.heard().messages.size() == 1);
  CHECK(house.stub.heard().lines[2] == "RCPT TO:<bob@else.test>");
}

TEST_CASE("who wants to hear of success hears it once, of where waiting mail was led to meanwhile") {
  struct Row {
    std::vector<std::string> targets;
    const char* action;
    const char* recipient;
  };
  const Row rows[] = {
      // RFC 3461 5.2.7.3 (c): those behind it are asked for no report.
      {{"u1@example.test", "bob@else.test"}, "expanded", "rfc822;all@far.test"},
      {{"bob@else.test", "eve@else.test"}, "expanded", "rfc822;all@far.test"},
      // 5.2.7.2, 5.2.2
      {{"bob@else.test"}, "relayed", "rfc822;bob@else.test"},
      {{"u1@example.test"}, "delivered", "rfc822;all@far.test"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.action);
    for (const std::uint8_t notify : {mailstore::notify_success, mailstore::notify_failure}) {
      CAPTURE(notify);
      House house;
      house.names.dead.insert("far.test");
      house.send({.to = {"all@far.test"}, .notify = notify});
      got(tests::add_domain(*house.store, {.name = "far.test", .alias_of = {}}));
      got(tests::put_alias(*house.store, {"all@far.test", row.targets}));
      house.pass(15min);
      CHECK(house.queued().empty());
      const auto told = house.mailbox();
      if (notify != mailstore::notify_success) {
        CHECK(told.empty());
        continue;
      }
      REQUIRE(told.size() == 1);
      CHECK(field(told[0], "Action") == row.action);
      CHECK(field(told[0], "Final-Recipient") == row.recipient);
      CHECK(count(told[0], "\r\nAction: ") == 1);
    }
  }
}

TEST_CASE("S54, S55: a mailbox without room is tried every hour, its sender hears of the delay and of the end") {
  House house{{Ways{}}, [](common::config::Server& server) {
                server.delivery.local_retry = 60min;
                server.delivery.local_delay_notice = 4h;
                server.delivery.local_expire = 8h;
              }};
  house.names.dead.insert("far.test");
  got(tests::add_domain(*house.store, {.name = "soon.test", .alias_of = {}}));
  house.send({.to = {"ann@far.test"}});
  got(tests::add_domain(*house.store, {.name = "far.test", .alias_of = {}}));
  const auto box = got(tests::add_mailbox(
      *house.store,
      {.address = "ann@far.test", .display = {}, .quota_octets = 50, .quota_messages = 1, .credential = {}}));
  tests::Letter filler{.to = {box}, .octets = "Subject: full\r\n\r\n"};
  const auto in_the_way = got(tests::deliver(*house.store, filler));

  house.pass(15min, 1min);
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].attempts == 1);
  CHECK(house.queued()[0].last.answer.enhanced == "4.2.2");
  house.pass(59min, 1min);
  CHECK(house.queued()[0].attempts == 1);
  house.pass(1min);
  CHECK(house.queued()[0].attempts == 2);
  CHECK(house.mailbox().empty());
  house.pass(166min, 1min);
  REQUIRE(house.mailbox().size() == 1);
  CHECK(field(house.mailbox()[0], "Action") == "delayed");
  CHECK(field(house.mailbox()[0], "Status") == "4.2.2");

  SUBCASE("until there is room") {
    got(tests::remove(*house.store, box, {in_the_way}));
    house.pass(60min, 1min);
    CHECK(house.queued().empty());
    CHECK(got(tests::entries(*house.store, box)).size() == 1);
    CHECK(house.mailbox().size() == 1);
  }
  SUBCASE("or until its time is over") {
    house.pass(4h, 1min);
    CHECK(house.queued().empty());
    CHECK(got(tests::entries(*house.store, box)).size() == 1);
    REQUIRE(house.mailbox().size() == 2);
    CHECK(field(house.mailbox()[1], "Action") == "failed");
    CHECK(field(house.mailbox()[1], "Status") == "5.2.2");
  }
}
