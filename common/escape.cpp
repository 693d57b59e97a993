#include "common/escape.hpp"

#include "common/utf8.hpp"

#include <algorithm>
#include <array>

namespace common {
namespace {

constexpr std::string_view hex = "0123456789ABCDEF";

constexpr std::array<bool, 256> plain_octets = [] {
  std::array<bool, 256> plain{};
  for (std::size_t octet = 0x20; octet < 0x7F; ++octet) plain[octet] = octet != '"' && octet != '\\';
  return plain;
}();

bool is_plain_octet(char octet) {
  return plain_octets[static_cast<unsigned char>(octet)];
}

/// A few octets that are appended together or not at all: a cut never leaves half an escape or half a character.
class Piece {
 public:
  void add(std::string_view octets) {
    for (const char octet : octets) octets_[size_++] = octet;
  }
  void add_hex(std::string_view lead, unsigned octet) {
    add(lead);
    octets_[size_++] = hex[octet >> 4U & 15U];
    octets_[size_++] = hex[octet & 15U];
  }
  std::string_view view() const { return {octets_.data(), size_}; }

 private:
  std::array<char, 32> octets_;
  std::size_t size_ = 0;
};

/// The letter of a short escape, 0 if there is none.
char short_escape(char octet) {
  switch (octet) {
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    case '\\':
      return '\\';
    case '"':
      return '"';
    default:
      return 0;
  }
}

Piece text_piece(std::string_view character, char32_t code, bool valid) {
  Piece piece;
  if (const char letter = short_escape(character.front()); letter != 0) {
    const std::array<char, 2> both{'\\', letter};
    piece.add({both.data(), both.size()});
  } else if (!valid || code < 0x20 || code == 0x7F || is_steering(code)) {
    for (const char octet : character) piece.add_hex("\\x", static_cast<unsigned char>(octet));
  } else {
    piece.add(character);
  }
  return piece;
}

Piece json_piece(std::string_view character, char32_t code, bool valid) {
  Piece piece;
  if (!valid) {
    piece.add_hex("\\\\x", static_cast<unsigned char>(character.front()));
  } else if (const char letter = short_escape(character.front()); letter != 0) {
    const std::array<char, 2> both{'\\', letter};
    piece.add({both.data(), both.size()});
  } else if (code < 0x20 || code == 0x7F || is_steering(code)) {  // all of them below U+10000
    piece.add_hex("\\u", static_cast<unsigned>(code >> 8U));
    piece.add_hex("", static_cast<unsigned>(code & 0xFFU));
  } else {
    piece.add(character);
  }
  return piece;
}

template <typename MakePiece>
void append_with(std::string& out, std::string_view text, std::size_t limit, MakePiece make_piece) {
  std::size_t used = 0;
  while (!text.empty()) {
    std::size_t run = 0;
    while (run < text.size() && is_plain_octet(text[run])) ++run;
    const auto fits = std::min(run, limit - used);
    out.append(text.substr(0, fits));
    used += fits;
    text.remove_prefix(fits);
    if (text.empty()) return;
    if (fits < run) break;

    const auto [code, octets] = first_character(text);
    const auto character = text.substr(0, std::max<std::size_t>(octets, 1));
    const Piece piece = make_piece(character, code, octets != 0);
    if (piece.view().size() > limit - used) break;
    out.append(piece.view());
    used += piece.view().size();
    text.remove_prefix(character.size());
  }
  if (!text.empty()) out.append("...");
}

}  // namespace

void append_escaped(std::string& out, std::string_view text, std::size_t limit) {
  append_with(out, text, limit, text_piece);
}

void append_json_escaped(std::string& out, std::string_view text, std::size_t limit) {
  append_with(out, text, limit, json_piece);
}

std::string escape(std::string_view text, std::size_t limit) {
  std::string out;
  out.reserve(std::min(text.size(), limit) + 3);
  append_escaped(out, text, limit);
  return out;
}

bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, is_plain_octet);
}

}  // namespace common
