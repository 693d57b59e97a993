#include <unistd.h>

#include <string>
#include <vector>

#include "expect.hpp"
#include "mailstore/lmdb.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/rows.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;
using tests::TestStore;
using tests::wait_for;

namespace {

asio::awaitable<Result<MessageId>> take_once(Store& store, MailboxNumber box, std::string octets, std::string origin,
                                             std::string hold = {}) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  const auto id = draft->id();
  draft->append(octets);
  Envelope envelope;
  envelope.server = "test";
  envelope.owners.push_back({.mailbox = box, .delivered_to = tests::address_of(box)});
  envelope.remotes.push_back({.address = "bob@far.test"});
  auto accepting = store.accept_once(std::move(*draft), std::move(envelope), tests::facts_of(octets), std::move(origin),
                                     std::move(hold));
  auto accepted = co_await std::move(accepting);
  if (!accepted) co_return std::unexpected(accepted.error());
  co_return id;
}

std::size_t messages_in(TestStore& store) {
  return got(tests::entries(*store, store.boxes()[0])).size();
}

}  // namespace

TEST_CASE("what was taken is not taken again, until it is forgotten") {
  TestStore store(1);
  const auto octets = tests::make_message("from a file", 500);
  const auto take = [&](const char* origin) { return wait_for(take_once(*store, store.boxes()[0], octets, origin)); };
  const auto id = got(take("spool 17"));
  CHECK(got(store->taken("spool 17")) == id);
  CHECK(got(store->taken("spool 18")) == std::nullopt);
  CHECK(error_of(take("spool 17")) == Errc::exists);
  CHECK(messages_in(store) == 1);
  got(take("spool 18"));
  got(take("pickup 17"));
  CHECK(messages_in(store) == 3);
  CHECK(got(store->queue().recipients(id)).size() == 1);
  CHECK(got(store->taken_origins("spool ")) == std::vector<std::string>{"spool 17", "spool 18"});

  store.reopen();
  CHECK(got(store->taken("spool 17")) == id);
  CHECK(error_of(take("spool 17")) == Errc::exists);
  got(wait_for(store->forget_taken({"spool 17", "never heard of"})));
  CHECK(got(store->taken_origins("spool ")) == std::vector<std::string>{"spool 18"});
  got(take("spool 17"));
  CHECK(messages_in(store) == 4);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("what is taken may be held from the first moment") {
  TestStore store(1);
  const auto octets = tests::make_message("from a file", 500);
  const auto id = got(wait_for(take_once(*store, store.boxes()[0], octets, "spool 17", "somebody should look")));
  CHECK(got(store->taken("spool 17")) == id);
  const auto rows = got(store->queue().recipients(id));
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].state == QueueState::held);
  CHECK(rows[0].reason == "somebody should look");
}

TEST_CASE("a rebuild knows what was taken and what was forgotten") {
  TestStore store(1);
  const auto octets = tests::make_message("from a file", 500);
  const auto take = [&](const char* origin) { return wait_for(take_once(*store, store.boxes()[0], octets, origin)); };
  const auto id = got(take("spool 17"));
  got(take("spool 18"));
  got(wait_for(store->forget_taken({"spool 18"})));
  const auto again = got(take("spool 19"));
  got(wait_for(store->forget_taken({"spool 19"})));
  got(take("spool 19"));
  store.close();
  got(Store::rebuild(store.options()));
  got(store.open());
  CHECK(got(store->taken_origins("spool ")) == std::vector<std::string>{"spool 17", "spool 19"});
  CHECK(got(store->taken("spool 17")) == id);
  CHECK(got(store->taken("spool 19")) != again);
  CHECK(error_of(take("spool 17")) == Errc::exists);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a name that no row can have is refused before anything is written") {
  TestStore store(1);
  const auto octets = tests::make_message("x", 100);
  for (const auto& origin : {std::string{}, std::string(origin_limit + 1, 'x')}) {
    CHECK(error_of(wait_for(take_once(*store, store.boxes()[0], octets, origin))) == Errc::conflict);
  }
  got(wait_for(take_once(*store, store.boxes()[0], octets, std::string(origin_limit, 'x'))));
  CHECK(messages_in(store) == 1);
}

TEST_CASE("one who was killed behind the commit has taken it, one before has not") {
  if (!tests::child_has_threads) return;
  TestStore store(1);
  const auto octets = tests::make_message("long enough to have a segment of its own", 600'000);
  store.close();
  const auto die = [&](bool before) {
    return tests::in_child([&] {
      auto options = store.options();
      options.warn = {};
      const auto opened = Store::open(options);
      if (!opened) return 1;
      if (before) {
        auto draft = wait_for((*opened)->begin());
        draft->append(octets);
        ::_exit(0);
      }
      const auto taken = wait_for(take_once(**opened, store.boxes()[0], octets, "spool 1"));
      ::_exit(taken ? 0 : 2);
    });
  };
  CHECK(die(true) == 0);
  got(store.open());
  CHECK(got(store->taken("spool 1")) == std::nullopt);
  CHECK(messages_in(store) == 0);
  store.close();
  CHECK(die(false) == 0);
  got(store.open());
  CHECK(got(store->taken("spool 1")).has_value());
  CHECK(messages_in(store) == 1);
  CHECK(error_of(wait_for(take_once(*store, store.boxes()[0], octets, "spool 1"))) == Errc::exists);
  CHECK(messages_in(store) == 1);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a row that cannot be read is found, and made anew: what was taken stays taken") {
  TestStore store(1);
  got(wait_for(take_once(*store, store.boxes()[0], tests::make_message("x", 100), "spool 1")));
  store.close();
  // In a process of its own: one environment a process.
  CHECK(tests::in_child([&] {
          lmdb::Env env;
          env.open((store.path() / "index").string(), store.options().map_size, 16, 1022, MDB_NOTLS);
          lmdb::Txn txn(env.get(), 0);
          MDB_dbi table = 0;
          lmdb::expect(mdb_dbi_open(txn.get(), "taken", 0, &table), "open");
          lmdb::put(txn.get(), table, "spool 1", "?");
          txn.commit();
          return 0;
        }) == 0);
  got(store.open());
  CHECK(tests::problems(*store) != "");
  CHECK(error_of(store->taken("spool 1")) == Errc::corrupt);
  store.close();
  store.options().alone = true;
  got(store.open());
  CHECK(got(store->repair()).problems.size() == 1);
  CHECK(tests::problems(*store) == "");
  CHECK(error_of(wait_for(take_once(*store, store.boxes()[0], tests::make_message("x", 100), "spool 1"))) ==
        Errc::exists);
  CHECK(messages_in(store) == 1);
}

TEST_CASE("a row of what was taken that is damaged is told as such") {
  std::string row;
  encode_taken({77}, row);
  CHECK(decode_taken(row) == MessageId{77});
  CHECK(tests::failure_of([&] { decode_taken(row + "x"); }) == Errc::corrupt);
  CHECK(tests::failure_of([&] { decode_taken(std::string_view{row}.substr(0, 5)); }) == Errc::corrupt);
  row[0] = 9;
  CHECK(tests::failure_of([&] { decode_taken(row); }) == Errc::corrupt);
}
