#include "common/net/deadlines.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <vector>

using namespace std::chrono_literals;
using common::net::Deadline;
using common::net::Deadlines;
using Time = std::chrono::steady_clock::time_point;

namespace {

struct Told {
  int count = 0;
  static void expired(void* context) { ++static_cast<Told*>(context)->count; }
};

constexpr auto width = std::chrono::duration_cast<Time::duration>(Deadlines::tick_width);

std::int64_t first_tick_after(Time at) {
  const auto n = at.time_since_epoch() / width;
  return Time{width * n} < at ? n + 1 : n;
}

}  // namespace

TEST_CASE("a deadline is told once, never early, and within a tick") {
  Deadlines deadlines;
  Deadline deadline;
  Told told;
  const Time start{1000s};
  deadlines.tick(start);
  deadlines.set(deadline, start + 1200ms, &Told::expired, &told);
  CHECK(deadlines.size() == 1);
  deadlines.tick(start + 1199ms);
  CHECK(told.count == 0);
  deadlines.tick(start + 1500ms);
  CHECK(told.count == 1);
  CHECK(deadlines.size() == 0);
  deadlines.tick(start + 10s);
  CHECK(told.count == 1);
}

TEST_CASE("moved to later it is told later; moved to earlier, earlier; cleared, never") {
  Deadlines deadlines;
  Deadline later, earlier, cleared;
  Told told_later, told_earlier, told_cleared;
  const Time start{50s};
  for (auto* deadline : {&later, &earlier, &cleared}) deadlines.set(*deadline, start + 10s, &Told::expired, nullptr);
  deadlines.set(later, start + 500s, &Told::expired, &told_later);  // beyond the horizon of the buckets
  deadlines.set(earlier, start + 1s, &Told::expired, &told_earlier);
  deadlines.clear(cleared);
  deadlines.tick(start + 1s);
  CHECK(told_earlier.count == 1);
  for (int second = 2; second < 500; ++second) deadlines.tick(start + std::chrono::seconds{second});
  CHECK(told_later.count == 0);
  deadlines.tick(start + 500s);
  CHECK(told_later.count == 1);
  CHECK(told_cleared.count == 0);
}

TEST_CASE("a deadline that goes takes itself out; deadlines that outlive their list do not mind") {
  Deadline survivor;
  {
    Deadlines deadlines;
    {
      Deadline gone;
      deadlines.set(gone, Time{5s}, &Told::expired, nullptr);
      CHECK(deadlines.size() == 1);
    }
    CHECK(deadlines.size() == 0);
    deadlines.set(survivor, Time{5s}, &Told::expired, nullptr);
  }
}

TEST_CASE("whoever sleeps is woken by the first deadline, and only by it") {
  Deadlines deadlines;
  int woken = 0;
  deadlines.on_first([&] { ++woken; });
  Deadline one, two;
  deadlines.set(one, Time{5s}, &Told::expired, nullptr);
  deadlines.set(two, Time{6s}, &Told::expired, nullptr);
  CHECK(woken == 1);
  deadlines.clear(one);
  deadlines.clear(two);
  deadlines.set(two, Time{6s}, &Told::expired, nullptr);
  CHECK(woken == 2);
}

TEST_CASE("what is told may set and clear any deadline") {
  Deadlines deadlines;
  struct Pair {
    Deadlines& deadlines;
    Deadline one{}, two{};
    int told = 0;
    static void expired(void* context) {
      auto& pair = *static_cast<Pair*>(context);
      ++pair.told;
      pair.deadlines.clear(pair.two);
      pair.deadlines.set(pair.one, Time{1s}, &Pair::expired, &pair);  // passed already: the next tick's
    }
  } pair{deadlines};
  deadlines.tick(Time{100s});
  deadlines.set(pair.one, Time{101s}, &Pair::expired, &pair);
  deadlines.set(pair.two, Time{101s}, &Pair::expired, &pair);
  deadlines.tick(Time{101s});
  CHECK(pair.told == 1);
  CHECK(deadlines.size() == 1);
  deadlines.tick(Time{102s});
  CHECK(pair.told == 2);
}

TEST_CASE("random use agrees with a list that is searched whole") {
  const auto seed = std::random_device{}();
  INFO("seed ", seed);
  std::mt19937 random{seed};
  constexpr std::size_t count = 60;
  Deadlines deadlines;
  std::vector<Deadline> real(count);
  std::vector<Told> told(count);
  std::map<std::size_t, Time> model;
  std::vector<int> expected(count, 0);
  Time now{777s};
  deadlines.tick(now);
  auto last = now.time_since_epoch() / width;
  std::map<std::size_t, std::int64_t> not_before;  // one set for a time passed: the next tick's
  for (int step = 0; step < 20000; ++step) {
    const std::size_t which = random() % count;
    switch (random() % 4) {
      case 0:
      case 1: {
        const auto ahead = random() % 8 == 0 ? std::chrono::milliseconds{random() % 900'000}
                                             : std::chrono::milliseconds{random() % 20'000};
        const auto at = now + ahead - 1s;
        deadlines.set(real[which], at, &Told::expired, &told[which]);
        model[which] = at;
        not_before[which] = last + 1;
        break;
      }
      case 2:
        deadlines.clear(real[which]);
        model.erase(which);
        break;
      default: {
        now += std::chrono::milliseconds{random() % 50 == 0 ? random() % 600'000 : random() % 900};
        deadlines.tick(now);
        // Between its time and the next tick a deadline may be told or not: it depends on where it was found.
        last = now.time_since_epoch() / width;
        for (auto entry = model.begin(); entry != model.end();) {
          const auto [which_one, at] = *entry;
          const bool was_told = told[which_one].count > expected[which_one];
          if (was_told) {
            REQUIRE(at <= now);
            ++expected[which_one];
            entry = model.erase(entry);
          } else {
            REQUIRE((first_tick_after(at) > last || not_before[which_one] > last));
            ++entry;
          }
        }
      }
    }
    REQUIRE(deadlines.size() == model.size());
    for (std::size_t i = 0; i < count; ++i) REQUIRE(told[i].count == expected[i]);
  }
}
