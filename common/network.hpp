#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace common {

/// An address or a range of them, as people write it: "192.0.2.7", "192.0.2.0/24", "2001:db8::/32".
struct Network {
  int family = AF_UNSPEC;
  std::array<std::uint8_t, 16> octets{};  ///< in network order; of an IPv4 network the first four
  unsigned bits = 0;                      ///< of them that count
  bool contains(const sockaddr& name) const;
  friend bool operator==(const Network&, const Network&) = default;
};

/// Error: what is wrong with it, in a few words. Bits behind the prefix must be zero: "192.0.2.7/24" is a slip.
std::expected<Network, std::string> parse_network(std::string_view text);

}  // namespace common
