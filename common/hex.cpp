#include "common/hex.hpp"

#include <string_view>

namespace common {

std::string format_hex(std::span<const unsigned char> octets) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * octets.size());
  for (const auto octet : octets) (text += digits[octet >> 4U]) += digits[octet & 15U];
  return text;
}

}  // namespace common
