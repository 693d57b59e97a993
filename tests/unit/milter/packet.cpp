#include "smtpd/milter/packet.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace smtpd::milter;

namespace {

struct Found {
  char command;
  std::string data;
  friend bool operator==(const Found&, const Found&) = default;
};

/// The packets, and "!" with the fault behind them.
std::vector<Found> read(std::string_view octets, std::size_t piece) {
  PacketReader reader;
  std::vector<Found> found;
  while (!octets.empty()) {
    reader.feed(octets.substr(0, piece));
    octets.remove_prefix(std::min(piece, octets.size()));
    for (;;) {
      const auto packet = reader.next();
      if (!packet) {
        found.push_back({'!', packet.error()});
        return found;
      }
      if (!*packet) break;
      found.push_back({(*packet)->command, std::string{(*packet)->data}});
    }
  }
  return found;
}

}  // namespace

TEST_CASE("packets are found in any cuts (S97)") {
  std::string octets;
  append_packet(octets, 'c', {});
  append_packet(octets, 'b', std::string(70'000, 'x'));
  append_packet(octets, 'y', std::string_view{"550 no\0", 7});
  const std::vector<Found> want{{'c', ""}, {'b', std::string(70'000, 'x')}, {'y', std::string("550 no\0", 7)}};
  for (const std::size_t piece : {1U, 3U, 5U, 4096U, 1'000'000U}) CHECK(read(octets, piece) == want);
}

TEST_CASE("what is no packet is no packet for ever") {
  using namespace std::string_literals;
  CHECK(read("\0\0\0\0"s, 4) == std::vector<Found>{{'!', "a packet without a command"}});
  CHECK(read("\x7f\xff\xff\xff"s, 1) == std::vector<Found>{{'!', "a packet of 2147483647 octets"}});
  CHECK(read("GET / HTTP"s, 10).back().command == '!');
  std::string longest;
  append_packet(longest, 'b', std::string(packet_limit - 1, 'x'));
  CHECK(read(longest, 65'536).size() == 1);
  std::string longer;
  append_packet(longer, 'b', std::string(packet_limit, 'x'));
  CHECK(read(longer, 65'536).back().command == '!');
}

TEST_CASE("values end where their octets do") {
  using namespace std::string_view_literals;
  Fields fields{"\0\0\1\2name\0value\0rest"sv};
  CHECK(fields.number() == 258U);
  CHECK(fields.text() == "name");
  CHECK(fields.text() == "value");
  CHECK_FALSE(fields.text());
  CHECK_FALSE(fields.at_end());
  Fields brief{"\0\0\1"sv};
  CHECK_FALSE(brief.number());
}

TEST_CASE("a text that is told ends at its first NUL") {
  std::string out;
  append_text(out, std::string_view{"a\0b", 3});
  CHECK(out == std::string("a\0", 2));
}
