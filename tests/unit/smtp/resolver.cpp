#include "smtpd/routing/resolver.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/smtp/fake_directory.hpp"

using namespace smtpd::routing;

namespace {

FakeDirectory make_directory() {
  FakeDirectory directory;
  directory.add_domain("example.test");
  directory.add_domain("second.test");
  directory.add_domain("other-name.test", "second.test");
  directory.add_domain("orphan.test", "gone.test");
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

std::string resolve_text(FakeDirectory& directory, const std::string& address) {
  const auto parsed = common::parse_address(address);
  REQUIRE(parsed);
  Explanation explanation;
  const auto found = resolve(directory, *parsed, "example.test", &explanation);
  REQUIRE(found);
  CHECK_FALSE(explanation.empty());
  const auto again = resolve(directory, *parsed, "example.test");
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
    case Outcome::local:
      break;
  }
  std::vector<std::string> addresses;
  for (const auto& target : found->targets) addresses.push_back(target.address);
  std::ranges::sort(addresses);
  std::string text;
  for (const auto& target : addresses) text += (text.empty() ? "" : " ") + target;
  return text;
}

}  // namespace

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
      {"away@example.test", "not ours", "a target elsewhere"},
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
  };
  for (const auto& row : rows) {
    CAPTURE(row.recipient);
    CAPTURE(row.why);
    CHECK(resolve_text(directory, row.recipient) == row.want);
  }
}

TEST_CASE("a store in trouble is an error and no verdict") {
  auto directory = make_directory();
  directory.broken = true;
  CHECK_FALSE(resolve(directory, *common::parse_address("ann@example.test"), "example.test"));
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
  const auto found = resolve(directory, *common::parse_address("all@example.test"), "example.test");
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
