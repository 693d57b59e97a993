#include "pop3d/protocol/command.hpp"

#include <limits>
#include <string>

#include <doctest/doctest.h>

using namespace pop3d;

TEST_CASE("commands that parse") {
  struct Row {
    std::string_view line;
    Verb verb;
    std::string_view text;
    std::uint64_t number, lines;
    std::string_view why;
  };
  constexpr auto none = std::uint64_t{0};
  constexpr auto largest = std::numeric_limits<std::uint64_t>::max();
  for (const auto& row : {
           Row{"STAT", Verb::stat, "", none, 0, "RFC 1939 5"},
           Row{"stat", Verb::stat, "", none, 0, "keywords regardless of case"},
           Row{"sTaT ", Verb::stat, "", none, 0, "white space behind"},
           Row{"LIST", Verb::list, "", none, 0, "without its argument"},
           Row{"LIST 2", Verb::list, "", 2, 0, "with it"},
           Row{"LIST  2 ", Verb::list, "", 2, 0, "more white space"},
           Row{"UIDL 18446744073709551615", Verb::uidl, "", largest, 0, "the largest"},
           Row{"UIDL 99999999999999999999999", Verb::uidl, "", largest, 0, "beyond the largest is no message either"},
           Row{"RETR 00001", Verb::retr, "", 1, 0, "leading zeros"},
           Row{"TOP 1 10", Verb::top, "", 1, 10, "RFC 1939 7"},
           Row{"TOP 1 0", Verb::top, "", 1, 0, "header alone"},
           Row{"DELE 1", Verb::dele, "", 1, 0, ""},
           Row{"USER mrose", Verb::user, "mrose", none, 0, ""},
           Row{"USER  a b@c.test ", Verb::user, "a b@c.test", none, 0, "a quoted local part may hold a space"},
           Row{"PASS secret", Verb::pass, "secret", none, 0, ""},
           Row{"PASS  two  words ", Verb::pass, " two  words ", none, 0, "spaces belong to the password"},
           Row{"PASS p\xc3\xa4ss", Verb::pass, "p\xc3\xa4ss", none, 0, "8-bit in a password"},
           Row{"AUTH", Verb::auth, "", none, 0, "asks for the list"},
           Row{"auth plain", Verb::auth, "plain", none, 0, ""},
           Row{"QUIT", Verb::quit, "", none, 0, ""},
           Row{"NOOP", Verb::noop, "", none, 0, ""},
           Row{"RSET", Verb::rset, "", none, 0, ""},
           Row{"CAPA", Verb::capa, "", none, 0, ""},
           Row{"STLS", Verb::stls, "", none, 0, ""},
       }) {
    CAPTURE(row.line);
    CAPTURE(row.why);
    const auto command = parse_command(row.line);
    REQUIRE(command);
    CHECK(command->verb == row.verb);
    CHECK(command->text == row.text);
    CHECK(command->number.value_or(0) == row.number);
    CHECK(command->lines == row.lines);
  }
}

TEST_CASE("AUTH takes an initial response (RFC 5034 4)") {
  const auto with = parse_command("AUTH PLAIN AGEAYg==");
  REQUIRE(with);
  CHECK(with->text == "PLAIN");
  CHECK(with->initial == "AGEAYg==");
  CHECK_FALSE(parse_command("AUTH PLAIN")->initial);
  CHECK(parse_command("AUTH PLAIN =")->initial == "=");
}

TEST_CASE("lines that are no command") {
  struct Row {
    std::string_view line, expected;
  };
  for (const auto& row : {
           Row{"", "unknown command"},
           Row{" STAT", "unknown command"},
           Row{"STATS", "unknown command"},
           Row{"STA", "unknown command"},
           Row{"XTND XMIT", "unknown command"},
           Row{"RETR\t1", "unknown command"},
           Row{"STAT 1", "no argument expected"},
           Row{"QUIT now", "no argument expected"},
           Row{"RETR", "message number expected"},
           Row{"RETR ", "message number expected"},
           Row{"RETR x", "message number expected"},
           Row{"RETR -1", "message number expected"},
           Row{"RETR +1", "message number expected"},
           Row{"RETR 1x", "message number expected"},
           Row{"RETR 1.0", "message number expected"},
           Row{"RETR \xb2", "message number expected"},
           Row{"RETR 1 2", "too many arguments"},
           Row{"LIST 1 2", "too many arguments"},
           Row{"TOP 1", "message number and count of lines expected"},
           Row{"TOP 1 -1", "message number and count of lines expected"},
           Row{"TOP 1 2 3", "too many arguments"},
           Row{"USER", "name expected"},
           Row{"USER  ", "name expected"},
           Row{"PASS", "password expected"},
           Row{"AUTH PLAIN a b", "too many arguments"},
           Row{"POST / HTTP/1.1", "unknown command"},
       }) {
    CAPTURE(row.line);
    const auto command = parse_command(row.line);
    REQUIRE_FALSE(command);
    CHECK(command.error().expected == row.expected);
  }
}
