#include "smtpd/outbound/extensions.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace smtpd::outbound {
namespace {

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
bool is(std::string_view word, std::string_view name) {
  return std::ranges::equal(word, name, [](char a, char b) { return upper(a) == b; });
}

std::string_view take_word(std::string_view& line) {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  const auto word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  return word;
}

template <class Number>
std::optional<Number> number_in(std::string_view digits) {
  Number value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

void take_mechanisms(Extensions& offered, std::string_view rest) {
  for (auto word = take_word(rest); !word.empty(); word = take_word(rest)) {
    if (is(word, "PLAIN")) offered.auth_plain = true;
    if (is(word, "LOGIN")) offered.auth_login = true;
    if (is(word, "CRAM-MD5")) offered.auth_cram_md5 = true;
    if (is(word, "SCRAM-SHA-256")) offered.auth_scram = true;
    if (is(word, "SCRAM-SHA-256-PLUS")) offered.auth_scram_plus = true;
  }
}

/// RFC 9422 4: name=value; values have 1 to 6 digits and are not zero.
void take_limits(Extensions& offered, std::string_view rest) {
  for (auto word = take_word(rest); !word.empty(); word = take_word(rest)) {
    const auto equals = word.find('=');
    if (equals == word.npos || word.size() - equals - 1 > 6) continue;
    const auto value = number_in<std::uint32_t>(word.substr(equals + 1));
    if (!value || *value == 0) continue;
    const auto name = word.substr(0, equals);
    if (is(name, "MAILMAX")) offered.mail_max = *value;
    if (is(name, "RCPTMAX")) offered.rcpt_max = *value;
    if (is(name, "RCPTDOMAINMAX")) offered.rcpt_domain_max = *value;
  }
}

struct Flag {
  std::string_view name;
  bool Extensions::* member;
};
constexpr std::array flags{
    Flag{"PIPELINING", &Extensions::pipelining},
    Flag{"8BITMIME", &Extensions::eight_bit},
    Flag{"SMTPUTF8", &Extensions::utf8},
    Flag{"CHUNKING", &Extensions::chunking},
    Flag{"DSN", &Extensions::dsn},
    Flag{"STARTTLS", &Extensions::starttls},
};

void take_extension(Extensions& offered, std::string_view line) {
  auto rest = line;
  const auto keyword = take_word(rest);
  for (const auto& flag : flags) {
    if (is(keyword, flag.name)) offered.*flag.member = true;
  }
  if (is(keyword, "SIZE")) {
    const auto most = number_in<std::uint64_t>(take_word(rest));
    offered.size = true;
    offered.most = most.value_or(0);
  } else if (is(keyword, "AUTH")) {
    take_mechanisms(offered, rest);
  } else if (is(keyword.substr(0, 5), "AUTH=")) {
    // The form before RFC 2554, which some servers still say beside the other.
    take_mechanisms(offered, keyword.substr(5));
    take_mechanisms(offered, rest);
  } else if (is(keyword, "LIMITS")) {
    take_limits(offered, rest);
  }
}

}  // namespace

Extensions parse_extensions(std::string_view text) {
  Extensions offered;
  auto at = text.find('\n');
  while (at != text.npos) {
    const auto next = text.find('\n', at + 1);
    take_extension(offered, text.substr(at + 1, next == text.npos ? next : next - at - 1));
    at = next;
  }
  return offered;
}

}  // namespace smtpd::outbound
