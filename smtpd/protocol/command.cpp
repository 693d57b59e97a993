#include "smtpd/protocol/command.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "smtpd/protocol/cursor.hpp"

namespace smtpd {
namespace {

struct Word {
  std::string_view name;
  Verb verb;
};
constexpr auto words = std::to_array<Word>({
    {"mail", Verb::mail},
    {"rcpt", Verb::rcpt},
    {"data", Verb::data},
    {"ehlo", Verb::ehlo},
    {"helo", Verb::helo},
    {"rset", Verb::rset},
    {"noop", Verb::noop},
    {"quit", Verb::quit},
    {"vrfy", Verb::vrfy},
    {"expn", Verb::expn},
    {"help", Verb::help},
    {"starttls", Verb::starttls},
    {"auth", Verb::auth},
    {"lhlo", Verb::lhlo},
    {"bdat", Verb::bdat},
});

bool is_space(char c) {
  return c == ' ' || c == '\t';
}
bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}
bool is_alnum(char c) {
  return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z');
}

std::unexpected<SyntaxError> wish(const Cursor& in, std::string expected, Cause cause = Cause::syntax) {
  return std::unexpected(SyntaxError{cause, in.column(), std::move(expected)});
}

/// What stands between < and >, up to the > that no quoted string hides. nullopt: there is none.
std::optional<std::string_view> take_path(Cursor& in) {
  const std::string_view text = in.rest();
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quoted && text[i] == '\\') {
      ++i;  // RFC 5321 4.1.2 quoted-pairSMTP
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == '>' && !quoted) {
      const auto path = in.take_octets(i);
      in.take('>');
      return path;
    }
  }
  return std::nullopt;
}

/// RFC 5321 4.1.2, appendix C: a source route is accepted and ignored.
std::string_view without_route(std::string_view path) {
  if (!path.starts_with('@')) return path;
  const auto colon = path.find(':');
  return colon == std::string_view::npos ? path : path.substr(colon + 1);
}

std::expected<common::Address, SyntaxError> parse_path(std::string_view path, const Cursor& in, Cause cause) {
  // Control octets would pass a quoted local part of RFC 5322; RFC 5321 4.1.2 (qtextSMTP) has none.
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') return wish(in, "control character", cause);
  }
  auto address = common::parse_address(without_route(path));
  if (!address) return wish(in, std::move(address.error()), cause);
  return std::move(*address);
}

/// RFC 3461 4: xtext.
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

struct Parameter {
  std::string_view keyword, value;
};
/// The next parameter, RFC 5321 4.1.2 (esmtp-param); nullopt at the end.
std::optional<Parameter> take_parameter(Cursor& in) {
  in.take_spaces();
  if (in.at_end()) return std::nullopt;
  const std::string_view word = in.take_until(' ');
  const auto equals = word.find('=');
  if (equals == std::string_view::npos) return Parameter{word, {}};
  return Parameter{word.substr(0, equals), word.substr(equals + 1)};
}

std::expected<void, SyntaxError> apply(const Parameter& parameter, MailFrom& mail, const Cursor& in) {
  const auto [keyword, value] = parameter;
  if (equals_word(keyword, "size")) {  // RFC 1870 6: up to 20 digits
    std::uint64_t size = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), size);
    if (value.empty() || value.size() > 20 || end != value.data() + value.size())
      return wish(in, "SIZE", Cause::bad_parameter);
    mail.size = error == std::errc{} ? size : ~std::uint64_t{0};
    return {};
  }
  if (equals_word(keyword, "body")) {
    if (equals_word(value, "7bit")) {
      mail.body = Body::seven_bit;
    } else if (equals_word(value, "8bitmime")) {
      mail.body = Body::eight_bit_mime;
    } else {
      return wish(in, "BODY", Cause::bad_parameter);
    }
    return {};
  }
  if (equals_word(keyword, "auth")) {
    // RFC 4954 5: the submitter that a trusted peer names. Nobody is trusted so far: checked, then taken as <>.
    if (value != "<>" && !is_xtext(value)) return wish(in, "AUTH", Cause::bad_parameter);
    return {};
  }
  if (equals_word(keyword, "smtputf8")) {  // RFC 6531 3.1 (6): no value
    if (!value.empty()) return wish(in, "SMTPUTF8", Cause::bad_parameter);
    mail.utf8 = true;
    return {};
  }
  return wish(in, "", Cause::unknown_parameter);
}

}  // namespace

CommandLine split_command(std::string_view line) {
  while (!line.empty() && is_space(line.back())) line.remove_suffix(1);
  std::size_t end = 0;
  while (end < line.size() && !is_space(line[end])) ++end;
  const std::string_view word = line.substr(0, end);
  while (end < line.size() && is_space(line[end])) ++end;
  CommandLine command{Verb::unknown, line.substr(end)};
  for (const auto& known : words) {
    if (equals_word(word, known.name)) command.verb = known.verb;
  }
  return command;
}

std::expected<MailFrom, SyntaxError> parse_mail(std::string_view argument) {
  Cursor in{argument};
  if (!in.take_word("from:")) return wish(in, "FROM:");
  in.take_spaces();
  if (!in.take('<')) return wish(in, "<");
  const auto path = take_path(in);
  if (!path) return wish(in, ">");
  MailFrom mail;
  // Whether what is not ASCII may stand there is known behind the parameters.
  const bool ascii = is_ascii(*path);
  std::expected<common::Address, SyntaxError> sender;
  if (!path->empty()) sender = parse_path(*path, in, Cause::bad_sender);
  if (!sender && ascii) return std::unexpected(std::move(sender.error()));
  if (!in.at_end() && !is_space(in.peek())) return wish(in, "space or end of line");
  while (const auto parameter = take_parameter(in)) {
    if (auto applied = apply(*parameter, mail, in); !applied) return std::unexpected(std::move(applied.error()));
  }
  if (!ascii && !mail.utf8) return wish(in, "", Cause::not_ascii);
  if (!sender) return std::unexpected(std::move(sender.error()));
  if (!path->empty()) mail.sender = std::move(*sender);
  return mail;
}

std::expected<RcptTo, SyntaxError> parse_rcpt(std::string_view argument, Charset charset) {
  Cursor in{argument};
  if (!in.take_word("to:")) return wish(in, "TO:");
  in.take_spaces();
  if (!in.take('<')) return wish(in, "<");
  const auto path = take_path(in);
  if (!path) return wish(in, ">");
  if (charset == Charset::ascii && !is_ascii(*path)) return wish(in, "", Cause::not_ascii);
  auto recipient = parse_path(*path, in, Cause::bad_recipient);
  if (!recipient) return std::unexpected(std::move(recipient.error()));
  if (!in.at_end() && !is_space(in.peek())) return wish(in, "space or end of line");
  if (take_parameter(in)) return wish(in, "", Cause::unknown_parameter);
  return RcptTo{std::move(*recipient)};
}

std::expected<void, SyntaxError> parse_vrfy(std::string_view argument) {
  if (argument.empty()) return wish(Cursor{argument}, "address");
  const auto space = argument.rfind(' ');
  const bool utf8 = space != std::string_view::npos && equals_word(argument.substr(space + 1), "smtputf8");
  if (!utf8 && !is_ascii(argument)) return wish(Cursor{argument}, "", Cause::not_ascii);
  return {};
}

std::expected<Chunk, SyntaxError> parse_bdat(std::string_view argument) {
  Cursor in{argument};
  const std::string_view digits = in.take_until(' ');
  Chunk chunk;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), chunk.octets);
  if (error != std::errc{} || end != digits.data() + digits.size()) return wish(in, "chunk size");
  in.take_spaces();
  chunk.last = in.take_word("last");
  if (!in.at_end()) return wish(in, "LAST or end of line");
  return chunk;
}

std::expected<AuthStart, SyntaxError> parse_auth(std::string_view argument) {
  Cursor in{argument};
  const std::string_view mechanism = in.take_until(' ');
  // RFC 4422 3.1: 1 to 20 upper-case letters, digits, hyphens and underscores
  if (mechanism.empty() || mechanism.size() > 20) return wish(in, "mechanism");
  AuthStart start;
  for (const char c : mechanism) {
    if (!is_alnum(c) && c != '-' && c != '_') return wish(in, "mechanism");
    start.mechanism.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c);
  }
  in.take_spaces();
  if (!in.at_end()) {
    start.response = in.take_until(' ');
    in.take_spaces();
  }
  if (!in.at_end()) return wish(in, "end of line");
  return start;
}

bool is_helo_name(std::string_view name) {
  if (name.empty() || name.size() > 255) return false;
  if (name.front() == '[') {  // RFC 5321 4.1.3
    if (name.size() < 4 || name.back() != ']') return false;
    const auto inner = name.substr(1, name.size() - 2);
    return std::ranges::all_of(inner, [](char c) { return is_alnum(c) || c == '.' || c == ':' || c == '-'; });
  }
  if (name.back() == '.') name.remove_suffix(1);
  std::size_t label = 0;
  char before = '.';
  for (const char c : name) {
    if (c == '.') {
      if (label == 0 || before == '-') return false;
      label = 0;
    } else if (is_alnum(c) || c == '_' || (c == '-' && label > 0)) {
      if (++label > 63) return false;
    } else {
      return false;
    }
    before = c;
  }
  return label > 0 && before != '-';
}

}  // namespace smtpd
