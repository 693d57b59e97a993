#include "smtpd/routing/forwarding.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/smtp/fake_directory.hpp"

using namespace smtpd::routing;

namespace {

constexpr std::chrono::sys_days today{std::chrono::days{20'000}};
const Srs srs{{{"a key of sixteen"}, {}, std::chrono::days{21}}};
const Returns returns{srs, today};

class House {
 public:
  House() {
    directory.add_domain("example.test");
    directory.add_domain("other-name.test", "example.test");
    directory.add_remote_domain("backup.test", {.allow_relay = true});
    for (const auto* name : {"ann", "bob", "carl", "dora"}) directory.add_mailbox(name + std::string{"@example.test"});
  }
  mailstore::Mailbox& box(const std::string& name) { return directory.mailboxes[name + "@example.test"]; }
  void forward(const std::string& name, std::vector<std::string> to, bool keep_copy = false) {
    box(name).forward = std::move(to);
    box(name).keep_copy = keep_copy;
  }
  Resolution resolve(const std::string& address, Relay relay = Relay::denied) {
    auto found =
        smtpd::routing::resolve(directory, *common::parse_address(address), "example.test", relay, nullptr, &returns);
    REQUIRE(found);
    return std::move(*found);
  }
  /// "ann@example.test ->x@far.test(by ann@example.test)"
  std::string text(const std::string& address, Relay relay = Relay::denied) {
    const auto found = resolve(address, relay);
    if (found.outcome == Outcome::forged_return) return "forged";
    if (found.outcome == Outcome::expired_return) return "expired";
    if (found.outcome != Outcome::found) return "nobody";
    std::vector<std::string> parts;
    for (const auto& target : found.targets) parts.push_back(target.address);
    std::ranges::sort(parts);
    for (const auto& onward : found.remotes) {
      parts.push_back("->" + onward.address + (onward.by.empty() ? "" : "(by " + onward.by + ")") +
                      (onward.returns_to.empty() ? "" : "(to " + onward.returns_to + ")"));
    }
    std::string all;
    for (const auto& part : parts) all += (all.empty() ? "" : " ") + part;
    return all;
  }
  FakeDirectory directory;
};

mailstore::Remote remote_by(const std::string& by, const std::string& address = "x@far.test") {
  mailstore::Remote remote;
  remote.address = address;
  remote.sent_on_by = by;
  return remote;
}

}  // namespace

TEST_CASE("mail of a mailbox goes on, with a copy or without") {
  House house;
  house.forward("ann", {"x@far.test"});
  CHECK(house.text("ann@example.test") == "->x@far.test(by ann@example.test)");
  CHECK(house.text("Ann+shop@other-name.test") == "->x@far.test(by ann@example.test)");
  house.forward("ann", {"x@far.test", "bob@example.test"}, true);
  CHECK(house.text("ann@example.test") == "ann@example.test bob@example.test ->x@far.test(by ann@example.test)");
  house.directory.add_alias("team@example.test", {"ann@example.test", "dora@example.test", "y@far.test"});
  CHECK(house.text("team@example.test") ==
        "ann@example.test bob@example.test dora@example.test ->x@far.test(by ann@example.test) "
        "->y@far.test(by team@example.test)");
  CHECK(house.text("joe@far.test", Relay::allowed) == "->joe@far.test");
}

TEST_CASE("what leads nowhere, or back, is kept by the last who had it") {
  House house;
  house.forward("ann", {"gone@example.test"});
  CHECK(house.text("ann@example.test") == "ann@example.test");
  house.forward("ann", {"ann@other-name.test"});
  CHECK(house.text("ann@example.test") == "ann@example.test");
  house.forward("ann", {"bob@example.test"});
  house.forward("bob", {"carl@example.test"});
  house.forward("carl", {"ann@example.test"});
  CHECK(house.text("ann@example.test") == "carl@example.test");
  CHECK(house.text("bob@example.test") == "ann@example.test");
  // Each of a circle that is written to gets it once.
  house.directory.add_alias("all@example.test", {"ann@example.test", "bob@example.test", "carl@example.test"});
  CHECK(house.text("all@example.test") == "carl@example.test");
  house.forward("carl", {"all@example.test", "x@far.test"});
  CHECK(house.text("all@example.test") == "->x@far.test(by carl@example.test)");
  // Two ways to one place: nothing stays behind.
  house.forward("carl", {});
  house.forward("ann", {"carl@example.test"});
  house.forward("bob", {"carl@example.test"});
  CHECK(house.text("all@example.test") == "carl@example.test");
}

TEST_CASE("what is forwarded further than anybody means is kept where that is seen") {
  House house;
  const auto name = [](int i) { return "p" + std::to_string(i); };
  for (int i = 0; i < 20; ++i) house.directory.add_mailbox(name(i) + "@example.test");
  for (int i = 0; i < 19; ++i) house.forward(name(i), {name(i + 1) + "@example.test"});
  CHECK(house.text("p0@example.test") == "p16@example.test");
  CHECK(house.text("p3@example.test") == "p19@example.test");
  // Nobody knows who was not reached: the mailbox keeps it, too.
  house.forward("ann", {"p0@example.test", "x@far.test"});
  house.forward("p15", {"p16@example.test", "bob@example.test"});
  CHECK(house.text("p0@example.test") == "bob@example.test p16@example.test");
  std::vector<std::string> many;
  for (int i = 0; i < 10'001; ++i) many.push_back("q" + std::to_string(i) + "@far.test");
  house.directory.add_alias("many@example.test", many);
  house.forward("carl", {"many@example.test"});
  CHECK(house.text("carl@example.test").starts_with("carl@example.test ->q0@far.test(by many@example.test) "));
  CHECK(house.text("many@example.test") == "nobody");
}

TEST_CASE("whoever forwards to somebody does not give him the address") {
  House house;
  house.forward("ann", {"bob@example.test"});
  const auto own = [&](const std::string& sender, const std::string& who) {
    return *is_address_of(house.directory, *common::parse_address(sender), house.box(who).number, "example.test");
  };
  CHECK(own("ann@example.test", "ann"));
  CHECK_FALSE(own("ann@example.test", "bob"));
}

TEST_CASE("a group's owner gets what comes back") {
  House house;
  house.directory.add_alias("team@example.test", {"ann@example.test", "x@far.test", "sub@example.test"});
  house.directory.aliases["team@example.test"].owner = "dora@example.test";
  house.directory.add_alias("sub@example.test", {"y@far.test"});
  house.directory.add_alias("plain@example.test", {"z@far.test"});
  CHECK(house.text("team@example.test") ==
        "ann@example.test ->x@far.test(by team@example.test)(to dora@example.test) "
        "->y@far.test(by sub@example.test)(to dora@example.test)");
  house.directory.aliases["sub@example.test"].owner = "bob@example.test";
  CHECK(house.text("team@example.test").ends_with("->y@far.test(by sub@example.test)(to bob@example.test)"));
  for (const auto* owner : {"team-owner@example.test", "owner-team@example.test", "Owner-Team@other-name.test"}) {
    CHECK(house.text(owner) == "dora@example.test");
  }
  CHECK(house.text("owner-plain@example.test") == "nobody");
  CHECK(house.text("owner-ann@example.test") == "nobody");
  CHECK(house.text("owner-@example.test") == "nobody");
  house.directory.add_mailbox("team-owner@example.test");
  CHECK(house.text("team-owner@example.test") == "team-owner@example.test");

  auto found = house.resolve("team@example.test");
  const auto remote = make_remote(found.remotes.front(), "joe@far.test", {mailstore::notify_success, "rfc822;a@b"});
  CHECK(remote.returns_to == "dora@example.test");
  CHECK(remote.notify == 0);
  CHECK(remote.original_recipient.empty());
  const auto report = make_remote(found.remotes.front(), "", {mailstore::notify_never, {}});
  CHECK(report.returns_to.empty());
  CHECK(report.notify == mailstore::notify_never);
}

TEST_CASE("only strangers' mail that we send on leaves with an SRS reverse-path") {
  House house;
  const auto path = [&](const std::string& reverse_path, const mailstore::Remote& remote) {
    return *find_return_path(house.directory, reverse_path, remote, returns);
  };
  const auto forwarded = remote_by("ann@example.test");
  CHECK(path("joe@far.test", remote_by("")) == "joe@far.test");
  CHECK(path("", forwarded).empty());
  CHECK(path("bob@example.test", forwarded) == "bob@example.test");
  CHECK(path("bob@other-name.test", forwarded) == "bob@other-name.test");
  CHECK(path("x@backup.test", forwarded).starts_with("SRS0="));
  const auto made = path("Joe@far.test", forwarded);
  CHECK(made.starts_with("SRS0="));
  CHECK(made.ends_with("@example.test"));
  // What we made is ours.
  CHECK(path(made, forwarded) == made);
  auto group = forwarded;
  group.returns_to = "dora@example.test";
  CHECK(path("joe@far.test", group) == "dora@example.test");
  group.returns_to = "dora@far.test";
  CHECK(path("joe@far.test", group).ends_with("=far.test=dora@example.test"));
  // A copy for somebody elsewhere, that no address of ours leads to.
  const Returns from_home{srs, today, "example.test"};
  CHECK(find_return_path(house.directory, "joe@far.test", remote_by("archive@far.test"), from_home)
            ->ends_with("=joe@example.test"));
  CHECK(path("joe@far.test", remote_by("archive@far.test")) == "joe@far.test");
  const Srs elsewhere{{{"a key of sixteen"}, "bounce.test", std::chrono::days{21}}};
  const Returns there{elsewhere, today};
  CHECK(find_return_path(house.directory, "joe@far.test", forwarded, there)->ends_with("@bounce.test"));
  CHECK(*find_return_path(house.directory, "x@bounce.test", forwarded, there) == "x@bounce.test");
}

TEST_CASE("what comes back to an SRS address goes to whom it stands for") {
  House house;
  const auto srs_of = [&](const std::string& sender, int age = 0) {
    return common::format_address(
        srs.forward(*common::parse_address(sender), "example.test", today - std::chrono::days{age}));
  };
  const auto made = srs_of("Joe@far.test");
  const auto found = house.resolve(made);
  REQUIRE(found.remotes.size() == 1);
  CHECK(found.remotes.front().address == "Joe@far.test");
  CHECK_FALSE(found.remotes.front().by.empty());
  // Its domain became ours meanwhile.
  CHECK(house.text(srs_of("Ann@example.test")) == "ann@example.test");
  CHECK(house.text(srs_of("gone@example.test")) == "nobody");
  CHECK(house.text(srs_of("joe@far.test", 22)) == "expired");
  CHECK(house.text("SRS0=AAAAAA=AA=far.test=joe@example.test") == "forged");
  CHECK(house.text("srs0+AAAAAA=AA=far.test=joe@example.test") == "forged");
  CHECK(house.text(srs_of("joe+tag@far.test")).starts_with("->joe+tag@far.test("));
  CHECK(house.text("SRS1=AAAAAA=far.test==x@example.test") == "forged");
  // Somebody may be called so, and a catch-all gets none of it.
  house.directory.domains["example.test"].catch_all = "bob@example.test";
  CHECK(house.text("SRS0=AAAAAA=AA=far.test=joe@example.test") == "forged");
  CHECK(house.text("srs0@example.test") == "bob@example.test");
  house.directory.add_mailbox("srs0=x@example.test");
  CHECK(house.text("SRS0=x@example.test") == "srs0=x@example.test");
  // In a domain for nothing else, which the directory need not know.
  const Srs elsewhere{{{"a key of sixteen"}, "bounce.test", std::chrono::days{21}}};
  const Returns there{elsewhere, today};
  const auto to = elsewhere.forward(*common::parse_address("joe@far.test"), "example.test", today);
  const auto way = resolve(house.directory, to, "example.test", Relay::denied, nullptr, &there);
  REQUIRE(way->outcome == Outcome::found);
  CHECK(way->remotes.front().address == "joe@far.test");
  CHECK(resolve(house.directory, *common::parse_address("joe@bounce.test"), "example.test", Relay::denied, nullptr,
                &there)
            ->outcome == Outcome::not_ours);
}

TEST_CASE("where a message has been") {
  const auto been = find_delivered_to(
      "Delivered-To: Ann@Example.test\r\nSubject: x\r\ndelivered-to:\r\n bob@example.test\r\nDelivered-To: nobody\r\n"
      "X-Delivered-To: carl@example.test\r\n\r\nDelivered-To: dora@example.test\r\n");
  CHECK(been == std::vector<std::string>{"ann@example.test", "bob@example.test"});
}

TEST_CASE("mail does not go where it has been") {
  const auto owner = [](const std::string& address) {
    mailstore::Owner one;
    one.delivered_to = address;
    return one;
  };
  const std::vector<std::string> been{"ann@example.test"};
  mailstore::Envelope envelope;
  envelope.remotes = {remote_by("ann@example.test")};
  CHECK(mark_circles(envelope, {}) == Circle::none);
  CHECK_FALSE(envelope.remotes[0].looped);
  CHECK(mark_circles(envelope, been) == Circle::whole);
  // The copy that she keeps was kept when it first came.
  envelope.owners = {owner("ann@example.test")};
  CHECK(mark_circles(envelope, been) == Circle::whole);
  envelope.owners.push_back(owner("bob@example.test"));
  CHECK(mark_circles(envelope, been) == Circle::some);
  CHECK(envelope.remotes[0].looped);
  REQUIRE(envelope.owners.size() == 1);
  CHECK(envelope.owners[0].delivered_to == "bob@example.test");
  envelope.owners.clear();
  envelope.remotes.push_back(remote_by("bob@example.test"));
  envelope.remotes.push_back(remote_by(""));
  CHECK(mark_circles(envelope, been) == Circle::some);
  CHECK_FALSE(envelope.remotes[1].looped);
  CHECK_FALSE(envelope.remotes[2].looped);
  // Somebody sends on by hand what he got: it is delivered.
  envelope.remotes.clear();
  envelope.owners = {owner("ann@example.test")};
  CHECK(mark_circles(envelope, been) == Circle::none);
  CHECK(format_delivered_to(remote_by("ann@example.test")) == "Delivered-To: ann@example.test\r\n");
  CHECK(format_delivered_to(remote_by("")).empty());
}

TEST_CASE("copies of all mail of a domain, one for a message") {
  House house;
  house.directory.domains["example.test"].journal = "dora@example.test";
  house.directory.add_alias("both@example.test", {"ann@example.test", "bob@example.test"});
  const auto found = house.resolve("both@example.test");
  CHECK(found.journals == std::vector<std::string>{"dora@example.test"});
  CHECK(house.resolve("joe@far.test", Relay::allowed).journals.empty());
  CHECK(house.resolve("gone@example.test").journals.empty());

  mailstore::Envelope envelope;
  envelope.reverse_path = "joe@far.test";
  mailstore::Owner ann;
  ann.mailbox = house.box("ann").number;
  envelope.owners.push_back(ann);
  REQUIRE(add_journals(house.directory, envelope, found.journals, {}, "example.test"));
  REQUIRE(envelope.owners.size() == 2);
  CHECK(envelope.owners[1].delivered_to == "dora@example.test");
  CHECK(envelope.owners[1].notify == mailstore::notify_never);
  REQUIRE(add_journals(house.directory, envelope, found.journals, {}, "example.test"));
  CHECK(envelope.owners.size() == 2);

  // Elsewhere: it is marked, and known when it comes back.
  REQUIRE(add_journals(house.directory, envelope, {"archive@far.test"}, {}, "example.test"));
  REQUIRE(envelope.remotes.size() == 1);
  CHECK(envelope.remotes[0].sent_on_by == "=journal@example.test");
  CHECK(envelope.remotes[0].notify == mailstore::notify_never);
  CHECK(find_return_path(house.directory, "joe@far.test", envelope.remotes[0], returns)->ends_with("@example.test"));
  envelope.remotes.clear();
  const auto copies = [&](const std::string& been, const std::string& default_domain) {
    envelope.remotes.clear();
    REQUIRE(add_journals(house.directory, envelope, {"archive@far.test"}, {been}, default_domain));
    auto marks = envelope.remotes.empty() ? std::string{} : envelope.remotes[0].sent_on_by;
    envelope.remotes.clear();
    REQUIRE(hold_journals(house.directory, envelope, {"archive@far.test"}, {been}, default_domain));
    CHECK(marks == (envelope.remotes.empty() ? std::string{} : envelope.remotes[0].sent_on_by));
    envelope.remotes.clear();
    return marks;
  };
  CHECK(copies("=journal@example.test", "example.test").empty());
  CHECK(copies("archive@far.test", "example.test").empty());
  // Of another virtual server of ours; of somebody else.
  CHECK(copies("=journal@other-name.test", "example.test").empty());
  CHECK(copies("=journal@backup.test", "example.test") == "=journal@example.test");
  CHECK(copies("=journal@third.test", "example.test") == "=journal@example.test");
  CHECK(copies("ann@example.test", "") == "=journal@far.test");
  CHECK(copies("=journal@far.test", "").empty());
  // Held back, they wait for the address as it is.
  REQUIRE(hold_journals(house.directory, envelope, {"dora@example.test"}, {}, "example.test"));
  CHECK(envelope.remotes[0].address == "dora@example.test");
  CHECK(envelope.remotes[0].notify == mailstore::notify_never);
  envelope.remotes.clear();
  // Somebody who is gone keeps no mail from those who are there.
  REQUIRE(add_journals(house.directory, envelope, {"gone@example.test"}, {}, "example.test"));
  CHECK(envelope.owners.size() == 2);
}

TEST_CASE("mailboxes on the way that may answer by themselves") {
  House house;
  house.box("ann").auto_reply = true;
  house.box("bob").auto_reply = true;
  const auto count = [&](const std::string& address) { return house.resolve(address).responders.size(); };
  CHECK(count("ann@example.test") == 1);
  CHECK(count("carl@example.test") == 0);
  house.forward("ann", {"x@far.test"});
  CHECK(count("ann@example.test") == 1);
  house.forward("ann", {"bob@example.test"}, true);
  CHECK(count("ann@example.test") == 2);
}
