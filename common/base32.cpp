#include "common/base32.hpp"

#include <cstddef>

namespace common {
namespace {

constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::size_t letters = 13;

}  // namespace

std::string format_base32(std::uint64_t value) {
  std::string text(letters, 'a');
  // 12 letters carry 60 bits from the top; the last carries four and a zero bit (RFC 4648 6).
  for (std::size_t i = 0; i + 1 < letters; ++i) text[i] = alphabet[(value >> (59 - 5 * i)) & 31U];
  text[letters - 1] = alphabet[(value << 1U) & 31U];
  return text;
}

std::optional<std::uint64_t> parse_base32(std::string_view text) {
  if (text.size() != letters) return std::nullopt;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < letters; ++i) {
    const auto digit = alphabet.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    if (i + 1 < letters) {
      value = value << 5U | digit;
    } else {
      if ((digit & 1U) != 0) return std::nullopt;
      value = value << 4U | digit >> 1U;
    }
  }
  return value;
}

}  // namespace common
