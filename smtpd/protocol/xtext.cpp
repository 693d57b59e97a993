#include "smtpd/protocol/xtext.hpp"

#include <charconv>

#include "common/utf8.hpp"

namespace smtpd {

std::string encode_xtext(std::string_view plain) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string text;
  for (const char c : plain) {
    if (c >= '!' && c <= '~' && c != '+' && c != '=') {
      text.push_back(c);
      continue;
    }
    const auto octet = static_cast<unsigned char>(c);
    text.push_back('+');
    text.push_back(digits[octet / 16U]);
    text.push_back(digits[octet % 16U]);
  }
  return text;
}

bool is_xtext(std::string_view text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      if (i + 2 >= text.size() || !is_hex(text[i + 1]) || !is_hex(text[i + 2])) return false;
      i += 2;
    } else if (text[i] < '!' || text[i] > '~' || text[i] == '=') {
      return false;
    }
  }
  return !text.empty();
}

std::optional<std::string> decode_xtext(std::string_view text) {
  if (!is_xtext(text)) return std::nullopt;
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '+') {
      plain.push_back(text[i]);
      continue;
    }
    unsigned octet = 0;
    std::from_chars(text.data() + i + 1, text.data() + i + 3, octet, 16);
    if (octet < ' ' || octet == 0x7f) return std::nullopt;
    plain.push_back(static_cast<char>(octet));
    i += 2;
  }
  if (!common::is_utf8(plain)) return std::nullopt;
  return plain;
}

}  // namespace smtpd
