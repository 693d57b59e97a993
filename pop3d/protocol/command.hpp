#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string_view>

namespace pop3d {

enum class Verb : std::uint8_t {
  user,
  pass,
  apop,
  auth,
  stls,
  capa,
  quit,
  noop,
  stat,
  list,
  uidl,
  retr,
  top,
  dele,
  rset
};

/// A command as it was written: grammar only. Views point into the line.
struct Command {
  Verb verb{};
  std::string_view text;                    ///< USER, APOP: the name; PASS: the password; AUTH: the mechanism
  std::string_view digest;                  ///< APOP
  std::optional<std::string_view> initial;  ///< AUTH: the initial response, in base64; "=" is an empty one
  std::optional<std::uint64_t> number;      ///< a message number; too large a one is told as the largest
  std::uint64_t lines = 0;                  ///< TOP
};

struct SyntaxError {
  std::string_view expected;  ///< what would have been right, for the reply
};

/// A command line other than AUTH holds at most this (RFC 2449 4 asks for 255; long pass phrases get room).
constexpr std::size_t longest_command = 512;

/// Parses a command line without its CRLF. Keywords regardless of case (RFC 1939 3); white space between and behind
/// arguments of commands with numbers is forgiven, and inside a password it belongs to it (RFC 1939 7, PASS).
std::expected<Command, SyntaxError> parse_command(std::string_view line);

}  // namespace pop3d
