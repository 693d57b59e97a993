// Who may ask for mail that waits, and how often: S94, S95.
#include "smtpd/outbound/triggers.hpp"

#include <doctest/doctest.h>

#include <set>

#include "house.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

using namespace test;
using namespace smtpd::outbound;
using smtpd::Node;
using tests::got;
using What = RunAnswer::What;
using common::net::PeerKey;

namespace {

/// A store, and who asks; the scheduler is a list.
struct Desk {
  Desk() {
    Triggers::Hooks hooks;
    hooks.ready = [] { return true; };
    hooks.run = [this](std::vector<std::string> domains) { ran.push_back(std::move(domains)); };
    hooks.serve = [](const Turned&) {};
    triggers.emplace(*store, clock, std::move(hooks));
  }
  void add(const std::string& name, mailstore::DomainKind kind, std::vector<std::string> accounts = {}) {
    mailstore::Domain domain{.name = name, .kind = kind, .alias_of = {}};
    domain.remote.dequeue_accounts = std::move(accounts);
    got(tests::add_domain(*store, std::move(domain)));
  }
  /// A message for each of these domains.
  void send(const std::vector<std::string>& domains) {
    tests::Letter letter{.to = {}, .octets = "Subject: a\r\n\r\n"};
    for (const auto& domain : domains) letter.remotes.push_back({.address = "x@" + domain, .original_recipient = {}});
    got(tests::deliver(*store, letter));
  }
  RunAnswer etrn(const std::string& name, std::uint64_t from = 1) {
    return triggers->start({Node::Reach::domain, name}, PeerKey{0, from});
  }
  RunAnswer etrn_below(const std::string& name) {
    return triggers->start({Node::Reach::subdomains, name}, PeerKey{0, 1});
  }
  Triggers::Granted atrn(const std::string& account, const std::vector<std::string>& domains = {}) {
    return triggers->turn({account, true, false}, domains);
  }

  StageClock clock;
  tests::TestStore store{2};
  std::vector<std::vector<std::string>> ran;
  std::optional<Triggers> triggers;
};

using enum mailstore::DomainKind;
const std::string ann = "u0@example.test";

/// Before any "z...": so many that no look takes in more.
void fill_queue(Desk& desk) {
  for (int letter = 0; letter < 21; ++letter) {
    std::vector<std::string> domains;
    for (int i = 0; i < 500; ++i) domains.push_back("a" + std::to_string(letter * 500 + i) + ".test");
    desk.send(domains);
  }
}

}  // namespace

TEST_CASE("S94: one who asks too often is not heard, and everybody else is") {
  Desk desk;
  desk.add("far.test", remote);
  desk.send({"far.test"});
  for (int i = 0; i < 6; ++i) CHECK(desk.etrn("far.test").what == What::started);
  CHECK(desk.etrn("far.test").what == What::unable);
  CHECK(desk.etrn("far.test", 2).what == What::started);
  desk.clock.turn(10s);
  CHECK(desk.etrn("far.test").what == What::started);
}

TEST_CASE("S94: names that a stranger makes up under a pattern use up little, and nothing of who logs in") {
  Desk desk;
  desk.add("*.far.test", remote, {ann});
  desk.send({"mine.far.test"});
  int heard = 0;
  for (int i = 0; i < 1000; ++i)
    heard += desk.etrn("n" + std::to_string(i) + ".far.test").what == What::nothing ? 1 : 0;
  CHECK(heard == 60);
  CHECK(desk.etrn("mine.far.test", 2).what == What::started);
  // Many of them together reach the end of what is done for a pattern, and the next pattern is still heard.
  heard = 0;
  for (std::uint64_t from = 10; from < 30; ++from) {
    for (int i = 0; i < 100; ++i)
      heard += desk.etrn("n" + std::to_string(i) + ".far.test", from).what == What::nothing ? 1 : 0;
  }
  CHECK(heard == 300 - 61);
  CHECK(desk.etrn("mine.far.test", 3).what == What::unable);
  desk.add("near.test", remote);
  desk.send({"near.test"});
  CHECK(desk.etrn("near.test", 3).what == What::started);
  CHECK(desk.atrn(ann).answer == TurnAnswer::granted);
}

TEST_CASE("S95: an account has its own limit, asked before the directory is searched for it") {
  Desk desk;
  desk.add("far.test", remote, {ann});
  for (int i = 0; i < 60; ++i) CHECK(desk.atrn(ann).answer == TurnAnswer::nothing);
  CHECK(desk.atrn(ann).answer == TurnAnswer::unable);
  // Also who may have nothing.
  for (int i = 0; i < 60; ++i) CHECK(desk.atrn("u1@example.test").answer == TurnAnswer::refused);
  CHECK(desk.atrn("u1@example.test").answer == TurnAnswer::unable);
  desk.clock.turn(1min);
  CHECK(desk.atrn(ann).answer == TurnAnswer::nothing);
}

TEST_CASE("S94, S95: domains of ours under a pattern are nobody's to ask for") {
  Desk desk;
  desk.add("*.far.test", remote, {ann});
  desk.send({"ours.far.test", "drop.far.test", "x.far.test"});
  desk.add("ours.far.test", local);
  desk.add("drop.far.test", drop);
  CHECK(desk.etrn("ours.far.test").what == What::refused);
  CHECK(desk.etrn("drop.far.test").what == What::refused);
  CHECK(desk.atrn(ann, {"ours.far.test"}).answer == TurnAnswer::refused);
  CHECK(desk.atrn(ann, {"x.far.test", "drop.far.test"}).answer == TurnAnswer::refused);
  const auto all = desk.atrn(ann);
  REQUIRE(all.answer == TurnAnswer::granted);
  CHECK(all.reserved->domains() == std::vector<std::string>{"x.far.test"});
  CHECK(desk.etrn_below("far.test").what == What::started);
  CHECK(desk.ran.back() == std::vector<std::string>{"x.far.test"});
}

TEST_CASE(
    "S94, S95: behind ten thousand domains of the queue: what has a name is found, and nothing is denied to be there") {
  Desk desk;
  fill_queue(desk);
  desk.add("zz.test", remote, {ann});
  desk.add("*.zz.test", remote, {"u1@example.test"});
  desk.send({"zz.test", "below.zz.test"});
  const auto named = desk.atrn(ann);
  REQUIRE(named.answer == TurnAnswer::granted);
  CHECK(named.reserved->domains() == std::vector<std::string>{"zz.test"});
  CHECK(desk.atrn("u1@example.test").answer == TurnAnswer::unable);
  CHECK(desk.atrn("u1@example.test", {"below.zz.test"}).answer == TurnAnswer::granted);
  CHECK(desk.etrn_below("zz.test").what == What::unable);
  CHECK(desk.etrn("below.zz.test").what == What::started);
}
