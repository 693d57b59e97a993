#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.hpp"

#include "smtpd/protocol/reply.hpp"

/// The grammar of SMTP commands (RFC 5321 4.1): text to values, one function for each production. Whether a command may
/// come now is Conversation's to say.
namespace smtpd {

enum class Verb : std::uint8_t {
  helo,
  ehlo,
  mail,
  rcpt,
  data,
  rset,
  noop,
  quit,
  vrfy,
  expn,
  help,
  starttls,
  auth,
  lhlo,
  bdat,
  etrn,
  atrn,
  turn,
  unknown
};

/// A command line taken apart: which command, and what stands behind it without white space around it.
struct CommandLine {
  Verb verb = Verb::unknown;
  std::string_view argument;
};
/// `line` has its CRLF removed and is within its limit (LineSplitter). Trailing white space is accepted (RFC
/// 5321 4.1.1).
CommandLine split_command(std::string_view line);
/// What stands behind the path of MAIL or RCPT.
std::string_view parameters_of(std::string_view line);

/// Where an argument stopped being one, and what would have been right there.
struct SyntaxError {
  Cause cause = Cause::syntax;
  std::size_t column = 0;
  std::string expected;  ///< ours, never the peer's words
};

enum class Body : std::uint8_t { not_given, seven_bit, eight_bit_mime };

struct MailFrom {
  std::optional<common::Address> sender;  ///< nullopt: the null reverse-path <>
  std::optional<std::uint64_t> size;      ///< RFC 1870
  Body body = Body::not_given;            ///< RFC 6152
  std::uint8_t return_content = 0;        ///< RET (RFC 3461 4.3): 0 not given, 1 FULL, 2 HDRS
  std::string envelope_id;                ///< ENVID (RFC 3461 4.4), xtext undone; empty: not given
  bool utf8 = false;                      ///< SMTPUTF8 (RFC 6531): this message may have addresses that are not ASCII
};
struct RcptTo {
  common::Address recipient;       ///< may be a bare local part
  std::uint8_t notify = 0;         ///< NOTIFY (RFC 3461 4.1), as in mailstore::Envelope
  std::string original_recipient;  ///< ORCPT (RFC 3461 4.2) as it came: type, ";", xtext; empty: not given
};
/// One piece of a message (RFC 3030 2).
struct Chunk {
  std::uint64_t octets = 0;
  bool last = false;
};
struct AuthStart {
  std::string mechanism;                     ///< in upper case
  std::optional<std::string_view> response;  ///< still base64; "=" stands for an empty one (RFC 4954 4)
};

/// RFC 5321 4.1.1.2. `MAIL FROM: <a>` with spaces is taken. Unknown parameters: 555.
std::expected<MailFrom, SyntaxError> parse_mail(std::string_view argument);
/// What addresses may be made of: with SMTPUTF8 in MAIL, UTF-8 (RFC 6531 3.3).
enum class Charset : std::uint8_t { ascii, utf8 };
/// RFC 5321 4.1.1.3
std::expected<RcptTo, SyntaxError> parse_rcpt(std::string_view argument, Charset charset);
/// VRFY (RFC 5321 4.1.1.6; RFC 6531 3.7.4.2): something, and SMTPUTF8 behind it if it is not ASCII.
std::expected<void, SyntaxError> parse_vrfy(std::string_view argument);
/// RFC 3030 2: chunk-size [SP "LAST"].
std::expected<Chunk, SyntaxError> parse_bdat(std::string_view argument);
/// RFC 4954 4
std::expected<AuthStart, SyntaxError> parse_auth(std::string_view argument);
/// Whose mail is asked for (RFC 1985 5.2).
struct Node {
  enum class Reach : std::uint8_t {
    domain,      ///< this one
    subdomains,  ///< "@": this one and all below it
    queue,       ///< "#": a queue by name, which is the server's to define
  };
  Reach reach = Reach::domain;
  std::string name;  ///< a canonical domain, but of `queue`
};
/// RFC 1985 5
std::expected<Node, SyntaxError> parse_etrn(std::string_view argument);
/// RFC 2645 5.2.1: canonical domains, each once; none: all that the account has.
std::expected<std::vector<std::string>, SyntaxError> parse_atrn(std::string_view argument);
/// RFC 5321 4.1.1.1: a domain name (underscores are let pass) or an address literal.
bool is_helo_name(std::string_view name);

}  // namespace smtpd
