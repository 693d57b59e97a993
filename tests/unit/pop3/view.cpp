// A session's view: fixed at log-in and free of cost to the store, however long the session stays and whatever it is in
// the middle of.
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "house.hpp"

using namespace pop3d;
using namespace pop3d::test;

namespace {

// MD5-crypt of "pennypost": quick to check.
const std::string hash = "$1$saltsalt$qVGkERDOVKOZRqjfKlRrb/";
const std::string ann = "ann@example.test", bob = "bob@example.test";
const std::string header = "Subject: test\r\n\r\n";
constexpr std::uint64_t page = 4096;

struct Two : House {
  mailstore::MailboxNumber to_ann, to_bob;
  Two() {
    add_domain({.name = "example.test"});
    to_ann = add_mailbox(ann, hash);
    to_bob = add_mailbox(bob, hash);
  }
  std::uint64_t index_octets() {
    const auto about = store->stat();
    REQUIRE(about);
    return about->index_octets;
  }
  /// Mail comes and goes in Bob's maildrop, two commits each time. How many octets the index grew by.
  std::uint64_t churn(int times) {
    const auto before = index_octets();
    for (int i = 0; i < times; ++i) {
      const auto id = deliver(to_bob, bob, header, header.size(), header.size());
      run([&]() -> asio::awaitable<void> {
        const auto lock = store->lock_maildrop(to_bob);
        REQUIRE(lock);
        std::vector<mailstore::MessageId> ids(1, id);
        const auto removed = co_await store->remove(*lock, std::move(ids));
        REQUIRE(removed);
      });
    }
    return index_octets() - before;
  }
};

/// Octets that this process has read from files.
std::uint64_t octets_read() {
  std::ifstream file("/proc/self/io");
  std::string name;
  std::uint64_t octets = 0;
  file >> name >> octets;
  REQUIRE(name == "rchar:");
  return octets;
}

}  // namespace

TEST_CASE("an open session holds no version of the index back, idle or stuck in a listing") {
  constexpr int times = 60;
  Two house;
  house.deliver_many(house.to_ann, ann, header, 5000);
  house.churn(times);  // the free pages that live service needs
  {
    // The measure works: a look at the directory that is kept pins what it saw.
    const auto look = house.store->directory();
    CHECK(house.churn(times) > std::uint64_t{4} * times * page);
  }
  house.churn(4);
  Client idle{house.connect()};
  idle.read_until("\r\n");
  idle.ask("USER ann");
  CHECK(idle.ask("PASS pennypost").starts_with("+OK 5000 messages "));
  CHECK(house.churn(times) < 16 * page);

  // A peer that asks for a megabyte of listings and does not read: the answer waits half-said.
  std::string commands;
  for (int i = 0; i < 10; ++i) commands += "UIDL\r\n";
  idle.send(commands);
  CHECK(house.churn(times) < 16 * page);

  // It sees what it saw.
  house.deliver_many(house.to_ann, ann, header, 1000);
  idle.send("STAT\r\nQUIT\r\n");
  const auto said = idle.read_all();
  CHECK(said.find("+OK 5000 ") != std::string::npos);
  CHECK(said.ends_with("+OK bye\r\n"));
  CHECK(said.find("\r\n5001 ") == std::string::npos);
}

TEST_CASE("listings of a large maildrop leave nothing of it behind in the process") {
  Two house;
  house.deliver_many(house.to_ann, ann, header, 70'000);
  const auto view = house.store->peek(house.to_ann);
  REQUIRE(view);
  std::vector<mailstore::Entry> chunk(256);
  const auto walk = [&] {
    std::optional<mailstore::MessageId> after;
    std::size_t seen = 0;
    for (;;) {
      const auto got = house.store->list(*view, after, chunk);
      REQUIRE(got);
      seen += *got;
      if (*got < chunk.size()) return seen;
      after = chunk.back().id;
    }
  };
  // The share of the index's file that is mapped into this process: 46 octets a message at the least if all stayed.
  const auto mapped = [&] {
    std::ifstream file("/proc/self/smaps");
    std::string line;
    std::uint64_t kilobytes = 0;
    bool ours = false;
    while (std::getline(file, line)) {
      if (line.find("-") < line.find(" ") && line.find(":") > line.find(" ")) ours = line.ends_with("/data.mdb");
      if (ours && line.starts_with("Rss:")) kilobytes += std::stoull(line.substr(4));
    }
    return kilobytes * 1024;
  };
  for (int i = 0; i < 4; ++i) CHECK(walk() == 70'000);
  // 280,000 entries were walked over; 17,856 since pages were last let go.
  CHECK(mapped() > 0);
  CHECK(mapped() < house.index_octets() / 2);
  CHECK(walk() == 70'000);
}

TEST_CASE("TOP reads what it sends and little more, however long the message") {
  Two house;
  std::string body;
  while (body.size() < 600'000) body += "a line of some sixty octets, as people write them, and so on\r\n";
  const auto stored = header + body;
  house.deliver(house.to_ann, ann, stored, header.size(), stored.size());
  Client client{house.connect()};
  client.read_until("\r\n");
  client.ask("USER ann");
  client.ask("PASS pennypost");
  client.ask("TOP 1 0", "\r\n.\r\n");
  const auto without = octets_read();
  const auto nothing = octets_read() - without;  // what asking costs
  struct Row {
    std::uint64_t lines, spare;
  };
  // Beside what is sent, the head of the record is read, and lines are found by reading on.
  for (const auto& [lines, spare] : {Row{0, 512}, Row{1, 1024}, Row{10, 1024}, Row{100, 4096}, Row{1000, 9000}}) {
    CAPTURE(lines);
    const auto before = octets_read();
    const auto said = client.ask("TOP 1 " + std::to_string(lines), "\r\n.\r\n");
    const auto read = octets_read() - before - nothing;
    CHECK(said.size() > header.size() + 60 * lines);
    CHECK(read < said.size() + spare);
  }
}
