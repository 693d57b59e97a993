#include "common/dns/record.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace common::dns;

TEST_CASE("the data of records") {
  CHECK(parse_address(Type::a,
                      "\xC0\x00\x02\x07"
                      "") == std::nullopt);  // the literal ends at its NUL
  CHECK(parse_address(Type::a, std::string("\xC0\0\2\7", 4)) == asio::ip::make_address("192.0.2.7"));
  CHECK(parse_address(Type::aaaa, std::string(15, '\0') + '\1') == asio::ip::make_address("::1"));
  CHECK(!parse_address(Type::aaaa, std::string("\xC0\0\2\7", 4)));
  CHECK(!parse_address(Type::a, std::string(16, '\0')));

  CHECK(parse_exchanger(std::string("\0\x0A\2mx\1a\0", 8)) == MailExchanger{10, "mx.a"});
  CHECK(parse_exchanger(std::string("\xFF\xFE\2mx\1a\0", 8)) == MailExchanger{65534, "mx.a"});
  CHECK(!parse_exchanger(std::string("\0\x0A", 2)));
  CHECK(!parse_exchanger(std::string("\0\x0A\2m\n\1a\0", 8)));

  CHECK(parse_pointer(std::string("\1A\1b\0", 5)) == "a.b");
  CHECK(!parse_pointer(std::string("\0", 1)));
}

TEST_CASE("a null MX (RFC 7505) is alone and names the root") {
  const auto null = parse_exchanger(std::string("\0\0\0", 3));
  REQUIRE(null);
  CHECK(is_null_mx({*null}));
  CHECK(!is_null_mx({*null, MailExchanger{10, "mx.a"}}));
  CHECK(!is_null_mx({MailExchanger{0, "mx.a"}}));
  CHECK(!is_null_mx({}));
}

TEST_CASE("records that cannot be used are left out, and none left is an answer of its own") {
  const auto parse = [](std::string_view rdata) { return parse_pointer(rdata); };
  Answer<std::string> raw{{std::string("\1a\0", 3), "rubbish"}, "x.test", true, std::chrono::seconds{60}};
  const auto some = parse_records<std::string>(raw, parse);
  REQUIRE(some);
  CHECK(some->records == std::vector<std::string>{"a"});
  CHECK(some->name == "x.test");
  CHECK(some->secure);
  CHECK(some->ttl == std::chrono::seconds{60});
  raw.records.erase(raw.records.begin());
  const auto none = parse_records<std::string>(raw, parse);
  REQUIRE(!none);
  CHECK(none.error().code == Errc::malformed);
  const auto failed = parse_records<std::string>(std::unexpected(Error{Errc::bogus, "why"}), parse);
  REQUIRE(!failed);
  CHECK(failed.error().code == Errc::bogus);
}

TEST_CASE("what is settled, and what may be otherwise later") {
  for (const auto code : {Errc::no_name, Errc::no_data, Errc::malformed}) CHECK(is_settled(code));
  for (const auto code : {Errc::bogus, Errc::temporary, Errc::timeout, Errc::cancelled}) CHECK(!is_settled(code));
}
