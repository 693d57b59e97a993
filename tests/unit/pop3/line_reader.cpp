#include "pop3d/protocol/line_reader.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace pop3d;

namespace {

using Lines = std::vector<std::pair<std::string, LineFault>>;

/// Feeds `octets` in pieces of at most `most`, of random length when `random` is given.
Lines read(std::string_view octets, std::size_t most, std::mt19937* random = nullptr) {
  Lines lines;
  LineReader reader;
  while (!octets.empty()) {
    const auto size = std::min(octets.size(), random ? 1 + (*random)() % most : most);
    const std::string piece{octets.substr(0, size)};  // its own memory: a view kept too long is found
    octets.remove_prefix(size);
    std::string_view input = piece;
    while (const auto line = reader.take(input)) lines.emplace_back(line->text, line->fault);
    CHECK(input.empty());
  }
  return lines;
}

}  // namespace

TEST_CASE("lines end with CRLF and nothing else") {
  using enum LineFault;
  struct Row {
    std::string octets;
    Lines lines;
  };
  const std::string longest(LineReader::longest, 'x');
  const std::vector<Row> rows{
      {"STAT\r\n", {{"STAT", none}}},
      {"STAT\r\nQUIT\r\n", {{"STAT", none}, {"QUIT", none}}},
      {"\r\n", {{"", none}}},
      {"STAT", {}},
      {"STAT\r", {}},
      {"STAT\n", {}},
      {"STAT\nQUIT\r\n", {{"STAT\nQUIT", stray_control}}},
      {"STAT\n\r\nQUIT\r\n", {{"STAT\n", stray_control}, {"QUIT", none}}},
      {"ST\rAT\r\n", {{"ST\rAT", stray_control}}},
      {"STAT\r\r\n", {{"STAT\r", stray_control}}},
      {"\n\r\n", {{"\n", stray_control}}},
      {std::string{"ST\0AT\r\n", 7}, {{std::string{"ST\0AT", 5}, stray_control}}},
      {longest + "\r\nSTAT\r\n", {{longest, none}, {"STAT", none}}},
      {longest + "x\r\nSTAT\r\n", {{"", too_long}, {"STAT", none}}},
      {longest + longest + "\n" + longest + "\r\nSTAT\r\n", {{"", too_long}, {"STAT", none}}},
  };
  for (const auto& row : rows) {
    CAPTURE(row.octets.substr(0, 40));
    CHECK(read(row.octets, row.octets.size()) == row.lines);
    CHECK(read(row.octets, 1) == row.lines);
    CHECK(read(row.octets, 2) == row.lines);
    CHECK(read(row.octets, 4096) == row.lines);
  }
}

TEST_CASE("any cut of the input gives the same lines") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random{seed};
  for (int round = 0; round < 300; ++round) {
    std::string octets;
    const auto length = random() % 200;
    for (std::size_t i = 0; i < length; ++i) octets += "ab\r\n\r\n\0"[random() % 7];
    CHECK(read(octets, 9, &random) == read(octets, octets.size() + 1));
  }
}

TEST_CASE("octets without a line end are counted, and forgotten on request") {
  LineReader reader;
  const std::string noise(300'000, 'x');
  std::string_view input = noise;
  CHECK_FALSE(reader.take(input));
  CHECK(reader.unfinished() == noise.size());
  reader.reset();
  input = "STAT\r\n";
  CHECK(reader.take(input)->text == "STAT");
}
