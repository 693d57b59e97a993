#include "common/auth/guard.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>

#include <atomic>
#include <string>

#include "guard_folder.hpp"

using namespace common;
using namespace common::auth;
using namespace std::chrono_literals;

namespace {

class WallClock final : public Clock {
 public:
  Wall wall() const override { return Wall{std::chrono::microseconds{now_.load()}}; }
  Steady steady() const override { return Steady{std::chrono::microseconds{now_.load()}}; }
  void turn(std::chrono::microseconds by) { now_ += by.count(); }

 private:
  std::atomic<std::int64_t> now_{1'700'000'000'000'000};
};

sockaddr_storage address(const std::string& text) {
  sockaddr_storage name{};
  auto& four = reinterpret_cast<sockaddr_in&>(name);
  auto& six = reinterpret_cast<sockaddr_in6&>(name);
  if (text == "unix") {
    name.ss_family = AF_UNIX;
  } else if (::inet_pton(AF_INET, text.c_str(), &four.sin_addr) == 1) {
    name.ss_family = AF_INET;
  } else {
    REQUIRE(::inet_pton(AF_INET6, text.c_str(), &six.sin6_addr) == 1);
    name.ss_family = AF_INET6;
  }
  return name;
}

struct House {
  House() : guard{make()} {}
  Guard make() {
    auto table = GuardTable::open(folder.file(), "");
    REQUIRE(table);
    return Guard{std::move(*table), terms(), clock};
  }
  static GuardTerms terms() {
    GuardTerms made;
    made.pair = 10;
    made.address = 30;
    made.account = 20;
    made.window = 15min;
    made.longest_delay = 7s;
    made.known_for = 24h * 30;
    return made;
  }
  Guard::Attempt attempt(const std::string& peer, std::string_view account) {
    const auto name = address(peer);
    return guard.attempt(reinterpret_cast<const sockaddr&>(name), peer, account);
  }
  void fail(const std::string& peer, std::string_view account, int times) {
    for (int i = 0; i < times; ++i) attempt(peer, account).on_wrong();
  }
  std::optional<Held> refused(const std::string& peer, std::string_view account) {
    return attempt(peer, account).judge().refused;
  }

  WallClock clock;
  GuardFolder folder;
  Guard guard;
};

constexpr const char* evil = "198.51.100.7";
constexpr const char* home = "192.0.2.1";

}  // namespace

TEST_CASE("one account from one address: slower, then refused, then one guess for each share of the window") {
  House house;
  CHECK(house.attempt(evil, "ann").judge().delay == 0ms);
  house.fail(evil, "ann", 3);
  CHECK(house.attempt(evil, "ann").judge().delay == 1s);
  house.fail(evil, "ann", 7);
  CHECK(house.refused(evil, "ann") == Held::pair);
  CHECK_FALSE(house.refused(home, "ann"));
  CHECK_FALSE(house.refused(evil, "bob"));
  house.clock.turn(89s);
  CHECK(house.refused(evil, "ann"));
  house.clock.turn(2s);
  CHECK_FALSE(house.refused(evil, "ann"));
  house.fail(evil, "ann", 1);
  CHECK(house.refused(evil, "ann"));
  house.clock.turn(15min);
  CHECK(house.attempt(evil, "ann").judge().delay == 0ms);
  CHECK(house.guard.counters().failed == 11);
}

TEST_CASE("many that came at one moment pay for it, and it has an end") {
  House house;
  house.fail(evil, "ann", 2000);
  house.clock.turn(2h);
  CHECK(house.refused(evil, "ann") == Held::pair);
  house.clock.turn(31min);
  CHECK_FALSE(house.refused(evil, "ann"));
}

TEST_CASE("many accounts from one address; an IPv6 host is its /64; a Unix socket is no address") {
  struct Row {
    const char* from;
    const char* next;
    bool refused;
  };
  const Row rows[] = {
      {"192.0.2.9", "192.0.2.9", true},
      {"192.0.2.9", "192.0.2.10", false},
      {"2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true},
      {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
      {"unix", "unix", false},
  };
  for (const auto& row : rows) {
    CAPTURE(row.from);
    CAPTURE(row.next);
    House house;
    for (int i = 0; i < 30; ++i) house.fail(row.from, "user" + std::to_string(i), 1);
    CHECK(house.refused(row.next, "another").has_value() == row.refused);
  }
}

TEST_CASE("one account from many addresses, and its owner") {
  House house;
  house.attempt(home, "ann").on_right();
  for (int i = 0; i < 30; ++i) house.fail("198.51.100." + std::to_string(i), "ann", 1);
  CHECK(house.refused(evil, "ann") == Held::account);
  CHECK_FALSE(house.refused(home, "ann"));
  CHECK(house.attempt(home, "ann").judge().delay == 0ms);
  CHECK_FALSE(house.refused(evil, "bob"));
  house.clock.turn(24h * 29);
  for (int i = 0; i < 30; ++i) house.fail("198.51.100." + std::to_string(i), "ann", 1);
  CHECK_FALSE(house.refused(home, "ann"));
  house.clock.turn(24h * 2);
  for (int i = 0; i < 30; ++i) house.fail("198.51.100." + std::to_string(i), "ann", 1);
  CHECK(house.refused(home, "ann") == Held::account);  // too long ago
}

TEST_CASE("an account of one's own does not help against others") {
  House house;
  for (int i = 0; i < 30; ++i) {
    house.fail(evil, "user" + std::to_string(i), 1);
    house.attempt(evil, "own").on_right();
  }
  CHECK(house.refused(evil, "another") == Held::address);
  CHECK_FALSE(house.refused(evil, "own"));
}

TEST_CASE("who mistypes at home harms neither himself for long nor his neighbours") {
  House house;
  house.attempt(home, "ann").on_right();
  house.fail(home, "ann", 9);
  house.attempt(home, "ann").on_right();
  CHECK(house.attempt(home, "ann").judge().delay == 0ms);
  house.fail(home, "ann", 100);
  CHECK(house.refused(home, "ann") == Held::pair);
  CHECK_FALSE(house.refused(home, "bob"));
  CHECK_FALSE(house.refused(evil, "ann"));
}

TEST_CASE("two daemons count together, and the next start remembers") {
  House house;
  auto other = house.make();
  const auto name = address(evil);
  for (int i = 0; i < 5; ++i) {
    house.fail(evil, "ann", 1);
    other.attempt(reinterpret_cast<const sockaddr&>(name), evil, "ann").on_wrong();
  }
  CHECK(house.refused(evil, "ann"));
  auto next = house.make();
  CHECK(next.attempt(reinterpret_cast<const sockaddr&>(name), evil, "ann").judge().refused);
}

TEST_CASE("trusted addresses and limits of 0, also after a reload") {
  House house;
  house.fail(evil, "ann", 50);
  auto terms = House::terms();
  terms.trusted = {*parse_network("198.51.100.0/24")};
  house.guard.set_terms(terms);
  CHECK_FALSE(house.refused(evil, "ann"));
  house.fail(evil, "bob", 50);
  house.guard.set_terms(House::terms());
  CHECK_FALSE(house.refused(home, "bob"));
  CHECK(house.refused(evil, "ann"));
  terms = House::terms();
  terms.pair = terms.address = terms.account = 0;
  house.guard.set_terms(terms);
  house.fail(evil, "ann", 50);
  CHECK_FALSE(house.refused(evil, "ann"));
}

TEST_CASE("without a memory for log-ins the owner is judged as a stranger") {
  House house;
  auto terms = House::terms();
  terms.known_for = 0s;
  house.guard.set_terms(terms);
  house.attempt(home, "ann").on_right();
  for (int i = 0; i < 30; ++i) house.fail("198.51.100." + std::to_string(i), "ann", 1);
  CHECK(house.refused(home, "ann") == Held::account);
}
