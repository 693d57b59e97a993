#include "pop3d/session/conversation.hpp"

#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <gsasl.h>

#include "common/auth/cram_md5.hpp"
#include "desk.hpp"

using namespace pop3d;
using namespace pop3d::test;

namespace {

// 120 and 200 octets, as in RFC 1939 10.
Desk make_desk() {
  Desk desk;
  auto& mrose = desk.mailboxes["mrose"];
  mrose.password = "tanstaaf";
  mrose.messages = {{"Subject: one\r\n\r\nfirst\r\n", 120}, {"Subject: two\r\n\r\n..dots\r\n", 200}};
  desk.mailboxes["locked"] = {"secret", {}, true, false};
  desk.mailboxes["busy"] = {"secret", {}, false, true};
  desk.mailboxes["empty"] = {"secret", {}, false, false};
  return desk;
}

using Setup = std::function<void(Desk&)>;

/// "C: " lines go in, "S: " lines must come out, in all; the whole input at once, then octet by octet.
void script(const std::vector<std::string>& lines, const Setup& setup = {}) {
  std::string input, expected;
  for (const auto& line : lines) {
    if (line.starts_with("C: ")) input += line.substr(3) + "\r\n";
    if (line.starts_with("S: ")) expected += line.substr(3) + "\r\n";
  }
  Desk whole = make_desk();
  if (setup) setup(whole);
  CHECK(whole.feed(input) == expected);
  Desk slow = make_desk();
  if (setup) setup(slow);
  std::string said = slow.feed("");
  for (const char& octet : input) said += slow.feed({&octet, 1});
  CHECK(said == expected);
  CHECK(slow.closed == whole.closed);
}

const std::string greeting = "S: +OK mail.example.test POP3 ready";
const std::vector<std::string> log_in{greeting, "C: USER mrose", "S: +OK password, please", "C: PASS tanstaaf",
                                      "S: +OK 2 messages (320 octets)"};

void logged_in(std::vector<std::string> lines, const Setup& setup = {}) {
  lines.insert(lines.begin(), log_in.begin(), log_in.end());
  script(lines, setup);
}

}  // namespace

TEST_CASE("APOP as in RFC 1939 7, and everything that is wrong about one") {
  const auto offered = [](Desk& desk) { desk.stamp = "<1896.697170952@dbc.mtview.ca.us>"; };
  const std::string banner = greeting + " <1896.697170952@dbc.mtview.ca.us>";
  const std::string wrong = "S: -ERR [AUTH] name or password wrong";
  script({banner, "C: APOP mrose c4c9334bac560ecc979e58001b3e22fb", "S: +OK 2 messages (320 octets)",
          "C: APOP mrose c4c9334bac560ecc979e58001b3e22fb", "S: -ERR already logged in"},
         offered);
  script({banner, "C: APOP mrose C4C9334BAC560ECC979E58001B3E22FB", wrong,
          "C: APOP mrose c4c9334bac560ecc979e58001b3e22fa", wrong, "C: APOP mrose c4c9334bac560ecc979e58001b3e22f",
          wrong, "C: APOP nobody c4c9334bac560ecc979e58001b3e22fb", wrong, "C: APOP mrose",
          "S: -ERR name and digest expected", "C: APOP", "S: -ERR name and digest expected",
          "C: apop  mrose   c4c9334bac560ecc979e58001b3e22fb ", "S: +OK 2 messages (320 octets)"},
         offered);
  // Not offered, not taken; and no password is sent, so no TLS is asked for.
  script({greeting, "C: APOP mrose c4c9334bac560ecc979e58001b3e22fb", "S: -ERR APOP is not available"});
  script({banner, "C: APOP mrose c4c9334bac560ecc979e58001b3e22fb", "S: +OK 2 messages (320 octets)"}, [&](Desk& desk) {
    offered(desk);
    desk.rules.require_tls = true;
  });
  script({banner, "C: APOP mrose c4c9334bac560ecc979e58001b3e22fb", "S: -ERR STLS first"}, [&](Desk& desk) {
    offered(desk);
    desk.rules.only_tls = true;
  });
}

TEST_CASE("the session of RFC 1939 10") {
  logged_in({"C: STAT",
             "S: +OK 2 320",
             "C: LIST",
             "S: +OK 2 messages (320 octets)",
             "S: 1 120",
             "S: 2 200",
             "S: .",
             "C: RETR 1",
             "S: +OK 120 octets",
             "S: Subject: one",
             "S: ",
             "S: first",
             "S: .",
             "C: DELE 1",
             "S: +OK message 1 deleted",
             "C: RETR 2",
             "S: +OK 200 octets",
             "S: Subject: two",
             "S: ",
             "S: ..dots",
             "S: .",
             "C: DELE 2",
             "S: +OK message 2 deleted",
             "C: QUIT",
             "S: +OK bye"});
}

TEST_CASE("LIST, UIDL, STAT and RSET know what is deleted") {
  logged_in({"C: DELE 1",
             "S: +OK message 1 deleted",
             "C: STAT",
             "S: +OK 1 200",
             "C: LIST",
             "S: +OK 1 message (200 octets)",
             "S: 2 200",
             "S: .",
             "C: LIST 1",
             "S: -ERR message is deleted",
             "C: LIST 2",
             "S: +OK 2 200",
             "C: UIDL 1",
             "S: -ERR message is deleted",
             "C: RETR 1",
             "S: -ERR message is deleted",
             "C: TOP 1 0",
             "S: -ERR message is deleted",
             "C: DELE 1",
             "S: -ERR message is deleted",
             "C: UIDL",
             "S: +OK 1 message (200 octets)",
             "S: 2 aaaaaaaaaaaae",
             "S: .",
             "C: RSET",
             "S: +OK 2 messages (320 octets)",
             "C: UIDL 1",
             "S: +OK 1 aaaaaaaaaaaac",
             "C: LIST 1",
             "S: +OK 1 120",
             "C: TOP 2 3",
             "S: +OK",
             "S: top 3",
             "S: .",
             "C: QUIT",
             "S: +OK bye"});
}

TEST_CASE("numbers of no message") {
  logged_in({"C: RETR 0", "S: -ERR no such message", "C: RETR 3", "S: -ERR no such message",
             "C: DELE 99999999999999999999", "S: -ERR no such message", "C: LIST 3", "S: -ERR no such message",
             "C: UIDL 0", "S: -ERR no such message", "C: TOP 3 1", "S: -ERR no such message", "C: NOOP", "S: +OK"});
}

TEST_CASE("commands at the wrong time") {
  script({greeting,
          "C: STAT",
          "S: -ERR log in first",
          "C: NOOP",
          "S: -ERR log in first",
          "C: RETR 1",
          "S: -ERR log in first",
          "C: PASS x",
          "S: -ERR USER first",
          "C: USER mrose",
          "S: +OK password, please",
          "C: CAPA",
          "S: +OK what this server can do",
          "S: TOP",
          "S: UIDL",
          "S: RESP-CODES",
          "S: AUTH-RESP-CODE",
          "S: PIPELINING",
          "S: EXPIRE NEVER",
          "S: USER",
          "S: SASL SCRAM-SHA-256 PLAIN LOGIN",
          "S: STLS",
          "S: IMPLEMENTATION Pennypost",
          "S: .",
          "C: PASS tanstaaf",
          "S: -ERR USER first",
          "C: QUIT",
          "S: +OK bye"});
  logged_in({"C: USER mrose", "S: -ERR already logged in", "C: PASS x", "S: -ERR already logged in", "C: AUTH PLAIN",
             "S: -ERR already logged in", "C: STLS", "S: -ERR already logged in", "C: STAT", "S: +OK 2 320"});
}

TEST_CASE("log-ins that fail: who exists does not show") {
  script({greeting,
          "C: USER mrose",
          "S: +OK password, please",
          "C: PASS wrong",
          "S: -ERR [AUTH] name or password wrong",
          "C: USER nobody",
          "S: +OK password, please",
          "C: PASS wrong",
          "S: -ERR [AUTH] name or password wrong",
          "C: USER locked",
          "S: +OK password, please",
          "C: PASS wrong",
          "S: -ERR [AUTH] name or password wrong",
          "C: USER locked",
          "S: +OK password, please",
          "C: PASS secret",
          "S: -ERR [AUTH] mailbox locked",
          "C: USER busy",
          "S: +OK password, please",
          "C: PASS secret",
          "S: -ERR [IN-USE] another session has this maildrop",
          "C: PASS secret",
          "S: -ERR USER first",
          "C: USER empty",
          "S: +OK password, please",
          "C: PASS secret",
          "S: +OK 0 messages (0 octets)",
          "C: LIST",
          "S: +OK 0 messages (0 octets)",
          "S: .",
          "C: LIST 1",
          "S: -ERR no such message"});
  script({greeting, "C: USER mrose", "S: +OK password, please", "C: PASS tanstaaf",
          "S: -ERR [SYS/TEMP] too many log-ins at once, try again later"},
         [](Desk& desk) { desk.overloaded = true; });
  script({greeting, "C: USER mrose", "S: +OK password, please", "C: PASS tanstaaf",
          "S: -ERR [SYS/TEMP] the maildrop cannot be read now, try again later"},
         [](Desk& desk) { desk.store_fails = true; });
}

TEST_CASE("AUTH PLAIN and LOGIN") {
  script({greeting, "C: AUTH PLAIN AG1yb3NlAHRhbnN0YWFm", "S: +OK 2 messages (320 octets)"});
  script({greeting, "C: auth plain", "S: + ", "C: AG1yb3NlAHRhbnN0YWFm", "S: +OK 2 messages (320 octets)"});
  script({greeting, "C: AUTH LOGIN", "S: + VXNlcm5hbWU6", "C: bXJvc2U=", "S: + UGFzc3dvcmQ6",
          "C: dGFuc3RhYWY=", "S: +OK 2 messages (320 octets)"});
  script({greeting,
          "C: AUTH PLAIN AG1yb3NlAHdyb25n",
          "S: -ERR [AUTH] name or password wrong",
          "C: AUTH PLAIN",
          "S: + ",
          "C: *",
          "S: -ERR cancelled",
          "C: AUTH PLAIN",
          "S: + ",
          "C: not base64",
          "S: -ERR not a proper answer",
          "C: AUTH PLAIN =",
          "S: -ERR not a proper answer",
          "C: AUTH PLAIN AG1y",
          "S: -ERR not a proper answer",
          "C: AUTH CRAM-MD5",
          "S: -ERR mechanism not available",
          "C: AUTH SCRAM-SHA-256-PLUS",
          "S: -ERR mechanism not available",
          "C: AUTH",
          "S: +OK",
          "S: SCRAM-SHA-256",
          "S: PLAIN",
          "S: LOGIN",
          "S: .",
          "C: AUTH PLAIN",
          "S: + ",
          "C: ",
          "S: -ERR not a proper answer",
          "C: QUIT",
          "S: +OK bye"});
}

TEST_CASE("AUTH: an answer may be as long as RFC 5034 4 allows, a command may not") {
  Desk desk = make_desk();
  desk.feed("AUTH PLAIN\r\n");
  CHECK(desk.feed(std::string(12288, 'A') + "\r\n") == "-ERR not a proper answer\r\n");
  desk.feed("AUTH PLAIN\r\n");
  CHECK(desk.feed(std::string(12292, 'A') + "\r\n") == "-ERR line too long\r\n");
  CHECK(desk.feed("USER " + std::string(600, 'a') + "\r\n") == "-ERR line too long\r\n");
  CHECK(desk.feed("USER " + std::string(300, 'a') + "\r\n") == "+OK password, please\r\n");
  CHECK(desk.feed("NONSENSE " + std::string(600, 'a') + "\r\n") == "-ERR line too long\r\n");
  CHECK(desk.feed(std::string(20000, 'a') + "\r\n") == "-ERR line too long\r\n");
}

TEST_CASE("AUTH SCRAM-SHA-256, and -PLUS once TLS stands") {
  Gsasl* library = nullptr;
  REQUIRE(gsasl_init(&library) == GSASL_OK);
  for (const bool plus : {false, true}) {
    for (const std::string_view password : {"tanstaaf", "wrong"}) {
      CAPTURE(plus);
      CAPTURE(password);
      Desk desk = make_desk();
      desk.feed("");
      if (plus) CHECK(desk.feed("STLS\r\nUSER mrose\r\n") == "+OK begin TLS\r\n");
      const std::string mechanism = plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256";
      Gsasl_session* client = nullptr;
      REQUIRE(gsasl_client_start(library, mechanism.c_str(), &client) == GSASL_OK);
      gsasl_property_set(client, GSASL_AUTHID, "mrose");
      gsasl_property_set(client, GSASL_PASSWORD, std::string{password}.c_str());
      if (plus)
        gsasl_property_set(client, GSASL_CB_TLS_EXPORTER, common::auth::encode_base64(std::string(32, 'e')).c_str());
      std::string said = desk.feed("AUTH " + mechanism + "\r\n");
      CHECK(said == "+ \r\n");
      for (int round = 0; round < 3 && said.starts_with("+ "); ++round) {
        const std::string challenge = said.substr(2, said.size() - 4);
        char* answer = nullptr;
        const int result = gsasl_step64(client, challenge.c_str(), &answer);
        CHECK((result == GSASL_OK || result == GSASL_NEEDS_MORE));
        said = desk.feed(std::string{answer} + "\r\n");
        gsasl_free(answer);
      }
      CHECK(said ==
            (password == "wrong" ? "-ERR [AUTH] name or password wrong\r\n" : "+OK 2 messages (320 octets)\r\n"));
      gsasl_finish(client);
    }
  }
  gsasl_done(library);
}

TEST_CASE("AUTH CRAM-MD5 where it is configured, in the clear too") {
  const auto log_in = [](const std::string& name, const std::string& secret) {
    Desk desk = make_desk();
    desk.rules.mechanisms = {"PLAIN", "CRAM-MD5"};
    desk.rules.require_tls = true;
    CHECK(desk.feed("CAPA\r\n").find("SASL CRAM-MD5\r\n") != std::string::npos);
    const auto said = desk.feed("AUTH CRAM-MD5\r\n");
    REQUIRE(said.starts_with("+ "));
    const auto challenge = common::auth::decode_base64(said.substr(2, said.size() - 4));
    REQUIRE(challenge);
    CHECK(challenge->ends_with("@mail.example.test>"));
    const auto answer = name + ' ' + common::auth::cram_md5_digest(*challenge, secret);
    return desk.feed(common::auth::encode_base64(answer) + "\r\n");
  };
  CHECK(log_in("mrose", "tanstaaf") == "+OK 2 messages (320 octets)\r\n");
  CHECK(log_in("mrose", "wrong") == "-ERR [AUTH] name or password wrong\r\n");
  CHECK(log_in("nobody", "tanstaaf") == "-ERR [AUTH] name or password wrong\r\n");
  CHECK(log_in("nobody", "") == "-ERR [AUTH] name or password wrong\r\n");
  CHECK(log_in("locked", "secret") == "-ERR [AUTH] mailbox locked\r\n");
  // The server speaks first (RFC 5034 4).
  script({greeting, "C: AUTH CRAM-MD5 =", "S: -ERR not a proper answer", "C: NOOP", "S: -ERR log in first"},
         [](Desk& desk) { desk.rules.mechanisms = {"CRAM-MD5"}; });
}

TEST_CASE("passwords are neither offered nor taken in the clear") {
  const auto strict = [](Desk& desk) { desk.rules.require_tls = true; };
  script({greeting,
          "C: CAPA",
          "S: +OK what this server can do",
          "S: TOP",
          "S: UIDL",
          "S: RESP-CODES",
          "S: AUTH-RESP-CODE",
          "S: PIPELINING",
          "S: EXPIRE NEVER",
          "S: SASL SCRAM-SHA-256",
          "S: STLS",
          "S: IMPLEMENTATION Pennypost",
          "S: .",
          "C: USER mrose",
          "S: -ERR no password over a clear connection: STLS first",
          "C: PASS tanstaaf",
          "S: -ERR no password over a clear connection: STLS first",
          "C: AUTH PLAIN AG1yb3NlAHRhbnN0YWFm",
          "S: -ERR no password over a clear connection: STLS first",
          "C: AUTH LOGIN",
          "S: -ERR no password over a clear connection: STLS first",
          "C: STAT",
          "S: -ERR log in first"},
         strict);
  Desk desk = make_desk();
  strict(desk);
  desk.feed("USER mrose\r\nSTLS\r\n");
  CHECK(desk.feed("PASS tanstaaf\r\n") == "-ERR USER first\r\n");
  CHECK(desk.feed("USER mrose\r\nPASS tanstaaf\r\n") == "+OK password, please\r\n+OK 2 messages (320 octets)\r\n");
  CHECK(desk.feed("CAPA\r\n").find("STLS") == std::string::npos);
  CHECK(desk.feed("CAPA\r\n").find("SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n") != std::string::npos);
}

TEST_CASE("nothing but STLS where TLS is required") {
  const auto only_tls = [](Desk& desk) { desk.rules.only_tls = true; };
  script({greeting,
          "C: USER mrose",
          "S: -ERR STLS first",
          "C: AUTH SCRAM-SHA-256",
          "S: -ERR STLS first",
          "C: NOOP",
          "S: -ERR STLS first",
          "C: CAPA",
          "S: +OK what this server can do",
          "S: TOP",
          "S: UIDL",
          "S: RESP-CODES",
          "S: AUTH-RESP-CODE",
          "S: PIPELINING",
          "S: EXPIRE NEVER",
          "S: STLS",
          "S: IMPLEMENTATION Pennypost",
          "S: .",
          "C: QUIT",
          "S: +OK bye"},
         only_tls);
}

TEST_CASE("STLS: what was pipelined behind it is thrown away, what was said before forgotten") {
  Desk desk = make_desk();
  desk.feed("");
  CHECK(desk.feed("USER mrose\r\nSTLS\r\nPASS tanstaaf\r\nUSER evil\r\n") ==
        "+OK password, please\r\n+OK begin TLS\r\n");
  CHECK(desk.feed("PASS tanstaaf\r\n") == "-ERR USER first\r\n");
  CHECK(desk.feed("STLS\r\n") == "-ERR TLS is active already\r\n");
  Desk without = make_desk();
  without.rules.tls_available = false;
  without.feed("");
  CHECK(without.feed("STLS\r\n") == "-ERR TLS is not available\r\n");
  CHECK(without.feed("CAPA\r\n").find("STLS") == std::string::npos);
}

TEST_CASE("broken lines") {
  Desk desk = make_desk();
  desk.feed("");
  const std::string stray = "-ERR lines end with CRLF, and no CR, LF or NUL stands inside them\r\n";
  CHECK(desk.feed("CAPA\nQUIT\n") == "");
  CHECK(desk.feed("\r\n") == stray);
  CHECK(desk.feed("US\rER mrose\r\n") == stray);
  CHECK(desk.feed(std::string_view{"USER a\0b\r\n", 10}) == stray);
  CHECK(desk.feed("\r\n") == "-ERR unknown command\r\n");
  CHECK(desk.feed("\xff\xfe\r\n") == "-ERR unknown command\r\n");
  CHECK(desk.feed("AUTH PLAIN\r\n") == "+ \r\n");
  CHECK(desk.feed("AG1y\nb3Nl\r\n") == "-ERR not a proper answer\r\n");
  CHECK(desk.feed("USER mrose\r\n") == "+OK password, please\r\n");
  CHECK_FALSE(desk.closed);
}

TEST_CASE("so many errors and no more") {
  script({greeting, "C: X", "S: -ERR unknown command", "C: USER mrose", "S: +OK password, please", "C: PASS y",
          "S: -ERR [AUTH] name or password wrong", "C: RETR", "S: -ERR too many errors, bye", "C: CAPA"},
         [](Desk& desk) { desk.rules.errors = 3; });
  Desk patient = make_desk();
  patient.rules.errors = 0;
  for (int i = 0; i < 1000; ++i) patient.feed("X\r\n");
  CHECK_FALSE(patient.closed);
  Desk sasl = make_desk();
  sasl.rules.errors = 1;
  sasl.feed("AUTH PLAIN =\r\n");
  CHECK(sasl.closed);
  CHECK(sasl.close_reason == "errors");
}

TEST_CASE("QUIT removes what is marked, and only QUIT does") {
  Desk desk = make_desk();
  desk.feed("USER mrose\r\nPASS tanstaaf\r\nDELE 2\r\nDELE 1\r\n");
  CHECK(desk.removed.empty());
  CHECK(desk.feed("QUIT\r\n") == "+OK bye\r\n");
  CHECK(desk.removed == std::vector{mailstore::MessageId{1}, mailstore::MessageId{2}});
  CHECK(desk.closed);

  Desk undone = make_desk();
  undone.feed("USER mrose\r\nPASS tanstaaf\r\nDELE 2\r\nRSET\r\nQUIT\r\n");
  CHECK(undone.removed.empty());
  CHECK(undone.close_reason == "quit");

  Desk failing = make_desk();
  failing.removal_fails = true;
  failing.feed("USER mrose\r\nPASS tanstaaf\r\nDELE 2\r\n");
  CHECK(failing.feed("QUIT\r\n") == "-ERR [SYS/TEMP] some deleted messages not removed\r\n");
  CHECK(failing.closed);

  Desk stopped = make_desk();
  stopped.feed("USER mrose\r\nPASS tanstaaf\r\nDELE 2\r\n");
  std::string out;
  stopped.conversation().on_shutdown(out);
  CHECK(out.starts_with("-ERR [SYS/TEMP] "));
  CHECK(stopped.removed.empty());
}

TEST_CASE("a store in trouble is a passing trouble") {
  Desk desk = make_desk();
  desk.feed("USER mrose\r\nPASS tanstaaf\r\n");
  desk.store_fails = true;
  const std::string trouble = "-ERR [SYS/TEMP] this message cannot be read now, try again later\r\n";
  CHECK(desk.feed("RETR 1\r\n") == trouble);
  CHECK(desk.feed("DELE 1\r\n") == trouble);
  desk.store_fails = false;
  CHECK(desk.feed("LIST 1\r\n") == "+OK 1 120\r\n");
}

TEST_CASE("a long listing is whole, without what is deleted") {
  Desk desk;
  auto& mailbox = desk.mailboxes["mrose"];
  mailbox.password = "x";
  mailbox.messages.resize(1000, {"\r\n", 5});
  desk.feed("USER mrose\r\nPASS x\r\nDELE 500\r\nDELE 256\r\n");
  std::string expected = "+OK 998 messages (4990 octets)\r\n";
  for (int i = 1; i <= 1000; ++i)
    if (i != 500 && i != 256) expected += std::to_string(i) + " 5\r\n";
  CHECK(desk.feed("LIST\r\n") == expected + ".\r\n");
}
