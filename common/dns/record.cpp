#include "common/dns/record.hpp"

#include <algorithm>

#include "common/dns/name.hpp"

namespace common::dns {
namespace {

template <class Address>
std::optional<asio::ip::address> parse_octets(std::string_view rdata) {
  typename Address::bytes_type octets{};
  if (rdata.size() != octets.size()) return std::nullopt;
  std::ranges::transform(rdata, octets.begin(), [](char c) { return static_cast<unsigned char>(c); });
  return Address{octets};
}

}  // namespace

std::optional<asio::ip::address> parse_address(Type type, std::string_view rdata) {
  return type == Type::a ? parse_octets<asio::ip::address_v4>(rdata) : parse_octets<asio::ip::address_v6>(rdata);
}

std::optional<MailExchanger> parse_exchanger(std::string_view rdata) {
  if (rdata.size() < 3) return std::nullopt;
  auto host = parse_name(rdata.substr(2));
  if (!host) return std::nullopt;
  const auto octet = [&](std::size_t at) { return static_cast<unsigned>(static_cast<unsigned char>(rdata[at])); };
  return MailExchanger{static_cast<std::uint16_t>(octet(0) << 8U | octet(1)), std::move(*host)};
}

std::optional<std::string> parse_pointer(std::string_view rdata) {
  auto name = parse_name(rdata);
  if (!name || name->empty()) return std::nullopt;
  return name;
}

bool is_null_mx(const std::vector<MailExchanger>& exchangers) {
  return exchangers.size() == 1 && exchangers.front().host.empty();
}

}  // namespace common::dns
