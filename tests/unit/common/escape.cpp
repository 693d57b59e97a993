#include "common/escape.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "common/utf8.hpp"

using namespace std::string_literals;

TEST_CASE("what could harm a log line or a terminal is escaped") {
  struct Row {
    std::string text;
    std::string want;
    std::string json;
    const char* why;
  };
  const Row rows[] = {
      {"", "", "", "nothing"},
      {"<ann@example.test>", "<ann@example.test>", "<ann@example.test>", "plain"},
      {"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F", "UTF-8 stays"},
      {"a\r\nb\t", "a\\r\\nb\\t", "a\\r\\nb\\t", "line ends"},
      {"\0\x1B[2J"s, "\\x00\\x1B[2J", "\\u0000\\u001B[2J", "NUL and escape sequences"},
      {"\x7F", "\\x7F", "\\u007F", "DEL"},
      {"\"\\", "\\\"\\\\", "\\\"\\\\", "quote and backslash"},
      {"\xC2\x9B", "\\xC2\\x9B", "\\u009B", "C1 control"},
      {"\xE2\x80\xAEtxt", "\\xE2\\x80\\xAEtxt", "\\u202Etxt", "bidirectional override"},
      {"\xE2\x80\xA8", "\\xE2\\x80\\xA8", "\\u2028", "line separator"},
      {"\xFF\xC3", "\\xFF\\xC3", "\\\\xFF\\\\xC3", "not UTF-8"},
      {"\xC0\xAF", "\\xC0\\xAF", "\\\\xC0\\\\xAF", "overlong"},
      {"\xED\xA0\x80", "\\xED\\xA0\\x80", "\\\\xED\\\\xA0\\\\x80", "surrogate"},
      {"\xF4\x90\x80\x80", "\\xF4\\x90\\x80\\x80", "\\\\xF4\\\\x90\\\\x80\\\\x80", "beyond U+10FFFF"},
      {"\xF0\x9F\x93\xAC", "\xF0\x9F\x93\xAC", "\xF0\x9F\x93\xAC", "four octets"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(common::escape(row.text) == row.want);
    std::string json;
    common::append_json_escaped(json, row.text);
    CHECK(json == row.json);
  }
}

TEST_CASE("a cut never leaves half of anything") {
  CHECK(common::escape("abcdef", 6) == "abcdef");
  CHECK(common::escape("abcdefg", 6) == "abcdef...");
  CHECK(common::escape("abcde\n", 6) == "abcde...");
  CHECK(common::escape("abcd\n", 6) == "abcd\\n");
  CHECK(common::escape("abcde\xC3\xBC", 6) == "abcde...");
  CHECK(common::escape("x", 0) == "...");
  CHECK(common::escape("", 0).empty());
}

TEST_CASE("any octets become printable UTF-8 within the limit") {
  std::mt19937 random{20261123};
  for (int i = 0; i < 2000; ++i) {
    std::string text(random() % 64, '\0');
    for (auto& c : text) c = static_cast<char>(random());
    const auto out = common::escape(text, 40);
    CAPTURE(out);
    CHECK(out.size() <= 43);
    CHECK(common::is_utf8(out));
    for (const char c : out) CHECK_FALSE((static_cast<unsigned char>(c) < 0x20 || c == 0x7F));
  }
}
