#include "common/dns/name.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace common::dns {
namespace {

constexpr std::size_t name_limit = 253;
constexpr std::size_t label_limit = 63;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool fits_label(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '-' || c == '_';
}

}  // namespace

bool is_host_name(std::string_view text) {
  if (text.empty() || text.size() > name_limit) return false;
  for (;;) {
    const auto label = text.substr(0, text.find('.'));
    if (label.empty() || label.size() > label_limit || !std::ranges::all_of(label, fits_label)) return false;
    if (label.size() == text.size()) return !std::ranges::all_of(label, is_digit);
    text.remove_prefix(label.size() + 1);
  }
}

std::optional<std::string> canonical_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (!is_host_name(text)) return std::nullopt;
  std::string name{text};
  std::ranges::transform(name, name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return name;
}

std::optional<std::string> parse_name(std::string_view wire) {
  std::string text;
  while (!wire.empty()) {
    const std::size_t length = static_cast<unsigned char>(wire.front());
    wire.remove_prefix(1);
    if (length == 0) {
      if (!wire.empty()) return std::nullopt;
      return text.empty() ? std::optional{text} : canonical_name(text);
    }
    // A compression pointer is longer than any label; the library has resolved them all.
    if (length > label_limit || length > wire.size()) return std::nullopt;
    const auto label = wire.substr(0, length);
    if (!std::ranges::all_of(label, fits_label)) return std::nullopt;
    if (!text.empty()) text += '.';
    text += label;
    wire.remove_prefix(length);
  }
  return std::nullopt;
}

std::string reverse_name(const asio::ip::address& address) {
  if (address.is_v4()) {
    const auto octets = address.to_v4().to_bytes();
    return fmt::format("{}.{}.{}.{}.in-addr.arpa", octets[3], octets[2], octets[1], octets[0]);
  }
  std::string name;
  const auto octets = address.to_v6().to_bytes();
  for (auto octet = octets.rbegin(); octet != octets.rend(); ++octet) {
    fmt::format_to(std::back_inserter(name), "{:x}.{:x}.", *octet & 15U, *octet >> 4U);
  }
  return name + "ip6.arpa";
}

}  // namespace common::dns
