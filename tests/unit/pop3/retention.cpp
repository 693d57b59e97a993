// What becomes of messages that were retrieved (RFC 2449 6.7, EXPIRE), and of people who come back too soon (6.5).
#include <chrono>
#include <string>

#include <doctest/doctest.h>

#include "common/auth/cram_md5.hpp"

#include "desk.hpp"
#include "house.hpp"

using namespace pop3d;
using namespace pop3d::test;

namespace {

using Ids = std::vector<mailstore::MessageId>;

constexpr std::string_view log_in = "USER a\r\nPASS b\r\n";

Desk make_desk(Retrieved retrieved) {
  Desk desk;
  auto& mailbox = desk.mailboxes["a"];
  mailbox.password = "b";
  mailbox.messages = {{"Subject: one\r\n\r\n", 16}, {"Subject: two\r\n\r\n", 16}, {"Subject: three\r\n\r\n", 18}};
  desk.rules.retrieved = retrieved;
  return desk;
}

// MD5-crypt of "pennypost": quick to check.
const std::string hash = "$1$saltsalt$qVGkERDOVKOZRqjfKlRrb/";
const std::string ann = "ann@example.test";
const std::string stored = "Subject: test\r\n\r\nbody\r\n";

struct Ann : House {
  mailstore::MailboxNumber mailbox;
  Ann() {
    add_domain({.name = "example.test"});
    mailbox = add_mailbox(ann, hash);
  }
  std::string session(std::string_view commands) {
    Client client{connect()};
    client.send("USER ann\r\nPASS pennypost\r\n" + std::string{commands});
    client.finish();
    return client.read_all();
  }
  std::uint64_t messages() {
    const auto view = store->peek(mailbox);
    REQUIRE(view);
    return view->messages;
  }
  mailstore::Entry entry(mailstore::MessageId id) {
    const auto view = store->peek(mailbox);
    REQUIRE(view);
    const auto found = store->find(*view, id);
    REQUIRE(found);
    REQUIRE(*found);
    return **found;
  }
  std::uint64_t commits() const { return store->counters().commits; }
};

}  // namespace

TEST_CASE("what QUIT does with messages that were retrieved") {
  struct Row {
    std::string_view commands;
    Ids removed, noted;  // of a server that removes, and one that notes
    std::string_view why;
  };
  const Ids none;
  const auto id = [](std::uint64_t number) { return mailstore::MessageId{number}; };
  const Row rows[] = {
      {"QUIT\r\n", none, none, "nothing was read"},
      {"RETR 2\r\nQUIT\r\n", {id(2)}, {id(2)}, "one was"},
      {"RETR 2\r\nRETR 2\r\nQUIT\r\n", {id(2)}, {id(2)}, "twice"},
      {"RETR 3\r\nRETR 1\r\nQUIT\r\n", {id(1), id(3)}, {id(1), id(3)}, "in any order"},
      {"TOP 1 100\r\nLIST 2\r\nUIDL\r\nQUIT\r\n", none, none, "RETR alone counts (RFC 2449 6.7)"},
      {"RETR 1\r\nRSET\r\nQUIT\r\n", {id(1)}, {id(1)}, "RSET takes back DELE, not that it was retrieved"},
      {"RETR 4\r\nRETR 0\r\nRETR x\r\nQUIT\r\n", none, none, "what failed does not"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    auto removes = make_desk(Retrieved::removed);
    removes.feed(std::string{log_in} + std::string{row.commands});
    CHECK(removes.removed == row.removed);
    CHECK(removes.noted.empty());
    auto notes = make_desk(Retrieved::noted);
    notes.feed(std::string{log_in} + std::string{row.commands});
    CHECK(notes.noted == row.noted);
    CHECK(notes.removed.empty());
    auto keeps = make_desk(Retrieved::kept);
    keeps.feed(std::string{log_in} + std::string{row.commands});
    CHECK(keeps.removed.empty());
    CHECK(keeps.noted.empty());
  }
}

TEST_CASE("retrieved and marked: a message goes once, and what goes is not noted") {
  auto removes = make_desk(Retrieved::removed);
  removes.feed(std::string{log_in} + "RETR 1\r\nDELE 1\r\nRETR 2\r\nDELE 3\r\nSTAT\r\nQUIT\r\n");
  CHECK(removes.removed == Ids{{1}, {2}, {3}});
  auto notes = make_desk(Retrieved::noted);
  notes.feed(std::string{log_in} + "RETR 1\r\nDELE 1\r\nRETR 2\r\nDELE 3\r\nQUIT\r\n");
  CHECK(notes.removed == Ids{{1}, {3}});
  CHECK(notes.noted == Ids{{2}});
}

TEST_CASE("without QUIT nothing is removed or noted; a message that could not be read is neither") {
  auto desk = make_desk(Retrieved::removed);
  desk.feed(std::string{log_in} + "RETR 1\r\nRETR 2\r\n");
  CHECK(desk.removed.empty());
  auto failing = make_desk(Retrieved::removed);
  failing.feed(log_in);
  failing.store_fails = true;
  failing.feed("RETR 1\r\nQUIT\r\n");
  CHECK(failing.removed.empty());
  CHECK(failing.close_reason == "quit");
}

TEST_CASE("CAPA tells EXPIRE and LOGIN-DELAY as they are, before and after log-in") {
  struct Row {
    std::optional<std::uint64_t> days;
    std::chrono::seconds delay;
    std::string_view lines;
  };
  for (const auto& row : {Row{{}, {}, "EXPIRE NEVER\r\nUSER\r\n"}, Row{0, {}, "EXPIRE 0\r\nUSER\r\n"},
                          Row{30, std::chrono::minutes{15}, "EXPIRE 30\r\nLOGIN-DELAY 900\r\nUSER\r\n"}}) {
    CAPTURE(row.lines);
    auto desk = make_desk(Retrieved::kept);
    desk.rules.expire_days = row.days;
    desk.rules.login_delay = row.delay;
    CHECK(desk.feed("CAPA\r\n").find(row.lines) != std::string::npos);
    desk.feed(log_in);
    CHECK(desk.feed("CAPA\r\n").find(row.lines) != std::string::npos);
  }
}

TEST_CASE("delete_on_retrieve over a store: gone with QUIT, kept by a session that is cut off") {
  Ann house;
  house.change_rules([](Rules& rules) { rules.retrieved = Retrieved::removed; });
  house.deliver_many(house.mailbox, ann, "Subject: x\r\n\r\n", 5);
  house.session("RETR 1\r\nRETR 2\r\n");
  CHECK(house.messages() == 5);
  CHECK(house.session("RETR 1\r\nRETR 2\r\nTOP 3 1\r\nDELE 5\r\nSTAT\r\nQUIT\r\n").ends_with("+OK bye\r\n"));
  CHECK(house.messages() == 2);
}

TEST_CASE("a retrieval is noted by QUIT in one commit, once; RETR itself commits nothing") {
  Ann house;
  house.change_rules([](Rules& rules) { rules.retrieved = Retrieved::noted; });
  const auto ids = house.deliver_many(house.mailbox, ann, "Subject: x\r\n\r\n", 100);
  std::string all;
  for (int i = 1; i <= 60; ++i) all += "RETR " + std::to_string(i) + "\r\n";
  const auto before = house.commits();
  house.session(all);
  CHECK(house.commits() == before);
  CHECK(house.entry(ids[0]).retrieved == 0);
  house.session(all + "QUIT\r\n");
  CHECK(house.commits() == before + 1);
  const auto when = house.entry(ids[0]).retrieved;
  CHECK(when > 0);
  CHECK(house.entry(ids[59]).retrieved == when);
  CHECK(house.entry(ids[60]).retrieved == 0);
  // Nothing is new the second time.
  house.session(all + "QUIT\r\n");
  CHECK(house.commits() == before + 1);
  CHECK(house.entry(ids[0]).retrieved == when);
}

TEST_CASE("login_delay: sooner is refused, however one logs in, by whatever process asks next") {
  Ann house;
  house.deliver(house.mailbox, ann, stored, 17, stored.size());
  house.change_rules([](Rules& rules) { rules.login_delay = std::chrono::minutes{10}; });
  CHECK(house.session("QUIT\r\n").find("+OK 1 message ") != std::string::npos);
  CHECK(house.session("STAT\r\n").find("-ERR [LOGIN-DELAY] ") != std::string::npos);
  Client plain{house.connect()};
  plain.read_until("\r\n");
  CHECK(plain.ask("AUTH PLAIN AGFubgBwZW5ueXBvc3Q=").starts_with("-ERR [LOGIN-DELAY] "));
  // Who does not know the password is not told that somebody was here.
  CHECK(plain.ask("AUTH PLAIN AGFubgB3cm9uZw==").starts_with("-ERR [AUTH] "));

  // Refused ones do not count: ten minutes after the first it is over.
  const auto now = common::unix_microseconds(common::system_clock_source());
  const auto note = [&](std::uint64_t when) {
    const auto lock = house.store->lock_maildrop(house.mailbox);
    REQUIRE(lock);
    const auto last = house.store->last_login(*lock);
    REQUIRE(last);
    CHECK(*last > now - 60'000'000);
    CHECK(*last <= now);
    REQUIRE(house.store->note_login(*lock, when));
  };
  note(now - 599'000'000);
  CHECK(house.session("QUIT\r\n").find("-ERR [LOGIN-DELAY] ") != std::string::npos);
  const auto lock_again = [&](std::uint64_t when) {
    const auto lock = house.store->lock_maildrop(house.mailbox);
    REQUIRE(lock);
    REQUIRE(house.store->note_login(*lock, when));
  };
  lock_again(now - 600'000'000);
  CHECK(house.session("QUIT\r\n").find("+OK 1 message ") != std::string::npos);
  // The clock was put back: nobody is locked out until it has caught up.
  lock_again(now + 86'400'000'000);
  CHECK(house.session("QUIT\r\n").find("+OK 1 message ") != std::string::npos);
}

TEST_CASE("APOP over a store: the secret is the mailbox's own, and each greeting has another stamp") {
  Ann house;
  house.guard->set_terms({});  // as many failures as this takes
  house.change_rules([](Rules& rules) { rules.apop = true; });
  const auto set = [&](std::string secret) {
    house.run([&]() -> asio::awaitable<void> {
      mailstore::MailboxChange change;
      change.apop_secret = secret;
      const auto done = co_await house.store->change_mailbox(ann, std::move(change));
      REQUIRE(done);
    });
  };
  const auto stamp_of = [](const std::string& greeting) {
    const auto at = greeting.find('<');
    REQUIRE(at != std::string::npos);
    return greeting.substr(at, greeting.find('>') - at + 1);
  };
  Client none{house.connect()};
  const auto first = stamp_of(none.read_until("\r\n"));
  // Nobody has set a secret: the digest of none is not let in.
  CHECK(none.ask("APOP ann " + common::auth::apop_digest(first, "")).starts_with("-ERR [AUTH] "));
  set("tanstaaf");
  Client client{house.connect()};
  const auto second = stamp_of(client.read_until("\r\n"));
  CHECK(first != second);
  CHECK(client.ask("APOP ann " + common::auth::apop_digest(first, "tanstaaf")).starts_with("-ERR [AUTH] "));
  CHECK(client.ask("APOP ann " + common::auth::apop_digest(second, "pennypost")).starts_with("-ERR [AUTH] "));
  CHECK(client.ask("APOP nobody " + common::auth::apop_digest(second, "")).starts_with("-ERR [AUTH] "));
  CHECK(client.ask("APOP ann@example.test " + common::auth::apop_digest(second, "tanstaaf")).starts_with("+OK 0 "));
  CHECK(client.ask("QUIT").starts_with("+OK"));
  set("");
  Client gone{house.connect()};
  const auto third = stamp_of(gone.read_until("\r\n"));
  CHECK(gone.ask("APOP ann " + common::auth::apop_digest(third, "tanstaaf")).starts_with("-ERR [AUTH] "));
  CHECK(gone.ask("APOP ann " + common::auth::apop_digest(third, "")).starts_with("-ERR [AUTH] "));
}

TEST_CASE("guesses by APOP count as guesses of the password do") {
  Ann house;
  house.change_rules([](Rules& rules) { rules.apop = true; });
  Client client{house.connect()};
  client.read_until("\r\n");
  const std::string guess = "APOP ann " + std::string(32, '0');
  for (int i = 0; i < 3; ++i) CHECK(client.ask(guess).starts_with("-ERR [AUTH] "));
  CHECK(client.ask(guess).starts_with("-ERR [SYS/TEMP] "));
}

TEST_CASE("guesses by CRAM-MD5 count as guesses of the password do, and the right secret opens the maildrop") {
  Ann house;
  house.change_rules([](Rules& rules) { rules.mechanisms.emplace_back("CRAM-MD5"); });
  house.run([&]() -> asio::awaitable<void> {
    mailstore::MailboxChange change;
    change.apop_secret = "tanstaaf";
    const auto done = co_await house.store->change_mailbox(ann, std::move(change));
    REQUIRE(done);
  });
  Client client{house.connect()};
  client.read_until("\r\n");
  const auto guess = [&](const std::string& name, const std::string& secret) {
    const auto said = client.ask("AUTH CRAM-MD5");
    const auto challenge = common::auth::decode_base64(said.substr(2, said.size() - 4));
    REQUIRE(challenge);
    const auto answer = name + ' ' + common::auth::cram_md5_digest(*challenge, secret);
    return client.ask(common::auth::encode_base64(answer));
  };
  for (int i = 0; i < 3; ++i) CHECK(guess("nobody", "").starts_with("-ERR [AUTH] "));
  CHECK(guess("nobody", "").starts_with("-ERR [SYS/TEMP] "));
  for (int i = 0; i < 3; ++i) CHECK(guess("ann", "pennypost").starts_with("-ERR [AUTH] "));
  CHECK(guess("ann", "tanstaaf").starts_with("-ERR [SYS/TEMP] "));
  common::auth::GuardTerms none;
  none.pair = none.account = 0;
  house.guard->set_terms(none);
  CHECK(guess("ann", "tanstaaf").starts_with("+OK 0 "));
}
