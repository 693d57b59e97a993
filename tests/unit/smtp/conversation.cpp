#include "smtpd/session/conversation.hpp"

#include <doctest/doctest.h>

#include <string>

#include "tests/unit/smtp/script.hpp"

using namespace smtpd;

namespace {

Terms mx_terms() {
  Terms terms;
  terms.server = "mx";
  terms.hostname = "mx.example.test";
  terms.default_domain = "example.test";
  terms.mechanisms = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"};
  terms.message_octets = 1000;
  terms.recipients = 3;
  terms.hops = 2;
  terms.errors = 20;
  return terms;
}

FakeDirectory people() {
  FakeDirectory directory;
  directory.add_domain("example.test");
  directory.add_mailbox("ann@example.test", "secret");
  directory.add_mailbox("bob@example.test", "hidden");
  directory.add_mailbox("postmaster@example.test");
  directory.add_mailbox("closed@example.test", "secret").locked = true;
  directory.add_alias("team@example.test", {"ann@example.test", "bob@example.test"});
  return directory;
}

}  // namespace

TEST_CASE("LIMITS tells no number of more than six digits (RFC 9422 4)") {
  auto directory = people();
  auto terms = mx_terms();
  const auto offer = [&](std::uint64_t messages, std::uint64_t recipients) {
    terms.messages_per_session = messages;
    terms.recipients = recipients;
    Talk talk{terms, directory};
    talk.feed("EHLO client.test\r\n");
    const auto at = talk.replies.find("LIMITS");
    return at == std::string::npos ? std::string{} : talk.replies.substr(at, talk.replies.find('\r', at) - at);
  };
  CHECK(offer(0, 0).empty());
  CHECK(offer(999'999, 0) == "LIMITS MAILMAX=999999");
  CHECK(offer(1'000'000, 5'000'000) == "LIMITS MAILMAX=999999 RCPTMAX=999999");
}

TEST_CASE("one address may be named often, and not without end, where there is no limit") {
  auto directory = people();
  auto terms = mx_terms();
  terms.local = true;
  terms.recipients = 0;
  Talk talk{terms, directory};
  talk.feed("EHLO client.test\r\nMAIL FROM:<ann@example.test>\r\n");
  for (int i = 0; i < 60'000; ++i) talk.feed("RCPT TO:<ann@example.test> NOTIFY=SUCCESS\r\n");
  CHECK(talk.conversation().transaction()->successes.size() == 60'000);
  talk.replies.clear();
  talk.feed("RCPT TO:<ann@example.test> NOTIFY=SUCCESS\r\n");
  CHECK(talk.replies.starts_with("452 4.5.3 "));
  CHECK(talk.conversation().transaction()->successes.size() == 60'000);
}

TEST_CASE("recipients that a filter takes away leave no copies behind, those of the sender's domain stay") {
  auto directory = people();
  auto terms = mx_terms();
  Conversation conversation{terms, false, [] { return common::auth::Channel{}; }};
  conversation.on_line({"EHLO client.test"});
  conversation.on_line({"MAIL FROM:<x@client.test>"});
  auto& transaction = *conversation.transaction();
  transaction.add_journals({"sender@example.test"});
  transaction.sender_journals = 1;
  conversation.on_sender(true);
  routing::Resolution found;
  found.outcome = routing::Outcome::found;
  found.remotes = {{"x@drop.test", "", ""}};
  found.journals = {"archive@example.test", "sender@example.test"};
  found.drop = true;
  REQUIRE(transaction.add({.recipient = {"x", "drop.test"}}, found));
  CHECK(transaction.journals.size() == 2);
  transaction.clear_recipients();
  CHECK(transaction.journals == std::vector<std::string>{"sender@example.test"});
  CHECK_FALSE(transaction.drop);
}

TEST_CASE("a message is accepted for its mailboxes") {
  auto directory = people();
  run_script(mx_terms(), directory, R"(
    S: 220 mx.example.test ESMTP
    C: EHLO client.test
    S: 250-mx.example.test
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-CHUNKING
    S: 250-DSN
    S: 250-SMTPUTF8
    S: 250-AUTH SCRAM-SHA-256
    S: 250-ATRN
    S: 250-ETRN
    S: 250-LIMITS RCPTMAX=3
    S: 250 ENHANCEDSTATUSCODES
    C: MAIL FROM:<x@client.test> SIZE=100 BODY=8BITMIME
    S: 250 2.1.0 sender ok
    C: RCPT TO:<ann@example.test>
    S: 250 2.1.5 recipient ok
    C: RCPT TO:<nobody@example.test>
    S~ 550 5.1.1 *
    C: RCPT TO:<x@elsewhere.test>
    S~ 550 5.7.1 *
    C: RCPT TO:<team@example.test>
    S: 250 2.1.5 recipient ok
    C: DATA
    S: 354 end with <CRLF>.<CRLF>
    C: Subject: a
    C:
    C: ..stuffed
    C: .
    S: 250 2.0.0 id1 stored
    C: QUIT
    S~ 221 2.0.0 *
  )",
             [](Talk& talk) {
               CHECK_FALSE(talk.open);
               REQUIRE(talk.messages.size() == 1);
               const auto& message = talk.messages[0];
               CHECK(message.stored == "Subject: a\r\n\r\n..stuffed\r\n");
               CHECK(message.facts.octets == message.stored.size() - 1);
               CHECK(message.facts.header_octets == 14);
               CHECK(message.envelope.reverse_path == "x@client.test");
               CHECK(message.envelope.server == "mx");
               CHECK(message.envelope.eight_bit);
               REQUIRE(message.envelope.owners.size() == 2);  // ann was reached twice
               CHECK(message.envelope.owners[0].delivered_to == "ann@example.test");
               CHECK(message.envelope.owners[1].delivered_to == "bob@example.test");
             });
}

TEST_CASE(
    "an alias of several reports success itself, one that leads to one address passes the wish on (RFC 3461 5.2.7)") {
  using namespace mailstore;
  auto directory = people();
  directory.add_alias("away@example.test", {"x@far.test"});
  directory.add_alias("both@example.test", {"ann@example.test", "y@far.test"});
  struct Row {
    std::string recipient, notify;
    int want_owner, want_remote;  ///< NOTIFY of each; -1: there is none
    std::optional<smtpd::report::Action> told;
  };
  constexpr auto none = std::optional<smtpd::report::Action>{};
  const Row rows[] = {
      {"ann@example.test", "SUCCESS", notify_success, -1, smtpd::report::Action::delivered},
      {"ann@example.test", "FAILURE,DELAY", notify_failure | notify_delay, -1, none},
      {"ann@example.test", "NEVER", notify_never, -1, none},
      {"team@example.test", "SUCCESS", notify_never, -1, smtpd::report::Action::expanded},
      {"away@example.test", "SUCCESS,FAILURE", -1, notify_success | notify_failure, none},
      {"both@example.test", "SUCCESS,FAILURE", notify_failure, notify_failure, smtpd::report::Action::expanded},
      {"both@example.test", "SUCCESS", notify_never, notify_never, smtpd::report::Action::expanded},
      {"both@example.test", "FAILURE", notify_failure, notify_failure, none},
  };
  const auto terms = mx_terms();
  for (const auto& row : rows) {
    CAPTURE(row.recipient);
    CAPTURE(row.notify);
    for (const std::string sender : {"x@client.test", ""}) {
      Talk talk{terms, directory};
      talk.feed("EHLO client.test\r\nMAIL FROM:<" + sender + ">\r\nRCPT TO:<" + row.recipient +
                "> NOTIFY=" + row.notify + " ORCPT=rfc822;a+2Bb@c.test\r\n");
      const auto& transaction = talk.conversation().transaction();
      REQUIRE(transaction);
      REQUIRE(transaction->envelope.owners.empty() == (row.want_owner == -1));
      REQUIRE(transaction->envelope.remotes.empty() == (row.want_remote == -1));
      for (const auto& owner : transaction->envelope.owners) CHECK(owner.notify == row.want_owner);
      for (const auto& remote : transaction->envelope.remotes) CHECK(remote.notify == row.want_remote);
      REQUIRE(transaction->successes.size() == (row.told && !sender.empty() ? 1 : 0));
      for (const auto& success : transaction->successes) {
        CHECK(success.action == *row.told);
        CHECK(success.address == row.recipient);
        CHECK(success.original == "rfc822;a+b@c.test");
      }
    }
  }
}

TEST_CASE("commands out of order are told what is missing") {
  auto directory = people();
  run_script(mx_terms(), directory, R"(
    S~ 220 *
    C: MAIL FROM:<x@client.test>
    S~ 503 5.5.1 *
    C: RCPT TO:<ann@example.test>
    S~ 503 5.5.1 *
    C: DATA
    S~ 503 5.5.1 *
    C: AUTH PLAIN
    S~ 503 5.5.1 *
    C: HELO client.test
    S: 250 mx.example.test
    C: AUTH PLAIN
    S~ 503 5.5.1 *
    C: RCPT TO:<ann@example.test>
    S~ 503 5.5.1 *
    C: MAIL FROM:<x@client.test>
    S~ 250 2.1.0 *
    C: MAIL FROM:<y@client.test>
    S~ 503 5.5.1 *
    C: DATA
    S~ 503 5.5.1 *
    C: RCPT TO:<nobody@example.test>
    S~ 550 5.1.1 *
    C: DATA
    S~ 503 5.5.1 *
    C: RSET
    S~ 250 2.0.0 *
    C: RCPT TO:<ann@example.test>
    S~ 503 5.5.1 *
    C: STARTTLS
    S~ 502 5.5.1 *
    C: LHLO x
    S~ 500 5.5.1 *
    C: NOOP whatever
    S~ 250 2.0.0 *
    C: VRFY ann
    S~ 252 2.0.0 *
    C: EXPN team
    S~ 502 5.5.1 *
    C: HELP
    S~ 214 2.0.0 *
    C: QUIT now
    S~ 501 5.5.4 *
    C: XYZZY
    S~ 500 5.5.2 *
  )");
}

TEST_CASE("EHLO and RSET forget the transaction") {
  auto directory = people();
  for (const std::string forget : {"HELO client.test\r\n", "RSET\r\n"}) {
    const auto terms = mx_terms();
    Talk talk{terms, directory};
    talk.feed("HELO client.test\r\nMAIL FROM:<x@client.test>\r\nRCPT TO:<ann@example.test>\r\n");
    CHECK(talk.conversation().in_transaction());
    talk.feed(forget);
    CHECK_FALSE(talk.conversation().in_transaction());
    talk.replies.clear();
    talk.feed("DATA\r\n");
    CHECK(talk.replies.starts_with("503 5.5.1"));
  }
}

TEST_CASE("broken lines are answered and counted, and too many end the session") {
  auto directory = people();
  auto terms = mx_terms();
  terms.errors = 5;
  run_script(terms, directory, R"(
    S~ 220 *
    C: EHLO ???
    S~ 501 5.5.4 *
    C: EHLO
    S~ 501 5.5.4 *
    C| NOOP\nQUIT\r\n
    S~ 500 5.5.2 *
    C| NO\0OP\r\n
    S~ 500 5.5.2 *
    C: MAIL FROM:<\xFC@x>
    S~ 503 5.5.1 *
    C: NOOP
    S~ 250 2.0.0 *
    C: XYZZY
    S~ 421 4.7.0 *
    C: NOOP
  )",
             [](Talk& talk) { CHECK_FALSE(talk.open); });
}

TEST_CASE("a command line holds 4096 octets, an AUTH line 12288") {
  auto directory = people();
  const auto terms = mx_terms();
  const auto answer = [&](std::string line, bool greet = false) {
    Talk talk{terms, directory};
    if (greet) talk.feed("EHLO client.test\r\n");
    talk.replies.clear();
    talk.feed(line + "\r\n");
    return talk.replies.substr(0, 9);
  };
  CHECK(answer("NOOP " + std::string(4096 - 7, 'a')) == "250 2.0.0");
  CHECK(answer("NOOP " + std::string(4096 - 6, 'a')) == "500 5.5.2");
  CHECK(answer("NOOP " + std::string(100'000, 'a')) == "500 5.5.2");
  CHECK(answer("AUTH SCRAM-SHA-256 " + std::string(8000, 'A'), true) != "500 5.5.2");
  CHECK(answer("AUTH SCRAM-SHA-256 " + std::string(20'000, 'A'), true) == "500 5.5.2");
  CHECK(answer("AUTH SCRAM-SHA-256\r\n" + std::string(20'000, 'A'), true) == "334 \r\n500");
}

TEST_CASE("addresses and parameters that are not taken") {
  auto directory = people();
  run_script(mx_terms(), directory, R"(
    S~ 220 *
    C: HELO client.test
    S~ 250 *
    C| MAIL FROM:<\xC3\xBC@client.test>\r\n
    S~ 553 5.6.7 *
    C: MAIL FROM:<a@b..c>
    S~ 501 5.1.7 *
    C: MAIL FROM:<x@client.test> RET=NONE
    S~ 501 5.5.4 *
    C: MAIL FROM:<x@client.test> COLOUR=RED
    S~ 555 5.5.4 *
    C: MAIL FROM:<x@client.test> SIZE=1001
    S~ 552 5.3.4 *
    C: MAIL FROM: <x@client.test> SIZE=1000
    S~ 250 2.1.0 *
    C| RCPT TO:<\xC3\xBC@example.test>\r\n
    S~ 553 5.6.7 *
    C: RCPT TO:<>
    S~ 501 5.1.3 *
    C: RCPT TO:<ann@example.test> NOTIFY=NEVER,DELAY
    S~ 501 5.5.4 *
    C: RCPT TO:<Postmaster>
    S~ 250 2.1.5 *
    C: RCPT TO:<ann>
    S~ 250 2.1.5 *
    C: RCPT TO:<@relay.test:bob@example.test>
    S~ 250 2.1.5 *
    C: RCPT TO:<team@example.test>
    S~ 452 4.5.3 *
  )",
             [](Talk& talk) { CHECK(talk.conversation().transaction()->envelope.owners.size() == 3); });
}

TEST_CASE("messages that are refused at their end leave the session usable") {
  auto directory = people();
  const std::string start =
      "\n C: MAIL FROM:<>\n S~ 250 2.1.0 *\n C: RCPT TO:<ann@example.test>\n S~ 250 2.1.5 *\n C: DATA\n S~ 354 *\n";
  const std::string big(120, 'x');
  std::string lines;
  for (int i = 0; i < 9; ++i) lines += "C: " + big + "\n";
  run_script(mx_terms(), directory,
             "S~ 220 *\n C: HELO client.test\n S~ 250 *\n" + start +
                 "C| a: b\\r\\n\\r\\nbody\\n.\\nMAIL FROM:<evil@x>\\r\\n\n C: .\n S~ 554 5.6.0 *\n" + start + lines +
                 "C: .\n S~ 552 5.3.4 *\n" + start +
                 "C: Received: 1\n C: RECEIVED: 2\n C: received: 3\n C:\n C: .\n S~ 554 5.4.6 *\n" + start +
                 "C: Received: 1\n C: Received: 2\n C:\n C: Received: 3\n C: .\n S: 250 2.0.0 id1 stored\n" + start +
                 "C: .\n S: 250 2.0.0 id2 stored\n",
             [](Talk& talk) {
               CHECK(talk.open);
               CHECK(talk.messages.size() == 2);
             });
}

TEST_CASE("an alias domain whose model is gone") {
  auto directory = people();
  directory.add_domain("orphan.test", "gone.test");
  run_script(mx_terms(), directory, R"(
    S~ 220 *
    C: HELO client.test
    S~ 250 *
    C: MAIL FROM:<>
    S~ 250 *
    C: RCPT TO:<ann@orphan.test>
    S~ 550 5.1.2 *
    C: RCPT TO:<ann@example.test>
    S~ 250 2.1.5 *
  )");
}

TEST_CASE("trouble with the store is a temporary answer") {
  auto directory = people();
  const auto fails_with = [](Cause cause) { return [cause](Talk& talk) { talk.store_fails = cause; }; };
  const std::string script = R"(
    S~ 220 *
    C: HELO client.test
    S~ 250 *
    C: MAIL FROM:<>
    S~ 250 *
    C: RCPT TO:<ann@example.test>
    S~ 250 *
    C: DATA
    S~ 354 *
    C: x
    C: .
  )";
  run_script(mx_terms(), directory, script + "S~ 452 4.3.1 *", {}, fails_with(Cause::store_full));
  run_script(mx_terms(), directory, script + "S~ 451 4.3.0 *", {}, fails_with(Cause::store_trouble));
  directory.broken = true;
  run_script(mx_terms(), directory, R"(
    S~ 220 *
    C: HELO client.test
    S~ 250 *
    C: MAIL FROM:<>
    S~ 250 *
    C: RCPT TO:<ann@example.test>
    S~ 451 4.3.0 *
  )");
}

TEST_CASE("one connection may bring only so much") {
  auto directory = people();
  const std::string message =
      "MAIL FROM:<>\r\nRCPT TO:<ann@example.test>\r\nDATA\r\n" + std::string(300, 'x') + "\r\n.\r\n";
  auto terms = mx_terms();
  SUBCASE("octets: the message that passes the limit is completed") {
    terms.session_octets = 500;
  }
  SUBCASE("messages") {
    terms.messages_per_session = 2;
  }
  Talk talk{terms, directory};
  talk.feed("HELO client.test\r\n" + message + message);
  CHECK(talk.messages.size() == 2);
  CHECK(talk.open);
  talk.replies.clear();
  talk.feed("MAIL FROM:<>\r\n");
  CHECK(talk.replies.starts_with("421 4.7.0"));
  CHECK_FALSE(talk.open);
}

TEST_CASE("what was pipelined behind STARTTLS is thrown away") {
  auto directory = people();
  auto terms = mx_terms();
  terms.has_certificate = true;
  terms.tls_required = true;
  Talk talk{terms, directory};
  talk.feed("EHLO client.test\r\n");
  CHECK(talk.replies.find("250-STARTTLS\r\n") != std::string::npos);
  CHECK(talk.replies.find("AUTH") == std::string::npos);
  talk.replies.clear();
  talk.feed("MAIL FROM:<>\r\nAUTH PLAIN AGEAYg==\r\nNOOP\r\nSTARTTLS x\r\n");
  CHECK(talk.replies.starts_with("530 5.7.0"));
  CHECK(talk.replies.find("\r\n530 5.7.0", 3) != std::string::npos);
  CHECK(talk.replies.find("\r\n501 5.5.4", 3) != std::string::npos);
  talk.replies.clear();
  talk.feed("STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@x>\r\n");
  CHECK(talk.replies == "220 2.0.0 ready for TLS\r\n");
  CHECK(talk.conversation().helo().empty());
  talk.replies.clear();
  talk.feed("MAIL FROM:<>\r\nSTARTTLS\r\nEHLO client.test\r\nSTARTTLS\r\n");
  CHECK(talk.replies.starts_with("503 5.5.1"));  // EHLO again first, RFC 3207 4.2
  CHECK(talk.replies.find("250-STARTTLS") == std::string::npos);
  CHECK(talk.replies.find("250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n") != std::string::npos);
  CHECK(talk.replies.ends_with("503 5.5.1 TLS is on already\r\n"));
}

TEST_CASE("with fcrdns the name in HELO must lead to the client (S71)") {
  auto directory = people();
  Terms terms = mx_terms();
  terms.helo_check = HeloCheck::fcrdns;
  const auto says = [](std::expected<bool, Cause> answer) {
    return [answer](Talk& talk) { talk.helo_leads_here = answer; };
  };
  run_script(terms, directory, R"(
    S~ 220 *
    C: HELO honest.client.test
    S: 250 mx.example.test
    C: MAIL FROM:<x@client.test>
    S~ 250 *
  )",
             [](Talk& talk) {
               CHECK(talk.helo_asked == "honest.client.test");
               CHECK(talk.conversation().helo() == "honest.client.test");
             });
  run_script(
      terms, directory, R"(
    S~ 220 *
    C: EHLO liar.client.test
    S~ 550 5.7.1 *
    C: MAIL FROM:<x@client.test>
    S~ 503 5.5.1 *
  )",
      [](Talk& talk) { CHECK(talk.conversation().helo().empty()); }, says(false));
  run_script(terms, directory, R"(
    S~ 220 *
    C: EHLO slow.client.test
    S~ 451 4.4.3 *
    C: MAIL FROM:<x@client.test>
    S~ 503 5.5.1 *
  )",
             {}, says(std::unexpected(Cause::helo_unverified)));
  run_script(terms, directory, R"(
    S~ 220 *
    C: EHLO no name
    S~ 501 5.5.4 *
  )",
             [](Talk& talk) { CHECK(talk.helo_asked.empty()); });
}

TEST_CASE("a refused HELO changes nothing, and refusals are counted") {
  auto directory = people();
  Terms terms = mx_terms();
  terms.helo_check = HeloCheck::fcrdns;
  terms.errors = 2;
  Talk talk{terms, directory};
  talk.feed("EHLO honest.client.test\r\nMAIL FROM:<x@client.test>\r\n");
  talk.helo_leads_here = false;
  talk.feed("EHLO liar.client.test\r\n");
  CHECK(talk.conversation().in_transaction());
  CHECK(talk.conversation().helo() == "honest.client.test");
  talk.helo_leads_here = std::unexpected(Cause::helo_unverified);
  for (int i = 0; i < 5; ++i) talk.feed("EHLO slow.client.test\r\n");  // nobody's mistake
  CHECK(talk.open);
  talk.helo_leads_here = false;
  talk.feed("EHLO liar.client.test\r\n");
  CHECK(talk.open);
  talk.feed("EHLO liar.client.test\r\n");
  CHECK(!talk.open);
}

TEST_CASE("without fcrdns nobody is asked for the name in HELO") {
  auto directory = people();
  for (const auto check : {HeloCheck::off, HeloCheck::syntax}) {
    Terms terms = mx_terms();
    terms.helo_check = check;
    Talk talk{terms, directory};
    talk.feed("EHLO client.test\r\n");
    CHECK(talk.helo_asked.empty());
    CHECK(talk.conversation().helo() == "client.test");
  }
}
