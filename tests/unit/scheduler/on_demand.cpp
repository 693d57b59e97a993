// Mail that waits until it is asked for: S93, S94.
#include <doctest/doctest.h>

#include "house.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

using namespace test;
using mailstore::QueueOutcome;

namespace {

void hold(House& house, const std::string& name) {
  mailstore::Domain domain{.name = name, .kind = mailstore::DomainKind::remote, .alias_of = {}};
  domain.remote.hold = true;
  domain.remote.route = "[127.0.0.1]:" + std::to_string(house.stub.port());
  tests::got(tests::add_domain(*house.store, std::move(domain)));
}

}  // namespace

TEST_CASE("S93: what is held is not tried, and goes when it is asked for, all of it") {
  House house;
  hold(house, "far.test");
  for (int i = 0; i < 3; ++i) house.send({.to = {"bob@far.test"}});
  house.pass(6h, 10min);
  CHECK(house.stub.heard().connections == 0);
  CHECK(house.queued().size() == 3);
  house.scheduler().ask({"far.test"});
  house.quiet();
  CHECK(house.stub.heard().messages.size() == 3);
  CHECK(house.queued().empty());
  // And the next one waits again.
  house.send({.to = {"bob@far.test"}});
  house.pass(1h, 10min);
  CHECK(house.stub.heard().messages.size() == 3);
  CHECK(house.queued().size() == 1);
}

TEST_CASE("S93: a domain of which nothing is left is not looked at for ever") {
  House house;
  hold(house, "far.test");
  house.send({.to = {"bob@far.test"}});
  house.scheduler().ask({"far.test"});
  house.quiet();
  REQUIRE(house.queued().empty());
  // Its timer, for notices and for what is too old, still stands; and somebody may ask again.
  house.pass(8h, 10min);
  house.scheduler().ask({"far.test"});
  house.quiet();
  house.send({.to = {"bob@far.test"}});
  house.scheduler().ask({"far.test"});
  house.quiet();
  CHECK(house.stub.heard().messages.size() == 2);
}

TEST_CASE("S93: a person's order goes all the same, and only for what it names") {
  House house;
  hold(house, "far.test");
  house.send({.to = {"bob@far.test"}});
  house.send({.to = {"eve@far.test"}});
  CHECK(house.order("eve@far.test", mailstore::RetryOrder{}) == 1);
  house.tick();
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].address == "bob@far.test");
  CHECK(house.stub.heard().messages.size() == 1);
}

TEST_CASE("S93: what failed when it was asked for waits to be asked for again, whatever its own time says") {
  House house{{Ways{.answers = {{"RCPT", "450 4.2.0 not now"}}}, Ways{}}};
  hold(house, "far.test");
  house.send({.to = {"bob@far.test"}});
  house.scheduler().ask({"far.test"});
  house.quiet();
  REQUIRE(house.queued().size() == 1);
  CHECK(house.queued()[0].last.answer.code == 450);
  house.pass(8h, 10min);
  CHECK(house.stub.heard().connections == 1);
  CHECK(house.queued()[0].attempts == 1);
  house.scheduler().ask({"far.test"});
  house.quiet();
  CHECK(house.queued().empty());
}

TEST_CASE("S93: the delay is told, and what nobody asked for goes back when its time is over") {
  House house;
  hold(house, "far.test");
  house.send({.to = {"bob@far.test"}});
  house.pass(12h - 1min, 10min);
  CHECK(house.mailbox().empty());
  house.pass(2min);
  REQUIRE(house.mailbox().size() == 1);
  CHECK(field(house.mailbox()[0], "Action") == "delayed");
  CHECK(house.mailbox()[0].find("has not asked for it yet") != std::string::npos);
  house.pass(24h * 5, 1h);
  REQUIRE(house.mailbox().size() == 2);
  CHECK(field(house.mailbox()[1], "Action") == "failed");
  CHECK(field(house.mailbox()[1], "Status") == "4.4.7");
  CHECK(house.mailbox()[1].find("has not asked for it yet") != std::string::npos);
  CHECK(house.queued().empty());
  REQUIRE(house.left().size() == 1);
  CHECK(house.left()[0].outcome == QueueOutcome::failed);
  CHECK(house.stub.heard().connections == 0);
}

TEST_CASE("S94: a domain that waits for its round is tried at once when it is asked for") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  CHECK(house.queued().size() == 1);
  house.names.dead.clear();
  house.scheduler().ask({"far.test"});
  house.quiet();
  CHECK(house.queued().empty());
}

TEST_CASE("S52, S94: who asks for a domain's mail, be it a stranger, makes none of it wait longer") {
  House house;
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  const auto before = *house.domain("far.test");
  CHECK(before.failed_rounds == 1);
  for (int i = 0; i < 8; ++i) {
    house.pass(1min);
    house.scheduler().ask({"far.test"});
    house.quiet();
  }
  CHECK(house.names.asked("far.test") == 9);
  CHECK(house.domain("far.test")->failed_rounds == 1);
  CHECK(house.domain("far.test")->next_round == before.next_round);
  // What was said last is to be read all the same.
  CHECK(house.domain("far.test")->last.at > before.last.at);
  CHECK(house.queued()[0].attempts == 0);
  house.pass(8min, 1min);
  CHECK(house.domain("far.test")->failed_rounds == 2);
  house.names.dead.clear();
  house.scheduler().ask({"far.test"});
  house.quiet();
  CHECK(house.queued().empty());
}

TEST_CASE("S94: who was put off with an answer of his own has his own time, whoever asks") {
  House house{{Ways{.answers = {{"RCPT", "450 4.2.0 greylisted"}}}}};
  house.send({.to = {"bob@far.test"}});
  const auto before = house.queued().at(0);
  for (int i = 0; i < 3; ++i) {
    house.scheduler().ask({"far.test"});
    house.quiet();
  }
  CHECK(house.queued().at(0).attempts == 1);
  CHECK(house.queued().at(0).due == before.due);
}

TEST_CASE("S93, S94: rounds that failed because they were asked for do not count once the domain is held no more") {
  House house;
  hold(house, "far.test");
  mailstore::DomainChange elsewhere;
  elsewhere.remote = mailstore::RemoteSettings{.hold = true};
  tests::got(tests::change_domain(*house.store, "far.test", elsewhere));
  house.names.dead.insert("far.test");
  house.send({.to = {"bob@far.test"}});
  for (int i = 0; i < 5; ++i) {
    house.scheduler().ask({"far.test"});
    house.quiet();
  }
  CHECK(house.names.asked("far.test") == 5);
  CHECK(house.domain("far.test")->failed_rounds == 0);
  CHECK(house.domain("far.test")->last.at != mailstore::no_time);
  house.names.dead.clear();
  house.scheduler().ask({"far.test"});
  house.quiet();
  CHECK(house.queued().empty());
  CHECK((!house.domain("far.test") || house.domain("far.test")->last.at == mailstore::no_time));
}
