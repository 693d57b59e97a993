#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace common {

/// A server that somebody named (S63, S67, S92).
struct HostPort {
  std::string host;      ///< a name in A-labels, or a numeric address without brackets
  bool numeric = false;  ///< is not looked up
  std::uint16_t port = 0;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

/// "relay.example.net", "relay.example.net:587", "[192.0.2.9]:587", "[2001:db8::9]". Error: what is wrong, in a few
/// words.
std::expected<HostPort, std::string> parse_host_port(std::string_view text, std::uint16_t default_port);
std::string format_host_port(const HostPort& where);

/// IPv4 or IPv6 in numbers.
bool is_numeric_address(std::string_view text);
bool is_ipv6(std::string_view address);

}  // namespace common
