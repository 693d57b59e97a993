#include "smtpd/routing/srs.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

using namespace smtpd::routing;

namespace {

using std::chrono::days;
using std::chrono::sys_days;

constexpr sys_days today{days{20'000}};

Srs make_srs(std::vector<std::string> keys = {"a key of sixteen"}, std::string domain = {}) {
  return Srs{{std::move(keys), std::move(domain), days{21}}};
}

common::Address address_of(const std::string& text) {
  const auto parsed = common::parse_address(text);
  REQUIRE_MESSAGE(parsed.has_value(), text);
  return *parsed;
}

std::string forward(const Srs& srs, const std::string& sender, sys_days day = today) {
  return common::format_address(srs.forward(address_of(sender), "ours.test", day));
}

/// The address, or what is wrong.
std::string back(const Srs& srs, const std::string& text, sys_days day = today) {
  const auto found = srs.back(address_of(text), day);
  if (!found) return found.error() == Srs::Fault::expired ? "expired" : "forged";
  return common::format_address(*found);
}

std::string upper(std::string text) {
  for (auto& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

}  // namespace

TEST_CASE("a stranger's address goes out as one of ours, and comes back as it was") {
  const auto srs = make_srs();
  for (const std::string sender :
       {"Joe@far.test", "a=b=c@far.test", "x+y@sub.far.test", "\"two words\"@far.test", "\"@\"@far.test",
        "joe@[192.0.2.1]", "srs@far.test", "SRS2=x@far.test", "m\xC3\xBCller@far.test"}) {
    CAPTURE(sender);
    const auto made = forward(srs, sender);
    CHECK(address_of(made).domain == "ours.test");
    CHECK(Srs::has_form(address_of(made).local));
    CHECK(back(srs, made) == sender);
    CHECK_FALSE(Srs::has_form(address_of(sender).local));
  }
  const auto made = forward(srs, "joe@far.test");
  CHECK(made.starts_with("SRS0="));
  CHECK(made.ends_with("=far.test=joe@ours.test"));
  CHECK(make_srs({"key of sixteen octets"}, "bounce.test")
            .forward(address_of("joe@far.test"), "ours.test", today)
            .domain == "bounce.test");
}

TEST_CASE("an address that a server on the way wrote in other letters is known all the same") {
  const auto srs = make_srs();
  const auto made = forward(srs, "Joe@far.test");
  CHECK(back(srs, upper(made)) == "JOE@far.test");
  auto lower = made;
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  CHECK(back(srs, lower) == "joe@far.test");
}

TEST_CASE("each octet of it is proved") {
  const auto srs = make_srs();
  for (const auto& made :
       {forward(srs, "joe@far.test"), forward(srs, forward(make_srs({"somebody else's key"}), "joe@far.test"))}) {
    const auto end = made.find('@');
    for (std::size_t i = 5; i < end; ++i) {
      auto changed = made;
      changed[i] = changed[i] == '0' ? '1' : '0';
      CAPTURE(changed);
      const auto parsed = common::parse_address(changed);
      if (parsed) CHECK_FALSE(srs.back(*parsed, today).has_value());
    }
  }
  for (const std::string other :
       {"SRS0@ours.test", "SRS0=@ours.test", "SRS0=AAAAAA@ours.test", "SRS0=AAAAAA=AA@ours.test",
        "SRS0=AAAAAA=AA=far.test=@ours.test", "SRS0=AAAAAA=AA=far.test=joe@ours.test", "SRS0====@ours.test",
        "SRS1=AAAAAA=far.test==x@ours.test", "SRS1=AAAAAA=far.test=@ours.test", "SRS1==@ours.test", "joe@ours.test"}) {
    CAPTURE(other);
    const auto parsed = common::parse_address(other);
    if (parsed) CHECK(back(srs, other) == "forged");
  }
}

TEST_CASE("it is good for a time") {
  const auto srs = make_srs();
  for (const auto day : {today, sys_days{days{1023}}, sys_days{days{1024}}, sys_days{days{20'479}}}) {
    const auto made = forward(srs, "joe@far.test", day);
    CHECK(back(srs, made, day + days{21}) == "joe@far.test");
    CHECK(back(srs, made, day + days{22}) == "expired");
    CHECK(back(srs, made, day + days{500}) == "expired");
    // Made by a clock that is a day ahead of ours.
    CHECK(back(srs, made, day - days{1}) == "joe@far.test");
    CHECK(back(srs, made, day - days{2}) == "expired");
  }
}

TEST_CASE("keys rotate: the first signs, all are believed") {
  const auto old = make_srs({"the old one, sixteen"});
  const auto both = make_srs({"the new one, sixteen", "the old one, sixteen"});
  const auto young = make_srs({"the new one, sixteen"});
  CHECK(back(both, forward(old, "joe@far.test")) == "joe@far.test");
  CHECK(back(both, forward(young, "joe@far.test")) == "joe@far.test");
  CHECK(back(young, forward(both, "joe@far.test")) == "joe@far.test");
  CHECK(back(old, forward(both, "joe@far.test")) == "forged");
  CHECK(back(young, forward(old, "joe@far.test")) == "forged");
}

TEST_CASE("behind the second forwarder it does not get longer, and goes back past those in between") {
  const auto first = make_srs({"the first one's key"});
  const auto second = make_srs({"the second one's key"});
  const auto third = make_srs({"the third one's key"});
  const auto once = common::format_address(first.forward(address_of("joe@far.test"), "first.test", today));
  const auto twice = common::format_address(second.forward(address_of(once), "second.test", today));
  const auto thrice = common::format_address(third.forward(address_of(twice), "third.test", today));
  CHECK(twice.starts_with("SRS1="));
  CHECK(thrice.starts_with("SRS1="));
  CHECK(thrice.size() < twice.size() + 5);
  CHECK(back(second, twice) == once);
  CHECK(back(third, thrice) == once);
  CHECK(back(first, once) == "joe@far.test");
  CHECK(back(third, twice) == "forged");
  // Others begin the rest with another separator.
  const auto plus =
      common::format_address(second.forward(address_of("SRS0+abc=de=far.test=joe@other.test"), "second.test", today));
  CHECK(back(second, plus) == "SRS0+abc=de=far.test=joe@other.test");
}

TEST_CASE("random addresses come back") {
  const auto srs = make_srs();
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 source{seed};
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>{0, bound - 1}(source);
  };
  constexpr std::string_view letters = "aB3.=+-_\"\\ @<>sSrR01,";
  for (int i = 0; i < 2000; ++i) {
    common::Address sender;
    const auto length = 1 + below(40);
    for (std::size_t k = 0; k < length; ++k) sender.local += letters[below(letters.size())];
    sender.domain = "far" + std::to_string(below(10)) + ".test";
    const auto written = common::format_address(sender);
    if (!common::parse_address(written) || Srs::has_form(sender.local)) continue;
    CAPTURE(written);
    CHECK(back(srs, forward(srs, written)) == written);
  }
}
