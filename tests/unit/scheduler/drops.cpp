// Mail for drop domains goes into files: LEGACY S14. That it does so exactly once, whatever dies when, is tested with
// the daemon (tests/faults/folder_kills.py).
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "house.hpp"
#include "index_writes.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

using namespace test;
using mailstore::QueueOutcome;
using tests::got;
using tests::wait_for;

namespace {

/// A house with a drop folder, whose domain is suspended until `resume`.
struct DropHouse : House {
  DropHouse() {
    got(tests::add_domain(*store, {.name = "programs.test", .kind = mailstore::DomainKind::drop, .alias_of = {}}));
    std::filesystem::create_directory(drop);
    drops["test"] = std::make_shared<smtpd::folders::DropFolder>(drop, 0);
    set([](const auto&) {});
    got(wait_for(queue().suspend("programs.test", "a test")));
    tick();
  }
  void resume() {
    got(wait_for(queue().resume("programs.test")));
    tick();
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(drop), {}));
  }
  std::string file(mailstore::MessageId id) const {
    std::ifstream in(drop / (mailstore::format_id(id) + ".eml"), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path drop = folder.path() / "drop";
};

}  // namespace

TEST_CASE("S14: mail for a drop domain goes into files, many at a time, each message into one") {
  DropHouse house;
  std::vector<mailstore::MessageId> ids;
  // More recipients than are read at a time, and they begin in the middle of a page.
  Post crowd;
  for (int i = 0; i < 1000; ++i) crowd.to.push_back("r" + std::to_string(i) + "@programs.test");
  for (int i = 0; i < 1100; ++i) {
    const auto text = std::to_string(i);
    ids.push_back(house.accept(
        i == 300 ? crowd : Post{.to = {text + "@programs.test"}, .octets = "Subject: " + text + "\r\n\r\n..dot\r\n"}));
  }
  house.quiet();
  CHECK(house.files() == 0);
  house.resume();
  CHECK(house.queued().empty());
  REQUIRE(house.files() == ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto text = std::to_string(i);
    CAPTURE(i);
    if (i == 300) {
      CHECK(count(house.file(ids[i]), "x-receiver: ") == 1000);
    } else {
      // The harness marks what has stuffed dots.
      REQUIRE(house.file(ids[i]) == "x-sender: u0@example.test\r\nx-receiver: " + text +
                                        "@programs.test\r\nx-dot-stuffed: no\r\nSubject: " + text + "\r\n\r\n.dot\r\n");
    }
  }
  CHECK(house.left().size() == 2099);
  for (const auto& each : house.left()) CHECK(each.outcome == QueueOutcome::delivered);
}

TEST_CASE("a drop folder that is not there is one failed round, and all of it goes when it is") {
  DropHouse house;
  for (int i = 0; i < 1000; ++i) house.accept({.to = {std::to_string(i) + "@programs.test"}});
  const auto aside = house.folder.path() / "aside";
  std::filesystem::rename(house.drop, aside);
  house.resume();
  REQUIRE(house.queued().size() == 1000);
  CHECK(house.domain("programs.test")->failed_rounds == 1);
  CHECK(house.domain("programs.test")->last.answer.text.find("drop: No such file or directory") != std::string::npos);
  std::filesystem::rename(aside, house.drop);
  house.pass(50s);
  CHECK(house.queued().size() == 1000);
  house.pass(20s);
  CHECK(house.queued().empty());
  CHECK(house.files() == 1000);
}

TEST_CASE("what a person bounces or sends elsewhere is put into no file") {
  DropHouse house;
  const auto stays = house.accept({.to = {"stays@programs.test"}});
  house.accept({.to = {"bounced@programs.test"}});
  house.accept({.to = {"rerouted@programs.test"}});
  house.quiet();
  CHECK(house.order("bounced@programs.test", mailstore::BounceOrder{"not wanted"}) == 1);
  CHECK(house.order("rerouted@programs.test",
                    mailstore::RerouteOrder{"[127.0.0.1]:" + std::to_string(house.stub.port())}) == 1);
  house.tick();
  CHECK(house.mailbox().size() == 1);
  CHECK(house.stub.heard().messages.empty());
  house.resume();
  CHECK(house.stub.heard().messages.size() == 1);
  CHECK(house.queued().empty());
  CHECK(house.files() == 1);
  CHECK(house.file(stays).find("x-receiver: stays@programs.test\r\n") != std::string::npos);
}

TEST_CASE("a disk that is full has no half files, and all of them once when it has room again") {
  DropHouse house;
  house.resume();
  for (int i = 0; i < 1000; ++i) house.accept({.to = {std::to_string(i) + "@programs.test"}});
  const auto errors = failed_index_writes();
  fill_index(true);  // and every other file
  house.run_until([&] { return failed_index_writes() >= errors + 2; });
  CHECK(house.queued().size() == 1000);
  CHECK(house.files() == 0);
  fill_index(false);
  house.quiet();
  house.pass(70s);
  CHECK(house.queued().empty());
  CHECK(house.files() == 1000);
  CHECK(house.left().size() == 1000);
}
