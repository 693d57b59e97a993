#include "pop3d/session/numbering.hpp"

#include <algorithm>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "pop3d/session/marks.hpp"

using namespace pop3d;
using mailstore::Entry;
using mailstore::MessageId;

namespace {

class List final : public Entries {
 public:
  explicit List(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) entries.push_back(Entry{MessageId{1000 + i * 7}, i + 1, 0, 0, i + 1});
  }
  mailstore::Result<std::size_t> list(std::optional<MessageId> after, std::span<Entry> out) override {
    ++calls;
    if (fails) return mailstore::fail(mailstore::Errc::unavailable, "as told");
    auto from = after ? std::ranges::upper_bound(entries, *after, {}, &Entry::id) : entries.begin();
    std::size_t count = 0;
    for (; from != entries.end() && count < out.size(); ++from) out[count++] = *from;
    walked += count;
    return count;
  }
  std::vector<Entry> entries;
  std::uint64_t calls = 0, walked = 0;
  bool fails = false;
};

Entry find(Numbering& numbering, List& list, std::uint64_t number) {
  for (int turn = 0; turn < 1000; ++turn) {
    const auto found = numbering.find(list, number);
    REQUIRE(found);
    if (found->answer == Numbering::Answer::found) return found->entry;
    REQUIRE(found->answer == Numbering::Answer::unfinished);
  }
  FAIL("never finished");
  return {};
}

}  // namespace

TEST_CASE("numbers are ranks: against a plain list, at random, forwards, backwards") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random{seed};
  for (const std::size_t count : {1UL, 15UL, 16UL, 17UL, 1023UL, 1024UL, 1025UL, 5000UL, 60'000UL}) {
    CAPTURE(count);
    List list{count};
    Numbering numbering;
    for (int i = 0; i < 300; ++i) {
      const auto number = 1 + random() % count;
      CHECK(find(numbering, list, number).id == list.entries[number - 1].id);
      if (number < count && random() % 2 == 0) CHECK(find(numbering, list, number + 1).id == list.entries[number].id);
      if (number > 1 && random() % 4 == 0) CHECK(find(numbering, list, number - 1).id == list.entries[number - 2].id);
    }
  }
}

TEST_CASE("in sequence each entry is read once, sixteen at a time") {
  List list{4000};
  Numbering numbering;
  for (std::uint64_t number = 1; number <= 4000; ++number)
    CHECK(find(numbering, list, number).id == list.entries[number - 1].id);
  CHECK(list.walked == 4000);
  CHECK(list.calls == 250);
}

TEST_CASE("what was walked over is not walked again: from anywhere at most 1024 entries") {
  List list{20'000};
  Numbering numbering;
  find(numbering, list, 20'000);
  for (const std::uint64_t number : {1ULL, 19'000ULL, 1024ULL, 1025ULL, 10'000ULL, 19'999ULL}) {
    const auto before = list.walked;
    find(numbering, list, number);
    CHECK(list.walked - before <= Numbering::stride + Numbering::window_size);
  }
}

TEST_CASE("a listing leaves its anchors") {
  List list{20'000};
  Numbering numbering;
  for (std::uint64_t i = 0; i < 20'000; ++i) numbering.passed(i + 1, list.entries[i].id);
  find(numbering, list, 17'000);
  CHECK(list.walked <= Numbering::stride + Numbering::window_size);
}

TEST_CASE("a far walk is done in turns") {
  List list{50'000};
  Numbering numbering;
  int turns = 0;
  while (true) {
    const auto before = list.walked;
    const auto found = numbering.find(list, 50'000);
    REQUIRE(found);
    CHECK(list.walked - before <= Numbering::budget + 256 + Numbering::window_size);
    if (found->answer == Numbering::Answer::found) break;
    ++turns;
  }
  CHECK(turns == 3);
}

TEST_CASE("numbers that do not exist, and a store that fails") {
  List list{20};
  Numbering numbering;
  CHECK(numbering.find(list, 0)->answer == Numbering::Answer::missing);
  CHECK(numbering.find(list, 21)->answer == Numbering::Answer::missing);
  CHECK(numbering.find(list, 2000)->answer == Numbering::Answer::missing);
  CHECK(numbering.find(list, 20)->answer == Numbering::Answer::found);
  list.fails = true;
  CHECK_FALSE(numbering.find(list, 1));
  list.fails = false;
  CHECK(numbering.find(list, 1)->entry.id == list.entries[0].id);
}

TEST_CASE("marks: what was marked, how much, and all of it once") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random{seed};
  List list{20'000};
  Marks marks;
  std::vector<bool> plain(list.entries.size() + 1);
  std::uint64_t octets = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto number = 1 + random() % list.entries.size();
    CHECK(marks.marked(number) == plain[number]);
    if (plain[number]) continue;
    plain[number] = true;
    octets += list.entries[number - 1].octets;
    marks.mark(number, list.entries[number - 1]);
  }
  const auto count = static_cast<std::uint64_t>(std::ranges::count(plain, true));
  CHECK(marks.messages() == count);
  CHECK(marks.octets() == octets);
  const auto ids = marks.take();
  CHECK(ids.size() == count);
  CHECK(std::ranges::is_sorted(ids));
  CHECK(marks.messages() == 0);
  CHECK_FALSE(marks.marked(1));
  marks.mark(7, list.entries[6]);
  marks.clear();
  CHECK(marks.messages() == 0);
  CHECK(marks.octets() == 0);
  CHECK_FALSE(marks.marked(7));
}
