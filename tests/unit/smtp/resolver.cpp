#include "smtpd/routing/resolver.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "mailstore/account_key.hpp"

#include "tests/unit/smtp/fake_directory.hpp"

using namespace smtpd::routing;

namespace {

FakeDirectory make_directory() {
  FakeDirectory directory;
  directory.add_domain("example.test");
  directory.add_domain("second.test");
  directory.add_domain("other-name.test", "second.test");
  directory.add_domain("orphan.test", "gone.test");
  directory.add_remote_domain("backup.test", {.allow_relay = true});
  directory.add_remote_domain("*.wild.test", {.allow_relay = true});
  directory.add_remote_domain("closed.wild.test", {});
  directory.add_mailbox("ann@example.test");
  directory.add_mailbox("bob@example.test");
  directory.add_mailbox("ann+lists@example.test");
  directory.add_mailbox("carl@second.test");
  directory.add_mailbox("postmaster@example.test");
  directory.add_alias("sales@example.test", {"ann@example.test", "carl@second.test"});
  directory.add_alias("all@example.test",
                      {"sales@example.test", "bob@example.test", "ann@example.test", "bob@example.test"});
  directory.add_alias("loop@example.test", {"pool@example.test"});
  directory.add_alias("pool@example.test", {"loop@example.test", "bob@example.test"});
  directory.add_alias("away@example.test", {"ann@example.test", "x@elsewhere.test"});
  directory.add_alias("half@example.test", {"gone@example.test", "bob@example.test"});
  directory.add_alias("nobody@example.test", {"gone@example.test"});
  directory.add_alias("cross@example.test", {"carl@other-name.test"});
  for (int i = 0; i < 30; ++i) {
    directory.add_alias("deep" + std::to_string(i) + "@example.test",
                        {"deep" + std::to_string(i + 1) + "@example.test"});
  }
  directory.add_alias("deep30@example.test", {"ann@example.test"});
  return directory;
}

std::string resolve_text(FakeDirectory& directory, const std::string& address, Relay relay = Relay::denied) {
  const auto parsed = common::parse_address(address);
  REQUIRE(parsed);
  Explanation explanation;
  const auto found = resolve(directory, *parsed, "example.test", relay, &explanation);
  REQUIRE(found);
  CHECK_FALSE(explanation.empty());
  const auto again = resolve(directory, *parsed, "example.test", relay);
  CHECK(again->targets == found->targets);
  switch (found->outcome) {
    case Outcome::unknown:
      return "unknown";
    case Outcome::no_domain:
      return "no domain";
    case Outcome::not_ours:
      return "not ours";
    case Outcome::too_far:
      return "too far";
    case Outcome::forged_return:
    case Outcome::expired_return:
      return "no return";
    case Outcome::full:
    case Outcome::too_big:
      return "no room";
    case Outcome::found:
      break;
  }
  std::vector<std::string> addresses;
  for (const auto& target : found->targets) addresses.push_back(target.address);
  std::ranges::sort(addresses);
  for (const auto& remote : found->remotes) addresses.push_back("->" + remote.address);
  std::string text;
  for (const auto& target : addresses) text += (text.empty() ? "" : " ") + target;
  return text;
}

}  // namespace

TEST_CASE("who may send to domains that are not ours is sent on") {
  auto directory = make_directory();
  CHECK(resolve_text(directory, "Joe@elsewhere.test", Relay::allowed) == "->Joe@elsewhere.test");
  CHECK(resolve_text(directory, "x@closed.wild.test", Relay::allowed) == "->x@closed.wild.test");
  CHECK(resolve_text(directory, "x@[192.0.2.1]", Relay::allowed) == "->x@[192.0.2.1]");
  CHECK(resolve_text(directory, "ann@example.test", Relay::allowed) == "ann@example.test");
  CHECK(resolve_text(directory, "x@example.test", Relay::allowed) == "unknown");
  CHECK(resolve_text(directory, "x@orphan.test", Relay::allowed) == "no domain");
}

TEST_CASE("each step says which rule decided") {
  auto directory = make_directory();
  directory.domains["second.test"].catch_all = "bob@example.test";
  mailstore::Domain drop;
  drop.name = "drop.test";
  drop.kind = mailstore::DomainKind::drop;
  directory.domains["drop.test"] = drop;
  struct Row {
    std::string recipient, want;
    Relay relay = Relay::denied;
  };
  const Row rows[] = {
      {"ann", "ann: default domain; ann@example.test: mailbox"},
      {"ann@example.test", "ann@example.test: mailbox"},
      {"ann+x@example.test", "ann+x@example.test: plus form; ann+x@example.test: mailbox"},
      {"half@example.test",
       "half@example.test: alias; half@example.test: alias; gone@example.test: unknown; bob@example.test: mailbox"},
      {"loop@example.test",
       "loop@example.test: alias; pool@example.test: alias; pool@example.test: alias; loop@example.test: alias; "
       "pool@example.test: alias; bob@example.test: mailbox"},
      {"carl@other-name.test", "carl@other-name.test: alias domain; carl@other-name.test: mailbox"},
      {"x@orphan.test", "x@orphan.test: alias domain; x@orphan.test: alias domain"},
      {"postmaster@second.test", "postmaster@second.test: postmaster; postmaster@second.test: mailbox"},
      {"x@second.test", "x@second.test: catch-all; bob@example.test: mailbox"},
      {"x@example.test", "x@example.test: unknown"},
      {"x@drop.test", "x@drop.test: drop domain"},
      {"x@backup.test", "x@backup.test: remote domain"},
      {"x@a.wild.test", "x@a.wild.test: remote domain"},
      {"x@far.test", "x@far.test: not ours"},
      {"x@far.test", "x@far.test: not ours", Relay::allowed},
  };
  for (const auto& row : rows) {
    auto address = common::parse_address(row.recipient);
    REQUIRE(address);
    Explanation steps;
    REQUIRE(complete(*address, "example.test", &steps));
    REQUIRE(resolve(directory, *address, "example.test", row.relay, &steps));
    std::string text;
    for (const auto& step : steps) {
      CHECK_FALSE(step.what.empty());
      text += (text.empty() ? "" : "; ") + step.address + ": " + std::string{step.rule};
    }
    CHECK(text == row.want);
  }
  auto bare = common::parse_address("ann");
  CHECK_FALSE(complete(*bare, ""));
}

TEST_CASE("where recipients lead") {
  auto directory = make_directory();
  struct Row {
    std::string recipient, want, why;
  };
  const std::vector<Row> rows = {
      {"ann@example.test", "ann@example.test", "exact"},
      {"ANN@Example.TEST", "ann@example.test", "without regard to case"},
      {"\"ann\"@example.test", "ann@example.test", "quotes mean nothing"},
      {"ann+x@example.test", "ann@example.test", "the plus form"},
      {"ann+lists@example.test", "ann+lists@example.test", "exact goes before plus"},
      {"ann+lists+y@example.test", "ann@example.test", "the plus form ends at the first plus"},
      {"+x@example.test", "unknown", "a plus in front is no plus form"},
      {"sales+x@example.test", "ann@example.test carl@second.test", "the plus form of an alias"},
      {"sales@example.test", "ann@example.test carl@second.test", "an alias"},
      {"all@example.test", "ann@example.test bob@example.test carl@second.test", "nested, each mailbox once"},
      {"loop@example.test", "bob@example.test", "a loop is walked once"},
      {"away@example.test", "ann@example.test ->x@elsewhere.test", "what an alias of ours names is sent on"},
      {"half@example.test", "bob@example.test", "a target that is gone beside one that is there"},
      {"nobody@example.test", "unknown", "only targets that are gone"},
      {"cross@example.test", "carl@second.test", "an alias into an alias domain"},
      {"deep0@example.test", "too far", "deeper than anybody means"},
      {"deep20@example.test", "ann@example.test", "deep"},
      {"carl@other-name.test", "carl@second.test", "an alias domain"},
      {"carl+x@other-name.test", "carl@second.test", "the plus form in an alias domain"},
      {"ann@other-name.test", "unknown", "unknown in an alias domain"},
      {"x@orphan.test", "no domain", "an alias domain of nothing"},
      {"postmaster@second.test", "postmaster@example.test", "a domain without one of its own"},
      {"PostMaster@other-name.test", "postmaster@example.test", "likewise"},
      {"postmaster+x@second.test", "postmaster@example.test", "likewise"},
      {"postmaster@example.test", "postmaster@example.test", "the central one"},
      {"postmaster@elsewhere.test", "not ours", "not our domain"},
      {"x@example.test", "unknown", "nobody"},
      {"x@elsewhere.test", "not ours", "no relaying"},
      {"x@[192.0.2.1]", "not ours", "an address literal"},
      {"x@sub.example.test", "not ours", "a domain below ours"},
      {"Joe@backup.test", "->Joe@backup.test",
       "a remote domain that everybody may send to; its local parts keep their case"},
      {"x@a.b.wild.test", "->x@a.b.wild.test", "below a suffix"},
      {"x@wild.test", "not ours", "the suffix itself does not match"},
      {"x@closed.wild.test", "not ours", "a longer match that does not relay"},
      {"x@deep.closed.wild.test", "->x@deep.closed.wild.test", "an exact name is no suffix"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.recipient);
    CAPTURE(row.why);
    CHECK(resolve_text(directory, row.recipient) == row.want);
  }
}

TEST_CASE("the order of precedence: exact, plus form, postmaster, catch-all") {
  auto directory = make_directory();
  directory.domains["second.test"].catch_all = "sales@example.test";
  directory.add_domain("third.test");
  directory.domains["third.test"].catch_all = "carl@other-name.test";
  directory.domains["third.test"].plus_addressing = false;
  directory.add_mailbox("dora@third.test");
  directory.add_mailbox("dora+real@third.test");
  directory.add_domain("fourth.test");
  directory.domains["fourth.test"].catch_all = "gone@example.test";
  directory.add_domain("fifth.test");
  directory.domains["fifth.test"].catch_all = "nobody@sixth.test";
  directory.add_domain("sixth.test");
  directory.domains["sixth.test"].catch_all = "nobody@fifth.test";
  directory.add_alias("hop@example.test", {"nobody@fifth.test", "bob@example.test"});
  struct Row {
    std::string recipient, want, why;
  };
  const std::vector<Row> rows = {
      {"carl@second.test", "carl@second.test", "exact goes before catch-all"},
      {"carl+x@second.test", "carl@second.test", "the plus form does"},
      {"postmaster@second.test", "postmaster@example.test", "postmaster does"},
      {"anybody@second.test", "ann@example.test carl@second.test", "a catch-all that is an alias"},
      {"anybody+x@second.test", "ann@example.test carl@second.test", "a plus form of nobody"},
      {"anybody@other-name.test", "ann@example.test carl@second.test", "an alias domain has the catch-all too"},
      {"dora@third.test", "dora@third.test", "exact"},
      {"dora+real@third.test", "dora+real@third.test", "exact, with plus addressing off"},
      {"dora+x@third.test", "carl@second.test", "no plus form with plus addressing off: the catch-all"},
      {"postmaster@third.test", "postmaster@example.test", "postmaster"},
      {"postmaster+x@third.test", "carl@second.test", "no plus form of postmaster either"},
      {"x@fourth.test", "unknown", "a catch-all that is gone"},
      {"x@fifth.test", "unknown", "catch-alls in a circle"},
      {"hop@example.test", "bob@example.test", "an alias into a circle"},
      {"x@example.test", "unknown", "a domain without one"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.recipient);
    CAPTURE(row.why);
    CHECK(resolve_text(directory, row.recipient) == row.want);
  }
  // Without the central postmaster the catch-all is what is left.
  directory.mailboxes.erase("postmaster@example.test");
  CHECK(resolve_text(directory, "postmaster@third.test") == "carl@second.test");
}

TEST_CASE("who is a catch-all does not own every address") {
  auto directory = make_directory();
  directory.domains["second.test"].catch_all = "carl@second.test";
  const auto carl = directory.mailboxes.find("carl@second.test")->second.number;
  CHECK(*is_address_of(directory, *common::parse_address("carl@second.test"), carl, "example.test"));
  CHECK_FALSE(*is_address_of(directory, *common::parse_address("boss@second.test"), carl, "example.test"));
}

TEST_CASE("room in mailboxes: quotas of their own and of their domain") {
  auto directory = make_directory();
  directory.domains["second.test"].quota_octets = 1000;
  const auto number_of = [&](const std::string& address) { return directory.mailboxes.find(address)->second.number; };
  const auto room = [&](const std::string& address, std::optional<std::uint64_t> declared = {}) {
    const auto found = resolve(directory, *common::parse_address(address), "example.test", Relay::denied);
    return *check_room(directory, found->targets, declared, "example.test");
  };
  const auto hold = [&](const std::string& address, std::uint64_t messages, std::uint64_t octets) {
    directory.held[number_of(address)] = {messages, octets, messages};
  };
  CHECK(room("carl@second.test") == Outcome::found);
  CHECK(room("carl@second.test", 1000) == Outcome::found);
  CHECK(room("carl@second.test", 1001) == Outcome::too_big);
  hold("carl@second.test", 1, 999);
  CHECK(room("carl@second.test") == Outcome::found);
  CHECK(room("carl@second.test", 1000) == Outcome::found);
  hold("carl@second.test", 1, 1000);
  CHECK(room("carl@second.test") == Outcome::full);
  CHECK(room("carl@second.test", 1001) == Outcome::too_big);
  CHECK(room("carl@other-name.test") == Outcome::full);
  CHECK(room("sales@example.test") == Outcome::full);
  CHECK(room("ann@example.test", 1'000'000) == Outcome::found);
  directory.mailboxes["carl@second.test"].quota_octets = 0;
  CHECK(room("carl@second.test", 5000) == Outcome::found);
  directory.mailboxes["carl@second.test"].quota_octets = 2000;
  CHECK(room("carl@second.test") == Outcome::found);

  directory.mailboxes["ann@example.test"].quota_messages = 2;
  hold("ann@example.test", 1, 50'000);
  CHECK(room("ann@example.test") == Outcome::found);
  hold("ann@example.test", 2, 0);
  CHECK(room("ann@example.test") == Outcome::full);

  // The central postmaster takes everything, whatever is set for it.
  directory.domains["example.test"].quota_octets = 10;
  directory.mailboxes["postmaster@example.test"].quota_messages = 1;
  hold("postmaster@example.test", 9, 9000);
  CHECK(room("postmaster@example.test", 1'000'000) == Outcome::found);
  CHECK(room("postmaster@second.test") == Outcome::found);
  hold("bob@example.test", 1, 10);
  CHECK(room("bob@example.test") == Outcome::full);
}

TEST_CASE("a store in trouble is an error and no verdict") {
  auto directory = make_directory();
  directory.broken = true;
  CHECK_FALSE(resolve(directory, *common::parse_address("ann@example.test"), "example.test", Relay::denied));
  CHECK_FALSE(find_account(directory, "ann", "example.test"));
}

TEST_CASE("an alias with thousands of targets names each mailbox once") {
  FakeDirectory directory;
  directory.add_domain("example.test");
  std::vector<std::string> targets;
  for (int i = 0; i < 3000; ++i) {
    const auto address = "u" + std::to_string(i) + "@example.test";
    directory.add_mailbox(address);
    targets.push_back(address);
    targets.push_back("u" + std::to_string(i) + "+twice@example.test");
  }
  directory.add_alias("all@example.test", targets);
  const auto found = resolve(directory, *common::parse_address("all@example.test"), "example.test", Relay::denied);
  REQUIRE(found);
  CHECK(found->targets.size() == 3000);
}

TEST_CASE("log-in names") {
  auto directory = make_directory();
  const auto name_of = [&](std::string_view name) {
    const auto account = find_account(directory, name, "example.test");
    return *account ? (*account)->mailbox.address : std::string{};
  };
  CHECK(name_of("ann") == "ann@example.test");
  CHECK(name_of("Ann@EXAMPLE.test") == "ann@example.test");
  CHECK(name_of("carl@other-name.test") == "carl@second.test");
  CHECK(name_of("sales").empty());
  CHECK(name_of("ann+x").empty());
  CHECK(name_of("x@elsewhere.test").empty());
  CHECK(name_of("").empty());
  CHECK(name_of("not an address").empty());
  directory.domains["second.test"].locked = true;
  CHECK((*find_account(directory, "carl@other-name.test", "example.test"))->locked);
  CHECK_FALSE((*find_account(directory, "ann", "example.test"))->locked);
  // The lock of its domain does not keep the central postmaster out; its own does.
  directory.domains["example.test"].locked = true;
  CHECK((*find_account(directory, "ann", "example.test"))->locked);
  CHECK_FALSE((*find_account(directory, "postmaster", "example.test"))->locked);
  directory.mailboxes["postmaster@example.test"].locked = true;
  CHECK((*find_account(directory, "postmaster", "example.test"))->locked);
}

TEST_CASE("what a log-in name comes down to, whether anybody has it or not") {
  auto directory = make_directory();
  struct Row {
    const char* name;
    const char* key;
  };
  const Row rows[] = {
      {"ann", "ann@example.test"},
      {"Ann@EXAMPLE.test", "ann@example.test"},
      {"carl@other-name.test", "carl@second.test"},
      {"nobody-at-all@other-name.test", "nobody-at-all@second.test"},
      {"nobody-at-all", "nobody-at-all@example.test"},
      {"x@elsewhere.test", "x@elsewhere.test"},
      {"no address at all", "no address at all"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.name);
    CHECK(mailstore::account_key(directory, row.name, "example.test") == row.key);
  }
  directory.broken = true;
  CHECK(mailstore::account_key(directory, "ann", "example.test") == "ann@example.test");
}

TEST_CASE("whose sender address") {
  auto directory = make_directory();
  const auto ann = directory.mailboxes.find("ann@example.test")->second.number;
  const auto own = [&](const std::string& sender) {
    return *is_address_of(directory, *common::parse_address(sender), ann, "example.test");
  };
  CHECK(own("ann@example.test"));
  CHECK(own("ann+shop@example.test"));
  CHECK(own("sales@example.test"));
  CHECK(own("all@example.test"));
  CHECK(own("away@example.test"));
  CHECK_FALSE(own("bob@example.test"));
  CHECK_FALSE(own("ann@second.test"));
  CHECK_FALSE(own("ann@elsewhere.test"));
  CHECK_FALSE(own("postmaster@example.test"));
}

TEST_CASE("what an admin grants (mailbox set --send-as)") {
  auto directory = make_directory();
  auto& mailbox = directory.mailboxes.find("ann@example.test")->second;
  mailbox.send_as = {"boss@second.test", "@elsewhere.test"};
  const auto own = [&](const std::string& sender) {
    return *is_address_of(directory, *common::parse_address(sender), mailbox.number, "example.test");
  };
  CHECK(own("Boss@second.test"));
  CHECK(own("anybody@elsewhere.test"));
  CHECK_FALSE(own("carl@second.test"));
  CHECK_FALSE(own("x@sub.elsewhere.test"));
  CHECK_FALSE(own("x@notelsewhere.test"));
  const auto bob = directory.mailboxes.find("bob@example.test")->second.number;
  CHECK_FALSE(*is_address_of(directory, *common::parse_address("boss@second.test"), bob, "example.test"));
}

TEST_CASE("mail for a drop domain is taken from everybody, whatever its local part (LEGACY S14)") {
  FakeDirectory directory;
  directory.add_domain("here.test");
  mailstore::Domain drop;
  drop.name = "programs.test";
  drop.kind = mailstore::DomainKind::drop;
  directory.domains["programs.test"] = drop;
  directory.aliases["robot@here.test"] = {"robot@here.test", {"robot@programs.test"}};
  for (const auto* text : {"Anything@programs.test", "robot@here.test"}) {
    Explanation explanation;
    const auto found = resolve(directory, *common::parse_address(text), "here.test", Relay::denied, &explanation);
    REQUIRE(found);
    CHECK(found->outcome == Outcome::found);
    CHECK(found->drop);
    REQUIRE(found->remotes.size() == 1);
    CHECK(explanation.back().what.find("drop folder") != std::string::npos);
  }
  const auto found = resolve(directory, *common::parse_address("Anything@programs.test"), "", Relay::denied);
  CHECK(found->remotes.front().address == "Anything@programs.test");
  directory.add_mailbox("ann@here.test");
  CHECK_FALSE(resolve(directory, *common::parse_address("ann@here.test"), "here.test", Relay::denied)->drop);
}

TEST_CASE("S87, S95: a domain of ours is none of a pattern's, of whatever kind it is") {
  FakeDirectory directory;
  directory.add_remote_domain("*.wild.test", {.dequeue_accounts = {"ann@example.test"}});
  directory.add_remote_domain("named.wild.test", {});
  directory.add_domain("local.wild.test");
  directory.add_domain("alias.wild.test", "local.wild.test");
  directory.add_domain("drop.wild.test");
  directory.domains["drop.wild.test"].kind = mailstore::DomainKind::drop;
  const auto settings_of = [&](std::string_view domain) {
    const auto found = smtpd::routing::find_remote_domain(directory, domain);
    REQUIRE(found);
    return *found ? (*found)->name : "none";
  };
  CHECK(settings_of("far.wild.test") == "*.wild.test");
  CHECK(settings_of("named.wild.test") == "named.wild.test");
  for (const auto* const ours : {"local.wild.test", "alias.wild.test", "drop.wild.test"}) {
    CAPTURE(ours);
    CHECK(settings_of(ours) == "none");
  }
  // Below one it is the pattern's all the same: nothing there is ours.
  CHECK(settings_of("x.local.wild.test") == "*.wild.test");
}
