#include "pop3d/protocol/command.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace pop3d {
namespace {

enum class Arguments : std::uint8_t { none, rest, name_and_digest, mechanism, may_number, number, number_and_lines };

struct Keyword {
  std::string_view name;
  Verb verb;
  Arguments arguments;
};

// The most frequent first: the table is searched from its front.
constexpr std::array keywords{
    Keyword{"RETR", Verb::retr, Arguments::number},
    Keyword{"DELE", Verb::dele, Arguments::number},
    Keyword{"STAT", Verb::stat, Arguments::none},
    Keyword{"UIDL", Verb::uidl, Arguments::may_number},
    Keyword{"LIST", Verb::list, Arguments::may_number},
    Keyword{"TOP", Verb::top, Arguments::number_and_lines},
    Keyword{"QUIT", Verb::quit, Arguments::none},
    Keyword{"USER", Verb::user, Arguments::rest},
    Keyword{"PASS", Verb::pass, Arguments::rest},
    Keyword{"CAPA", Verb::capa, Arguments::none},
    Keyword{"AUTH", Verb::auth, Arguments::mechanism},
    Keyword{"STLS", Verb::stls, Arguments::none},
    Keyword{"NOOP", Verb::noop, Arguments::none},
    Keyword{"RSET", Verb::rset, Arguments::none},
    Keyword{"APOP", Verb::apop, Arguments::name_and_digest},
};

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c;
}

bool same(std::string_view text, std::string_view name) {
  return std::ranges::equal(text, name, [](char a, char b) { return upper(a) == b; });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// Takes the next word off `text`; empty at the end.
std::string_view take_word(std::string_view& text) {
  text = trim(text);
  const auto word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> parse_number(std::string_view word) {
  if (word.empty()) return std::nullopt;
  constexpr auto largest = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t value = 0;
  for (const char c : word) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    value = value > (largest - digit) / 10 ? largest : value * 10 + digit;
  }
  return value;
}

std::unexpected<SyntaxError> wish(std::string_view expected) {
  return std::unexpected(SyntaxError{expected});
}

std::expected<Command, SyntaxError> parse_numbers(Command command, Arguments arguments, std::string_view rest) {
  const auto first = take_word(rest);
  if (first.empty() && arguments == Arguments::may_number) return command;
  command.number = parse_number(first);
  if (!command.number) return wish("message number expected");
  if (arguments == Arguments::number_and_lines) {
    const auto lines = parse_number(take_word(rest));
    if (!lines) return wish("message number and count of lines expected");
    command.lines = *lines;
  }
  if (!trim(rest).empty()) return wish("too many arguments");
  return command;
}

// RFC 5034 4: AUTH mechanism [initial-response]
std::expected<Command, SyntaxError> parse_auth(Command command, std::string_view rest) {
  command.text = take_word(rest);
  const auto initial = take_word(rest);
  if (!initial.empty()) command.initial = initial;
  if (!trim(rest).empty()) return wish("too many arguments");
  return command;
}

// RFC 1939 7: APOP name digest; sixteen octets in lower-case hexadecimal. The digest is the last word, since a name may
// hold spaces.
std::expected<Command, SyntaxError> parse_apop(Command command, std::string_view rest) {
  rest = trim(rest);
  const auto divide = rest.rfind(' ');
  if (divide == rest.npos) return wish("name and digest expected");
  command.text = trim(rest.substr(0, divide));
  command.digest = rest.substr(divide + 1);
  return command;
}

}  // namespace

std::expected<Command, SyntaxError> parse_command(std::string_view line) {
  const auto word = line.substr(0, line.find(' '));
  const auto* keyword = std::ranges::find_if(keywords, [&](const Keyword& k) { return same(word, k.name); });
  if (keyword == keywords.end()) return wish("unknown command");

  Command command{keyword->verb, {}, {}, {}, {}, 0};
  auto rest = line.substr(std::min(word.size() + 1, line.size()));
  switch (keyword->arguments) {
    case Arguments::none:
      if (!trim(rest).empty()) return wish("no argument expected");
      return command;
    case Arguments::rest:
      command.text = command.verb == Verb::user ? trim(rest) : rest;
      if (command.text.empty()) return wish(command.verb == Verb::user ? "name expected" : "password expected");
      return command;
    case Arguments::name_and_digest:
      return parse_apop(command, rest);
    case Arguments::mechanism:
      return parse_auth(command, rest);
    case Arguments::may_number:
    case Arguments::number:
    case Arguments::number_and_lines:
      return parse_numbers(command, keyword->arguments, rest);
  }
  return wish("unknown command");
}

}  // namespace pop3d
