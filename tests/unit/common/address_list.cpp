#include "common/address_list.hpp"

#include <doctest/doctest.h>

#include <string>

using common::parse_address_list;

namespace {

/// All addresses with blanks between them; an error behind "!".
std::string parsed(std::string_view text) {
  const auto found = parse_address_list(text);
  if (!found) return "!" + found.error();
  std::string all;
  for (const auto& address : *found) all += (all.empty() ? "" : " ") + common::format_address(address);
  return all;
}

}  // namespace

TEST_CASE("the addresses of a header field") {
  struct {
    std::string_view text, want, why;
  } const rows[] = {
      {"", "", "nothing"},
      {"root", "root", "a bare local part"},
      {"a@example.org", "a@example.org", ""},
      {" a@EXAMPLE.org ,b@example.org", "a@example.org b@example.org", "two"},
      {"Ann <a@example.org>, \"Bob, the other\" <b@example.org>", "a@example.org b@example.org",
       "names; a comma in quotes"},
      {"John Q. Public <a@example.org>", "a@example.org", "RFC 5322 4.1: a dot in a name"},
      {"=?utf-8?q?=C3=84nn?= <a@example.org>", "a@example.org", "an encoded word"},
      {"\xC3\x84nn <a@example.org>", "a@example.org", "a name in UTF-8"},
      {"a@example.org (Ann, of (old) \\) times)", "a@example.org", "comments in comments"},
      {"a(one)@(two)example.org", "a@example.org", "RFC 5322 4.4: comments inside"},
      {"a . b @ example . org", "a.b@example.org", "RFC 5322 4.4: blanks inside"},
      {"\"a b\"@example.org", "\"a b\"@example.org", "a quoted local part"},
      {"\"a.b\"@example.org", "a.b@example.org", "quotes that are not needed"},
      {"\"a\\\"b\" <c@example.org>", "c@example.org", "a quote in a name"},
      {"<@one.example,@two.example:a@example.org>", "a@example.org", "RFC 5322 4.4: an old route"},
      {"<a@[192.0.2.1]>", "a@[192.0.2.1]", "an address literal"},
      {"friends: a@example.org, Bob <b@example.org>;", "a@example.org b@example.org", "a group"},
      {"undisclosed-recipients:;", "", "an empty group"},
      {"a@example.org, some: b@example.org;, c@example.org", "a@example.org b@example.org c@example.org",
       "among others"},
      {", ,a@example.org,,", "a@example.org", "RFC 5322 4.4: empty members"},
      {"postmaster, Ann <ann>", "postmaster ann", "bare names in both forms"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    CAPTURE(row.why);
    CHECK(parsed(row.text) == row.want);
  }
}

TEST_CASE("what is no address is not guessed at") {
  const std::string_view rows[] = {
      "a b",
      "a@b@c",
      "<a@example.org",
      "a@example.org>",
      "Ann <a@example.org> b",
      "<>",
      "a@",
      "@example.org",
      "\"a",
      "(a",
      "a)",
      "some: a@b.c",
      "some: other: a;;",
      "a@example.org;",
      ": a;",
      "<a> <b>",
      "a..b@c.de",
      "<a@b.c;>",
      "<x:a@b.c>",
      "a@ex_ample.org",
      "a@b.c and: d@e.f;",
      "a\\b@c.de",
      "\x01@c.de",
      "a@[192.0.2.1",
      "<a<b>>",
  };
  for (const auto text : rows) {
    CAPTURE(text);
    CHECK(parsed(text).starts_with('!'));
  }
  CHECK(parsed(std::string(100'000, '(')).starts_with('!'));
}
