#include <filesystem>
#include <fstream>

#include "expect.hpp"
#include "mailstore/core.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::got;
using tests::make_message;

namespace {

/// A small store, and the damage that a test puts into its index or its segments while it is closed.
struct Damaged {
  Damaged() : store(2) {
    for (int i = 0; i < 4; ++i) {
      ids.push_back(
          got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("m" + std::to_string(i), 700)})));
    }
    store.close();
  }
  void index(const std::function<void(const Index&, MDB_txn*)>& change) const {
    Index index;
    index.open((store.path() / "index").string(), store.options().map_size, false);
    lmdb::Txn txn(index.env(), 0);
    change(index, txn.get());
    txn.commit();
  }
  std::string found() {
    got(store.open());
    auto all = tests::problems(*store);
    store.close();
    return all;
  }
  tests::TestStore store;
  std::vector<MessageId> ids;
};

template <class Row>
std::string encoded(const Row& row) {
  std::string value;
  encode(row, value);
  return value;
}

bool tells(const std::string& problems, std::string_view what) {
  return problems.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("a sound store has no problems") {
  Damaged sound;
  CHECK(sound.found() == "");
}

TEST_CASE("a damaged record is found, in its head and in its body") {
  for (const std::streamoff at : {std::streamoff{64 + 4}, std::streamoff{64 + 120}, std::streamoff{64 + 500}}) {
    CAPTURE(at);
    Damaged damaged;
    for (const auto& file : std::filesystem::directory_iterator(damaged.store.path() / "segments")) {
      std::fstream out(file.path(), std::ios::in | std::ios::out | std::ios::binary);
      out.seekp(at);
      out.put('\xEE');
    }
    CHECK(tells(damaged.found(), "message " + format_id(damaged.ids[0])));
    // The damage is in one message; a reader of it is told, readers of others are served.
    got(damaged.store.open());
    const auto box = damaged.store.boxes()[0];
    const auto all = got(tests::entries(*damaged.store, box));
    REQUIRE(all.size() == 4);
    if (at < 300) CHECK(tests::error_of(tests::read_message(*damaged.store, box, all[0])) == Errc::corrupt);
    for (std::size_t i = 1; i < 4; ++i) CHECK(tests::read_message(*damaged.store, box, all[i]));
  }
}

TEST_CASE("totals that are wrong or missing are found") {
  for (const std::size_t which : {0U, 1U}) {
    Damaged damaged;
    const auto box = damaged.store.boxes()[which];
    damaged.index([&](const Index& index, MDB_txn* txn) {
      auto totals = index.totals(txn, box);
      totals.octets += 1;
      lmdb::put(txn, index.tables().maildrop, MaildropKey(box, totals_id), encoded(totals));
    });
    const auto number = "mailbox " + std::to_string(std::to_underlying(box)) + ":";
    CHECK(tells(damaged.found(), number));
    damaged.index([&](const Index& index, MDB_txn* txn) {
      lmdb::erase(txn, index.tables().maildrop, MaildropKey(box, totals_id));
    });
    const auto problems = damaged.found();
    CHECK(tells(problems, number));
    const auto other = "mailbox " + std::to_string(std::to_underlying(damaged.store.boxes()[1 - which])) + ":";
    CHECK_FALSE(tells(problems, other));
  }
}

TEST_CASE("an entry without a message and a message without an entry are found") {
  Damaged damaged;
  damaged.index([&](const Index& index, MDB_txn* txn) {
    lmdb::erase(txn, index.tables().messages, NumberKey(damaged.ids[1].value));
  });
  CHECK(tells(damaged.found(), format_id(damaged.ids[1])));

  Damaged other;
  other.index([&](const Index& index, MDB_txn* txn) {
    lmdb::erase(txn, index.tables().maildrop, MaildropKey(other.store.boxes()[0], other.ids[2].value));
  });
  const auto problems = other.found();
  CHECK(tells(problems, format_id(other.ids[2])));
  CHECK(tells(problems, "totals"));
}

TEST_CASE("mail of a mailbox that does not exist, and a mailbox without its domain or number, are found") {
  Damaged damaged;
  damaged.index([&](const Index& index, MDB_txn* txn) {
    lmdb::erase(txn, index.tables().mailbox_numbers, MailboxKey(damaged.store.boxes()[0]));
  });
  const auto problems = damaged.found();
  CHECK(tells(problems, "does not exist"));
  CHECK(tells(problems, "does not lead back"));

  Damaged other;
  other.index([&](const Index& index, MDB_txn* txn) { lmdb::erase(txn, index.tables().domains, "example.test"); });
  CHECK(tells(other.found(), "its domain does not exist"));

  Damaged third;
  third.index([&](const Index& index, MDB_txn* txn) {
    lmdb::erase(txn, index.tables().mailboxes, address_key("u1@example.test"));
  });
  CHECK(third.found() != "");
}

TEST_CASE("a segment's account that is wrong, and a segment without a row, are found") {
  Damaged damaged;
  damaged.index([&](const Index& index, MDB_txn* txn) {
    lmdb::Cursor cursor(txn, index.tables().segments);
    const auto first = cursor.first().value();
    const auto number = from_big_endian<std::uint64_t>(first.key.data());
    auto row = decode_segment(first.value);
    row.live_octets += 5;
    index.put_segment(txn, number, row);
  });
  CHECK(tells(damaged.found(), "its row says"));

  Damaged other;
  other.index([&](const Index& index, MDB_txn* txn) {
    auto message = index.message(txn, other.ids[0]).value();
    message.segment += 100;
    lmdb::put(txn, index.tables().messages, NumberKey(other.ids[0].value), encoded(message));
  });
  CHECK(tells(other.found(), "no row"));
}

TEST_CASE("rows that cannot be read are problems like others: the check goes on") {
  Damaged damaged;
  damaged.index([&](const Index& index, MDB_txn* txn) {
    const auto& tables = index.tables();
    lmdb::put(txn, tables.messages, NumberKey(damaged.ids[0].value), "\x09rubbish");
    lmdb::put(txn, tables.messages, "key", "value");
    lmdb::put(txn, tables.maildrop, MaildropKey(damaged.store.boxes()[0], damaged.ids[1].value), "");
    lmdb::put(txn, tables.maildrop, "zzz", "value");
    lmdb::put(txn, tables.mailboxes, address_key("bad@example.test"), "\x01");
    auto totals = index.totals(txn, damaged.store.boxes()[1]);
    totals.messages = 99;
    lmdb::put(txn, tables.maildrop, MaildropKey(damaged.store.boxes()[1], totals_id), encoded(totals));
  });
  const auto problems = damaged.found();
  CHECK(tells(problems, "row of a message"));
  CHECK(tells(problems, "entry of a maildrop"));
  CHECK(tells(problems, "row of a mailbox"));
  CHECK(tells(problems, "totals say 99"));
}

TEST_CASE("progress is told") {
  tests::TestStore store(1);
  std::vector<tests::Letter> letters(2100, {.to = store.boxes(), .octets = make_message("m", 100)});
  for (const auto& result : tests::deliver_together(*store, letters)) CHECK(result);
  std::vector<std::uint64_t> told;
  CHECK(store->check([&](std::uint64_t records) { told.push_back(records); }));
  CHECK(told == std::vector<std::uint64_t>{1000, 2000});
}
