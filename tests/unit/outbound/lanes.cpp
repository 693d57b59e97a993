#include "smtpd/outbound/lanes.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace smtpd::outbound;
using namespace std::chrono_literals;

namespace {

const Lanes::Time start{1h};
constexpr std::string_view owner = "mx";

}  // namespace

TEST_CASE("the pace of a destination: one more after each window of good signs, half at a bad one") {
  struct Row {
    std::uint32_t most;
    std::string_view signs;  // g: good, s: slower
    std::uint32_t window;
    std::string_view why;
  };
  const std::string thousand(1000, 'g');
  const Row rows[] = {
      {100, "", 10, "the beginning"},
      {5, "", 5, "no more than the settings say"},
      {0, "", 10, "no limit is no limit, but one begins carefully"},
      {100, "gggggggggg", 11, "one window"},
      {100, "ggggggggg", 10, "not quite"},
      {100, "s", 5, "half"},
      {100, "sssss", 5, "those beside it hear the same: one event"},
      {100, "ssssss", 2, "a second event"},
      {100, "sgggggs", 3, "grown to 6, then half of it"},
      {100, "ssssssssssssssss", 1, "never none"},
      {12, thousand, 12, "the settings' limit"},
      {100, "sggggggggggggggggggggggggggggggggggg", 9, "back to one less than what was too much"},
      {1, "sg", 1, "one is one"},
      {2, "sggggggggggggggggggg", 1, "what was too much is not tried again soon"},
      {2, "sgggggggggggggggggggg", 2, "but after twenty that went well"},
      {2, "sggggggggggggggggggggsgggggggggggggggggggg", 1, "and after twice as many if it was in vain"},
  };
  for (const auto& row : rows) {
    Pace pace{row.most};
    for (const char sign : row.signs) pace.on(sign == 'g' ? Pace::Sign::good : Pace::Sign::slower);
    CAPTURE(row.why);
    CAPTURE(row.signs);
    CHECK(pace.window() == row.window);
  }
  Pace unlimited{0};
  for (int i = 0; i < 100'000; ++i) unlimited.on(Pace::Sign::good);
  CHECK(unlimited.window() > 100);
}

TEST_CASE("a rate: the first burst, then one each part of the period, and never more in a period than twice") {
  TokenBucket bucket{4, 60s};
  for (int i = 0; i < 4; ++i) CHECK(bucket.take(start));
  CHECK(!bucket.take(start));
  CHECK(bucket.ready_at(start) == start + 15s);
  CHECK(!bucket.take(start + 14s));
  CHECK(bucket.take(start + 15s));
  CHECK(!bucket.take(start + 15s));
  CHECK(bucket.ready_at(start + 16s) == start + 30s);
  // What was not used is not saved up beyond the burst.
  int taken = 0;
  while (bucket.take(start + 1h)) ++taken;
  CHECK(taken == 4);
  TokenBucket none{0, 60s};
  for (int i = 0; i < 1000; ++i) CHECK(none.take(start));
}

TEST_CASE("limits in all and for each destination (S60, S62)") {
  Lanes lanes;
  const Lanes::Limits three{.connections = 3, .owner = owner, .total = 5};
  for (int i = 0; i < 3; ++i) CHECK(lanes.begin("a.test", three, start).hold == Lanes::Hold::none);
  CHECK(lanes.begin("a.test", three, start).hold == Lanes::Hold::destination);
  CHECK(lanes.begin("b.test", three, start).hold == Lanes::Hold::none);
  CHECK(lanes.begin("b.test", three, start).hold == Lanes::Hold::none);
  CHECK(lanes.begin("c.test", three, start).hold == Lanes::Hold::total);
  CHECK(lanes.running() == 5);
  CHECK(lanes.running("a.test") == 3);
  // Another virtual server has its own.
  CHECK(lanes.begin("c.test", {.connections = 3, .owner = "submission", .total = 1}, start).hold == Lanes::Hold::none);
  CHECK(lanes.begin("d.test", {.connections = 3, .owner = "submission", .total = 1}, start).hold == Lanes::Hold::total);
  lanes.end("c.test", "submission", Pace::Sign::good);
  lanes.end("a.test", owner, Pace::Sign::good);
  CHECK(lanes.begin("c.test", three, start).hold == Lanes::Hold::none);
  // Ending what never began changes nothing.
  lanes.end("d.test", owner, Pace::Sign::good);
  CHECK(lanes.running() == 5);
}

TEST_CASE("a destination that wants less gets less; one with a rate is told when") {
  Lanes lanes;
  const Lanes::Limits hundred{.connections = 100};
  for (int i = 0; i < 10; ++i) CHECK(lanes.begin("a.test", hundred, start).hold == Lanes::Hold::none);
  CHECK(lanes.begin("a.test", hundred, start).hold == Lanes::Hold::pace);
  for (int i = 0; i < 5; ++i) lanes.end("a.test", owner, Pace::Sign::slower);
  CHECK(lanes.window("a.test") == 5);
  CHECK(lanes.begin("a.test", hundred, start).hold == Lanes::Hold::pace);
  lanes.end("a.test", owner, Pace::Sign::good);
  CHECK(lanes.begin("a.test", hundred, start).hold == Lanes::Hold::none);

  const Lanes::Limits slow{.connections = 10, .rate = 1, .period = 60s};
  CHECK(lanes.begin("b.test", slow, start).hold == Lanes::Hold::none);
  const auto verdict = lanes.begin("b.test", slow, start + 10s);
  CHECK(verdict.hold == Lanes::Hold::rate);
  CHECK(verdict.at == start + 60s);
  CHECK(lanes.begin("b.test", slow, start + 60s).hold == Lanes::Hold::none);
}

TEST_CASE("limits that a person changes hold at once") {
  Lanes lanes;
  CHECK(lanes.begin("a.test", {.connections = 1}, start).hold == Lanes::Hold::none);
  CHECK(lanes.begin("a.test", {.connections = 1}, start).hold == Lanes::Hold::destination);
  CHECK(lanes.begin("a.test", {.connections = 9, .rate = 1}, start).hold != Lanes::Hold::destination);
  lanes.end("a.test", {}, Pace::Sign::good);
  CHECK(lanes.begin("a.test", {.connections = 9, .rate = 1}, start).hold == Lanes::Hold::none);
  lanes.end("a.test", {}, Pace::Sign::good);
  CHECK(lanes.begin("a.test", {.connections = 9, .rate = 1}, start).hold == Lanes::Hold::rate);
  CHECK(lanes.begin("a.test", {.connections = 9}, start).hold == Lanes::Hold::none);
}

TEST_CASE("destinations that nothing goes to are forgotten, others not") {
  Lanes lanes;
  lanes.begin("a.test", {}, start);
  lanes.begin("b.test", {}, start);
  lanes.end("b.test", owner, Pace::Sign::slower);
  lanes.forget_idle(start + 1min);
  CHECK(lanes.destinations() == 2);
  lanes.forget_idle(start + 1h);
  CHECK(lanes.destinations() == 1);
  CHECK(lanes.running("a.test") == 1);
}
