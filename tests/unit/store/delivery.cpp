#include <algorithm>
#include <set>

#include "expect.hpp"
#include "mailstore/record.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;
using tests::Letter;
using tests::make_message;

TEST_CASE("a message is in the maildrops of all its owners, each with lines of its own") {
  tests::TestStore store(3);
  const Letter letter{.to = store.boxes(), .octets = make_message("hello", 3000, 7)};
  const auto id = got(tests::deliver(*store, letter));
  for (const auto box : store.boxes()) {
    const auto all = got(tests::entries(*store, box));
    REQUIRE(all.size() == 1);
    CHECK(all[0].id == id);
    const auto front = tests::front_of(letter, box);
    CHECK(all[0].octets == front.size() + tests::real_octets(letter.octets));
    CHECK(all[0].octets == front_octets(letter.from, tests::address_of(box)) + tests::real_octets(letter.octets));
    CHECK(all[0].header_octets == letter.octets.find("\r\n\r\n") + 4);
    const auto view = got(store->peek(box));
    CHECK(view.messages == 1);
    CHECK(view.octets == all[0].octets);
    // The head alone in the scratch, part of the body, all of it.
    for (const std::size_t scratch : {std::size_t{400}, std::size_t{1000}, std::size_t{65536}}) {
      CHECK(got(tests::read_message(*store, box, all[0], scratch)) == front + letter.octets);
    }
  }
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("an envelope that is longer than the reader's scratch can be read all the same") {
  tests::TestStore store(1);
  Letter letter{.to = {store.boxes()[0]}, .octets = make_message("crowded", 3000)};
  // Owners that nobody knows stand in the record too.
  for (std::uint32_t i = 0; i < 3000; ++i) letter.to.push_back(MailboxNumber{1'000'000 + i});
  got(tests::deliver(*store, letter));
  const auto box = store.boxes()[0];
  const auto all = got(tests::entries(*store, box));
  REQUIRE(all.size() == 1);
  for (const std::size_t scratch : {std::size_t{128}, std::size_t{4096}, std::size_t{1} << 20U}) {
    CHECK(got(tests::read_message(*store, box, all[0], scratch)) == tests::front_of(letter, box) + letter.octets);
  }
  std::vector<char> scratch(1000);
  const auto message = got(store->open_message(box, all[0], scratch, 1000));
  CHECK(message.envelope().owners.size() == 3001);
}

TEST_CASE("a message with more owners than an entry can number is refused whole") {
  tests::TestStore store(1);
  Letter letter{.to = {}, .octets = make_message("too many", 300)};
  for (std::uint32_t i = 0; i < 65537; ++i) letter.to.push_back(MailboxNumber{1'000'000 + i});
  letter.to.push_back(store.boxes()[0]);
  CHECK_FALSE(tests::deliver(*store, letter));
  CHECK(got(store->peek(store.boxes()[0])).messages == 0);
}

TEST_CASE("an owner named twice gets one copy") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  got(tests::deliver(*store, {.to = {box, box, box}, .octets = make_message("once", 200)}));
  CHECK(got(store->peek(box)).messages == 1);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("messages of any size, from none to many pages") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  std::vector<std::string> wanted;
  for (const std::size_t size : {0U, 1U, 7U, 8U, 9U, 100U, 4095U, 4096U, 4097U, 65536U, 200000U}) {
    const auto octets = size < 20 ? std::string(size, 'x') : make_message("size", size, size);
    wanted.push_back(tests::front_of({.to = {}, .octets = {}}, box) + octets);
    got(tests::deliver(*store, {.to = {box}, .octets = octets}));
  }
  std::vector<std::string> found;
  for (const auto& entry : got(tests::entries(*store, box)))
    found.push_back(got(tests::read_message(*store, box, entry)));
  CHECK(found == wanted);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("what arrives after log-in is not in the view") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  const auto deliver = [&] { return got(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 200)})); };
  const auto first = deliver();
  const auto lock = got(store->lock_maildrop(box));
  const auto view = got(store->view(lock));
  const auto late = deliver();
  CHECK(view.messages == 1);
  std::vector<Entry> out(10);
  CHECK(got(store->list(view, std::nullopt, out)) == 1);
  CHECK(out[0].id == first);
  CHECK(got(store->find(view, first)));
  CHECK_FALSE(got(store->find(view, late)));
  CHECK_FALSE(got(store->find(view, MessageId{12345})));
  const auto next = got(store->view(lock));
  CHECK(next.messages == 2);
  CHECK(got(store->find(next, late)));
  // Not even when its id is below one that is in the view: ids are not in commit order.
  CHECK(got(store->list(view, first, out)) == 0);
  CHECK(got(store->list(next, first, out)) == 1);
}

TEST_CASE("a list is read in pages of any size") {
  tests::TestStore store(2);
  const auto box = store.boxes()[0];
  std::vector<Letter> letters;
  for (std::size_t i = 0; i < 20; ++i)
    letters.push_back({.to = {store.boxes()[i % 2]}, .octets = make_message("m", 100 + i)});
  for (const auto& result : tests::deliver_together(*store, letters)) CHECK(result);
  const auto view = got(store->peek(box));
  for (const std::size_t page : {1U, 2U, 3U, 9U, 10U, 11U}) {
    std::vector<Entry> out(page);
    std::optional<MessageId> after;
    std::vector<MessageId> ids;
    for (;;) {
      const auto found = got(store->list(view, after, out));
      for (std::size_t i = 0; i < found; ++i) ids.push_back(out[i].id);
      if (found < page) break;
      after = out[found - 1].id;
    }
    CHECK(ids.size() == 10);
    CHECK(std::ranges::is_sorted(ids));
  }
  CHECK(got(store->list(view, std::nullopt, {})) == 0);
}

TEST_CASE("removed is removed for that owner alone") {
  tests::TestStore store(2);
  const auto ann = store.boxes()[0];
  const auto bob = store.boxes()[1];
  const Letter letter{.to = store.boxes(), .octets = make_message("shared", 800)};
  const auto shared = got(tests::deliver(*store, letter));
  const auto own = got(tests::deliver(*store, {.to = {ann}, .octets = make_message("own", 800)}));
  const auto entry = got(tests::entries(*store, ann))[0];
  CHECK(got(tests::remove(*store, ann, {shared})) == 1);
  CHECK(got(tests::remove(*store, ann, {shared, MessageId{99}})) == 0);
  CHECK(error_of(tests::read_message(*store, ann, entry)) == Errc::not_found);
  const auto left = got(tests::entries(*store, ann));
  REQUIRE(left.size() == 1);
  CHECK(left[0].id == own);
  const auto bobs = got(tests::entries(*store, bob));
  REQUIRE(bobs.size() == 1);
  CHECK(got(tests::read_message(*store, bob, bobs[0])) == tests::front_of(letter, bob) + letter.octets);
  CHECK(got(tests::remove(*store, bob, {shared})) == 1);
  CHECK(got(store->stat()).messages == 1);
  CHECK(tests::problems(*store) == "");
  store.reopen();
  CHECK(got(tests::entries(*store, ann)).size() == 1);
  CHECK(got(tests::entries(*store, bob)).empty());
}

TEST_CASE("a long removal goes in pieces and counts what went") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  std::vector<Letter> letters(700, {.to = {box}, .octets = make_message("m", 120)});
  std::vector<MessageId> ids;
  for (const auto& result : tests::deliver_together(*store, letters)) ids.push_back(got(result));
  auto twice = ids;
  twice.insert(twice.end(), ids.begin(), ids.end());
  CHECK(got(tests::remove(*store, box, twice)) == 700);
  const auto view = got(store->peek(box));
  CHECK(view.messages == 0);
  CHECK(view.octets == 0);
  CHECK(view.arrivals == 700);
  CHECK(store->counters().removed == 700);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("totals equal a scan, whatever came and went") {
  tests::TestStore store(3);
  std::set<MessageId> ids;
  for (int round = 0; round < 6; ++round) {
    std::vector<Letter> letters;
    for (std::size_t i = 0; i < 17; ++i) {
      Letter letter{.to = {}, .octets = make_message("m", 100 + 37 * i, i)};
      for (std::size_t k = 0; k < 3; ++k) {
        if ((i + k) % 3 != 0 || i % 2 == 0) letter.to.push_back(store.boxes()[k]);
      }
      letters.push_back(letter);
    }
    for (const auto& result : tests::deliver_together(*store, letters)) CHECK(ids.insert(got(result)).second);
    for (const auto box : store.boxes()) {
      const auto all = got(tests::entries(*store, box));
      std::uint64_t octets = 0;
      for (const auto& entry : all) octets += entry.octets;
      auto view = got(store->peek(box));
      CHECK(view.messages == all.size());
      CHECK(view.octets == octets);
      CHECK(got(store->directory()->totals(box)).messages == all.size());
      std::vector<MessageId> some;
      for (std::size_t i = 0; i < all.size(); i += 3) some.push_back(all[i].id);
      CHECK(got(tests::remove(*store, box, some)) == some.size());
    }
  }
  const auto stat = got(store->stat());
  std::uint64_t entries = 0;
  for (const auto box : store.boxes()) entries += got(tests::entries(*store, box)).size();
  CHECK(stat.entries == entries);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("one message alone and many at once are equally there after a restart") {
  tests::TestStore store(2);
  std::vector<Letter> wanted;
  std::vector<MessageId> ids;
  const auto hand_in = [&](std::size_t count) {
    std::vector<Letter> letters;
    for (std::size_t i = 0; i < count; ++i) {
      letters.push_back(
          {.to = {store.boxes()[i % 2]}, .octets = make_message("n" + std::to_string(wanted.size() + i), 900)});
    }
    for (const auto& result : tests::deliver_together(*store, letters)) ids.push_back(got(result));
    wanted.insert(wanted.end(), letters.begin(), letters.end());
  };
  for (const std::size_t count : {1U, 1U, 4U, 30U, 1U, 300U, 2U}) hand_in(count);
  const auto counters = store->counters();
  CHECK(counters.accepted == wanted.size());
  CHECK(counters.overlapped > 0);
  CHECK(counters.overlapped < counters.commits);
  store.reopen();
  CHECK(tests::problems(*store) == "");
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto box = wanted[i].to[0];
    const auto view = got(store->peek(box));
    const auto entry = got(store->find(view, ids[i]));
    REQUIRE(entry);
    CHECK(got(tests::read_message(*store, box, *entry)) == tests::front_of(wanted[i], box) + wanted[i].octets);
  }
  CHECK(store.warnings().empty());
}

TEST_CASE("a draft let go leaves nothing behind") {
  tests::TestStore store(1, [](Options& options) { options.stream_threshold = 4000; });
  const auto files = store.segment_files();
  got(tests::drop_draft(*store, make_message("short", 500)));
  got(tests::drop_draft(*store, make_message("long", 50000)));
  CHECK(store.segment_files() == files);
  const auto stat = got(store->stat());
  CHECK(stat.messages == 0);
  CHECK(stat.segment_octets == 0);
  CHECK(store.warnings().empty());
}

TEST_CASE("what check and stat say of a store that has everything") {
  tests::TestStore store(2, [](Options& options) { options.stream_threshold = 4000; });
  got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("short", 500)}));
  got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("long", 50000)}));
  const auto report = got(store->check());
  CHECK(report.records == 2);
  CHECK(report.entries == 4);
  CHECK(report.mailboxes == 3);
  CHECK(report.problems.empty());
  const auto stat = got(store->stat());
  CHECK(stat.format_version == 1);
  CHECK(stat.generation > 0);
  CHECK(stat.domains == 1);
  CHECK(stat.mailboxes == 3);
  CHECK(stat.messages == 2);
  CHECK(stat.entries == 4);
  CHECK(stat.segments == 2);
  CHECK(stat.open_segments == 1);
  CHECK(stat.live_octets > 50500);
  CHECK(stat.segment_octets >= stat.live_octets);
  CHECK(stat.index_map == store.options().map_size);
  CHECK(stat.index_octets > 0);
  CHECK(stat.free_octets > 0);
}

TEST_CASE("a view ends with the last message that was there, so that a walk does not pass over all that came later") {
  tests::TestStore store(3);
  const auto box = store.boxes()[1];
  CHECK(got(store->peek(box)).last == MessageId{});
  // Neighbours in the table on both sides.
  for (const auto other : {store.boxes()[0], store.boxes()[2]})
    got(tests::deliver(*store, {.to = {other}, .octets = make_message("m", 200)}));
  CHECK(got(store->peek(box)).last == MessageId{});
  std::vector<MessageId> ids;
  for (int i = 0; i < 5; ++i)
    ids.push_back(got(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 200)})));
  const auto view = got(store->peek(box));
  CHECK(view.last == ids.back());
  for (int i = 0; i < 5; ++i) got(tests::deliver(*store, {.to = {box}, .octets = make_message("later", 200)}));
  std::vector<Entry> page(20);
  REQUIRE(got(store->list(view, std::nullopt, page)) == 5);
  CHECK(page[4].id == ids.back());
  CHECK(got(store->list(view, ids.back(), page)) == 0);
  got(tests::remove(*store, box, {ids.back()}));
  CHECK(got(store->list(view, std::nullopt, page)) == 4);
  CHECK(got(store->peek(box)).last > ids.back());
}
