#include "common/host_port.hpp"

#include <arpa/inet.h>

#include <array>
#include <charconv>

#include "common/address.hpp"

namespace common {
namespace {

bool is_address(int family, std::string_view text) {
  std::array<unsigned char, 16> octets{};
  return text.size() < INET6_ADDRSTRLEN && inet_pton(family, std::string{text}.c_str(), octets.data()) == 1;
}

std::expected<std::uint16_t, std::string> parse_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value == 0 || value > 65535)
    return std::unexpected("a port is a number from 1 to 65535");
  return static_cast<std::uint16_t>(value);
}

}  // namespace

bool is_ipv6(std::string_view address) {
  return is_address(AF_INET6, address);
}

bool is_numeric_address(std::string_view text) {
  return is_address(AF_INET, text) || is_ipv6(text);
}

std::expected<HostPort, std::string> parse_host_port(std::string_view text, std::uint16_t default_port) {
  HostPort where;
  where.port = default_port;
  std::string_view rest;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == text.npos) return std::unexpected("a bracket without its end");
    const auto inside = text.substr(1, end - 1);
    // RFC 5321 4.1.3 writes IPv6 this way; without the prefix it is as clear.
    const auto bare = inside.starts_with("IPv6:") ? inside.substr(5) : inside;
    if (!is_numeric_address(bare)) return std::unexpected("brackets are for numeric addresses");
    where.host = bare;
    where.numeric = true;
    rest = text.substr(end + 1);
  } else {
    const auto colon = text.find(':');
    const auto name = text.substr(0, colon);
    if (colon != text.npos && text.find(':', colon + 1) != text.npos)
      return std::unexpected("an IPv6 address needs brackets");
    rest = colon == text.npos ? std::string_view{} : text.substr(colon);
    if (is_numeric_address(name)) {
      where.host = name;
      where.numeric = true;
    } else {
      auto domain = canonical_domain(name);
      if (!domain) return std::unexpected(std::move(domain.error()));
      where.host = std::move(*domain);
    }
  }
  if (rest.empty()) return where;
  if (rest.front() != ':') return std::unexpected("only a colon and a port may follow");
  const auto port = parse_port(rest.substr(1));
  if (!port) return std::unexpected(port.error());
  where.port = *port;
  return where;
}

std::string format_host_port(const HostPort& where) {
  std::string text = where.numeric ? "[" + where.host + "]" : where.host;
  return text + ":" + std::to_string(where.port);
}

}  // namespace common
