#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "expect.hpp"
#include "mailstore/core.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;
using tests::make_message;
namespace fs = std::filesystem;

namespace {

std::string detail_of(const Result<void>& result) {
  return result ? std::string() : result.error().detail;
}

fs::path first_segment(const tests::TestStore& store) {
  fs::path first;
  for (const auto& file : fs::directory_iterator(store.path() / "segments")) {
    if (first.empty() || file.path() < first) first = file.path();
  }
  return first;
}

void set_number(const tests::TestStore& store, std::string_view name, std::uint64_t value) {
  Index index;
  index.open((store.path() / "index").string(), store.options().map_size, false);
  lmdb::Txn txn(index.env(), 0);
  index.set_number(txn.get(), name, value);
  txn.commit();
}

}  // namespace

TEST_CASE("a store is made once, in a missing or an empty folder") {
  const tests::TempFolder folder;
  const auto options = tests::small_options(folder.path() / "a" / "b" / "store");
  CHECK_FALSE(error_of(Store::init(options)));
  CHECK(error_of(Store::init(options)) == Errc::exists);
  CHECK(Store::open(options));
  CHECK_FALSE(error_of(Store::init(tests::small_options(folder.path() / "a" / "empty"))));
  fs::create_directory(folder.path() / "there");
  CHECK_FALSE(error_of(Store::init(tests::small_options(folder.path() / "there"))));
  fs::create_directory(folder.path() / "used");
  std::ofstream(folder.path() / "used" / "file") << "x";
  CHECK(error_of(Store::init(tests::small_options(folder.path() / "used"))) == Errc::conflict);
  CHECK(fs::exists(folder.path() / "used" / "file"));
  CHECK(error_of(Store::init(tests::small_options(folder.path() / "used" / "file" / "store"))) == Errc::unavailable);
}

TEST_CASE("a store can be named by a path of any form") {
  const tests::TempFolder folder;
  CHECK(tests::in_child([&] {
          if (chdir(folder.path().c_str()) != 0) return 1;
          for (const auto* name : {"store", "./other", "third/", "deep/er/store/"}) {
            const auto options = tests::small_options(name);
            const auto made = Store::init(options);
            if (!made) return std::fprintf(stderr, "%s: %s\n", name, made.error().detail.c_str()), 2;
            if (!Store::open(options)) return 3;
          }
          return 0;
        }) == 0);
}

TEST_CASE("only its owner reads a store") {
  tests::TestStore store(1);
  got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("private", 300)}));
  for (const auto& file : fs::recursive_directory_iterator(store.path())) {
    CAPTURE(file.path().string());
    CHECK((fs::status(file).permissions() & (fs::perms::group_all | fs::perms::others_all)) == fs::perms::none);
  }
}

TEST_CASE("what is no store, or not ours, is refused with the remedy") {
  tests::TestStore store(1);
  store.close();
  const auto identity = store.path() / "STORE";
  struct Row {
    const char* text;
    const char* remedy;
  };
  const Row rows[] = {
      {"", "backup"},
      {"something else", "backup"},
      {"pennypost-store 2\nname 1\nkey 00\n", "format 2"},
      {"pennypost-store 0\nname 1\nkey 00\n", "format 0"},
      {"pennypost-store 1\nname 0000000000000001\nkey 0011\n", "backup"},
      {"pennypost-store 1\nname 0000000000000001\nkey 00112233445566778899aabbccddeeffgg\n", "backup"},
      {"pennypost-store 1\n", "backup"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    std::ofstream(identity) << row.text;
    const auto opened = store.open();
    CHECK(error_of(opened) == Errc::unusable);
    CHECK(detail_of(opened).find(row.remedy) != std::string::npos);
  }
  fs::remove(identity);
  const auto opened = store.open();
  CHECK(error_of(opened) == Errc::unusable);
  CHECK(detail_of(opened).find("store init") != std::string::npos);
}

TEST_CASE("an index of another format is refused") {
  tests::TestStore store(1);
  store.close();
  set_number(store, meta::format, 2);
  const auto opened = store.open();
  CHECK(error_of(opened) == Errc::unusable);
  CHECK(detail_of(opened).find("format 2") != std::string::npos);
  set_number(store, meta::format, 1);
  CHECK_FALSE(error_of(store.open()));
}

TEST_CASE("a segment that is missing or cut off is refused with the remedy") {
  for (const bool streamed : {false, true}) {
    CAPTURE(streamed);
    tests::TestStore store(1, [](Options& options) { options.stream_threshold = 20000; });
    got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("m", streamed ? 50000 : 5000)}));
    store.close();
    const auto segment = first_segment(store);
    const auto size = fs::file_size(segment);
    const auto saved = segment.string() + ".saved";
    fs::copy_file(segment, saved);
    for (const auto left : {std::uintmax_t{0}, std::uintmax_t{63}, size / 2, size - 1}) {
      fs::resize_file(segment, left);
      const auto opened = store.open();
      CHECK(error_of(opened) == Errc::unusable);
      CHECK(detail_of(opened).find("backup") != std::string::npos);
    }
    fs::remove(segment);
    CHECK(error_of(store.open()) == Errc::unusable);
    fs::rename(saved, segment);
    CHECK_FALSE(error_of(store.open()));
    CHECK(tests::problems(*store) == "");
  }
}

TEST_CASE("a segment that a dead process left open is cut off: refused too") {
  tests::TestStore store(1);
  store.close();
  CHECK(tests::in_child([&] {
          const auto opened = Store::open(store.options());
          if (!opened) return 1;
          for (int i = 0; i < 3; ++i) {
            if (!tests::deliver(**opened, {.to = store.boxes(), .octets = make_message("m", 5000)})) return 2;
          }
          _exit(0);
        }) == 0);
  const auto segment = first_segment(store);
  const auto size = fs::file_size(segment);
  fs::resize_file(segment, size / 3);
  CHECK(error_of(store.open()) == Errc::unusable);
  fs::remove(segment);
  CHECK(error_of(store.open()) == Errc::unusable);
}

TEST_CASE("files that belong to nobody go at the next start, those of an index from the past stay") {
  tests::TestStore store(1);
  got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("m", 500)}));
  store.close();
  const auto folder = store.path() / "segments";
  std::ofstream(folder / "0000000000000005.seg") << "left by a dead process";
  std::ofstream(folder / "00000000000f0000.seg") << "of a later index";
  std::ofstream(folder / "notes.txt") << "somebody's";
  got(store.open());
  CHECK_FALSE(fs::exists(folder / "0000000000000005.seg"));
  CHECK(fs::exists(folder / "00000000000f0000.seg"));
  CHECK(fs::exists(folder / "notes.txt"));
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("below the disk's reserve nothing is accepted, the rest goes on") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  const auto id = got(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 500)}));
  store.options().reserve = std::uint64_t{1} << 60U;
  store.reopen();
  CHECK(error_of(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 500)})) == Errc::full);
  CHECK(error_of(tests::drop_draft(*store, "x")) == Errc::full);
  CHECK_FALSE(store.warnings().empty());
  CHECK(got(tests::remove(*store, box, {id})) == 1);
  CHECK(tests::add_mailbox(*store, "new@example.test"));
  store.options().reserve = 0;
  store.reopen();
  CHECK(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 500)}));
}

TEST_CASE("a full index refuses mail; what was there is there, and after a removal it takes mail again") {
  tests::TestStore store(40, [](Options& options) { options.map_size = 512 << 10U; });
  std::vector<MessageId> ids;
  std::size_t refused = 0;
  for (int i = 0; i < 3000 && refused < 3; ++i) {
    const auto id = tests::deliver(*store, {.to = store.boxes(), .octets = make_message("m", 200)});
    if (id) {
      ids.push_back(*id);
    } else {
      CHECK(error_of(id) == Errc::full);
      ++refused;
    }
  }
  REQUIRE(refused == 3);
  REQUIRE(ids.size() > 20);
  const auto total = [&] {
    std::uint64_t sum = 0;
    for (const auto box : store.boxes()) sum += got(store->peek(box)).messages;
    return sum;
  };
  CHECK(total() == ids.size() * 40);
  CHECK(tests::problems(*store) == "");
  for (const auto box : store.boxes()) CHECK(got(tests::remove(*store, box, ids)) == ids.size());
  CHECK(total() == 0);
  std::size_t accepted = 0;
  for (int i = 0; i < 20; ++i) {
    accepted += tests::deliver(*store, {.to = store.boxes(), .octets = make_message("m", 200)}) ? 1 : 0;
  }
  CHECK(accepted == 20);
  CHECK(tests::problems(*store) == "");
  store.reopen();
  CHECK(total() == 20 * 40);
}

TEST_CASE("removals succeed on a full index even while mail keeps coming") {
  tests::TestStore store(20, [](Options& options) { options.map_size = 512 << 10U; });
  std::vector<MessageId> ids;
  for (;;) {
    const auto id = tests::deliver(*store, {.to = store.boxes(), .octets = make_message("m", 200)});
    if (!id) break;
    ids.push_back(*id);
    REQUIRE(ids.size() < 3000);
  }
  std::uint64_t removed = 0;
  for (const auto box : store.boxes()) {
    std::vector<tests::Letter> letters(8, {.to = store.boxes(), .octets = make_message("m", 200)});
    std::optional<Result<std::uint64_t>> result;
    bool once = true;
    // Beside the removal stand deliveries in the queue of the commit thread.
    tests::deliver_together(*store, letters, [&](std::size_t, const Result<MessageId>&) {
      if (!std::exchange(once, false)) return;
      result = tests::remove(*store, box, {ids.begin(), ids.begin() + 5});
    });
    REQUIRE(result);
    CHECK_FALSE(error_of(*result));
    removed += result->value_or(0);
  }
  CHECK(removed == 5 * store.boxes().size());
  CHECK(tests::problems(*store) == "");
}
