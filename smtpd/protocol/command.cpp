#include "smtpd/protocol/command.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "common/utf8.hpp"

#include "mailstore/types.hpp"

#include "smtpd/protocol/cursor.hpp"
#include "smtpd/protocol/xtext.hpp"

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
    {"etrn", Verb::etrn},
    {"atrn", Verb::atrn},
    {"turn", Verb::turn},
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

// RFC 3461 4.2, 4.4: longest values of ORCPT and ENVID.
constexpr std::size_t longest_original = 500;
constexpr std::size_t longest_envelope_id = 100;

/// RFC 3461 4.1: NEVER, or some of the others, each once at the most.
std::optional<std::uint8_t> parse_notify(std::string_view value) {
  if (equals_word(value, "never")) return mailstore::notify_never;
  std::uint8_t flags = 0;
  for (;;) {
    const auto comma = value.find(',');
    const auto word = value.substr(0, comma);
    std::uint8_t flag = 0;
    if (equals_word(word, "success")) flag = mailstore::notify_success;
    if (equals_word(word, "failure")) flag = mailstore::notify_failure;
    if (equals_word(word, "delay")) flag = mailstore::notify_delay;
    if (flag == 0 || (flags & flag) != 0) return std::nullopt;
    flags |= flag;
    if (comma == std::string_view::npos) return flags;
    value.remove_prefix(comma + 1);
  }
}

/// RFC 3461 4.2: an address type and the address in xtext; RFC 6533 3 has the type utf-8, whose address may be UTF-8 or
/// have \x{...} in it.
bool is_original_recipient(std::string_view value, Charset charset) {
  const auto semicolon = value.find(';');
  if (semicolon == std::string_view::npos || value.size() > longest_original) return false;
  const auto type = value.substr(0, semicolon);
  const auto address = value.substr(semicolon + 1);
  if (type.empty() || !std::ranges::all_of(type, [](char c) { return is_alnum(c) || c == '-'; })) return false;
  if (!equals_word(type, "utf-8")) return decode_xtext(address).has_value();
  if (charset == Charset::ascii && !is_ascii(address)) return false;
  return !address.empty() && common::is_utf8(address) &&
         std::ranges::all_of(address, [](char c) { return static_cast<unsigned char>(c) > ' ' && c != '\x7f'; });
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
  if (equals_word(keyword, "ret") && mail.return_content == 0) {
    if (equals_word(value, "full")) mail.return_content = 1;
    if (equals_word(value, "hdrs")) mail.return_content = 2;
    if (mail.return_content == 0) return wish(in, "RET", Cause::bad_parameter);
    return {};
  }
  if (equals_word(keyword, "envid") && mail.envelope_id.empty()) {
    auto plain = value.size() <= longest_envelope_id ? decode_xtext(value) : std::nullopt;
    if (!plain) return wish(in, "ENVID", Cause::bad_parameter);
    mail.envelope_id = std::move(*plain);
    return {};
  }
  if (equals_word(keyword, "smtputf8")) {  // RFC 6531 3.1 (6): no value
    if (!value.empty()) return wish(in, "SMTPUTF8", Cause::bad_parameter);
    mail.utf8 = true;
    return {};
  }
  return wish(in, "", Cause::unknown_parameter);
}

std::expected<void, SyntaxError> apply(const Parameter& parameter, RcptTo& rcpt, Charset charset, const Cursor& in) {
  const auto [keyword, value] = parameter;
  if (equals_word(keyword, "notify") && rcpt.notify == 0) {
    const auto flags = parse_notify(value);
    if (!flags) return wish(in, "NOTIFY", Cause::bad_parameter);
    rcpt.notify = *flags;
    return {};
  }
  if (equals_word(keyword, "orcpt") && rcpt.original_recipient.empty()) {
    if (!is_original_recipient(value, charset)) return wish(in, "ORCPT", Cause::bad_parameter);
    rcpt.original_recipient = value;
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

std::string_view parameters_of(std::string_view line) {
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\') {
      ++i;
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (line[i] == '>' && !quoted) {
      return line.substr(i + 1);
    }
  }
  return {};
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
  RcptTo rcpt{.recipient = std::move(*recipient)};
  while (const auto parameter = take_parameter(in)) {
    if (auto applied = apply(*parameter, rcpt, charset, in); !applied)
      return std::unexpected(std::move(applied.error()));
  }
  return rcpt;
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

std::expected<Node, SyntaxError> parse_etrn(std::string_view argument) {
  Cursor in{argument};
  Node node;
  if (in.take('@')) {
    node.reach = Node::Reach::subdomains;
  } else if (in.take('#')) {
    node.reach = Node::Reach::queue;
    node.name = in.rest();
    if (node.name.empty() || node.name.find(' ') != node.name.npos) return wish(in, "queue name");
    return node;
  }
  auto name = common::canonical_domain(in.rest());
  if (!name) return wish(in, "domain");
  node.name = std::move(*name);
  return node;
}

std::expected<std::vector<std::string>, SyntaxError> parse_atrn(std::string_view argument) {
  std::vector<std::string> domains;
  Cursor in{argument};
  if (in.at_end()) return domains;
  for (;;) {
    in.take_spaces();  // RFC 2645 has none; some write it
    auto name = common::canonical_domain(in.take_until(','));
    if (!name) return wish(in, "domain");
    if (std::ranges::find(domains, *name) == domains.end()) domains.push_back(std::move(*name));
    if (!in.take(',')) return domains;
  }
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
