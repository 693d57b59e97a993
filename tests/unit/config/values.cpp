#include "common/config/values.hpp"

#include <doctest/doctest.h>

#include "samples.hpp"

using namespace common::config;
using namespace std::chrono_literals;

TEST_CASE("sizes") {
  CHECK(parse_size("0") == Octets{0});
  CHECK(parse_size("1234") == Octets{1234});
  CHECK(parse_size("10KB") == Octets{10240});
  CHECK(parse_size("50MB") == Octets{50} << 20U);
  CHECK(parse_size("256gb") == Octets{256} << 30U);
  for (const auto* text :
       {"", "MB", "-1", "+1", "1.5MB", "10 MB", "10TB", "10K", "9223372036854775808", "9999999999GB"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size(text));
  }
  for (const Octets octets : {Octets{0}, Octets{1}, Octets{1023}, Octets{1024}, Octets{1536}, Octets{3} << 30U}) {
    CHECK(parse_size(format_size(octets)) == octets);
  }
  CHECK(format_size(Octets{50} << 20U) == "50MB");
}

TEST_CASE("times") {
  CHECK(parse_time("0") == Duration{0});
  CHECK(parse_time("90s") == Duration{90s});
  CHECK(parse_time("5m") == Duration{5min});
  CHECK(parse_time("4h") == Duration{4h});
  CHECK(parse_time("5d") == Duration{120h});
  for (const auto* text : {"", "5", "m", "-5m", "5 m", "5M", "1.5h", "1h30m", "5ms", "9223372036854775807d"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_time(text));
  }
  CHECK(format_time(90s) == "90s");
  CHECK(format_time(60min) == "1h");
  CHECK(format_time(0s) == "0");
}

TEST_CASE("addresses to listen on") {
  struct Row {
    const char* text;
    const char* address;
    int port;
    const char* path;
    bool tls;
  };
  const Row rows[] = {
      {"0.0.0.0:25", "0.0.0.0", 25, "", false},
      {"127.0.0.1:0", "127.0.0.1", 0, "", false},
      {"[::]:25", "::", 25, "", false},
      {"[2001:DB8:0::1]:995,tls", "2001:db8::1", 995, "", true},
      {"unix:/run/pennypost/lmtp", "", 0, "/run/pennypost/lmtp", false},
      {"unix:/run/a:b,tls", "", 0, "/run/a:b", true},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const auto listen = parse_listen(row.text);
    REQUIRE(listen);
    CHECK(listen->text == row.text);
    CHECK(listen->address == row.address);
    CHECK(listen->port == row.port);
    CHECK(listen->path == row.path);
    CHECK(listen->tls == row.tls);
  }
  for (const auto* text :
       {"", ":25", "25", "*:25", "localhost:25", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:2 ", "::1:25", "[::1]", "[::1]25", "[127.0.0.1]:25", "[::ffff:192.0.2.1]:25", "unix:relative",
        "unix:", "127.0.0.1:25,TLS", "127.0.0.1:25, tls"}) {
    CAPTURE(text);
    const auto listen = parse_listen(text);
    CHECK_FALSE(listen);
    if (!listen) CHECK_FALSE(listen.error().remedy.empty());
  }
  CHECK_FALSE(parse_listen("unix:/" + std::string(120, 'x')));
}

TEST_CASE("places of filters (S97)") {
  struct Row {
    const char* text;
    const char* host;
    const char* address;
    int port;
    const char* path;
    const char* told;
  };
  const Row rows[] = {
      {"inet:8891@127.0.0.1", "127.0.0.1", "127.0.0.1", 8891, "", "inet:8891@127.0.0.1"},
      {"inet:1@localhost", "localhost", "127.0.0.1", 1, "", "inet:1@localhost"},
      {"inet6:1@localhost", "localhost", "::1", 1, "", "inet:1@localhost"},
      {"inet6:8891@[2001:DB8:0::1]", "2001:db8::1", "2001:db8::1", 8891, "", "inet:8891@2001:db8::1"},
      {"inet:65535@Filter.Example.ORG", "filter.example.org", "", 65535, "", "inet:65535@filter.example.org"},
      {"unix:/run/a:b@c", "", "", 0, "/run/a:b@c", "unix:/run/a:b@c"},
      {"local:/run/x", "", "", 0, "/run/x", "unix:/run/x"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const auto place = parse_filter(row.text);
    REQUIRE(place);
    CHECK(place->host == row.host);
    CHECK(place->address == row.address);
    CHECK(place->port == row.port);
    CHECK(place->path == row.path);
    CHECK(place->text == row.told);
  }
  for (const char* text :
       {"", "inet", "inet:", "inet:8891", "inet:@127.0.0.1", "inet:0@127.0.0.1", "inet:65536@127.0.0.1",
        "inet:25x@127.0.0.1", "inet:25@", "inet:25@a b", "unix:", "unix:run/x", "127.0.0.1:25", "tcp:25@127.0.0.1"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_filter(text));
  }
  CHECK_FALSE(parse_filter("unix:/" + std::string(200, 'x')));
}

TEST_CASE("which addresses cannot be had at once") {
  struct Row {
    const char* one;
    const char* other;
    bool want;
    const char* why;
  };
  const Row rows[] = {
      {"127.0.0.1:25", "127.0.0.1:25", true, "the same"},
      {"127.0.0.1:25", "127.0.0.1:25,tls", true, "TLS is no other place"},
      {"127.0.0.1:25", "127.0.0.2:25", false, "another address"},
      {"127.0.0.1:25", "127.0.0.1:26", false, "another port"},
      {"0.0.0.0:25", "127.0.0.1:25", true, "the wildcard has all"},
      {"[::1]:25", "[::]:25", true, "of its family"},
      {"[::]:25", "0.0.0.0:25", false, "of its family alone"},
      {"[::1]:25", "[0:0::1]:25", true, "two spellings"},
      {"127.0.0.1:0", "127.0.0.1:0", false, "the system gives two ports"},
      {"unix:/a", "unix:/a", true, "the same socket"},
      {"unix:/a", "unix:/b", false, "another socket"},
      {"unix:/a", "0.0.0.0:25", false, "nothing in common"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto one = parse_listen(row.one);
    const auto other = parse_listen(row.other);
    REQUIRE(one);
    REQUIRE(other);
    CHECK(overlap(*one, *other) == row.want);
    CHECK(overlap(*other, *one) == row.want);
  }
}
