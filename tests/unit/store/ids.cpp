#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "expect.hpp"
#include "mailstore/core.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;

namespace {
constexpr std::uint64_t now = 200'000'000'000'000;
}

TEST_CASE("an id is 13 letters and comes back") {
  for (const std::uint64_t value : {std::uint64_t{1}, (now << 12U) | 5U, ~std::uint64_t{1}}) {
    const auto text = format_id(MessageId{value});
    CHECK(text.size() == 13);
    CHECK(parse_id(text) == MessageId{value});
  }
  for (const auto* text : {"", "a", "aaaaaaaaaaaa", "aaaaaaaaaaaaaa", "aaaaaaaaaaaa1", "aaaaaaaaaaaaa"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_id(text));
  }
}

TEST_CASE("no id before the range is durable, none behind it") {
  IdSource ids;
  CHECK_FALSE(ids.next(now));
  ids.start(now, 0, now + IdSource::window, 3, 77);
  const auto first = ids.next(now);
  REQUIRE(first);
  CHECK((first->value & 0xFFFU) == 77);
  CHECK(((first->value >> 12U) & 0xFU) == 3);
  CHECK_FALSE(ids.low(now));
  CHECK(ids.low(now + IdSource::window));
  CHECK_FALSE(ids.next(now + IdSource::window));
  ids.raise_later(now + 2 * IdSource::window);
  CHECK_FALSE(ids.next(now + IdSource::window));
  ids.raised();
  CHECK(ids.next(now + IdSource::window));
}

TEST_CASE("ids rise, also when the clock stands still or steps back") {
  IdSource ids;
  ids.start(now, 0, now + IdSource::window, 0, 1);
  std::uint64_t last = 0;
  for (int i = 0; i < 10000; ++i) {
    const auto clock = i % 3 == 0 ? now : now - static_cast<std::uint64_t>(i) * 1000;
    const auto id = ids.next(clock);
    REQUIRE(id);
    CHECK(id->value > last);
    last = id->value;
  }
}

TEST_CASE("a process that starts with the clock stepped back begins behind all that was given") {
  IdSource before;
  before.start(now, 0, now + 1000, 0, 1);
  MessageId last{};
  while (const auto id = before.next(now + 990)) last = *id;
  IdSource after;
  after.start(now - 5'000'000, now + 1000, now + 1000 + IdSource::window, 0, 1);
  const auto next = after.next(now - 5'000'000);
  REQUIRE(next);
  CHECK(next->value > last.value);
}

TEST_CASE("processes with a slot each never give the same id at the same time") {
  std::set<std::uint64_t> seen;
  for (unsigned slot = 0; slot < WriterSlot::count; ++slot) {
    IdSource ids;
    ids.start(now, 0, now + IdSource::window, slot, 1);
    for (int i = 0; i < 100; ++i) CHECK(seen.insert(ids.next(now + static_cast<std::uint64_t>(i))->value).second);
  }
}

TEST_CASE("threads share one source") {
  IdSource ids;
  ids.start(now, 0, now + IdSource::window, 0, 1);
  std::vector<std::vector<std::uint64_t>> given(4);
  {
    std::vector<std::jthread> threads;
    for (auto& mine : given) {
      threads.emplace_back([&] {
        for (int i = 0; i < 2000; ++i) mine.push_back(ids.next(now)->value);
      });
    }
  }
  std::set<std::uint64_t> seen;
  for (const auto& mine : given) seen.insert(mine.begin(), mine.end());
  CHECK(seen.size() == 8000);
}

TEST_CASE("no id is given twice by several processes, nor by those that follow them") {
  tests::TestStore store(1);
  store.close();
  constexpr std::size_t processes = 4, each = 200, rounds = 3;
  constexpr std::size_t octets = processes * each * rounds * sizeof(std::uint64_t);
  auto* ids =
      static_cast<std::uint64_t*>(mmap(nullptr, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  REQUIRE(ids != MAP_FAILED);
  for (std::size_t round = 0; round < rounds; ++round) {
    std::vector<int> codes(processes);
    for (std::size_t process = 0; process < processes; process += 2) {
      codes[process] = tests::in_child([&] {
        const auto take = [&](std::size_t which) {
          const auto opened = Store::open(store.options());
          if (!opened) return 1;
          for (std::size_t i = 0; i < each; ++i) {
            const auto id = tests::drop_draft(**opened, "x");
            if (!id) return 2;
            ids[(round * processes + which) * each + i] = id->value;
          }
          return 0;
        };
        // A grandchild works at the same time.
        const pid_t second = fork();
        if (second == 0) _exit(take(process + 1));
        const int mine = take(process);
        int status = 0;
        waitpid(second, &status, 0);
        return mine != 0 ? mine : WEXITSTATUS(status);
      });
      CHECK(codes[process] == 0);
    }
  }
  std::set<std::uint64_t> seen;
  for (std::size_t i = 0; i < processes * each * rounds; ++i) {
    CHECK(ids[i] != 0);
    seen.insert(ids[i]);
  }
  CHECK(seen.size() == processes * each * rounds);
  munmap(ids, octets);
}
