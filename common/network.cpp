#include "common/network.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>

namespace common {
namespace {

/// The first `bits` of both are the same.
bool same_prefix(const std::uint8_t* one, const std::uint8_t* other, unsigned bits) {
  if (std::memcmp(one, other, bits / 8) != 0) return false;
  const unsigned rest = bits % 8;
  return rest == 0 || ((one[bits / 8] ^ other[bits / 8]) >> (8 - rest)) == 0;
}

}  // namespace

bool Network::contains(const sockaddr& name) const {
  if (name.sa_family != family) return false;
  if (family == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(name).sin_addr;
    return same_prefix(octets.data(), reinterpret_cast<const std::uint8_t*>(&address), bits);
  }
  return same_prefix(octets.data(), reinterpret_cast<const sockaddr_in6&>(name).sin6_addr.s6_addr, bits);
}

std::expected<Network, std::string> parse_network(std::string_view text) {
  const auto slash = text.find('/');
  const std::string address{text.substr(0, slash)};
  Network network;
  if (::inet_pton(AF_INET, address.c_str(), network.octets.data()) == 1) {
    network.family = AF_INET;
  } else if (::inet_pton(AF_INET6, address.c_str(), network.octets.data()) == 1) {
    network.family = AF_INET6;
  } else {
    return std::unexpected("is no numeric address");
  }
  const unsigned most = network.family == AF_INET ? 32 : 128;
  network.bits = most;
  if (slash == text.npos) return network;
  const auto length = text.substr(slash + 1);
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), network.bits);
  if (error != std::errc{} || end != length.data() + length.size() || network.bits > most)
    return std::unexpected("has no proper prefix length");
  Network cut = network;
  for (unsigned bit = network.bits; bit < most; ++bit)
    cut.octets[bit / 8] = static_cast<std::uint8_t>(cut.octets[bit / 8] & ~(0x80U >> (bit % 8)));
  if (cut != network) return std::unexpected("has bits behind its prefix");
  return network;
}

}  // namespace common
