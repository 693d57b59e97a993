// Messages that were retrieved, and their removal some time later; log-in times.
#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include "expect.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::got;

namespace {

template <class T>
T wait_for(asio::awaitable<T> work) {
  std::optional<T> result;
  asio::io_context context;
  asio::co_spawn(context, std::move(work), [&](std::exception_ptr error, T value) {
    if (error) std::rethrow_exception(error);
    result = std::move(value);
  });
  context.run();
  return std::move(*result);
}

struct Told {
  std::string mailbox;
  std::vector<MessageId> ids;
};

struct Boxes {
  tests::TestStore store{3};
  std::vector<MessageId> fill(std::size_t box, std::size_t count) {
    std::vector<tests::Letter> letters(count, {.to = {store.boxes()[box]}, .octets = "Subject: x\r\n\r\n"});
    std::vector<MessageId> ids;
    for (auto& id : tests::deliver_together(*store, letters)) ids.push_back(got(std::move(id)));
    std::ranges::sort(ids);
    return ids;
  }
  void note(std::size_t box, std::vector<MessageId> ids, std::uint64_t when) {
    const auto lock = got(store->lock_maildrop(store.boxes()[box]));
    REQUIRE(wait_for(store->note_retrieved(lock, std::move(ids), when)));
  }
  ExpiryResult expire(std::uint64_t before) {
    told.clear();
    return got(
        wait_for(store->remove_retrieved(before, [this](std::string_view mailbox, std::span<const MessageId> ids) {
          told.push_back({std::string(mailbox), {ids.begin(), ids.end()}});
        })));
  }
  std::vector<MessageId> left(std::size_t box) {
    std::vector<MessageId> ids;
    for (const auto& entry : got(tests::entries(*store, store.boxes()[box]))) ids.push_back(entry.id);
    return ids;
  }
  std::vector<Told> told;
};

}  // namespace

TEST_CASE("a retrieval is noted once and for good, and changes nothing else") {
  Boxes boxes;
  const auto ids = boxes.fill(0, 4);
  const auto before = got(tests::entries(*boxes.store, boxes.store.boxes()[0]));
  boxes.note(0, {ids[1], ids[2], MessageId{77}}, 1000);
  boxes.note(0, {ids[2], ids[3]}, 2000);
  boxes.note(0, {}, 3000);
  boxes.store.reopen();
  const auto after = got(tests::entries(*boxes.store, boxes.store.boxes()[0]));
  REQUIRE(after.size() == 4);
  CHECK(after[0].retrieved == 0);
  CHECK(after[1].retrieved == 1000);
  CHECK(after[2].retrieved == 1000);
  CHECK(after[3].retrieved == 2000);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(after[i].octets == before[i].octets);
    CHECK(after[i].arrival == before[i].arrival);
    CHECK(after[i].ordinal == before[i].ordinal);
    CHECK(after[i].header_octets == before[i].header_octets);
  }
  CHECK(tests::problems(*boxes.store) == "");
}

TEST_CASE("what was retrieved long enough ago goes, and nothing else") {
  Boxes boxes;
  const auto first = boxes.fill(0, 3);
  const auto second = boxes.fill(1, 3);
  const auto third = boxes.fill(2, 3);
  boxes.note(0, {first[0]}, 1000);
  boxes.note(0, {first[2]}, 1001);
  boxes.note(2, third, 500);
  CHECK(boxes.expire(499).removed == 0);
  CHECK(boxes.told.empty());
  CHECK(boxes.expire(1000).removed == 4);
  CHECK(boxes.left(0) == std::vector{first[1], first[2]});
  CHECK(boxes.left(1) == second);
  CHECK(boxes.left(2).empty());
  REQUIRE(boxes.told.size() == 2);
  CHECK(boxes.told[0].mailbox == "u0@example.test");
  CHECK(boxes.told[0].ids == std::vector{first[0]});
  CHECK(boxes.told[1].mailbox == "u2@example.test");
  CHECK(boxes.told[1].ids == third);
  CHECK(tests::problems(*boxes.store) == "");
  CHECK(boxes.expire(1000).removed == 0);
}

TEST_CASE("many go in pieces; every page of entries is looked at") {
  Boxes boxes;
  const auto many = boxes.fill(0, 6000);
  const auto last = boxes.fill(2, 1);
  std::vector<MessageId> odd;
  for (std::size_t i = 1; i < many.size(); i += 2) odd.push_back(many[i]);
  boxes.note(0, odd, 1);
  boxes.note(2, last, 1);
  CHECK(boxes.expire(1).removed == 3001);
  const auto left = boxes.left(0);
  REQUIRE(left.size() == 3000);
  for (std::size_t i = 0; i < left.size(); ++i) CHECK(left[i] == many[2 * i]);
  CHECK(boxes.left(2).empty());
  for (const auto& piece : boxes.told) CHECK(piece.ids.size() <= 250);
}

TEST_CASE("a maildrop that is being read waits for the next time; a removed one keeps its mail") {
  Boxes boxes;
  const auto first = boxes.fill(0, 400);
  const auto second = boxes.fill(1, 2);
  const auto third = boxes.fill(2, 2);
  for (std::size_t box = 0; box < 3; ++box) boxes.note(box, box == 0 ? first : box == 1 ? second : third, 1);
  REQUIRE(tests::remove_mailbox(*boxes.store, "u1@example.test", false));
  {
    const auto lock = got(boxes.store->lock_maildrop(boxes.store.boxes()[0]));
    const auto result = boxes.expire(1);
    CHECK(result.removed == 2);
    CHECK(result.busy >= 1);
    CHECK(boxes.left(0) == first);
  }
  CHECK(boxes.left(1) == second);
  CHECK(boxes.expire(1).removed == 400);
  REQUIRE(tests::restore_mailbox(*boxes.store, "u1@example.test"));
  CHECK(boxes.expire(1).removed == 2);
}

TEST_CASE("log-in times outlive the store's being closed and are each mailbox's own") {
  Boxes boxes;
  const auto last = [&](std::size_t box) {
    const auto lock = got(boxes.store->lock_maildrop(boxes.store.boxes()[box]));
    return got(boxes.store->last_login(lock));
  };
  const auto note = [&](std::size_t box, std::uint64_t when) {
    const auto lock = got(boxes.store->lock_maildrop(boxes.store.boxes()[box]));
    REQUIRE(boxes.store->note_login(lock, when));
  };
  CHECK(last(0) == 0);
  note(1, 77);
  CHECK(last(0) == 0);
  CHECK(last(1) == 77);
  CHECK(last(2) == 0);
  boxes.store.reopen();
  note(0, 5);
  CHECK(last(0) == 5);
  CHECK(last(1) == 77);
}

TEST_CASE("the secret for APOP is the mailbox's, beside its password") {
  Boxes boxes;
  const auto mailbox = [&] { return *got(boxes.store->directory()->mailbox("u0@example.test")); };
  CHECK(mailbox().apop_secret.empty());
  MailboxChange change;
  change.apop_secret = "tanstaaf";
  REQUIRE(tests::change_mailbox(*boxes.store, "u0@example.test", std::move(change)));
  MailboxChange other;
  other.credential = Credential{.password_hash = "h", .scram_sha256 = {}};
  REQUIRE(tests::change_mailbox(*boxes.store, "u0@example.test", std::move(other)));
  boxes.store.reopen();
  CHECK(mailbox().apop_secret == "tanstaaf");
  CHECK(mailbox().credential.password_hash == "h");
  MailboxChange none;
  none.apop_secret = "";
  REQUIRE(tests::change_mailbox(*boxes.store, "u0@example.test", std::move(none)));
  CHECK(mailbox().apop_secret.empty());
}
