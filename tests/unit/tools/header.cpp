#include "tools/pennypost/header.hpp"

#include <doctest/doctest.h>

#include <string>

namespace {

using tools::HeaderField;

TEST_CASE("stuffed dots are taken away wherever the message is cut") {
  struct {
    std::string_view stored, want, why;
  } const rows[] = {
      {"..one\r\n", ".one\r\n", "a first line"},
      {"a\r\n...\r\n", "a\r\n..\r\n", "one dot of three"},
      {"a.\r\nb\r\n..", "a.\r\nb\r\n.", "a dot inside a line stays"},
      {"a\n.b\r.c\r\n..d", "a\n.b\r.c\r\n.d", "a lone LF or CR ends no line (RFC 5321 2.3.8)"},
      {"a\r\r\n..b", "a\r\r\n.b", "the second CR is the line end's"},
      {"", "", "nothing"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    for (std::size_t cut = 1; cut <= row.stored.size() + 1; ++cut) {
      tools::Unstuffer unstuffer;
      std::string got;
      for (std::size_t at = 0; at < row.stored.size(); at += cut) unstuffer.append(row.stored.substr(at, cut), got);
      CHECK(got == row.want);
    }
  }
}

TEST_CASE("header fields are unfolded and end at the empty line") {
  const auto fields = tools::parse_header(
      "From: a@b\r\nSUBJECT:  one\r\n\ttwo \r\nEmpty:\r\nNo colon? Ends.\r\nAfter: x\r\n\r\nBody: no\r\n", true);
  REQUIRE(fields.size() == 3);
  CHECK(tools::field_value(fields, "from") == "a@b");
  CHECK(tools::field_value(fields, "Subject") == "one\ttwo");
  CHECK(tools::field_value(fields, "Empty").empty());
  CHECK(tools::field_value(fields, "Body").empty());
  CHECK(tools::parse_header("\r\nFrom: a\r\n", true).empty());
  CHECK(tools::parse_header("  from nobody\r\nFrom: a\r\n", true).size() == 1);
  CHECK(tools::parse_header("From: a", true).size() == 1);
}

TEST_CASE("a field that the cut goes through is left out") {
  const std::string_view header = "A: 1\r\nB: 2\r\n more\r\n\r\n";
  CHECK(tools::parse_header(header.substr(0, 4), false).empty());
  CHECK(tools::parse_header(header.substr(0, 12), false).size() == 1);
  CHECK(tools::parse_header(header.substr(0, 20), false).size() == 1);
  CHECK(tools::parse_header(header, false).size() == 2);
}

}  // namespace
