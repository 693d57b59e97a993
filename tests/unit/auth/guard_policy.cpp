#include "common/auth/guard_policy.hpp"

#include <doctest/doctest.h>

using namespace common::auth;
using namespace std::chrono_literals;

namespace {

GuardTerms terms() {
  GuardTerms made;
  made.pair = 10;
  made.address = 100;
  made.account = 60;
  made.longest_delay = 7s;
  return made;
}

}  // namespace

TEST_CASE("what becomes of a log-in") {
  using enum Standing;
  struct Row {
    Failures failures;
    Standing standing;
    std::optional<Held> refused;
    std::chrono::milliseconds delay;
    const char* why;
  };
  const Row rows[] = {
      {{0, 0, 0}, stranger, {}, 0ms, "nobody failed"},
      {{2, 0, 0}, stranger, {}, 0ms, "a third of the limit is free"},
      {{3, 0, 0}, stranger, {}, 1s, "then it grows evenly"},
      {{4, 0, 0}, stranger, {}, 2s, "then it grows evenly"},
      {{9, 0, 0}, stranger, {}, 7s, "to the longest at the last one"},
      {{10, 0, 0}, stranger, Held::pair, 7s, "the limit"},
      {{4000, 0, 0}, stranger, Held::pair, 7s, "bounded"},
      {{0, 32, 0}, stranger, {}, 0ms, "an address has a third of its own limit"},
      {{0, 99, 0}, stranger, {}, 7s, "the address alone"},
      {{0, 100, 0}, stranger, Held::address, 7s, "many accounts from one address"},
      {{0, 0, 59}, stranger, {}, 7s, "the account alone"},
      {{0, 0, 60}, stranger, Held::account, 7s, "one account from many addresses"},
      {{4, 40, 0}, stranger, {}, 2s, "the longest of the delays"},
      {{0, 4000, 4000}, known, {}, 0ms, "the owner is not locked out by strangers, nor by neighbours"},
      {{3, 4000, 4000}, known, {}, 1s, "and is judged by his own failures"},
      {{10, 0, 0}, known, Held::pair, 7s, "as anybody"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto judgement = judge(terms(), row.failures, row.standing);
    CHECK(judgement.refused == row.refused);
    CHECK(judgement.delay == row.delay);
  }
}

TEST_CASE("0 is no limit, and one failure may be the limit") {
  auto open = terms();
  open.pair = open.address = open.account = 0;
  const auto any = judge(open, {1000, 1000, 1000}, Standing::stranger);
  CHECK_FALSE(any.refused);
  CHECK(any.delay == 0ms);
  for (std::uint32_t limit = 1; limit < 6; ++limit) {
    CAPTURE(limit);
    auto strict = terms();
    strict.pair = limit;
    CHECK(judge(strict, {0, 0, 0}, Standing::stranger).delay == 0ms);
    CHECK_FALSE(judge(strict, {limit - 1, 0, 0}, Standing::stranger).refused);
    if (limit > 1) CHECK(judge(strict, {limit - 1, 0, 0}, Standing::stranger).delay == 7s);
    CHECK(judge(strict, {limit, 0, 0}, Standing::stranger).refused);
  }
}
