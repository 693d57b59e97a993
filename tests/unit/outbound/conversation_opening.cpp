#include <doctest/doctest.h>

#include "common/auth/sasl.hpp"
#include "common/auth/scram.hpp"
#include "dialogue.hpp"

using namespace test;
using namespace std::chrono_literals;

namespace {

ClientTerms with(Security security) {
  ClientTerms terms;
  terms.hostname = "us.test";
  terms.security = security;
  return terms;
}

ClientTerms with_account(Security security) {
  auto terms = with(security);
  terms.credentials = std::make_shared<const Credentials>(Credentials{"ann", common::Secret{"secret"}});
  return terms;
}

}  // namespace

TEST_CASE("the opening: EHLO, HELO for those who do not know it (RFC 5321 3.2), HELO at once (S90)") {
  {
    Dialogue talk;
    CHECK(talk.play({says("220 hi"), says("250-hi\n250 SIZE")}) == "EHLO us.test\r\n");
    CHECK(talk.rests());
    CHECK(talk.conversation.offered().size);
    CHECK(talk.conversation.reusable());
  }
  {
    Dialogue talk;
    CHECK(talk.play({says("220 hi"), says("502 what?"), says("250 hi")}) == "EHLO us.test\r\nHELO us.test\r\n");
    CHECK(talk.rests());
  }
  {
    auto terms = with(Security::opportunistic);
    terms.hello = Hello::helo;
    Dialogue talk{terms};
    // Even if it could answer HELO with extensions, none is used.
    CHECK(talk.play({says("220 hi"), says("250-hi\n250 SIZE 7")}) == "HELO us.test\r\n");
    CHECK(talk.rests());
    talk.message.eight_bit = true;
    CHECK(talk.send({}) == "MAIL FROM:<ann@us.test>\r\n");
  }
}

TEST_CASE("a peer that will not talk: its words, whether another host may do, temporary or not") {
  struct Row {
    std::vector<Event> events;
    Outcome outcome;
    Stage stage;
    std::string_view line, why;
  };
  const Row rows[] = {
      {{says("554 5.7.1 no service")}, Outcome::permanent, Stage::greeting, "554 5.7.1 no service", "RFC 7504"},
      {{says("521 no mail here")}, Outcome::permanent, Stage::greeting, "521 5.0.0 no mail here", "RFC 7504"},
      {{says("421 busy")}, Outcome::temporary, Stage::greeting, "421 4.0.0 busy", "later"},
      {{says("450 busy")}, Outcome::temporary, Stage::greeting, "450 4.0.0 busy", "later"},
      {{says("354 go")}, Outcome::temporary, Stage::greeting, "354 4.0.0 go", "nonsense"},
      {{closes()}, Outcome::temporary, Stage::greeting, "4.4.2 the connection was lost (waiting for the greeting)", ""},
      {{stalls()}, Outcome::temporary, Stage::greeting, "4.4.1 no answer in time (waiting for the greeting)", ""},
      {{says("SSH-2.0-x")}, Outcome::temporary, Stage::greeting, "4.5.0 a line that is no reply", "garbage"},
      {{says("220 hi"), says("421 bye")}, Outcome::temporary, Stage::hello, "421 4.0.0 bye", "RFC 5321 3.8"},
      {{says("220 hi"), says("450 no")}, Outcome::temporary, Stage::hello, "450 4.0.0 no", ""},
      {{says("220 hi"), says("500 no"), says("550 no")}, Outcome::permanent, Stage::hello, "550 5.0.0 no", ""},
      {{says("220 hi"), says("500 no"), closes()},
       Outcome::temporary,
       Stage::hello,
       "4.4.2 the connection was lost (at hello)",
       ""},
      {{says("220 hi"), says("250-a\n251 b")},
       Outcome::temporary,
       Stage::hello,
       "4.5.0 a reply whose code changes from line to line",
       "garbage"},
  };
  for (const auto& row : rows) {
    for (const std::size_t piece : {std::size_t{1}, SIZE_MAX}) {
      Dialogue talk;
      talk.piece = piece;
      CAPTURE(row.line);
      talk.play(row.events);
      CHECK(talk.done());
      REQUIRE(talk.conversation.failure());
      const auto& failure = *talk.conversation.failure();
      CHECK(failure.outcome == row.outcome);
      CHECK(failure.stage == row.stage);
      CHECK(format_answer(failure) == row.line);
      CHECK(failure.elsewhere);
      CHECK(!talk.conversation.reusable());
    }
  }
}

TEST_CASE("the levels of TLS (S59): offered, not offered, refused, broken") {
  struct Row {
    Security security;
    std::vector<Event> events;
    std::string_view sent;
    bool rests;
    std::string_view failure;
    bool broke;
  };
  const auto plain = says("250 hi");
  const auto offers = says("250-hi\n250 STARTTLS");
  const Row rows[] = {
      {Security::none, {says("220 a"), offers}, "EHLO us.test\r\n", true, "", false},
      {Security::opportunistic, {says("220 a"), plain}, "EHLO us.test\r\n", true, "", false},
      {Security::opportunistic,
       {says("220 a"), offers, says("220 go"), shakes_hands(), plain},
       "EHLO us.test\r\nSTARTTLS\r\nEHLO us.test\r\n",
       true,
       "",
       false},
      {Security::opportunistic,
       {says("220 a"), offers, says("454 4.7.0 no")},
       "EHLO us.test\r\nSTARTTLS\r\n",
       true,
       "",
       false},
      {Security::opportunistic,
       {says("220 a"), offers, says("220 go"), breaks_tls()},
       "EHLO us.test\r\nSTARTTLS\r\n",
       false,
       "4.7.5 TLS failed: no common cipher",
       true},
      {Security::tls,
       {says("220 a"), plain},
       "EHLO us.test\r\nQUIT\r\n",
       false,
       "4.7.4 TLS is asked for, and the server does not offer it",
       false},
      {Security::tls,
       {says("220 a"), says("500 a"), says("250 b")},
       "EHLO us.test\r\nHELO us.test\r\nQUIT\r\n",
       false,
       "4.7.4 TLS is asked for, and the server does not offer it",
       false},
      {Security::tls,
       {says("220 a"), offers, says("554 5.7.3 no")},
       "EHLO us.test\r\nSTARTTLS\r\nQUIT\r\n",
       false,
       "554 5.7.3 no",
       false},
      {Security::verify,
       {says("220 a"), offers, says("220 go"), breaks_tls()},
       "EHLO us.test\r\nSTARTTLS\r\n",
       false,
       "4.7.5 TLS failed: no common cipher",
       false},
  };
  for (const auto& row : rows) {
    Dialogue talk{with(row.security)};
    CAPTURE(name_of(row.security));
    CAPTURE(row.failure);
    CHECK(talk.play(row.events) == row.sent);
    CHECK(talk.rests() == row.rests);
    CHECK(talk.conversation.tls_broke() == row.broke);
    CHECK(talk.conversation.failure().has_value() == !row.rests);
    if (talk.conversation.failure()) {
      CHECK(format_answer(*talk.conversation.failure()) == row.failure);
      CHECK(talk.conversation.failure()->outcome == Outcome::temporary);
    }
  }
  Dialogue without{with(Security::opportunistic), Attempt::without_tls};
  CHECK(without.play({says("220 a"), offers}) == "EHLO us.test\r\n");
  CHECK(without.rests());
}

TEST_CASE("what comes in the clear behind the go-ahead of STARTTLS is forgotten (RFC 3207 6)") {
  Dialogue talk{with(Security::tls)};
  talk.play({says("220 a"), says("250-hi\n250-STARTTLS\n250 SIZE 10"), says("220 go\n250-evil\n250-SIZE 5\n250 AU")});
  CHECK(std::holds_alternative<Handshake>(talk.step));
  CHECK(talk.play({shakes_hands()}) == "EHLO us.test\r\n");
  talk.play({says("250 hi")});
  CHECK(talk.rests());
  CHECK(!talk.conversation.offered().size);
}

TEST_CASE("AUTH: PLAIN and LOGIN, over TLS only unless the route says none (S58)") {
  const auto offers_plain = says("250-hi\n250 AUTH PLAIN LOGIN");
  {
    Dialogue talk{with_account(Security::none)};
    CHECK(talk.play({says("220 a"), offers_plain, says("235 in")}) ==
          "EHLO us.test\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n");
    CHECK(talk.rests());
  }
  {
    Dialogue talk{with_account(Security::none)};
    CHECK(talk.play({says("220 a"), says("250-hi\n250 AUTH LOGIN"), says("334 VXNlcm5hbWU6"), says("334 UGFzc3dvcmQ6"),
                     says("235 in")}) == "EHLO us.test\r\nAUTH LOGIN\r\nYW5u\r\nc2VjcmV0\r\n");
    CHECK(talk.rests());
  }
  for (const auto attempt : {Attempt::first, Attempt::without_tls}) {
    Dialogue talk{with_account(Security::opportunistic), attempt};
    CHECK(talk.play({says("220 a"), offers_plain}) == "EHLO us.test\r\nQUIT\r\n");
    CHECK(talk.conversation.failure()->stage == Stage::auth);
    CHECK(talk.conversation.failure()->outcome == Outcome::temporary);
  }
  {
    Dialogue talk{with_account(Security::none)};
    talk.play({says("220 a"), says("250 hi")});
    CHECK(talk.conversation.failure()->text == "the server offers no way to authenticate that we know");
  }
}

TEST_CASE("AUTH refused: the mail waits; the next mechanism is tried for a permanent no, not for a temporary one") {
  const auto offers = says("250-hi\n250 AUTH PLAIN LOGIN");
  {
    Dialogue talk{with_account(Security::none)};
    CHECK(talk.play({says("220 a"), offers, says("535 5.7.8 wrong"), says("535 5.7.8 wrong again")}) ==
          "EHLO us.test\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nAUTH LOGIN\r\nQUIT\r\n");
    CHECK(format_answer(*talk.conversation.failure()) == "535 5.7.8 wrong again");
    CHECK(talk.conversation.failure()->outcome == Outcome::temporary);
  }
  {
    Dialogue talk{with_account(Security::none)};
    CHECK(talk.play({says("220 a"), offers, says("454 4.7.0 later")}) ==
          "EHLO us.test\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nQUIT\r\n");
    CHECK(format_answer(*talk.conversation.failure()) == "454 4.7.0 later");
  }
  {
    // A server that asks on and on.
    Dialogue talk{with_account(Security::none)};
    CHECK(talk.play({says("220 a"), says("250-hi\n250 AUTH PLAIN"), says("334 "), says("501 cancelled")}) ==
          "EHLO us.test\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n*\r\nQUIT\r\n");
    CHECK(talk.conversation.failure()->text == "PLAIN was asked for more than there is");
  }
}

TEST_CASE("AUTH SCRAM-SHA-256 and -PLUS against the server's side of common/auth") {
  common::auth::StoredKeys keys;
  keys.version = 1;
  keys.scram_sha256 = common::auth::format_scram(common::auth::derive_scram("secret", "0123456789abcdef", 4096));
  for (const bool plus : {false, true}) {
    for (const bool honest : {true, false}) {
      Dialogue talk{with_account(Security::none)};
      if (plus) {
        talk.channel.exporter = std::string(32, 'x');
        ClientTerms terms = with_account(Security::tls);
        talk.conversation = ClientConversation{std::make_shared<const ClientTerms>(std::move(terms))};
        talk.step = talk.conversation.start();
        talk.play({says("220 a"), says("250-a\n250 STARTTLS"), says("220 go"), shakes_hands()});
      } else {
        talk.play({says("220 a")});
      }
      const std::string name = plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256";
      auto server = common::auth::Sasl::start(name, talk.channel);
      REQUIRE(server);
      const auto octets = [](std::string_view line) {
        return *common::auth::decode_base64(line.substr(0, line.size() - 2));
      };
      auto said = talk.play({says("250-a\n250 AUTH PLAIN " + name)});
      REQUIRE(said.starts_with("AUTH " + name + " "));
      auto step = server->begin(octets(std::string_view{said}.substr(name.size() + 6)));
      REQUIRE(std::holds_alternative<common::auth::NeedKeys>(step));
      step = server->give_keys(keys);
      said = talk.play({says("334 " + common::auth::encode_base64(std::get<common::auth::Challenge>(step).octets))});
      step = server->answer(octets(said));
      REQUIRE(std::holds_alternative<common::auth::Success>(step));
      CHECK(std::get<common::auth::Success>(step).account == "ann");
      if (honest) {
        CHECK(talk.play({says("334 " + common::auth::encode_base64(std::get<common::auth::Success>(step).last))}) ==
              "\r\n");
        talk.play({says("235 in")});
        CHECK(talk.rests());
      } else {
        // An impostor that lets everybody in does not get the mail.
        talk.play({says("235 in")});
        CHECK(talk.done());
        CHECK(talk.conversation.failure()->text == "the server did not prove that it knows the password");
      }
    }
  }
}

TEST_CASE("AUTH CRAM-MD5: before a password, and the next mechanism where the secret is another") {
  const auto challenge = says("334 " + common::auth::encode_base64("<1896.697170952@postoffice.reston.mci.net>"));
  // "ann 733ba87e64ed7e441f062c4ac6db0103", the digest by "secret"
  const std::string answer = "YW5uIDczM2JhODdlNjRlZDdlNDQxZjA2MmM0YWM2ZGIwMTAz\r\n";
  {
    Dialogue talk{with_account(Security::none)};
    CHECK(talk.play({says("220 a"), says("250-a\n250 AUTH PLAIN CRAM-MD5"), challenge, says("235 in")}) ==
          "EHLO us.test\r\nAUTH CRAM-MD5\r\n" + answer);
    CHECK(talk.rests());
  }
  {
    Dialogue talk{with_account(Security::none)};
    CHECK(talk.play({says("220 a"), says("250-a\n250 AUTH PLAIN CRAM-MD5"), challenge, says("535 wrong")}) ==
          "EHLO us.test\r\nAUTH CRAM-MD5\r\n" + answer + "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n");
  }
  {
    Dialogue talk{with_account(Security::none)};
    talk.play({says("220 a"), says("250-a\n250 AUTH CRAM-MD5"), says("235 in")});
    CHECK(talk.done());
  }
}

TEST_CASE("a server that asks for years of work in SCRAM gets the next mechanism") {
  Dialogue talk{with_account(Security::none)};
  auto said = talk.play({says("220 a"), says("250-a\n250 AUTH SCRAM-SHA-256 PLAIN")});
  const auto at = said.find("AUTH SCRAM-SHA-256 ") + 19;
  const auto first = *common::auth::decode_base64(std::string_view{said}.substr(at, said.size() - at - 2));
  const auto nonce = first.substr(first.find("r=") + 2);
  said = talk.play({says("334 " + common::auth::encode_base64("r=" + nonce + "xyz,s=MDEyMw==,i=4000000000"))});
  CHECK(said == "*\r\n");
  CHECK(talk.play({says("501 5.7.0 cancelled")}) == "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n");
}

TEST_CASE("as long as RFC 5321 4.5.3.2 says, and no longer than the server's own time-out (S61)") {
  Dialogue talk;
  talk.play({says("220 a"), says("250 hi")});
  talk.send({says("250 a"), says("250 b"), says("354 c"), says("250 d")});
  const std::vector<std::chrono::milliseconds> want{5min, 5min, 5min, 5min, 2min, 10min};
  CHECK(talk.waits == want);

  auto terms = with(Security::none);
  terms.timeouts = shortened(terms.timeouts, 3min);
  Dialogue brief{terms};
  brief.play({says("220 a"), says("250 hi")});
  brief.send({says("250 a"), says("250 b"), says("354 c"), says("250 d")});
  const std::vector<std::chrono::milliseconds> shorter{3min, 3min, 3min, 3min, 2min, 3min};
  CHECK(brief.waits == shorter);
  CHECK(shortened(Timeouts{}, 0ms).end == 10min);
}

TEST_CASE("a command that is no part of a transaction: its answer, or that there was none (S94, S95)") {
  struct Row {
    std::vector<Event> events;
    Outcome outcome;
    std::string_view line;
    bool rests;
  };
  const Row rows[] = {
      {{says("253 3 pending messages started")}, Outcome::delivered, "253 2.0.0 3 pending messages started", true},
      {{says("250-2.0.0 OK\n250 2.0.0 started")}, Outcome::delivered, "250 2.0.0 OK\nstarted", true},
      {{says("459 4.7.1 not yours")}, Outcome::temporary, "459 4.7.1 not yours", true},
      {{says("502 5.5.1 what?")}, Outcome::permanent, "502 5.5.1 what?", true},
      {{says("421 4.3.2 enough")}, Outcome::temporary, "421 4.3.2 enough", false},
      {{closes()}, Outcome::temporary, "4.4.2 the connection was lost (at ours)", false},
      {{stalls()}, Outcome::temporary, "4.4.1 no answer in time (at ours)", false},
  };
  for (const auto& row : rows) {
    for (const std::size_t piece : {SIZE_MAX, std::size_t{1}}) {
      CAPTURE(row.line);
      Dialogue talk;
      talk.piece = piece;
      talk.play({says("220 hi"), says("250 hi")});
      CHECK(talk.ask("ETRN far.test", row.events) == "ETRN far.test\r\n");
      CHECK(talk.conversation.said().outcome == row.outcome);
      CHECK(format_answer(talk.conversation.said()) == row.line);
      CHECK(talk.rests() == row.rests);
      CHECK(talk.conversation.resting() == row.rests);
      CHECK_FALSE(talk.conversation.failure());
    }
  }
}
