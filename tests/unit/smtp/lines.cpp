#include "smtpd/protocol/lines.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using smtpd::LineFault;

namespace {

struct Kept {
  std::string text;
  LineFault fault = LineFault::none;
  friend bool operator==(const Kept&, const Kept&) = default;
};

std::vector<Kept> split(std::string_view octets, std::size_t piece) {
  smtpd::LineSplitter splitter;
  std::vector<Kept> lines;
  while (!octets.empty()) {
    std::string_view in = octets.substr(0, piece);
    octets.remove_prefix(in.size());
    while (auto line = splitter.next(in)) lines.push_back({std::string{line->text}, line->fault});
    CHECK(in.empty());
    splitter.release();
  }
  return lines;
}

}  // namespace

TEST_CASE("only CRLF ends a line, in any cuts") {
  struct Row {
    std::string octets;
    std::vector<Kept> want;
    std::string why;
  };
  using enum LineFault;
  const std::vector<Row> rows = {
      {"NOOP\r\nQUIT\r\n", {{"NOOP"}, {"QUIT"}}, "two lines"},
      {"\r\n", {{""}}, "an empty line"},
      {"NOOP\nQUIT\r\n", {{"NOOP\nQUIT", newline_inside}}, "a lone LF"},
      {"NOOP\rQUIT\r\n", {{"NOOP\rQUIT", newline_inside}}, "a lone CR"},
      {"NOOP\r\r\nQ\r\n", {{"NOOP\r", newline_inside}, {"Q"}}, "CR CRLF"},
      {"\n\r\n", {{"\n", newline_inside}}, "LF CRLF"},
      {"NOOP", {}, "no end"},
      {"NOOP\r", {}, "half an end"},
      {"NOOP\n", {}, "no end at all"},
      {std::string("a\0b\r\n", 5), {{std::string("a\0b", 3)}}, "NUL"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    for (const std::size_t piece : {1000U, 1U, 2U, 3U, 5U}) {
      CAPTURE(piece);
      CHECK(split(row.octets, piece) == row.want);
    }
  }
}

TEST_CASE("a line over the limit is read to its end and told") {
  const std::size_t limit = smtpd::auth_line_limit;
  for (const std::size_t piece : {100000U, 4096U, 7U, 1U}) {
    CAPTURE(piece);
    const auto fits = split(std::string(limit - 2, 'a') + "\r\nQUIT\r\n", piece);
    REQUIRE(fits.size() == 2);
    CHECK(fits[0].fault == LineFault::none);
    const auto over = split(std::string(limit - 1, 'a') + "\r\nQUIT\r\n", piece);
    REQUIRE(over.size() == 2);
    CHECK(over[0].fault == LineFault::too_long);
    CHECK(over[1] == Kept{"QUIT"});
    const auto huge = split(std::string(10 * limit, '\r') + "\r\nQUIT\r\n", piece);
    REQUIRE(huge.size() == 2);
    CHECK(huge[0].fault == LineFault::too_long);
  }
}
