#include <doctest/doctest.h>

#include "script.hpp"

/// ETRN (RFC 1985), ATRN (RFC 2645) and TURN as the conversation has them: S94, S95.
namespace {

using smtpd::outbound::RunAnswer;
using smtpd::outbound::TurnAnswer;

smtpd::Terms make_terms() {
  smtpd::Terms terms;
  terms.server = "mx";
  terms.hostname = "mx.example.test";
  terms.default_domain = "example.test";
  terms.passwords_need_tls = false;
  terms.mechanisms = {"PLAIN"};
  return terms;
}

FakeDirectory make_directory() {
  FakeDirectory directory;
  directory.add_domain("example.test");
  directory.add_mailbox("ann@example.test", "secret");
  return directory;
}

constexpr std::string_view hello = R"(
    S: 220 mx.example.test ESMTP
    C: EHLO client.test
    S~ 250-mx.example.test
    S: 250-PIPELINING
    S~ 250-SIZE*
    S: 250-8BITMIME
    S: 250-CHUNKING
    S: 250-DSN
    S: 250-SMTPUTF8
    S: 250-AUTH PLAIN
    S: 250-ATRN
    S: 250-ETRN
    S: 250 ENHANCEDSTATUSCODES
)";
// NUL ann@example.test NUL secret
constexpr std::string_view log_in = R"(
    C: AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAc2VjcmV0
    S: 235 2.7.0 authenticated
)";

std::string after(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const auto part : parts) {
    text += part;
    text += '\n';
  }
  return text;
}

}  // namespace

TEST_CASE("S94: ETRN is answered by what the queue says") {
  struct Row {
    RunAnswer answer;
    std::string_view reply;
  };
  using enum RunAnswer::What;
  const Row rows[] = {
      {{started, {}}, "S: 250 2.0.0 OK, queuing for node started"},
      {{started, 3}, "S: 253 2.0.0 OK, 3 pending messages for node started"},
      {{nothing, {}}, "S: 251 2.0.0 OK, no messages waiting for node"},
      {{unable, {}}, "S: 458 4.3.0 unable to queue messages for node, try again later"},
      {{refused, {}}, "S: 459 4.7.1 node not allowed: its mail is not sent on from here"},
  };
  auto directory = make_directory();
  const auto terms = make_terms();
  for (const auto& row : rows) {
    CAPTURE(row.reply);
    run_script(
        terms, directory, after({hello, "C: ETRN Far.Test", row.reply}),
        [](Talk& talk) { CHECK(talk.asked == "far.test"); }, [&](Talk& talk) { talk.run_answer = row.answer; });
  }
}

TEST_CASE("S94: ETRN of nonsense, and where it may not come") {
  auto directory = make_directory();
  const auto terms = make_terms();
  run_script(terms, directory, after({hello, R"(
    C: ETRN
    S: 501 5.5.4 syntax error, expected domain
    C: ETRN @
    S: 501 5.5.4 syntax error, expected domain
    C: ETRN far..test
    S: 501 5.5.4 syntax error, expected domain
    C: ETRN #
    S: 501 5.5.4 syntax error, expected queue name
    C: ETRN #a b
    S: 501 5.5.4 syntax error, expected queue name
    C: ETRN far.test other.test
    S: 501 5.5.4 syntax error, expected domain
    C: MAIL FROM:<x@client.test>
    S: 250 2.1.0 sender ok
    C: ETRN far.test
    S: 503 5.5.1 not during a mail transaction
  )"}),
             [](Talk& talk) { CHECK(talk.asked.empty()); });
  run_script(terms, directory, R"(
    S: 220 mx.example.test ESMTP
    C: ETRN far.test
    S: 503 5.5.1 send HELO or EHLO (LMTP: LHLO) first
  )");
  auto lmtp = make_terms();
  lmtp.lmtp = true;
  run_script(lmtp, directory, R"(
    S: 220 mx.example.test LMTP
    C: ETRN far.test
    S: 502 5.5.1 command not implemented
    C: ATRN
    S: 502 5.5.1 command not implemented
    C: TURN
    S: 502 5.5.1 command not implemented
  )");
}

TEST_CASE("S95: ATRN and TURN only for those who are known") {
  auto directory = make_directory();
  const auto terms = make_terms();
  run_script(terms, directory,
             after({hello, R"(
    C: ATRN far.test
    S: 530 5.7.0 authentication required
    C: TURN
    S: 530 5.7.0 authentication required
  )",
                    log_in, R"(
    C: ATRN far.test
    S: 450 4.7.1 request refused: not your mail
    C: TURN
    S: 450 4.7.1 request refused: not your mail
    C: TURN far.test
    S: 501 5.5.4 syntax error, expected end of line
    C: ATRN far.test,
    S: 501 5.5.4 syntax error, expected domain
    C: ATRN ,
    S: 501 5.5.4 syntax error, expected domain
  )"}),
             [](Talk& talk) { CHECK(talk.asked == "ann@example.test"); });
}

TEST_CASE("S95: what the queue says to ATRN; granted, the conversation is over") {
  struct Row {
    TurnAnswer answer;
    std::string_view reply;
  };
  using enum TurnAnswer;
  const Row rows[] = {
      {nothing, "S: 453 4.2.0 you have no mail"},
      {unable, "S: 451 4.3.2 unable to process the request now, try again later"},
      {needs_tls, "S: 530 5.7.0 must issue STARTTLS first"},
      {granted, "S: 250 2.0.0 OK now reversing the connection"},
  };
  auto directory = make_directory();
  const auto terms = make_terms();
  for (const auto& row : rows) {
    CAPTURE(row.reply);
    run_script(
        terms, directory, after({hello, log_in, "C: ATRN Far.test,other.test,FAR.test", row.reply}),
        [&](Talk& talk) {
          CHECK(talk.asked == "ann@example.test far.test other.test");
          CHECK(talk.open == (row.answer != granted));
        },
        [&](Talk& talk) { talk.turn_answer = row.answer; });
  }
}

TEST_CASE("S95: who asked by ATRN takes mail of the one domain, and offers nothing else") {
  auto directory = make_directory();
  directory.add_domain("other.test");
  directory.add_mailbox("bob@other.test");
  directory.add_remote_domain("far.test", {.allow_relay = true});
  auto terms = make_terms();
  terms.only_domain = "example.test";
  terms.mechanisms.clear();
  run_script(terms, directory, R"(
    S: 220 mx.example.test ESMTP
    C: EHLO provider.test
    S~ 250-mx.example.test
    S: 250-PIPELINING
    S~ 250-SIZE*
    S: 250-8BITMIME
    S: 250-CHUNKING
    S: 250-DSN
    S: 250-SMTPUTF8
    S: 250 ENHANCEDSTATUSCODES
    C: ETRN example.test
    S: 502 5.5.1 command not implemented
    C: ATRN
    S: 502 5.5.1 command not implemented
    C: MAIL FROM:<x@client.test>
    S: 250 2.1.0 sender ok
    C: RCPT TO:<bob@other.test>
    S: 550 5.7.1 relaying denied
    C: RCPT TO:<x@far.test>
    S: 550 5.7.1 relaying denied
    C: RCPT TO:<ann@example.test>
    S: 250 2.1.5 recipient ok
  )");
}

TEST_CASE("S95: <Postmaster> alone is taken over a reversed connection, whatever domain it is for (RFC 5321 4.5.1)") {
  auto directory = make_directory();
  directory.add_mailbox("postmaster@example.test");
  directory.add_domain("second.test");
  auto terms = make_terms();
  terms.only_domain = "second.test";
  terms.mechanisms.clear();
  run_script(terms, directory, R"(
    S: 220 mx.example.test ESMTP
    C: HELO provider.test
    S: 250 mx.example.test
    C: MAIL FROM:<x@client.test>
    S: 250 2.1.0 sender ok
    C: RCPT TO:<Postmaster>
    S: 250 2.1.5 recipient ok
    C: RCPT TO:<postmaster@second.test>
    S: 250 2.1.5 recipient ok
    C: RCPT TO:<postmaster@example.test>
    S: 550 5.7.1 relaying denied
    C: RCPT TO:<ann>
    S: 550 5.7.1 relaying denied
  )");
}
