#include "common/address.hpp"

#include <arpa/inet.h>
#include <idn2.h>
#include <unicase.h>
#include <uninorm.h>
#include <unistr.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "common/utf8.hpp"

namespace common {
namespace {

using Text = std::expected<std::string, std::string>;

// RFC 5321 4.5.3.1.1 and 4.5.3.1.2
constexpr std::size_t local_part_limit = 64;
constexpr std::size_t domain_limit = 255;
// Of a reverse-path that a forwarder made (SRS): a whole address stands in it, and what comes back must get in.
constexpr std::size_t srs_local_part_limit = 250;
// RFC 1035 2.3.4
constexpr std::size_t label_limit = 63;

std::unexpected<std::string> wrong(std::string what) {
  return std::unexpected(std::move(what));
}

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}
bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// RFC 5322 3.2.3 atext, and RFC 6531 3.3 adds UTF8-non-ascii
bool is_atom_octet(char c) {
  constexpr std::string_view others = "!#$%&'*+-/=?^_`{|}~";
  return is_letter_or_digit(c) || static_cast<unsigned char>(c) >= 0x80 || others.contains(c);
}

std::size_t limit_of(std::string_view local) {
  const bool srs = local.size() > 4 && to_lower(local[0]) == 's' && to_lower(local[1]) == 'r' &&
                   to_lower(local[2]) == 's' && (local[3] == '0' || local[3] == '1') &&
                   std::string_view{"=+-"}.contains(local[4]);
  return srs ? srs_local_part_limit : local_part_limit;
}

bool is_dot_string(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.back() == '.' || text.contains("..")) return false;
  return std::ranges::all_of(text, [](char c) { return c == '.' || is_atom_octet(c); });
}

// RFC 5321 4.1.2 Quoted-string, `text` begins with its first quote. The content without quotes and backslashes, and
// where the text goes on.
struct Quoted {
  std::string content;
  std::size_t end = 0;
};
std::expected<Quoted, std::string> take_quoted(std::string_view text) {
  Quoted quoted;
  for (std::size_t i = 1; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') {
      quoted.end = i + 1;
      return quoted;
    }
    if (c == '\\') {
      if (++i == text.size()) break;
      c = text[i];
      if (static_cast<unsigned char>(c) >= 0x80) return wrong("backslash before an octet that is not ASCII");
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return wrong("control character in the local part");
    quoted.content += c;
  }
  return wrong("quote that is never closed");
}

std::expected<void, std::string> check_characters(std::string_view text, std::string_view where) {
  while (!text.empty()) {
    const auto [code, octets] = first_character(text);
    if (octets == 0) return wrong("octets in the " + std::string{where} + " that are not UTF-8");
    // RFC 6531 would let C1 controls pass; nobody is called so, and terminals obey them.
    if (code >= 0x80 && code < 0xA0) return wrong("control character in the " + std::string{where});
    text.remove_prefix(octets);
  }
  return {};
}

// RFC 5321 4.1.2 Domain: LDH labels
Text check_ldh(std::string_view text) {
  if (text.empty()) return wrong("empty domain");
  if (text.size() > domain_limit) return wrong("domain longer than 255 octets");
  std::string name;
  std::size_t label = 0;  // octets since the last dot
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '.') {
      if (label == 0) return wrong("empty label in the domain");
      if (text[i - 1] == '-') return wrong("domain label that ends in a hyphen");
      label = 0;
    } else {
      if (c == '-' && label == 0) return wrong("domain label that begins with a hyphen");
      if (c != '-' && !is_letter_or_digit(c))
        return wrong("character in the domain that is no letter, digit or hyphen");
      if (++label > label_limit) return wrong("domain label longer than 63 octets");
    }
    name += to_lower(c);
  }
  if (label == 0) return wrong("domain that ends in a dot");
  if (text.back() == '-') return wrong("domain label that ends in a hyphen");
  return name;
}

// RFC 5321 4.1.3. Other literals than IPv4 and IPv6 need a tag that nobody has registered.
Text parse_literal(std::string_view text) {
  if (text.size() < 2 || text.back() != ']') return wrong("address literal without its closing bracket");
  std::string inner{text.substr(1, text.size() - 2)};
  constexpr std::string_view tag = "ipv6:";
  const bool six = std::ranges::equal(std::string_view{inner}.substr(0, tag.size()), tag,
                                      [](char a, char b) { return to_lower(a) == b; });
  if (six) inner.erase(0, tag.size());
  std::array<unsigned char, sizeof(in6_addr)> address{};
  const int family = six ? AF_INET6 : AF_INET;
  // inet_pton reads to the first NUL
  if (inner.contains('\0') || inet_pton(family, inner.c_str(), address.data()) != 1) {
    return wrong("address literal that is neither [IPv4] nor [IPv6:...]");
  }
  std::array<char, INET6_ADDRSTRLEN> name{};
  inet_ntop(family, address.data(), name.data(), name.size());
  return std::string{six ? "[IPv6:" : "["} + name.data() + "]";
}

using FromC = std::unique_ptr<std::uint8_t, decltype(&std::free)>;

/// Normalization form C; the text itself where that fails (out of memory, or not UTF-8).
std::string to_nfc(const std::string& text) {
  std::size_t length = 0;
  const auto* octets = reinterpret_cast<const std::uint8_t*>(text.data());
  const FromC normal{u8_normalize(UNINORM_NFC, octets, text.size(), nullptr, &length), &std::free};
  if (!normal) return text;
  return {reinterpret_cast<const char*>(normal.get()), length};
}

void append_utf8(std::string& out, char32_t code) {
  std::array<std::uint8_t, 4> octets{};
  const int length = u8_uctomb(octets.data(), code, static_cast<ptrdiff_t>(octets.size()));
  if (length > 0) out.append(reinterpret_cast<const char*>(octets.data()), static_cast<std::size_t>(length));
}

std::string fold(const std::string& local) {
  std::string folded;
  if (is_ascii(local)) {
    std::ranges::transform(local, std::back_inserter(folded), to_lower);
    return folded;
  }
  if (!is_utf8(local)) return local;
  const std::string normal = to_nfc(local);
  for (std::string_view rest = normal; !rest.empty();) {
    const auto [code, octets] = first_character(rest);
    // Through upper case first: that brings together what has two small forms, as the final sigma.
    append_utf8(folded, uc_tolower(uc_toupper(code)));
    rest.remove_prefix(octets);
  }
  return to_nfc(folded);
}

}  // namespace

std::expected<std::string, std::string> canonical_domain(std::string_view text) {
  if (is_ascii(text)) return check_ldh(text);
  if (text.size() > domain_limit) return wrong("domain longer than 255 octets");
  if (text.contains('\0')) return wrong("control character in the domain");
  if (const auto fine = check_characters(text, "domain"); !fine) return wrong(fine.error());
  const std::string input{text};
  char* made = nullptr;
  // UTS 46 non-transitional: the German sharp s is a letter of its own (IDNA 2008).
  const int status = idn2_to_ascii_8z(input.c_str(), &made, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
  if (status != IDN2_OK)
    return wrong(std::string{"domain that is no internationalized name: "} + idn2_strerror(status));
  const std::string labels{made};
  idn2_free(made);
  return check_ldh(labels);
}

std::expected<Address, std::string> parse_address(std::string_view text) {
  Address address;
  address.ascii = is_ascii(text);
  std::size_t end = 0;  // of the local part as written
  if (text.starts_with('"')) {
    auto quoted = take_quoted(text);
    if (!quoted) return std::unexpected(std::move(quoted.error()));
    address.local = std::move(quoted->content);
    end = quoted->end;
    if (end < text.size() && text[end] != '@') return wrong("text behind the closing quote");
    // The grammar allows ""; such a name could not be told from the domain itself.
    if (address.local.empty()) return wrong("empty local part");
  } else {
    end = std::min(text.find('@'), text.size());
    address.local = text.substr(0, end);
    if (address.local.empty()) return wrong("empty local part");
    if (!is_dot_string(address.local))
      return wrong("character in the local part that needs quotes, or a dot out of place");
  }
  if (end > limit_of(address.local)) return wrong("local part longer than 64 octets");
  if (const auto fine = check_characters(address.local, "local part"); !fine) return wrong(fine.error());
  if (end == text.size()) return address;

  const auto domain = text.substr(end + 1);
  auto name = domain.starts_with('[') ? parse_literal(domain) : canonical_domain(domain);
  if (!name) return std::unexpected(std::move(name.error()));
  address.domain = std::move(*name);
  return address;
}

std::string format_address(const Address& address) {
  std::string text;
  if (is_dot_string(address.local)) {
    text = address.local;
  } else {
    text = '"';
    for (const char c : address.local) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  if (!address.domain.empty()) text += '@' + address.domain;
  return text;
}

std::string canonical_key(const Address& address) {
  return format_address({fold(address.local), address.domain, address.ascii});
}

}  // namespace common
