#include "tools/sendmail/line_ends.hpp"

#include <doctest/doctest.h>

#include <string>

using tools::sendmail::LineEnds;

TEST_CASE("programs' line ends become mail's, wherever the input is cut") {
  using enum LineEnds::Dot;
  struct {
    LineEnds::Dot dot;
    std::string_view in, want;
    bool ended;
    std::string_view why;
  } const rows[] = {
      {ends, "", "", false, "nothing"},
      {ends, "a\nb\n", "a\r\nb\r\n", false, "LF"},
      {ends, "a\r\nb\r\n", "a\r\nb\r\n", false, "CRLF stays"},
      {ends, "a\nb", "a\r\nb\r\n", false, "a last line without its end"},
      {ends, "a\rb\n", "a\rb\r\n", false, "a lone CR is smtpd's to judge"},
      {ends, "a\r\r\n", "a\r\r\n", false, "one that is doubled"},
      {ends, "a\r", "a\r\n", false, "half a line end at the end"},
      {ends, "a\n.\nb\n", "a\r\n", true, "a dot ends it"},
      {ends, "a\r\n.\r\nb", "a\r\n", true, "with CRLF"},
      {ends, ".\n", "", true, "at once"},
      {ends, "a\n.", "a\r\n", true, "without its line end"},
      {ends, "a\n..\n.b\n", "a\r\n..\r\n.b\r\n", false, "other lines with dots stay"},
      {ends, "a\n.\rb\n", "a\r\n.\rb\r\n", false, "a dot, a lone CR"},
      {ends, "a.\n", "a.\r\n", false, "a dot elsewhere"},
      {stays, "a\n.\nb\n", "a\r\n.\r\nb\r\n", false, "-i"},
      {stays, std::string_view{"\0\n\xFF\n", 4}, std::string_view{"\0\r\n\xFF\r\n", 6}, false, "any octets"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    for (std::size_t cut = 1; cut <= row.in.size() + 1; ++cut) {
      LineEnds line_ends{row.dot};
      std::string got;
      for (std::size_t at = 0; at < row.in.size(); at += cut) line_ends.append(row.in.substr(at, cut), got);
      line_ends.finish(got);
      CHECK(got == row.want);
      CHECK(line_ends.ended() == row.ended);
    }
  }
}
