#include "common/address.hpp"

#include <doctest/doctest.h>

#include <string>

using common::Address;
using namespace std::string_literals;

TEST_CASE("addresses that are right (RFC 5321 4.1.2)") {
  struct Row {
    std::string text;
    std::string local, domain;
    bool ascii;
    std::string written;
    std::string key;
    const char* why;
  };
  const std::string local64(64, 'x');
  const Row rows[] = {
      {"ann@example.test", "ann", "example.test", true, "ann@example.test", "ann@example.test", "plain"},
      {"Ann.Lee@Example.TEST", "Ann.Lee", "example.test", true, "Ann.Lee@example.test", "ann.lee@example.test",
       "the local part keeps its case, the domain does not"},
      {"ann", "ann", "", true, "ann", "ann", "a bare local part"},
      {"a+b=c/d!#$%&'*-?^_`{|}~@x.y", "a+b=c/d!#$%&'*-?^_`{|}~", "x.y", true, "a+b=c/d!#$%&'*-?^_`{|}~@x.y",
       "a+b=c/d!#$%&'*-?^_`{|}~@x.y", "every atom character"},
      {"\"ann\"@example.test", "ann", "example.test", true, "ann@example.test", "ann@example.test",
       "quotes that are not needed go"},
      {"\"a b\"@example.test", "a b", "example.test", true, "\"a b\"@example.test", "\"a b\"@example.test", "a space"},
      {R"("A\"\\b"@example.test)", R"(A"\b)", "example.test", true, R"("A\"\\b"@example.test)",
       R"("a\"\\b"@example.test)", "quoted pairs"},
      {"\"a@b\"@example.test", "a@b", "example.test", true, "\"a@b\"@example.test", "\"a@b\"@example.test",
       "an at sign in quotes"},
      {"\"a@b\"", "a@b", "", true, "\"a@b\"", "\"a@b\"", "a bare local part is never taken for an address"},
      {"\"a..b\"@x", "a..b", "x", true, "\"a..b\"@x", "\"a..b\"@x", "dots that need quotes"},
      {"a@[192.0.2.7]", "a", "[192.0.2.7]", true, "a@[192.0.2.7]", "a@[192.0.2.7]", "IPv4 literal"},
      {"a@[ipv6:2001:DB8:0:0::1]", "a", "[IPv6:2001:db8::1]", true, "a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]",
       "IPv6 literal, one spelling"},
      {"a@b\xC3\xBC"
       "cher.example",
       "a", "xn--bcher-kva.example", false, "a@xn--bcher-kva.example", "a@xn--bcher-kva.example", "U-label"},
      {"a@B\xC3\x9C"
       "CHER.Example",
       "a", "xn--bcher-kva.example", false, "a@xn--bcher-kva.example", "a@xn--bcher-kva.example",
       "capitals of a U-label"},
      {"a@fa\xC3\x9F.de", "a", "xn--fa-hia.de", false, "a@xn--fa-hia.de", "a@xn--fa-hia.de",
       "IDNA 2008 keeps the sharp s"},
      {"\xC3\x84nn@x", "\xC3\x84nn", "x", false, "\xC3\x84nn@x", "\xC3\xA4nn@x", "UTF-8 folds"},
      {"A\xCC\x88nn@x", "A\xCC\x88nn", "x", false, "A\xCC\x88nn@x", "\xC3\xA4nn@x", "and is composed"},
      {"\xCE\x9F\xCE\xA3@x", "\xCE\x9F\xCE\xA3", "x", false, "\xCE\x9F\xCE\xA3@x", "\xCE\xBF\xCF\x83@x", "sigma"},
      {"\xCE\xBF\xCF\x82@x", "\xCE\xBF\xCF\x82", "x", false, "\xCE\xBF\xCF\x82@x", "\xCE\xBF\xCF\x83@x", "final sigma"},
      {local64 + "@x", local64, "x", true, local64 + "@x", local64 + "@x", "64 octets"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto address = common::parse_address(row.text);
    REQUIRE(address);
    CHECK(address->local == row.local);
    CHECK(address->domain == row.domain);
    CHECK(address->ascii == row.ascii);
    CHECK(common::format_address(*address) == row.written);
    CHECK(common::canonical_key(*address) == row.key);
    const auto again = common::parse_address(common::format_address(*address));
    REQUIRE(again);
    CHECK(again->local == row.local);
    CHECK(again->domain == row.domain);
  }
}

TEST_CASE("addresses that are wrong") {
  const std::string label64(64, 'x');
  std::string long_domain;
  for (int i = 0; i < 64; ++i) long_domain += "abc.";
  long_domain += "de";
  struct Row {
    std::string text;
    const char* why;
  };
  const Row rows[] = {
      {"", "nothing"},
      {"@x", "no local part"},
      {"\"\"@x", "an empty local part in quotes"},
      {"a@", "no domain"},
      {"a b@x", "a space"},
      {".a@x", "dot first"},
      {"a.@x", "dot last"},
      {"a..b@x", "two dots"},
      {"a@b@c", "two at signs"},
      {"\"a@x", "open quote"},
      {"\"a\\", "backslash last"},
      {"\"a\"b@x", "text behind the quote"},
      {"a\"b\"@x", "quote in the middle"},
      {"<a@x>", "angle brackets"},
      {"a@x ", "a space behind"},
      {"a\r\n@x", "line end"},
      {"\"a\r\n\"@x", "line end in quotes"},
      {"a\0b@x"s, "NUL"},
      {"\"a\0b\"@x"s, "NUL in quotes"},
      {"a@x\0y"s, "NUL in the domain"},
      {"a@-x.y", "hyphen first"},
      {"a@x-.y", "hyphen last in a label"},
      {"a@x.y-", "hyphen last"},
      {"a@.x", "empty label"},
      {"a@x..y", "empty label"},
      {"a@x.", "dot last"},
      {"a@x_y", "underscore"},
      {"a@[192.0.2.256]", "no IPv4 address"},
      {"a@[192.0.2.7", "open bracket"},
      {"a@[192.0.2.7]x", "text behind the bracket"},
      {"a@[IPv6:::g]", "no IPv6 address"},
      {"a@[2001:db8::1]", "IPv6 without its tag"},
      {"a@[]", "empty literal"},
      {"a@" + label64, "label of 64 octets"},
      {"a@" + long_domain, "domain of 258 octets"},
      {std::string(65, 'x') + "@y", "local part of 65 octets"},
      {"\xFF@x", "not UTF-8"},
      {"a@\xFF", "not UTF-8 in the domain"},
      {"\xC2\x9B@x", "C1 control"},
      {"a@\xE2\x80\xAE.x", "bidirectional override in a domain"},
      {"a@\xEF\xBC\xA0.x", "full-width at sign"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto address = common::parse_address(row.text);
    CHECK_FALSE(address);
    if (!address) CHECK_FALSE(address.error().empty());
  }
}

TEST_CASE("domains") {
  CHECK(common::canonical_domain("MAIL.Example.Org") == "mail.example.org");
  CHECK(common::canonical_domain("XN--BCHER-KVA.example") == "xn--bcher-kva.example");
  CHECK(common::canonical_domain("\xE4\xBE\x8B\xE3\x80\x82test") == "xn--fsq.test");
  CHECK_FALSE(common::canonical_domain(""));
  CHECK_FALSE(common::canonical_domain("[192.0.2.7]"));
}
