#include <doctest/doctest.h>

#include "dialogue.hpp"

using namespace test;

namespace {

Dialogue opened(std::string_view extensions = "",
                ClientTerms terms = {.hostname = "us.test", .security = Security::none, .timeouts = {}}) {
  Dialogue talk{std::move(terms)};
  std::string text = "250";
  text += extensions.empty() ? " hi" : "-hi";
  while (!extensions.empty()) {
    const auto end = extensions.find(',');
    text += end == extensions.npos ? "\n250 " : "\n250-";
    text += extensions.substr(0, end);
    extensions = end == extensions.npos ? std::string_view{} : extensions.substr(end + 1);
  }
  talk.play({says("220 hi"), says(text)});
  REQUIRE(talk.rests());
  return talk;
}

std::vector<Recipient> people(std::size_t count, std::string_view domain = "there.test") {
  std::vector<Recipient> made;
  for (std::size_t i = 0; i < count; ++i) made.push_back({"r" + std::to_string(i) + "@" + std::string{domain}, 0, {}});
  return made;
}

std::vector<Event> say_times(std::string_view text, std::size_t count) {
  return std::vector<Event>(count, says(text));
}
std::vector<Event> operator+(std::vector<Event> a, const std::vector<Event>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string outcomes(const Dialogue& talk) {
  std::string letters;
  for (const auto& answer : talk.answers) letters += "-dtp?"[static_cast<int>(answer.outcome)];
  return letters;
}

}  // namespace

TEST_CASE("a message, command by command and pipelined (RFC 5321 3.3, RFC 2920)") {
  auto plain = opened();
  CHECK(plain.send({says("250 a"), says("250 b"), says("354 c"), says("250 2.0.0 queued as X")}) ==
        "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n[message].\r\n");
  CHECK(plain.rests());
  CHECK(outcomes(plain) == "d");
  CHECK(format_answer(plain.answers[0]) == "250 2.0.0 queued as X");
  CHECK(plain.conversation.reusable());

  auto piped = opened("PIPELINING,SIZE,8BITMIME");
  CHECK(piped.send({}) == "MAIL FROM:<ann@us.test> SIZE=100\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n");
  CHECK(piped.play({says("250 a\n250 b\n354 c"), says("250 2.0.0 d")}) == "[message].\r\n");
  CHECK(outcomes(piped) == "d");
  // The next one on the same connection.
  CHECK(piped.send({says("250 a\n250 b\n354 c"), says("250 2.0.0 d")}).starts_with("MAIL FROM:"));
  CHECK(outcomes(piped) == "d");
}

TEST_CASE("the null reverse-path, and parameters as offered (RFC 1870, 6152, 6531, 3461)") {
  auto talk = opened("PIPELINING,SIZE 1000,8BITMIME,SMTPUTF8,DSN");
  talk.message.reverse_path = "";
  talk.message.eight_bit = true;
  talk.message.utf8 = true;
  talk.message.return_content = ReturnContent::headers;
  talk.message.envelope_id = "QQ314159";
  talk.message.recipients = {
      {"bob@there.test", notify_success | notify_failure | notify_delay, "rfc822;Bob@there.test"},
      {"eve@there.test", notify_never, {}}};
  CHECK(talk.send({}) ==
        "MAIL FROM:<> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159\r\n"
        "RCPT TO:<bob@there.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Bob@there.test\r\n"
        "RCPT TO:<eve@there.test> NOTIFY=NEVER\r\nDATA\r\n");
  talk.play({says("250 a\n250 b\n250 b\n354 c"), says("250 d")});
  CHECK(talk.answers[0].dsn_passed_on);

  auto bare = opened();
  bare.message = talk.message;
  bare.message.utf8 = false;
  CHECK(bare.send({}) == "MAIL FROM:<>\r\n");
  CHECK(bare.play({says("250 a"), says("250 b"), says("250 b"), says("354 c"), says("250 d")}) ==
        "RCPT TO:<bob@there.test>\r\nRCPT TO:<eve@there.test>\r\nDATA\r\n[message].\r\n");
  CHECK(!bare.answers[0].dsn_passed_on);
}

TEST_CASE("parameters that could be more than one are not sent") {
  auto talk = opened("DSN,8BITMIME");
  talk.message.envelope_id = "a b";
  talk.message.recipients[0].original_recipient = "rfc822;x\r\nRSET";
  CHECK(talk.send({says("250 a")}) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\n");
  auto evil = opened("8BITMIME");
  evil.message.recipients = {{"a@b>\r\nDATA", 0, {}}, {"bob@there.test", 0, {}}};
  CHECK(evil.send({says("250 a"), says("250 b"), says("354 c"), says("250 d")}) ==
        "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n[message].\r\n");
  CHECK(outcomes(evil) == "pd");
  CHECK(evil.answers[0].enhanced == "5.1.3");
  evil.message.reverse_path = "x\r\nRSET";
  CHECK(evil.send({}).empty());
  CHECK(outcomes(evil) == "pp");
}

TEST_CASE("BDAT where no dot is stuffed, once somebody has been accepted (RFC 3030)") {
  auto talk = opened("PIPELINING,CHUNKING,8BITMIME");
  talk.message.stuffed = false;
  talk.message.stored_octets = 100;
  CHECK(talk.send({}) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\n");
  CHECK(talk.play({says("250 a\n250 b"), says("250 d")}) == "BDAT 100 LAST\r\n[message]");
  CHECK(outcomes(talk) == "d");
  // Nobody: no octet of the message is sent, and the transaction is taken back with the next one.
  CHECK(talk.send({says("250 a\n550 5.1.1 no")}) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\n");
  CHECK(outcomes(talk) == "p");
  CHECK(talk.send({}) == "RSET\r\nMAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\n");
  CHECK(talk.play({says("250 r\n250 a\n250 b"), says("250 d")}) == "BDAT 100 LAST\r\n[message]");
  talk.message.stuffed = true;
  CHECK(talk.send({}) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n");
}

TEST_CASE("what stands in front of a message counts where its size does") {
  auto talk = opened("PIPELINING,SIZE 110,8BITMIME,CHUNKING");
  talk.message.stuffed = false;
  talk.message.stored_octets = 100;
  talk.message.front = "X-Ten: 67\r\n";
  CHECK(talk.send({}).empty());
  CHECK(outcomes(talk) == "p");
  talk.message.front = "X-T: 67\r\n";
  CHECK(talk.send({}) == "MAIL FROM:<ann@us.test> SIZE=109\r\nRCPT TO:<bob@there.test>\r\n");
  CHECK(talk.play({says("250 a\n250 b"), says("250 d")}) == "BDAT 109 LAST\r\n[message]");
}

TEST_CASE("each recipient has its answer (RFC 5321 4.2.1)") {
  struct Row {
    std::vector<Event> events;
    std::string_view outcomes, sent, why;
  };
  // Of three recipients, pipelined; what is sent behind the first group.
  const Row rows[] = {
      {{says("250 m\n250 a\n250 b\n250 c\n354 go"), says("250 ok")}, "ddd", "[message].\r\n", "all is well"},
      {{says("250 m\n250 a\n550 b\n450 c\n354 go"), says("250 ok")}, "dpt", "[message].\r\n", "some"},
      {{says("250 m\n251 a\n252 b\n250 c\n354 go"), says("250 ok")}, "ddd", "[message].\r\n", "any 2xx"},
      {{says("250 m\n250 a\n550 b\n450 c\n354 go"), says("554 5.7.1 spam")}, "ppt", "[message].\r\n", "end 5xx"},
      {{says("250 m\n250 a\n550 b\n450 c\n354 go"), says("452 full")}, "tpt", "[message].\r\n", "end 4xx"},
      {{says("250 m\n550 a\n550 b\n450 c\n354 go"), says("554 nobody")},
       "ppt",
       ".\r\n",
       "nobody, and 354 all the same"},
      {{says("250 m\n550 a\n550 b\n450 c\n503 nobody")}, "ppt", "", "nobody"},
      {{says("550 m\n503 a\n503 b\n503 c\n503 go")}, "ppp", "", "MAIL refused"},
      {{says("451 m\n503 a\n503 b\n503 c\n503 go")}, "ttt", "", "MAIL refused for now"},
      {{says("451 m\n503 a\n503 b\n503 c\n354 go"), says("554 a")}, "ttt", ".\r\n", "MAIL refused, and 354"},
      {{says("250 m\n250 a\n250 b\n550 c\n451 go")}, "ttp", "", "DATA refused for now"},
      {{says("250 m\n250 a\n250 b\n550 c\n554 go")}, "ppp", "", "DATA refused"},
  };
  for (const auto& row : rows) {
    for (const std::size_t piece : {std::size_t{1}, SIZE_MAX}) {
      auto talk = opened("PIPELINING,8BITMIME");
      CAPTURE(row.why);
      talk.piece = piece;
      talk.message.recipients = people(3);
      talk.send({});
      CHECK(talk.play(row.events) == row.sent);
      CHECK(outcomes(talk) == row.outcomes);
      CHECK(talk.rests());
      CHECK(talk.conversation.reusable());
    }
  }
}

TEST_CASE("the same without pipelining: nothing is said that need not be") {
  auto talk = opened("8BITMIME");
  talk.message.recipients = people(3);
  CHECK(talk.send({says("550 m")}) == "MAIL FROM:<ann@us.test>\r\n");
  CHECK(outcomes(talk) == "ppp");
  CHECK(talk.rests());
  CHECK(talk.send({says("250 m"), says("550 a"), says("550 b"), says("450 c")}) ==
        "MAIL FROM:<ann@us.test>\r\nRCPT TO:<r0@there.test>\r\nRCPT TO:<r1@there.test>\r\nRCPT TO:<r2@there.test>\r\n");
  CHECK(outcomes(talk) == "ppt");
  CHECK(talk.send({says("250 reset"), says("250 m")}) ==
        "RSET\r\nMAIL FROM:<ann@us.test>\r\nRCPT TO:<r0@there.test>\r\n");
}

TEST_CASE(
    "recipients are split at our limit, at the peer's words, and where it stops (S46, RFC 9422, RFC 5321 4.5.3.1.10)") {
  {
    // 105 recipients: 100 and 5.
    auto talk = opened("PIPELINING,8BITMIME");
    talk.message.recipients = people(105);
    talk.send({});
    const auto second =
        talk.play(std::vector{says("250 m")} + say_times("250 r", 100) + std::vector{says("354 go"), says("250 ok")});
    CHECK(second.starts_with("[message].\r\nMAIL FROM:<ann@us.test>\r\nRCPT TO:<r100@there.test>\r\n"));
    talk.play(std::vector{says("250 m")} + say_times("250 r", 5) + std::vector{says("354 go"), says("250 ok")});
    CHECK(outcomes(talk) == std::string(105, 'd'));
    CHECK(talk.rests());
    CHECK(talk.conversation.messages() == 2);
  }
  {
    auto talk = opened("PIPELINING,8BITMIME,LIMITS RCPTMAX=2");
    talk.message.recipients = people(3);
    CHECK(talk.send({}) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<r0@there.test>\r\nRCPT TO:<r1@there.test>\r\nDATA\r\n");
    CHECK(talk.play({says("250 m\n250 a\n250 b\n354 go"), says("250 ok")}) ==
          "[message].\r\nMAIL FROM:<ann@us.test>\r\nRCPT TO:<r2@there.test>\r\nDATA\r\n");
  }
  {
    auto talk = opened("PIPELINING,8BITMIME,LIMITS RCPTDOMAINMAX=1");
    talk.message.recipients = {{"a@one.test", 0, {}}, {"b@two.test", 0, {}}, {"c@one.test", 0, {}}};
    CHECK(talk.send({}) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<a@one.test>\r\nRCPT TO:<c@one.test>\r\nDATA\r\n");
    CHECK(talk.play({says("250 m\n250 a\n250 b\n354 go"), says("250 ok")}) ==
          "[message].\r\nMAIL FROM:<ann@us.test>\r\nRCPT TO:<b@two.test>\r\nDATA\r\n");
    talk.play({says("250 m\n250 a\n354 go"), says("250 ok")});
    CHECK(outcomes(talk) == "ddd");
  }
  for (const std::string words :
       {"452 4.5.3 too many recipients", "452 too many", "552 too many", "552 5.5.3 enough"}) {
    CAPTURE(words);
    auto talk = opened("PIPELINING,8BITMIME");
    talk.message.recipients = people(5);
    talk.send({});
    CHECK(
        talk.play({says("250 m\n250 a\n250 b\n" + words + "\n" + words + "\n" + words + "\n354 go"), says("250 ok")}) ==
        "[message].\r\nMAIL FROM:<ann@us.test>\r\nRCPT TO:<r2@there.test>\r\nRCPT TO:<r3@there.test>\r\nDATA\r\n");
    talk.play({says("250 m\n250 a\n250 b\n354 go"), says("250 ok"), says("250 m\n250 a\n354 go"), says("250 ok")});
    CHECK(outcomes(talk) == "ddddd");
  }
  {
    // Without pipelining it stops at the first.
    auto talk = opened("8BITMIME");
    talk.message.recipients = people(3);
    talk.send({says("250 m"), says("250 a")});
    CHECK(talk.play({says("452 4.5.3 enough")}) == "DATA\r\n");
    CHECK(talk.play({says("354 go"), says("250 ok")}) == "[message].\r\nMAIL FROM:<ann@us.test>\r\n");
  }
  {
    // A full mailbox is not a full transaction; and 452 to the first is about that one.
    auto talk = opened("PIPELINING,8BITMIME");
    talk.message.recipients = people(2);
    talk.send({});
    talk.play({says("250 m\n250 a\n452 4.2.2 mailbox full\n354 go"), says("250 ok")});
    CHECK(outcomes(talk) == "dt");
    talk.send({});
    talk.play({says("250 m\n452 4.5.3 a\n452 4.5.3 b\n503 nobody")});
    CHECK(outcomes(talk) == "tt");
    CHECK(talk.rests());
  }
}

TEST_CASE("messages on one connection: ours and the peer's limit (S45, RFC 9422 MAILMAX)") {
  ClientTerms terms{.hostname = "us.test", .security = Security::none, .messages = 2, .timeouts = {}};
  for (const bool peers : {false, true}) {
    auto talk = peers ? opened("PIPELINING,8BITMIME,LIMITS MAILMAX=2") : opened("PIPELINING,8BITMIME", terms);
    for (int i = 0; i < 2; ++i) {
      CHECK(talk.conversation.reusable());
      talk.send({});
      talk.play({says("250 m\n250 a\n354 go"), says("250 ok")});
    }
    CHECK(!talk.conversation.reusable());
    CHECK(talk.rests());
  }
  // In the middle of one message: the rest is untried, and the next connection has it.
  auto talk = opened("PIPELINING,8BITMIME,LIMITS MAILMAX=1 RCPTMAX=1");
  talk.message.recipients = people(2);
  talk.send({});
  talk.play({says("250 m\n250 a\n354 go"), says("250 ok")});
  CHECK(outcomes(talk) == "d-");
  CHECK(talk.rests());
  CHECK(!talk.conversation.reusable());
}

TEST_CASE("too large for the peer: said before anything is sent (RFC 1870 6.1)") {
  auto talk = opened("SIZE 99,8BITMIME");
  CHECK(talk.send({}).empty());
  CHECK(outcomes(talk) == "p");
  CHECK(talk.answers[0].enhanced == "5.3.4");
  CHECK(talk.conversation.reusable());
}

TEST_CASE("the reply to the end of data is lost: nobody knows (RFC 5321 4.5.3.2.6)") {
  const std::vector<Event> losses{closes(), stalls(), says("what?"), says("354 more"), says("250-half")};
  for (const auto& loss : losses) {
    auto talk = opened("PIPELINING,8BITMIME");
    talk.message.recipients = people(3);
    talk.send({});
    talk.play({says("250 m\n250 a\n550 b\n250 c\n354 go"), loss, closes()});
    CAPTURE(loss.text);
    CHECK(talk.done());
    CHECK(outcomes(talk) == "?p?");
    CHECK(talk.answers[0].stage == Stage::end);
    CHECK(!talk.answers[0].elsewhere);
  }
  // 421 is an answer, and no doubt.
  auto talk = opened("PIPELINING,8BITMIME");
  talk.send({});
  talk.play({says("250 m\n250 a\n354 go"), says("421 4.3.2 bye")});
  CHECK(talk.done());
  CHECK(outcomes(talk) == "t");
  CHECK(format_answer(talk.answers[0]) == "421 4.3.2 bye");
}

TEST_CASE("the connection is lost before all was sent: sent again elsewhere without fear of a double") {
  const std::vector<std::vector<Event>> before{{closes()},
                                               {stalls()},
                                               {says("250 m"), closes()},
                                               {says("250 m\n250 a"), closes()},
                                               {says("421 bye")},
                                               {says("250 m\n421 bye")},
                                               {says("250 m\n250 a\n421 bye")},
                                               {says("garbage")},
                                               {says("354 m")},
                                               {says("250 m\n354 a")},
                                               {says("250 m\n250 a\n250 go")}};
  for (const auto& events : before) {
    auto talk = opened("PIPELINING,8BITMIME");
    talk.send({});
    talk.play(events);
    CHECK(talk.done());
    CHECK(outcomes(talk) == "t");
    CHECK(talk.answers[0].elsewhere);
    CHECK(!talk.conversation.stale());
  }
  auto talk = opened("PIPELINING,8BITMIME");
  talk.lose_message = true;
  talk.send({});
  talk.play({says("250 m\n250 a\n354 go")});
  CHECK(outcomes(talk) == "t");
  CHECK(talk.answers[0].text == "the connection was lost (at data)");
}

TEST_CASE("a refusal in the middle of the message is heard, if the peer hangs up behind it") {
  auto talk = opened("PIPELINING,8BITMIME");
  talk.lose_message = true;
  talk.send({});
  talk.play({says("250 m\n250 a\n354 go\n552 5.3.4 too big")});
  CHECK(talk.done());
  CHECK(outcomes(talk) == "p");
  CHECK(format_answer(talk.answers[0]) == "552 5.3.4 too big");
  // A good word before the end is none.
  auto liar = opened("PIPELINING,8BITMIME");
  liar.lose_message = true;
  liar.send({});
  liar.play({says("250 m\n250 a\n354 go\n250 taken")});
  CHECK(outcomes(liar) == "t");
}

TEST_CASE("a connection that the peer closed while it rested: the message is tried again, not counted") {
  for (const auto& end : {closes(), says("421 4.4.2 idle too long")}) {
    auto talk = opened("PIPELINING,8BITMIME");
    talk.send({});
    talk.play({says("250 m\n250 a\n354 go"), says("250 ok")});
    talk.send({});
    talk.play({end});
    CHECK(talk.done());
    CHECK(talk.conversation.stale());
    CHECK(outcomes(talk) == "-");
  }
  // Once it has heard of the message, it is a loss like another.
  auto talk = opened("PIPELINING,8BITMIME");
  talk.send({});
  talk.play({says("250 m\n250 a\n354 go"), says("250 ok")});
  talk.send({});
  talk.play({says("250 m"), closes()});
  CHECK(!talk.conversation.stale());
  CHECK(outcomes(talk) == "t");
}

TEST_CASE("a peer that says more than it was asked is not used again") {
  auto talk = opened("PIPELINING,8BITMIME");
  talk.send({});
  talk.play({says("250 m\n250 a\n354 go"), says("250 ok\n250 ok again")});
  CHECK(outcomes(talk) == "d");
  CHECK(talk.rests());
  CHECK(!talk.conversation.reusable());
}

TEST_CASE("QUIT is waited for, and whatever comes ends it") {
  for (const auto& end : {says("221 bye"), says("500 what"), closes(), stalls(), says("garbage"), says("421 bye")}) {
    auto talk = opened();
    talk.step = talk.conversation.leave();
    CHECK(talk.play({end}) == "QUIT\r\n");
    CHECK(talk.done());
  }
}

TEST_CASE("peers without 8BITMIME: a look at the message, then as it is, converted, or a clear refusal (RFC 6152)") {
  using Content = Examination::Content;
  const std::vector<Event> all_well{says("250 m\n250 a\n354 go"), says("250 ok")};
  auto talk = opened("PIPELINING,SIZE");
  talk.message.eight_bit = true;
  talk.examination = {Content::seven_bit, true, {}};
  CHECK(talk.send(all_well) ==
        "MAIL FROM:<ann@us.test> SIZE=100\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n[message].\r\n");
  talk.examination = {Content::convertible, true, {}};
  CHECK(talk.send(all_well) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n[7bit].\r\n");
  talk.examination = {Content::fixed, true, "it is signed"};
  CHECK(talk.send({}).empty());
  CHECK(outcomes(talk) == "p");
  CHECK(format_answer(talk.answers[0]) ==
        "5.6.3 the server takes 7-bit messages only, and this one cannot be converted: it is signed");
  CHECK(talk.conversation.reusable());
}

TEST_CASE("SMTPUTF8 messages for peers without it: only if addresses and header are ASCII (RFC 6531 3.2)") {
  const std::vector<Event> all_well{says("250 m\n250 a\n354 go"), says("250 ok")};
  {
    auto talk = opened("PIPELINING,8BITMIME");
    talk.message.utf8 = true;
    CHECK(talk.send(all_well) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n[message].\r\n");
    talk.examination.header_ascii = false;
    CHECK(talk.send({}).empty());
    CHECK(talk.answers[0].enhanced == "5.6.7");
  }
  {
    auto talk = opened("PIPELINING,8BITMIME");
    talk.message.utf8 = true;
    talk.message.recipients = {{"b\xc3\xb6"
                                "b@there.test",
                                0,
                                {}},
                               {"bob@there.test", 0, {}}};
    CHECK(talk.send(all_well) == "MAIL FROM:<ann@us.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n[message].\r\n");
    CHECK(outcomes(talk) == "pd");
    talk.message.reverse_path = "\xc3\xa4nn@us.test";
    CHECK(talk.send({}).empty());
    CHECK(outcomes(talk) == "pp");
    CHECK(talk.answers[1].enhanced == "5.6.7");
  }
  {
    auto talk = opened("PIPELINING,8BITMIME,SMTPUTF8");
    talk.message.recipients = {
        {"b\xc3\xb6"
         "b@there.test",
         0,
         {}}};
    CHECK(talk.send(all_well).starts_with("MAIL FROM:<ann@us.test> SMTPUTF8\r\n"));
  }
}
