#include "common/network.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>

#include <string>

using namespace common;

namespace {

sockaddr_storage address(const std::string& text) {
  sockaddr_storage name{};
  auto& four = reinterpret_cast<sockaddr_in&>(name);
  auto& six = reinterpret_cast<sockaddr_in6&>(name);
  if (text == "unix") {
    name.ss_family = AF_UNIX;
  } else if (::inet_pton(AF_INET, text.c_str(), &four.sin_addr) == 1) {
    name.ss_family = AF_INET;
  } else {
    REQUIRE(::inet_pton(AF_INET6, text.c_str(), &six.sin6_addr) == 1);
    name.ss_family = AF_INET6;
  }
  return name;
}

}  // namespace

TEST_CASE("addresses and networks, and who is in them") {
  struct Row {
    const char* network;
    const char* in;
    const char* out;
  };
  const Row rows[] = {
      {"192.0.2.7", "192.0.2.7", "192.0.2.6"},
      {"192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
      {"192.0.2.128/25", "192.0.2.200", "192.0.2.127"},
      {"0.0.0.0/0", "203.0.113.9", "2001:db8::1"},
      {"127.0.0.0/8", "127.1.2.3", "unix"},
      {"2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"},
      {"::1", "::1", "::2"},
      {"::/0", "2001:db8::1", "192.0.2.1"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.network);
    const auto network = parse_network(row.network);
    REQUIRE(network);
    const auto in = address(row.in);
    const auto out = address(row.out);
    CHECK(network->contains(reinterpret_cast<const sockaddr&>(in)));
    CHECK_FALSE(network->contains(reinterpret_cast<const sockaddr&>(out)));
  }
  for (const char* wrong :
       {"", "/8", "192.0.2", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/x", "192.0.2.0/8x", "192.0.2.1/24",
        "2001:db8::/129", "2001:db8::1/64", "[::1]", "mail.example.test", "192.0.2.0/-1"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_network(wrong));
  }
}
