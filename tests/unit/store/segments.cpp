#include <filesystem>

#include "expect.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::got;
using tests::Letter;
using tests::make_message;

TEST_CASE("a full segment is sealed and the next begun; emptied ones go") {
  tests::TestStore store(1, [](Options& options) { options.segment_size = 64 << 10U; });
  const auto box = store.boxes()[0];
  std::vector<MessageId> ids;
  for (int i = 0; i < 40; ++i)
    ids.push_back(got(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 10000)})));
  const auto full = store.segment_files();
  CHECK(full >= 6);
  CHECK(got(store->stat()).open_segments == 1);
  CHECK(got(store->stat()).segments == full);
  // The first half: the segments that hold nothing else are unlinked at once.
  CHECK(got(tests::remove(*store, box, {ids.begin(), ids.begin() + 20})) == 20);
  const auto half = store.segment_files();
  CHECK(half < full);
  CHECK(half >= full / 2);
  CHECK(tests::problems(*store) == "");
  CHECK(got(tests::remove(*store, box, ids)) == 20);
  CHECK(store.segment_files() == 1);  // the open one
  CHECK(tests::problems(*store) == "");
  store.close();
  CHECK(store.segment_files() == 0);
  got(store.open());
  CHECK(got(store->peek(box)).arrivals == 40);
  got(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 10000)}));
  CHECK(store.segment_files() == 1);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a message longer than a segment has one to itself") {
  tests::TestStore store(1, [](Options& options) { options.segment_size = 8 << 10U; });
  const auto box = store.boxes()[0];
  for (int i = 0; i < 4; ++i) {
    const Letter letter{.to = {box}, .octets = make_message("m", 50000)};
    const auto id = got(tests::deliver(*store, letter));
    const auto entry = got(store->find(got(store->peek(box)), id));
    CHECK(got(tests::read_message(*store, box, entry.value())) == tests::front_of(letter, box) + letter.octets);
  }
  CHECK(store.segment_files() == 4);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("long messages stream to segments of their own and are read back whole") {
  tests::TestStore store(2, [](Options& options) { options.stream_threshold = 10000; });
  std::vector<Letter> letters;
  std::vector<MessageId> ids;
  for (std::size_t i = 0; i < 12; ++i) {
    letters.push_back({.to = store.boxes(), .octets = make_message("m" + std::to_string(i), i * 9000 + 100, i)});
  }
  for (const auto& result : tests::deliver_together(*store, letters)) ids.push_back(got(result));
  CHECK(store.segment_files() >= 10);
  for (const bool again : {false, true}) {
    if (again) store.reopen();
    CHECK(tests::problems(*store) == "");
    for (const auto box : store.boxes()) {
      const auto view = got(store->peek(box));
      CHECK(view.messages == 12);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const auto entry = got(store->find(view, ids[i]));
        REQUIRE(entry);
        for (const std::size_t scratch : {std::size_t{600}, std::size_t{128} << 10U}) {
          CHECK(got(tests::read_message(*store, box, *entry, scratch)) ==
                tests::front_of(letters[i], box) + letters[i].octets);
        }
      }
    }
  }
  for (const auto box : store.boxes()) CHECK(got(tests::remove(*store, box, ids)) == 12);
  CHECK(store.segment_files() == 0);
}

TEST_CASE("short messages stream too when all drafts together hold more than their budget") {
  tests::TestStore store(1, [](Options& options) { options.memory_budget = 20000; });
  const auto box = store.boxes()[0];
  std::vector<Letter> letters(5, {.to = {box}, .octets = make_message("m", 40000)});
  for (const auto& result : tests::deliver_together(*store, letters)) CHECK(result);
  CHECK(store.segment_files() >= 2);
  for (const auto& entry : got(tests::entries(*store, box))) {
    CHECK(got(tests::read_message(*store, box, entry)) == tests::front_of(letters[0], box) + letters[0].octets);
  }
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("an open message is read to its end though it was removed meanwhile") {
  tests::TestStore store(1, [](Options& options) { options.stream_threshold = 10000; });
  const auto box = store.boxes()[0];
  const Letter letter{.to = {box}, .octets = make_message("going", 60000)};
  const auto id = got(tests::deliver(*store, letter));
  const auto entry = got(tests::entries(*store, box)).at(0);
  std::vector<char> scratch(4096);
  const auto message = got(store->open_message(box, entry, scratch, 100));
  CHECK(got(tests::remove(*store, box, {id})) == 1);
  CHECK(store.segment_files() == 0);
  std::string octets(message.stored_octets, '\0');
  CHECK(got(message.read(0, octets)) == octets.size());
  CHECK(octets == letter.octets);
  CHECK(got(message.read(message.stored_octets, octets)) == 0);
}

TEST_CASE("more segments than are kept open for reading") {
  tests::TestStore store(1, [](Options& options) { options.stream_threshold = 1000; });
  const auto box = store.boxes()[0];
  std::vector<Letter> letters(300, {.to = {box}, .octets = make_message("m", 8000)});
  for (const auto& result : tests::deliver_together(*store, letters)) CHECK(result);
  CHECK(store.segment_files() == 300);
  for (int round = 0; round < 2; ++round) {
    for (const auto& entry : got(tests::entries(*store, box))) {
      CHECK(got(tests::read_message(*store, box, entry)).size() ==
            letters[0].octets.size() + tests::front_of(letters[0], box).size());
    }
  }
}
