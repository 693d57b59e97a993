#include "mailstore/queue.hpp"

#include <filesystem>

#include "expect.hpp"
#include "mailstore/lmdb.hpp"
#include "mailstore/queue_rows.hpp"
#include "queue_words.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

using namespace mailstore;
using namespace tests::queue;
using tests::got;
using tests::problems;
using tests::TestStore;
using tests::wait_for;

TEST_CASE("a rebuild brings back who waits, and what people said, with the queue held") {
  TestStore store(1);
  auto queue = store->queue();
  const auto first =
      got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test", "c@far.test"}, {store.boxes()[0]})));
  const auto second = got(tests::deliver(*store, letter_to({"d@else.test"})));
  settle(queue, {delivered({"far.test", first, 1})});
  order(queue, {{"far.test", first, 0}}, HoldOrder{"root: wait"});
  order(queue, {{"far.test", first, 2}}, RerouteOrder{"relay.test"});
  order(queue, {{"else.test", second, 0}}, DeleteOrder{});
  got(wait_for(queue.suspend("far.test", "root: down")));
  got(wait_for(queue.suspend("gone.test", "root: down")));
  got(wait_for(queue.resume("gone.test")));
  queue = Queue(nullptr);
  store.close();
  std::filesystem::remove_all(store.path() / "index");
  const auto report = got(Store::rebuild(store.options()));
  CHECK(report.queued == 2);
  got(store.open());
  queue = store->queue();
  CHECK(problems(*store).empty());
  const auto waiting = listed(queue);
  REQUIRE(addresses(waiting) == Texts{"a@far.test", "c@far.test"});
  CHECK(waiting[0].state == QueueState::held);
  CHECK(waiting[0].reason == "root: wait");
  CHECK(waiting[1].reroute == "relay.test");
  CHECK(got(queue.domain("far.test"))->suspended);
  CHECK(got(queue.domain("far.test"))->reason == "root: down");
  CHECK_FALSE(got(queue.domain("gone.test")));
  CHECK(got(queue.status()).held);
  CHECK_FALSE(got(queue.status()).reason.empty());
  CHECK(octets_of(queue, first) == letter_to({}).octets);
}

TEST_CASE(
    "a draft is written anew under its id, and its queue is held from the first moment, over a rebuild too (S97)") {
  for (const std::size_t size : {500U, 400'000U}) {
    CAPTURE(size);
    TestStore store;
    const auto octets = tests::make_message("rewritten", size);
    const auto id = got(wait_for(rewrite_and_hold(*store, octets, "a@one.test")));
    const auto check_row = [&] {
      const auto rows = got(store->queue().recipients(id));
      REQUIRE(rows.size() == 1);
      CHECK(rows[0].state == QueueState::held);
      CHECK(rows[0].reason == "a filter wants it");
      CHECK(rows[0].since == accepted_at(id));
      CHECK(got(store->queue().ready("one.test", at(1'000'000'000), {}, 10)).recipients.empty());
      CHECK(problems(*store).empty());
    };
    check_row();
    if (size < 4000) CHECK(octets_of(store->queue(), id) == "X-New: yes\r\n" + octets);
    store.close();
    std::filesystem::remove_all(store.path() / "index");
    got(Store::rebuild(store.options()));
    got(store.open());
    check_row();
    CHECK(order(store->queue(), {got(store->queue().recipients(id))[0].name}, ReleaseOrder{}) == 1);
    CHECK(got(store->queue().recipients(id))[0].state == QueueState::waiting);
  }
}

TEST_CASE("a rebuild of a store whose queue is empty holds nothing") {
  TestStore store(1);
  got(tests::deliver(*store, letter_to({}, {store.boxes()[0]})));
  store.close();
  CHECK(got(Store::rebuild(store.options())).queued == 0);
  got(store.open());
  CHECK_FALSE(got(store->queue().status()).held);
}

TEST_CASE("compaction moves what waits in the queue") {
  TestStore store(1, [](Options& options) { options.segment_size = 4096; });
  std::vector<MessageId> removed;
  removed.reserve(21);
  for (int i = 0; i < 20; ++i) removed.push_back(got(tests::deliver(*store, letter_to({}, {store.boxes()[0]}))));
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test"})));
  removed.push_back(got(tests::deliver(*store, letter_to({}, {store.boxes()[0]}))));
  store.reopen();
  got(tests::remove(*store, store.boxes()[0], removed));
  CHECK(got(store->compact({.all = true, .at_once = true, .stop = {}})).moved == 1);
  CHECK(octets_of(store->queue(), id) == letter_to({}).octets);
  CHECK(problems(*store).empty());
}

TEST_CASE("a store from before the queue gets the tables that came later when it is opened") {
  TestStore store(1);
  got(tests::deliver(*store, letter_to({}, {store.boxes()[0]})));
  store.close();
  // In a process of its own: one environment a process.
  CHECK(tests::in_child([&] {
          lmdb::Env env;
          env.open((store.path() / "index").string(), store.options().map_size, 16, 1022, MDB_NOTLS);
          lmdb::Txn txn(env.get(), 0);
          for (const auto* name : {"queue", "queue_ids", "queue_due", "queue_domains", "done", "taken"}) {
            MDB_dbi table = 0;
            lmdb::expect(mdb_dbi_open(txn.get(), name, 0, &table), name);
            lmdb::expect(mdb_drop(txn.get(), table, 1), name);
          }
          txn.commit();
          return 0;
        }) == 0);
  got(store.open());
  CHECK(got(tests::entries(*store, store.boxes()[0])).size() == 1);
  got(tests::deliver(*store, letter_to({"a@far.test"})));
  CHECK(listed(store->queue()).size() == 1);
  store.reopen();
  CHECK(listed(store->queue()).size() == 1);
  CHECK(problems(*store).empty());
}

TEST_CASE("check finds what does not agree in the queue, and repair sets it right") {
  TestStore store(0);
  got(tests::deliver(*store, letter_to({"a@far.test", "b@else.test"})));
  const auto id = got(tests::deliver(*store, letter_to({"c@far.test"})));
  settle(store->queue(), {{.name = {"far.test", id, 0}, .what = Stays{.attempt = failed_attempt(), .due = at(9)}}});
  CHECK(problems(*store).empty());
  const QueueName name{"far.test", id, 0};
  struct Damage {
    const char* why;
    const char* table;
    std::string key;
    const char* told;
    std::size_t left;
  };
  const std::vector<Damage> cases = {
      {"the way by id is gone", "queue_ids", std::string(std::string_view(QueueIdKey(id, 0))), "by its id", 3},
      {"the way by due time is gone", "queue_due", queue_due_key("else.test", {.due = at(8), .id = {}, .ordinal = 0}),
       "due times lead", 3},
      {"a domain's row is gone", "queue_domains", "far.test", "has no row", 3},
      {"a row is gone", "queue", queue_key(name), "leads to no recipient", 2},
  };
  for (const auto& one : cases) {
    CAPTURE(one.why);
    store.close();
    CHECK(tests::in_child([&] {
            lmdb::Env env;
            env.open((store.path() / "index").string(), store.options().map_size, 16, 1022, MDB_NOTLS);
            lmdb::Txn txn(env.get(), 0);
            MDB_dbi table = 0;
            lmdb::expect(mdb_dbi_open(txn.get(), one.table, 0, &table), one.table);
            // The case of due times has one too many, the others one too few.
            if (!lmdb::erase(txn.get(), table, one.key)) lmdb::put(txn.get(), table, one.key, {});
            txn.commit();
            return 0;
          }) == 0);
    got(store.open());
    CHECK(problems(*store).find(one.told) != std::string::npos);
    store.close();
    store.options().alone = true;
    got(store.open());
    CHECK_FALSE(got(store->repair()).problems.empty());
    CHECK(problems(*store).empty());
    store.options().alone = false;
    store.reopen();
    CHECK(listed(store->queue()).size() == one.left);
  }
}
