#include "smtpd/outbound/schedule.hpp"

#include <doctest/doctest.h>

using namespace smtpd::outbound;
using namespace std::chrono_literals;

namespace {

constexpr Time noon{std::chrono::microseconds{1'700'000'000'000'000}};

Schedule usual() {
  return {.waits = {15min, 30min, 60min, 4h}, .delay_notice = 12h, .expire = 5 * 24h, .jitter = 0};
}

}  // namespace

TEST_CASE("the waits between attempts; the last repeats (S50, S51)") {
  const auto schedule = usual();
  struct Row {
    std::uint32_t failures;
    std::chrono::minutes want;
  };
  for (const auto& row :
       {Row{1, 15min}, Row{2, 30min}, Row{3, 60min}, Row{4, 240min}, Row{5, 240min}, Row{900, 240min}}) {
    CAPTURE(row.failures);
    CHECK(next_attempt(schedule, row.failures, noon, noon, 0xffffffff) == noon + row.want);
  }
  CHECK(next_attempt({.waits = {}, .expire = 1h}, 1, noon, noon, 0) == noon + 30min);
}

TEST_CASE("jitter is only ever added") {
  auto schedule = usual();
  schedule.jitter = 10;
  CHECK(next_attempt(schedule, 1, noon, noon, 0) == noon + 15min);
  const auto half = next_attempt(schedule, 1, noon, noon, 0x80000000U);
  CHECK(half == noon + 15min + 45s);
  const auto most = next_attempt(schedule, 1, noon, noon, 0xffffffffU);
  CHECK(most > half);
  CHECK(most <= noon + 16min + 30s);
}

TEST_CASE("the last attempt is made when the time is over, then it goes back (S53)") {
  const auto schedule = usual();
  const auto accepted = noon - 5 * 24h + 10min;
  CHECK(next_attempt(schedule, 9, noon, accepted, 0) == noon + 10min);
  CHECK_FALSE(is_expired(schedule, noon, accepted));
  CHECK(is_expired(schedule, noon + 10min, accepted));
  CHECK(next_attempt(schedule, 9, noon + 11min, accepted, 0) == noon + 11min + 4h);
}

TEST_CASE("the sender hears of a delay (S52)") {
  auto schedule = usual();
  CHECK_FALSE(is_notice_due(schedule, noon + 12h - 1s, noon));
  CHECK(is_notice_due(schedule, noon + 12h, noon));
  schedule.delay_notice = 0s;
  CHECK_FALSE(is_notice_due(schedule, noon + 1000h, noon));
}
