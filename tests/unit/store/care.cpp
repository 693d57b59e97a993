// Compaction, rebuild and repair: the store's care for itself.
#include <filesystem>
#include <thread>

#include "expect.hpp"
#include "mailstore/core.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;
using tests::make_message;

namespace {

/// Twenty messages in one segment, sealed.
struct Filled {
  Filled() : store(2) {
    for (int i = 0; i < 20; ++i) {
      const tests::Letter letter{.to = {store.boxes()[0]}, .octets = make_message("m" + std::to_string(i), 3000)};
      ids.push_back(got(tests::deliver(*store, letter)));
      texts.push_back(tests::front_of(letter, store.boxes()[0]) + letter.octets);
    }
    store.reopen();
  }
  /// What is left must read as it was sent.
  void check_rest(std::size_t from) {
    const auto all = got(tests::entries(*store, store.boxes()[0]));
    REQUIRE(all.size() == ids.size() - from);
    for (std::size_t i = 0; i < all.size(); ++i) {
      CHECK(all[i].id == ids[from + i]);
      CHECK(got(tests::read_message(*store, store.boxes()[0], all[i])) == texts[from + i]);
    }
    CHECK(tests::problems(*store) == "");
  }
  void remove_first(std::size_t many) {
    got(tests::remove(*store, store.boxes()[0], {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(many)}));
  }
  tests::TestStore store;
  std::vector<MessageId> ids;
  std::vector<std::string> texts;
};

}  // namespace

TEST_CASE("compaction gives back the room of removed messages and keeps the rest") {
  Filled filled;
  auto& store = filled.store;
  filled.remove_first(15);
  const auto before = got(store->stat());
  const auto report = got(store->compact({.all = false, .at_once = true, .stop = {}}));
  CHECK(report.segments == 1);
  CHECK(report.moved == 5);
  CHECK(report.problems.empty());
  CHECK(got(store->stat()).segment_octets < before.segment_octets / 2);
  filled.check_rest(15);
  store.reopen();
  filled.check_rest(15);
}

TEST_CASE("a segment of which less than half is removed is left alone, unless all are wanted") {
  Filled filled;
  filled.remove_first(5);
  CHECK(got(filled.store->compact({.all = false, .at_once = true, .stop = {}})).segments == 0);
  CHECK(got(filled.store->compact({.all = true, .at_once = true, .stop = {}})).moved == 15);
  filled.check_rest(5);
}

TEST_CASE("a message that is open for reading survives compaction and removal") {
  Filled filled;
  auto& store = filled.store;
  filled.remove_first(15);
  const auto entry = got(tests::entries(*store, store.boxes()[0])).front();
  std::vector<char> scratch(600);
  const auto open = got(store->open_message(store.boxes()[0], entry, scratch, 0));
  got(store->compact({.all = true, .at_once = true, .stop = {}}));
  got(tests::remove(*store, store.boxes()[0], {entry.id}));
  std::string octets(open.stored_octets, '\0');
  CHECK(got(open.read(0, octets)) == octets.size());
  CHECK(open.front + octets == filled.texts[15]);
}

TEST_CASE("compaction goes on beside deliveries and removals") {
  Filled filled;
  auto& store = filled.store;
  filled.remove_first(12);
  std::thread mail([&] {
    for (int i = 0; i < 40; ++i) {
      const auto id = got(tests::deliver(*store, {.to = {store.boxes()[1]}, .octets = make_message("n", 2000)}));
      if (i % 2 == 0) got(tests::remove(*store, store.boxes()[1], {id}));
    }
  });
  for (int i = 0; i < 10; ++i) got(store->compact({.all = true, .at_once = true, .stop = {}}));
  mail.join();
  filled.check_rest(12);
  CHECK(got(tests::entries(*store, store.boxes()[1])).size() == 20);
}

TEST_CASE("the index, people included, is rebuilt from segments and journal") {
  Filled filled;
  auto& store = filled.store;
  filled.remove_first(3);
  got(tests::put_alias(*store, {.address = "both@example.test", .targets = {"u0@example.test", "u1@example.test"}}));
  got(tests::change_mailbox(*store, "u1@example.test", {.locked = true, .quota_messages = 77}));
  got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("long", 400'000)}));
  got(tests::remove(*store, store.boxes()[0], {got(tests::entries(*store, store.boxes()[0])).back().id}));
  store.close();
  std::filesystem::remove_all(store.path() / "index");
  CHECK(error_of(store.open()) == Errc::unusable);
  const auto report = got(Store::rebuild(store.options()));
  CHECK(report.problems.empty());
  CHECK(report.old_index.empty());
  CHECK(report.messages == 18);
  got(store.open());
  filled.check_rest(3);
  CHECK(got(tests::entries(*store, store.boxes()[1])).size() == 1);
  const auto mailbox = got(store->directory()->mailbox("u1@example.test"));
  REQUIRE(mailbox);
  CHECK(mailbox->locked);
  CHECK(mailbox->quota_messages == 77);
  CHECK(mailbox->number == store.boxes()[1]);
  CHECK(got(store->directory()->alias("both@example.test"))->targets.size() == 2);
  // A number that was given is not given again.
  CHECK(got(tests::add_mailbox(*store, "new@example.test")) > store.boxes()[1]);
}

TEST_CASE("without the journal the mail tells whose it is") {
  Filled filled;
  auto& store = filled.store;
  store.close();
  std::filesystem::remove_all(store.path() / "index");
  for (const auto& file : std::filesystem::directory_iterator(store.path() / "journal")) std::filesystem::remove(file);
  const auto report = got(Store::rebuild(store.options()));
  CHECK(report.problems.size() == 1);
  got(store.open());
  const auto mailbox = got(store->directory()->mailbox(tests::address_of(store.boxes()[0])));
  REQUIRE(mailbox);
  CHECK(mailbox->number == store.boxes()[0]);
  filled.check_rest(0);
}

TEST_CASE("rebuild and repair need the store alone") {
  Filled filled;
  CHECK(error_of(Store::rebuild(filled.store.options())) == Errc::conflict);
  CHECK(error_of(filled.store->repair()) == Errc::conflict);
  auto options = filled.store.options();
  options.alone = true;
  CHECK(error_of(Store::open(options)) == Errc::conflict);
  filled.store.close();
  const auto alone = got(Store::open(options));
  CHECK(error_of(filled.store.open()) == Errc::conflict);
}

TEST_CASE("repair counts anew what does not agree") {
  Filled filled;
  auto& store = filled.store;
  store.close();
  {
    Index index;
    index.open((store.path() / "index").string(), store.options().map_size, false);
    lmdb::Txn txn(index.env(), 0);
    std::string value;
    encode(Totals{.messages = 3, .octets = 5, .arrivals = 2}, value);
    lmdb::put(txn.get(), index.tables().maildrop, MaildropKey(store.boxes()[0], totals_id), value);
    auto row = *index.message(txn.get(), filled.ids[4]);
    row.owners = 9;
    value.clear();
    encode(row, value);
    lmdb::put(txn.get(), index.tables().messages, NumberKey(filled.ids[4].value), value);
    auto segment = *index.segment(txn.get(), row.segment);
    segment.live_records = 1;
    index.put_segment(txn.get(), row.segment, segment);
    txn.commit();
  }
  auto options = store.options();
  options.alone = true;
  {
    const auto alone = got(Store::open(options));
    CHECK(tests::problems(*alone) != "");
    CHECK(got(alone->repair()).problems.size() == 3);
    CHECK(tests::problems(*alone) == "");
    CHECK(got(alone->repair()).problems.empty());
  }
  got(store.open());
  filled.check_rest(0);
}

TEST_CASE("a lost segment keeps the store shut until a repair has named what is gone") {
  Filled filled;
  auto& store = filled.store;
  const tests::Letter kept{.to = {store.boxes()[1]}, .octets = make_message("kept", 400'000)};
  got(tests::deliver(*store, kept));
  store.close();
  for (const auto& file : std::filesystem::directory_iterator(store.path() / "segments")) {
    if (std::filesystem::file_size(file) < 100'000) std::filesystem::remove(file);
  }
  CHECK(error_of(store.open()) == Errc::unusable);
  auto options = store.options();
  options.alone = options.past_damage = true;
  {
    const auto alone = got(Store::open(options));
    got(alone->repair());
    CHECK(tests::problems(*alone).find("in its row") == std::string::npos);
    CHECK(got(tests::entries(*alone, store.boxes()[0])).empty());
    CHECK(got(tests::entries(*alone, store.boxes()[1])).size() == 1);
  }
  got(store.open());
  CHECK(got(tests::entries(*store, store.boxes()[1])).size() == 1);
}
