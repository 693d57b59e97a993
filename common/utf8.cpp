#include "common/utf8.hpp"

namespace common {
namespace {

bool is_tail(char octet) {
  return (static_cast<unsigned char>(octet) & 0xC0U) == 0x80U;
}

}  // namespace

Utf8Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  if (lead < 0x80) return {lead, 1};
  std::size_t octets = 0;
  char32_t code = 0;
  char32_t least = 0;  // a longer form than needed is not valid (RFC 3629 3)
  if (lead >= 0xC2 && lead < 0xE0) {
    octets = 2, code = lead & 0x1FU, least = 0x80;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    octets = 3, code = lead & 0x0FU, least = 0x800;
  } else if (lead >= 0xF0 && lead < 0xF5) {
    octets = 4, code = lead & 0x07U, least = 0x10000;
  } else {
    return {};
  }
  if (text.size() < octets) return {};
  for (std::size_t i = 1; i < octets; ++i) {
    if (!is_tail(text[i])) return {};
    code = code << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  if (code < least || code > 0x10FFFF || surrogate) return {};
  return {code, octets};
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const auto octets = first_character(text).octets;
    if (octets == 0) return false;
    text.remove_prefix(octets);
  }
  return true;
}

bool is_steering(char32_t code) {
  const auto within = [code](char32_t first, char32_t last) { return code >= first && code <= last; };
  return within(0x80, 0x9F) || code == 0x61C || within(0x200E, 0x200F) || within(0x2028, 0x202E) ||
         within(0x2066, 0x2069);
}

}  // namespace common
