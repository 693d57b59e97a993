#include "common/dns/name.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace common::dns;

TEST_CASE("names in wire form") {
  struct Row {
    std::string wire;
    std::optional<std::string> want;
    std::string why;
  };
  const std::string label(63, 'a');
  const std::string full = std::string("\x3f") + label + "\x3f" + label + "\x3f" + label;  // 192 octets
  const Row rows[] = {
      {std::string("\4mail\7EXAMPLE\3org\0", 18), "mail.example.org", "lower case"},
      {std::string("\0", 1), "", "the root"},
      {std::string("\7_domkey\3a-b\0", 13), "_domkey.a-b", "underscores and hyphens are in use"},
      {"", std::nullopt, "nothing at all"},
      {"\4mail", std::nullopt, "no end"},
      {"\5mail", std::nullopt, "a label longer than what there is"},
      {std::string("\4mail\0x", 7), std::nullopt, "something behind the end"},
      {std::string("\1a\xC0\x00", 4), std::nullopt, "a compression pointer"},
      {std::string("\x40", 1) + std::string(64, 'a') + '\0', std::nullopt, "a label of 64 octets"},
      {std::string("\5a\r\nb:\0", 7), std::nullopt, "a line end"},
      {std::string("\3a.b\1c\0", 7), std::nullopt, "a dot inside a label"},
      {std::string("\2a\0\1c\0", 6), std::nullopt, "a NUL"},
      {std::string("\2{}\1c\0", 6), std::nullopt, "a template"},
      {std::string("\2%s\1c\0", 6), std::nullopt, "another template"},
      {std::string("\4m\xC3\xA4x\1c\0", 8), std::nullopt, "8-bit"},
      {std::string("\4a(b)\1c\0", 8), std::nullopt, "a comment"},
      {std::string("\3192\1\x30\1\x32\1\x31\0", 11), std::nullopt, "an address for a name"},
      {full + "\x3c" + std::string(60, 'b') + '\0', label + "." + label + "." + label + "." + std::string(60, 'b'),
       "252 octets of text"},
      {full + "\x3e" + std::string(62, 'b') + '\0', std::nullopt, "254 octets of text"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(parse_name(row.wire) == row.want);
  }
}

TEST_CASE("names in text") {
  CHECK(canonical_name("Mail.Example.ORG.") == "mail.example.org");
  CHECK(canonical_name("localhost") == "localhost");
  for (const auto* bad : {"", ".", "a..b", ".a", "a b", "a..", "192.0.2.1", "a\n", "a/b"}) {
    CAPTURE(bad);
    CHECK(!canonical_name(bad));
    CHECK(!is_host_name(bad));
  }
}

TEST_CASE("the name under which an address's name is asked for") {
  CHECK(reverse_name(asio::ip::make_address("192.0.2.7")) == "7.2.0.192.in-addr.arpa");
  // RFC 3596 2.5
  CHECK(reverse_name(asio::ip::make_address("4321:0:1:2:3:4:567:89ab")) ==
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa");
}
