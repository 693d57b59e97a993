// Sessions over a socket and a store, as the daemon runs them.
#include "pop3d/session/session.hpp"

#include <string>

#include <doctest/doctest.h>

#include "house.hpp"

using namespace pop3d;
using namespace pop3d::test;

namespace {

// MD5-crypt of "pennypost": quick to check.
const std::string hash = "$1$saltsalt$qVGkERDOVKOZRqjfKlRrb/";
const std::string ann = "ann@example.test";
const std::string header = "Subject: test\r\nFrom: somebody@remote.test\r\n\r\n";
const std::string login = "USER ann\r\nPASS pennypost\r\n";
const std::string greeting = "+OK mail.example.test POP3 ready\r\n";

std::string body_of(std::size_t octets) {
  std::string body;
  while (body.size() < octets) body += "line " + std::to_string(body.size()) + " of a long letter\r\n";
  return body;
}

std::string front_of(const std::string& to) {
  return "Return-Path: <sender@remote.test>\r\nDelivered-To: " + to + "\r\n";
}

struct Ann : House {
  mailstore::MailboxNumber mailbox;
  Ann() {
    add_domain({.name = "example.test"});
    mailbox = add_mailbox(ann, hash);
  }
  mailstore::MessageId deliver_body(const std::string& body, std::uint64_t stuffed_dots = 0) {
    const auto stored = header + body;
    return deliver(mailbox, ann, stored, header.size(), stored.size() - stuffed_dots);
  }
};

}  // namespace

TEST_CASE("messages of every size are told octet for octet, one by one and pipelined") {
  Ann house;
  std::string expected, commands, total;
  std::uint64_t octets = 0;
  int number = 0;
  for (const std::size_t size : {0UL, 10UL, 4096UL, 16'000UL, 17'000UL, 65'000UL, 66'000UL, 200'000UL, 600'000UL}) {
    const auto body = body_of(size);
    house.deliver_body(body);
    const auto told = front_of(ann).size() + header.size() + body.size();
    octets += told;
    ++number;
    expected += "+OK " + std::to_string(told) + " octets\r\n" + front_of(ann) + header + body + ".\r\n";
    commands += "RETR " + std::to_string(number) + "\r\n";
  }
  const auto maildrop = "+OK 9 messages (" + std::to_string(octets) + " octets)\r\n";
  for (const bool pipelined : {true, false}) {
    CAPTURE(pipelined);
    Client client{house.connect()};
    std::string said = greeting;
    if (pipelined) {
      client.send(login + commands + "QUIT\r\n");
      said = client.read_all();
    } else {
      CHECK(client.read_until("\r\n") == greeting);
      said += client.ask("USER ann");
      said += client.ask("PASS pennypost");
      for (int i = 1; i <= number; ++i) said += client.ask("RETR " + std::to_string(i), "\r\n.\r\n");
      said += client.ask("QUIT");
    }
    // Compared apart: a difference is not worth a megabyte on the screen.
    const bool same = said == greeting + "+OK password, please\r\n" + maildrop + expected + "+OK bye\r\n";
    CHECK(same);
  }
}

TEST_CASE("dots stay stuffed on the way, and are not counted") {
  Ann house;
  house.deliver_body("..\r\n..dot\r\nend\r\n", 2);
  Client client{house.connect()};
  client.send(login + "RETR 1\r\nTOP 1 1\r\nTOP 1 2\r\nQUIT\r\n");
  const auto told = std::to_string(front_of(ann).size() + header.size() + 16 - 2);
  CHECK(client.read_all() == greeting + "+OK password, please\r\n+OK 1 message (" + told + " octets)\r\n+OK " + told +
                                 " octets\r\n" + front_of(ann) + header + "..\r\n..dot\r\nend\r\n.\r\n+OK\r\n" +
                                 front_of(ann) + header + "..\r\n.\r\n+OK\r\n" + front_of(ann) + header +
                                 "..\r\n..dot\r\n.\r\n+OK bye\r\n");
}

TEST_CASE("TOP sends the header section and so many lines, of messages of any size") {
  Ann house;
  for (const std::size_t size : {0UL, 100UL, 5'000UL, 100'000UL, 400'000UL}) house.deliver_body(body_of(size));
  Client client{house.connect()};
  client.read_until("\r\n");
  client.ask("USER ann");
  client.ask("PASS pennypost");
  int number = 0;
  for (const std::size_t size : {0UL, 100UL, 5'000UL, 100'000UL, 400'000UL}) {
    ++number;
    const auto body = body_of(size);
    for (const std::size_t lines : {0UL, 1UL, 2UL, 100UL, 1000UL, 5000UL, 1'000'000UL}) {
      CAPTURE(size);
      CAPTURE(lines);
      std::size_t end = 0;
      for (std::size_t i = 0; i < lines && end < body.size(); ++i) end = body.find('\n', end) + 1;
      const auto said = client.ask("TOP " + std::to_string(number) + " " + std::to_string(lines), "\r\n.\r\n");
      const bool same = said == "+OK\r\n" + front_of(ann) + header + body.substr(0, end) + ".\r\n";
      CHECK(same);
    }
  }
}

TEST_CASE("a body whose lines end where pieces do") {
  // CR as the last octet of a piece, LF as the first of the next: of the first piece for a line, of the largest.
  for (const auto piece : {TopReader::next_piece(header.size(), 1), TopReader::piece}) {
    CAPTURE(piece);
    Ann house;
    const auto line = std::string(piece - header.size() - 1, 'x') + "\r\n";
    house.deliver_body(line + "second\r\nthird\r\n");
    Client client{house.connect()};
    client.send(login + "TOP 1 1\r\nTOP 1 2\r\nTOP 1 200\r\nQUIT\r\n");
    const auto said = client.read_all();
    const auto first = front_of(ann) + header + line;
    CHECK(said.ends_with("+OK\r\n" + first + ".\r\n+OK\r\n" + first + "second\r\n.\r\n+OK\r\n" + first +
                         "second\r\nthird\r\n.\r\n+OK bye\r\n"));
  }
}

TEST_CASE("octet by octet, a session goes the same way") {
  Ann house;
  house.deliver_body("short\r\n");
  const std::string commands = login + "STAT\r\nLIST\r\nRETR 1\r\nTOP 1 0\r\nNOOP\r\nQUIT\r\n";
  Client whole{house.connect()};
  whole.send(commands);
  const auto expected = whole.read_all();
  CHECK(expected.ends_with("+OK bye\r\n"));
  Client slow{house.connect()};
  for (const char& octet : commands) slow.send({&octet, 1});
  CHECK(slow.read_all() == expected);
}

TEST_CASE("the peer gone after each octet: nothing is removed before QUIT, and the maildrop is free again") {
  Ann house;
  const auto id = house.deliver_body("short\r\n");
  const std::string commands = login + "DELE 1\r\nLIST\r\nQUIT\r\n";
  for (std::size_t cut = 0; cut + 2 < commands.size(); ++cut) {
    CAPTURE(cut);
    {
      Client client{house.connect()};
      client.send(std::string_view{commands}.substr(0, cut));
      client.finish();
      client.read_all();
    }
    const auto view = house.store->peek(house.mailbox);
    REQUIRE(view);
    CHECK(view->messages == 1);
  }
  Client client{house.connect()};
  client.send(commands);
  CHECK(client.read_all().ends_with("+OK bye\r\n"));
  const auto view = house.store->peek(house.mailbox);
  REQUIRE(view);
  CHECK(view->messages == 0);
  const auto found = house.store->find(*view, id);
  REQUIRE(found);
  CHECK_FALSE(*found);
}

TEST_CASE("one session at a time has a maildrop; what arrives meanwhile waits for the next") {
  Ann house;
  house.deliver_body("one\r\n");
  Client first{house.connect()};
  first.read_until("\r\n");
  first.ask("USER ann");
  CHECK(first.ask("PASS pennypost").starts_with("+OK 1 message "));
  house.deliver_body("two\r\n");
  CHECK(first.ask("STAT").starts_with("+OK 1 "));
  CHECK(first.ask("RETR 2") == "-ERR no such message\r\n");

  Client second{house.connect()};
  second.read_until("\r\n");
  second.ask("USER ann");
  CHECK(second.ask("PASS pennypost").starts_with("-ERR [IN-USE] "));
  CHECK(first.ask("QUIT") == "+OK bye\r\n");
  // The lock is free as soon as the farewell is heard.
  second.ask("USER ann");
  CHECK(second.ask("PASS pennypost").starts_with("+OK 2 messages "));
}

TEST_CASE("who may log in: mailboxes, by their name in full or bare, not aliases, not what is locked") {
  Ann house;
  house.add_domain({.name = "other.test"});
  house.add_domain({.name = "alias.test", .kind = mailstore::DomainKind::alias, .alias_of = "example.test"});
  house.add_mailbox("bob@other.test", hash);
  house.add_mailbox("eve@example.test", hash);
  house.run([&]() -> asio::awaitable<void> {
    mailstore::Alias alias{"office@example.test", {ann}};
    const auto put = co_await house.store->put_alias(std::move(alias));
    REQUIRE(put);
    mailstore::MailboxChange change;
    change.locked = true;
    const auto locked = co_await house.store->change_mailbox("eve@example.test", std::move(change));
    REQUIRE(locked);
  });
  struct Row {
    std::string_view name, password, answer;
  };
  const auto ask = [&](std::string_view name, std::string_view password) {
    Client client{house.connect()};
    client.read_until("\r\n");
    client.ask("USER " + std::string{name});
    return client.ask("PASS " + std::string{password});
  };
  const std::string_view in = "+OK ", wrong = "-ERR [AUTH] name or password wrong\r\n",
                         locked = "-ERR [AUTH] mailbox locked\r\n";
  for (const auto& row :
       {Row{"ann", "pennypost", in}, Row{"ann@example.test", "pennypost", in}, Row{"ANN@Example.TEST", "pennypost", in},
        Row{"ann@alias.test", "pennypost", in}, Row{"bob@other.test", "pennypost", in}, Row{"bob", "pennypost", wrong},
        Row{"office", "pennypost", wrong}, Row{"nobody", "pennypost", wrong},
        Row{"ann@nowhere.test", "pennypost", wrong}, Row{"@", "pennypost", wrong}, Row{"ann", "Pennypost", wrong},
        Row{"eve", "pennypost", locked}, Row{"eve", "guess", wrong}}) {
    CAPTURE(row.name);
    CHECK(ask(row.name, row.password).starts_with(row.answer));
  }
  house.run([&]() -> asio::awaitable<void> {
    const auto done = co_await house.store->lock_domain("other.test", true);
    REQUIRE(done);
  });
  CHECK(ask("bob@other.test", "pennypost") == locked);

  // Live: a new password counts from the next log-in, remembered or not.
  house.run([&]() -> asio::awaitable<void> {
    mailstore::MailboxChange change;
    change.credential = mailstore::Credential{0, "$1$saltsalt$XXXXXXXXXXXXXXXXXXXXXX", ""};
    const auto done = co_await house.store->change_mailbox(ann, std::move(change));
    REQUIRE(done);
  });
  CHECK(ask("ann", "pennypost") == wrong);
}

TEST_CASE("a large maildrop: listings, numbers from anywhere, deletions") {
  Ann house;
  const auto ids = house.deliver_many(house.mailbox, ann, header, 3000);
  Client client{house.connect()};
  client.read_until("\r\n");
  client.ask("USER ann");
  client.ask("PASS pennypost");
  std::string expected;
  for (std::size_t i = 0; i < 3000; ++i)
    expected += std::to_string(i + 1) + " " + mailstore::format_id(ids[i]) + "\r\n";
  const auto listing = client.ask("UIDL", "\r\n.\r\n");
  const bool same = listing.substr(listing.find('\n') + 1) == expected + ".\r\n";
  CHECK(same);
  for (const int number : {3000, 1, 1024, 1025, 2048, 2999, 17, 18, 19})
    CHECK(client.ask("RETR " + std::to_string(number), "\r\n.\r\n")
              .ends_with("m" + std::to_string(number - 1) + "\r\n.\r\n"));
  std::string commands;
  for (int i = 1; i <= 3000; i += 2) commands += "DELE " + std::to_string(i) + "\r\n";
  client.send(commands + "STAT\r\nQUIT\r\n");
  const auto said = client.read_all();
  CHECK(said.find("+OK 1500 ") != std::string::npos);
  CHECK(said.ends_with("+OK bye\r\n"));
  Client again{house.connect()};
  again.read_until("\r\n");
  again.ask("USER ann");
  CHECK(again.ask("PASS pennypost").starts_with("+OK 1500 messages "));
  CHECK(again.ask("RETR 1", "\r\n.\r\n").ends_with("m1\r\n.\r\n"));
  CHECK(again.ask("RETR 1500", "\r\n.\r\n").ends_with("m2999\r\n.\r\n"));
}

TEST_CASE("the daemon stops: an idle session hears of it and nothing is removed") {
  Ann house;
  house.deliver_body("one\r\n");
  Client client{house.connect()};
  client.read_until("\r\n");
  client.ask("USER ann");
  client.ask("PASS pennypost");
  client.ask("DELE 1");
  asio::post(house.worker->context(), [&] { house.worker->end_sessions(false); });
  CHECK(client.read_all().starts_with("-ERR [SYS/TEMP] "));
  const auto view = house.store->peek(house.mailbox);
  REQUIRE(view);
  CHECK(view->messages == 1);
}

TEST_CASE("octets without a line end: not for ever") {
  Ann house;
  Client client{house.connect()};
  client.read_until("\r\n");
  const std::string noise(1024, 'x');
  for (int i = 0; i < 300; ++i) client.send(noise);
  CHECK(client.read_all() == "-ERR line too long\r\n");
}

TEST_CASE("guessing is refused, by any mechanism, the same for names that nobody has") {
  Ann house;
  const std::string wrong = "-ERR [AUTH] name or password wrong\r\n";
  const std::string barred = "-ERR [SYS/TEMP] too many failed log-ins, try again later\r\n";
  Client client{house.connect()};
  client.read_until("\r\n");
  const auto guess = [&](const std::string& name, const std::string& password) {
    client.ask("USER " + name);
    return client.ask("PASS " + password);
  };
  for (const std::string name : {"nobody", "ann"}) {
    CAPTURE(name);
    CHECK(guess(name, "one") == wrong);
    CHECK(guess(name + "@example.test", "two") == wrong);
    CHECK(client.ask("AUTH LOGIN *") == "-ERR not a proper answer\r\n");
    CHECK(guess(name, "three") == wrong);
    // Right or wrong: it is not looked at.
    CHECK(guess(name, "pennypost") == barred);
    // n,,n=NAME,r=abc
    const std::string first = name == "ann" ? "biwsbj1hbm4scj1hYmM=" : "biwsbj1ub2JvZHkscj1hYmM=";
    CHECK(client.ask("AUTH SCRAM-SHA-256 " + first) == barred);
  }
  common::auth::GuardTerms none;
  none.pair = none.account = 0;
  house.guard->set_terms(none);
  CHECK(guess("ann", "pennypost").starts_with("+OK 0 messages"));
  CHECK(client.ask("QUIT") == "+OK bye\r\n");
}

TEST_CASE("a guess by SCRAM counts when its proof is wrong, and not when it was given up") {
  Ann house;
  const std::string barred = "-ERR [SYS/TEMP] too many failed log-ins, try again later\r\n";
  Client client{house.connect()};
  client.read_until("\r\n");
  const auto begin = [&] { return client.ask("AUTH SCRAM-SHA-256 biwsbj1hbm4scj1hYmM="); };
  for (int i = 0; i < 10; ++i) {
    CHECK(begin().starts_with("+ "));
    CHECK(client.ask("*") == "-ERR cancelled\r\n");
  }
  for (int i = 0; i < 3; ++i) {
    const auto challenge = begin();
    REQUIRE(challenge.starts_with("+ "));
    const auto first = *common::auth::decode_base64(challenge.substr(2, challenge.size() - 4));
    const auto nonce = first.substr(0, first.find(','));
    const auto last = "c=biws," + nonce + ",p=" + common::auth::encode_base64(std::string(32, 'x'));
    CHECK(client.ask(common::auth::encode_base64(last)) == "-ERR [AUTH] name or password wrong\r\n");
  }
  CHECK(begin() == barred);
  CHECK(house.guard->counters().failed == 3);
}
