#include "smtpd/protocol/command.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "mailstore/types.hpp"

using namespace smtpd;

TEST_CASE("a command line is taken apart") {
  struct Row {
    std::string line;
    Verb verb;
    std::string argument, why;
  };
  const std::vector<Row> rows = {
      {"EHLO client.test", Verb::ehlo, "client.test", "plain"},
      {"ehlo client.test", Verb::ehlo, "client.test", "verbs have no case (RFC 5321 2.4)"},
      {"MAIL FROM:<a@b>", Verb::mail, "FROM:<a@b>", "plain"},
      {"QUIT  ", Verb::quit, "", "white space at the end (RFC 5321 4.1.1)"},
      {"NOOP\t x ", Verb::noop, "x", "tab"},
      {"", Verb::unknown, "", "nothing"},
      {"   ", Verb::unknown, "", "white space"},
      {" QUIT", Verb::unknown, "QUIT", "white space in front is no command"},
      {"QUITX", Verb::unknown, "", "longer than a verb"},
      {"MAILFROM:<a@b>", Verb::unknown, "", "no space behind the verb"},
      {"STARTTLS", Verb::starttls, "", "plain"},
      {"LHLO x", Verb::lhlo, "x", "LMTP's"},
      {"GET / HTTP/1.1", Verb::unknown, "/ HTTP/1.1", "another protocol"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto command = split_command(row.line);
    CHECK(command.verb == row.verb);
    CHECK(command.argument == row.argument);
  }
}

TEST_CASE("MAIL") {
  struct Row {
    std::string argument;
    std::optional<Cause> wrong;
    std::string sender;  ///< "-": the null path
    std::string why;
  };
  const std::vector<Row> rows = {
      {"FROM:<a@b.test>", {}, "a@b.test", "plain"},
      {"from:<a@b.test>", {}, "a@b.test", "no case"},
      {"FROM: <a@b.test>", {}, "a@b.test", "devices put a space there"},
      {"FROM:<>", {}, "-", "the null reverse-path"},
      {"FROM:<@x.test,@y.test:a@b.test>", {}, "a@b.test", "a source route is ignored (RFC 5321 C)"},
      {"FROM:<\"a b\"@b.test>", {}, "\"a b\"@b.test", "quoted"},
      {"FROM:<\"a>b\"@b.test>", {}, "\"a>b\"@b.test", "> inside quotes"},
      {"FROM:<\"a\\\">b\"@b.test>", {}, "\"a\\\">b\"@b.test", "a quoted quote"},
      {"FROM:<bob>", {}, "bob", "a bare local part"},
      {"FROM:<a@b.test> SIZE=1000", {}, "a@b.test", "SIZE"},
      {"FROM:<a@b.test> BODY=8bitmime SIZE=0 AUTH=<>", {}, "a@b.test", "several"},
      {"FROM:<a@b.test> AUTH=e+3Dmc2@example.com", {}, "a@b.test", "xtext (RFC 4954 5)"},
      {"FROM:<a@b.test> AUTH=e+3", Cause::bad_parameter, "", "half an xtext"},
      {"FROM:<a@b.test> AUTH=", Cause::bad_parameter, "", "nothing"},
      {"FROM:<a@b.test> SIZE=1x", Cause::bad_parameter, "", "not a number"},
      {"FROM:<a@b.test> SIZE=", Cause::bad_parameter, "", "nothing"},
      {"FROM:<a@b.test> SIZE=-1", Cause::bad_parameter, "", "negative"},
      {"FROM:<a@b.test> SIZE=99999999999999999999", {}, "a@b.test", "20 digits, too big for 64 bits"},
      {"FROM:<a@b.test> SIZE=999999999999999999999", Cause::bad_parameter, "", "21 digits"},
      {"FROM:<a@b.test> BODY=BINARYMIME", Cause::bad_parameter, "", "not offered"},
      {"FROM:<a@b.test> RET=FULL ENVID=x+2By", {}, "a@b.test", "DSN (RFC 3461 4.3, 4.4)"},
      {"FROM:<a@b.test> RET=ALL", Cause::bad_parameter, "", "no such kind"},
      {"FROM:<a@b.test> RET=FULL RET=HDRS", Cause::unknown_parameter, "", "twice"},
      {"FROM:<a@b.test> ENVID=", Cause::bad_parameter, "", "nothing"},
      {"FROM:<a@b.test> ENVID=x+0D+0ABcc:", Cause::bad_parameter, "", "CR LF in xtext"},
      {"FROM:<a@b.test> ENVID=x+2", Cause::bad_parameter, "", "half an xtext"},
      {"FROM:<a@b.test> ENVID=" + std::string(101, 'x'), Cause::bad_parameter, "", "over 100 octets"},
      {"FROM:<a@b.test> NOTIFY=NEVER", Cause::unknown_parameter, "", "a parameter of RCPT"},
      {"FROM:<a@b.test> SMTPUTF8", {}, "a@b.test", "SMTPUTF8 (RFC 6531)"},
      {"FROM:<b\xC3\xBC@b\xC3\xBC"
       "cher.test> SIZE=1 SMTPUTF8",
       {},
       "b\xC3\xBC@xn--bcher-kva.test",
       "the domain as an A-label"},
      {"FROM:<b\xC3\xBC@b.test> SMTPUTF8=1", Cause::bad_parameter, "", "it has no value"},
      {"FROM:<b\xFC@b.test> SMTPUTF8", Cause::bad_sender, "", "Latin-1"},
      {"FROM:<b\xC2\x9B@b.test> SMTPUTF8", Cause::bad_sender, "", "a C1 control character"},
      {"FROM:<a@b.test>SIZE=1", Cause::syntax, "", "no space"},
      {"FROM:a@b.test", Cause::syntax, "", "no brackets"},
      {"FROM:<a@b.test", Cause::syntax, "", "no closing bracket"},
      {"FROM <a@b.test>", Cause::syntax, "", "no colon"},
      {"<a@b.test>", Cause::syntax, "", "no FROM:"},
      {"", Cause::syntax, "", "nothing"},
      {"FROM:<a@b..test>", Cause::bad_sender, "", "an empty label"},
      {"FROM:<a b@b.test>", Cause::bad_sender, "", "a space"},
      {"FROM:<a@>", Cause::bad_sender, "", "no domain"},
      {"FROM:<@b.test>", Cause::bad_sender, "", "no local part"},
      {"FROM:<\"a\tb\"@b.test>", Cause::bad_sender, "", "a control character"},
      {"FROM:<" + std::string(65, 'a') + "@b.test>", Cause::bad_sender, "", "a local part over 64 octets"},
      {"FROM:<b\xC3\xBC@b.test>", Cause::not_ascii, "", "UTF-8"},
      {"FROM:<b@\xFC.test>", Cause::not_ascii, "", "Latin-1"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.argument);
    CAPTURE(row.why);
    const auto mail = parse_mail(row.argument);
    if (row.wrong) {
      REQUIRE_FALSE(mail);
      CHECK(mail.error().cause == *row.wrong);
    } else {
      REQUIRE(mail);
      CHECK((mail->sender ? common::format_address(*mail->sender) : "-") == row.sender);
    }
  }
  CHECK(parse_mail("FROM:<a@b.test> SIZE=1000 BODY=8BITMIME")->size == 1000U);
  CHECK(parse_mail("FROM:<a@b.test> SIZE=1000 BODY=8BITMIME")->body == Body::eight_bit_mime);
  CHECK(parse_mail("FROM:<a@b.test> SIZE=99999999999999999999")->size == ~std::uint64_t{0});
  CHECK(parse_mail("FROM:<a@b.test> RET=full ENVID=x+2By")->return_content == 1);
  CHECK(parse_mail("FROM:<a@b.test> RET=HDRS ENVID=x+2By")->return_content == 2);
  CHECK(parse_mail("FROM:<a@b.test> RET=HDRS ENVID=x+2By")->envelope_id == "x+y");
}

TEST_CASE("DSN parameters of RCPT (RFC 3461 4.1, 4.2)") {
  using namespace mailstore;
  const auto notify = [](const std::string& value, Charset charset = Charset::ascii) -> int {
    const auto rcpt = parse_rcpt("TO:<a@b.test> NOTIFY=" + value, charset);
    if (rcpt) return rcpt->notify;
    CHECK(rcpt.error().cause == Cause::bad_parameter);
    return -1;
  };
  CHECK(notify("NEVER") == notify_never);
  CHECK(notify("success") == notify_success);
  CHECK(notify("FAILURE,DELAY") == (notify_failure | notify_delay));
  CHECK(notify("SUCCESS,FAILURE,DELAY") == (notify_success | notify_failure | notify_delay));
  for (const auto* wrong : {"", "NEVER,DELAY", "DELAY,NEVER", "DELAY,DELAY", "DELAY,", ",DELAY", "ALWAYS"}) {
    CAPTURE(wrong);
    CHECK(notify(wrong) == -1);
  }
  const auto original = [](const std::string& value, Charset charset = Charset::ascii) {
    const auto rcpt = parse_rcpt("TO:<a@b.test> NOTIFY=DELAY ORCPT=" + value, charset);
    return rcpt ? rcpt->original_recipient : "wrong";
  };
  CHECK(original("rfc822;Bob+2B1@b.test") == "rfc822;Bob+2B1@b.test");
  CHECK(original("x400;+20") == "x400;+20");
  for (const auto* wrong :
       {"", "rfc822", "rfc822;", ";a@b.test", "rf c;a", "rfc822;a+0D+0Ab", "rfc822;a+7F", "rfc822;a=b"}) {
    CAPTURE(wrong);
    CHECK(original(wrong) == "wrong");
  }
  CHECK(original("rfc822;" + std::string(500, 'x')) == "wrong");
  CHECK(original("utf-8;b\xC3\xBC@b.test") == "wrong");
  CHECK(original("utf-8;b\xC3\xBC@b.test", Charset::utf8) == "utf-8;b\xC3\xBC@b.test");
  CHECK(original("utf-8;b\xFC@b.test", Charset::utf8) == "wrong");
  CHECK(original("utf-8;b\\x{FC}@b.test") == "utf-8;b\\x{FC}@b.test");
}

TEST_CASE("RCPT") {
  CHECK(parse_rcpt("TO:<a@b.test>", Charset::ascii)->recipient == common::Address{"a", "b.test", true});
  CHECK(parse_rcpt("to: <Post.Master>", Charset::ascii)->recipient == common::Address{"Post.Master", "", true});
  CHECK(parse_rcpt("TO:<@x.test:a@b.test>", Charset::ascii)->recipient.domain == "b.test");
  CHECK(parse_rcpt("TO:<>", Charset::ascii).error().cause == Cause::bad_recipient);
  CHECK(parse_rcpt("TO:<a@b.test> SIZE=1", Charset::ascii).error().cause == Cause::unknown_parameter);
  CHECK(parse_rcpt("TO:<a@b.test", Charset::ascii).error().cause == Cause::syntax);
  CHECK(parse_rcpt("TO:<a@b\xC3\xBC.test>", Charset::ascii).error().cause == Cause::not_ascii);
  CHECK(parse_rcpt("TO:<a@b\xC3\xBC"
                   "cher.test>",
                   Charset::utf8)
            ->recipient == common::Address{"a", "xn--bcher-kva.test", false});
  CHECK(parse_rcpt("TO:<a@b\xFC.test>", Charset::utf8).error().cause == Cause::bad_recipient);
}

TEST_CASE("VRFY") {
  CHECK(parse_vrfy("ann"));
  CHECK(parse_vrfy("Ann Example <ann@example.test> smtputf8"));
  CHECK(parse_vrfy("j\xC3\xB6rg SMTPUTF8"));
  CHECK(parse_vrfy("j\xC3\xB6rg").error().cause == Cause::not_ascii);
  CHECK(parse_vrfy("j\xC3\xB6rg XSMTPUTF8").error().cause == Cause::not_ascii);
  CHECK(parse_vrfy("").error().cause == Cause::syntax);
}

TEST_CASE("BDAT (RFC 3030 2)") {
  struct Row {
    std::string argument;
    bool fine;
    std::uint64_t octets;
    bool last;
  };
  const std::vector<Row> rows = {
      {"0", true, 0, false},
      {"10", true, 10, false},
      {"10 LAST", true, 10, true},
      {"10  last", true, 10, true},
      {"000000000000000000000000000001", true, 1, false},
      {"18446744073709551615", true, ~std::uint64_t{0}, false},
      {"18446744073709551616", false, 0, false},
      {"99999999999999999999999999999999", false, 0, false},
      {"", false, 0, false},
      {"LAST", false, 0, false},
      {"-1", false, 0, false},
      {"+1", false, 0, false},
      {"0x10", false, 0, false},
      {"1e3", false, 0, false},
      {"1.0", false, 0, false},
      {"10 FIRST", false, 0, false},
      {"10 LAST LAST", false, 0, false},
      {"10LAST", false, 0, false},
      {"10 20", false, 0, false},
  };
  for (const auto& row : rows) {
    CAPTURE(row.argument);
    const auto chunk = parse_bdat(row.argument);
    REQUIRE(chunk.has_value() == row.fine);
    if (!row.fine) continue;
    CHECK(chunk->octets == row.octets);
    CHECK(chunk->last == row.last);
  }
}

TEST_CASE("AUTH") {
  CHECK(parse_auth("plain")->mechanism == "PLAIN");
  CHECK_FALSE(parse_auth("PLAIN")->response);
  CHECK(parse_auth("PLAIN AGEAYg==")->response == "AGEAYg==");
  CHECK(parse_auth("PLAIN =")->response == "=");
  CHECK_FALSE(parse_auth(""));
  CHECK_FALSE(parse_auth("PLAIN a b"));
  CHECK_FALSE(parse_auth("PL/AIN"));
  CHECK_FALSE(parse_auth("ABCDEFGHIJKLMNOPQRSTU"));
}

TEST_CASE("names behind HELO") {
  for (const auto* name : {"client.test", "a", "1.2.3.4", "[192.0.2.1]", "[IPv6:2001:db8::1]", "my_pc",
                           "xn--bcher-kva.test", "client.test."}) {
    CAPTURE(name);
    CHECK(is_helo_name(name));
  }
  for (const auto* name :
       {"", "???", "a b", "-a", "a-", "a..b", ".a", ".", "a(b)", "[1.2.3.4", "[]", "a\x01", "b\xC3\xBC", "<x>"}) {
    CAPTURE(name);
    CHECK_FALSE(is_helo_name(name));
  }
  CHECK_FALSE(is_helo_name(std::string(64, 'a')));
}
