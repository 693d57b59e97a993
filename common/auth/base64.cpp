#include <array>
#include <cstdint>

#include "common/auth/sasl.hpp"

namespace common::auth {
namespace {

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t foreign = 0xff;

constexpr std::array<std::uint8_t, 256> values = [] {
  std::array<std::uint8_t, 256> table{};
  table.fill(foreign);
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    table[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
  return table;
}();

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;

  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    const std::size_t digits = last ? 4 - padding : 4;
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const auto value = j < digits ? values[static_cast<unsigned char>(text[i + j])] : std::uint8_t{0};
      if (value == foreign) return std::nullopt;
      group = group << 6U | value;
    }
    // RFC 4648 3.5: bits that no octet carries are zero, so that a text has one meaning and a meaning one text.
    if ((digits == 2 && (group & 0xffffU) != 0) || (digits == 3 && (group & 0xffU) != 0)) return std::nullopt;
    out += static_cast<char>(group >> 16U);
    if (digits > 2) out += static_cast<char>(group >> 8U & 0xffU);
    if (digits > 3) out += static_cast<char>(group & 0xffU);
  }
  return out;
}

std::string encode_base64(std::string_view octets) {
  std::string out;
  out.reserve((octets.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < octets.size(); i += 3) {
    const std::size_t have = std::min<std::size_t>(3, octets.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8U | (j < have ? static_cast<unsigned char>(octets[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; ++j) out += j <= have ? alphabet[group >> (18 - 6 * j) & 63U] : '=';
  }
  return out;
}

}  // namespace common::auth
