#include "common/base32.hpp"

#include <doctest/doctest.h>

#include <random>

TEST_CASE("an id is 13 lower-case letters (RFC 4648 6)") {
  struct Row {
    std::uint64_t value;
    const char* text;
    const char* why;
  };
  const Row rows[] = {
      {0, "aaaaaaaaaaaaa", "zero"},
      {1, "aaaaaaaaaaaac", "the last letter carries four bits and a zero bit"},
      {~std::uint64_t{0}, "7777777777776", "all ones"},
      {0x666F6F6261720000, "mzxw6ytboiaaa", "RFC 4648 10: foobar is MZXW6YTBOI"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(common::format_base32(row.value) == row.text);
    CHECK(common::parse_base32(row.text) == row.value);
  }
}

TEST_CASE("an id has one spelling") {
  const char* const others[] = {
      "", "aaaaaaaaaaaa", "aaaaaaaaaaaaaa", "aaaaaaaaaaaab", "AAAAAAAAAAAAC", "aaaaaaaaaaaa=", "aaaaaaaaaaa1a"};
  for (const auto* text : others) {
    CAPTURE(text);
    CHECK_FALSE(common::parse_base32(text));
  }
}

TEST_CASE("what is written is read back") {
  std::mt19937_64 random{20261123};
  for (int i = 0; i < 10000; ++i) {
    const std::uint64_t value = random();
    const auto text = common::format_base32(value);
    CHECK(text.size() == 13);
    CHECK(common::parse_base32(text) == value);
  }
}
