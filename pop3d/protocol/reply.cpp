#include "pop3d/protocol/reply.hpp"

#include <array>
#include <charconv>
#include <limits>

namespace pop3d {
namespace {

constexpr std::string_view text_of(Cause cause) {
  switch (cause) {
    case Cause::done:
      return "+OK";
    case Cause::name_taken:
      return "+OK password, please";
    case Cause::start_tls:
      return "+OK begin TLS";
    case Cause::goodbye:
      return "+OK bye";
    case Cause::unknown_command:
      return "-ERR unknown command";
    case Cause::stray_control:
      return "-ERR lines end with CRLF, and no CR, LF or NUL stands inside them";
    case Cause::line_too_long:
      return "-ERR line too long";
    case Cause::not_before_login:
      return "-ERR log in first";
    case Cause::not_after_login:
      return "-ERR already logged in";
    case Cause::user_first:
      return "-ERR USER first";
    case Cause::needs_tls:
      return "-ERR no password over a clear connection: STLS first";
    case Cause::only_tls:
      return "-ERR STLS first";
    case Cause::no_tls:
      return "-ERR TLS is not available";
    case Cause::tls_already:
      return "-ERR TLS is active already";
    case Cause::no_mechanism:
      return "-ERR mechanism not available";
    case Cause::no_apop:
      return "-ERR APOP is not available";
    case Cause::bad_base64:
      return "-ERR not a proper answer";
    case Cause::cancelled:
      return "-ERR cancelled";
    case Cause::wrong_password:
      return "-ERR [AUTH] name or password wrong";
    case Cause::locked:
      return "-ERR [AUTH] mailbox locked";
    case Cause::in_use:
      return "-ERR [IN-USE] another session has this maildrop";
    case Cause::too_soon:
      return "-ERR [LOGIN-DELAY] this mailbox was opened a moment ago, try again later";
    case Cause::overloaded:
      return "-ERR [SYS/TEMP] too many log-ins at once, try again later";
    case Cause::barred:
      // RFC 3206: not [AUTH], for the credentials were not looked at, and a client should not ask its user for others.
      return "-ERR [SYS/TEMP] too many failed log-ins, try again later";
    case Cause::no_message:
      return "-ERR no such message";
    case Cause::deleted_already:
      return "-ERR message is deleted";
    case Cause::store_trouble:
      return "-ERR [SYS/TEMP] the maildrop cannot be read now, try again later";
    case Cause::message_trouble:
      return "-ERR [SYS/TEMP] this message cannot be read now, try again later";
    case Cause::update_failed:
      return "-ERR [SYS/TEMP] some deleted messages not removed";
    case Cause::too_many_errors:
      return "-ERR too many errors, bye";
    case Cause::too_many_connections:
      return "-ERR [SYS/TEMP] too many connections, try again later";
    case Cause::shutting_down:
      return "-ERR [SYS/TEMP] shutting down, nothing was removed, try again later";
  }
  return "-ERR";
}

void append_number(std::string& out, std::uint64_t value) {
  std::array<char, std::numeric_limits<std::uint64_t>::digits10 + 1> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

constexpr std::string_view crlf = "\r\n";

}  // namespace

void append_reply(std::string& out, Cause cause) {
  out += text_of(cause);
  out += crlf;
}

void append_syntax_error(std::string& out, std::string_view expected) {
  out += "-ERR ";
  out += expected;
  out += crlf;
}

void append_greeting(std::string& out, std::string_view hostname, std::string_view stamp) {
  out += "+OK ";
  out += hostname;
  out += " POP3 ready";
  if (!stamp.empty()) (out += ' ') += stamp;
  out += crlf;
}

void append_numbers(std::string& out, std::uint64_t first, std::uint64_t second) {
  out += "+OK ";
  append_listing_line(out, first, second);
}

void append_maildrop(std::string& out, std::uint64_t messages, std::uint64_t octets) {
  out += "+OK ";
  append_number(out, messages);
  out += messages == 1 ? " message (" : " messages (";
  append_number(out, octets);
  out += " octets)\r\n";
}

void append_octets(std::string& out, std::uint64_t octets) {
  out += "+OK ";
  append_number(out, octets);
  out += " octets\r\n";
}

void append_message_deleted(std::string& out, std::uint64_t number) {
  out += "+OK message ";
  append_number(out, number);
  out += " deleted\r\n";
}

void append_unique_id(std::string& out, std::uint64_t number, std::string_view id) {
  out += "+OK ";
  append_listing_line(out, number, id);
}

void append_challenge(std::string& out, std::string_view base64) {
  out += "+ ";
  out += base64;
  out += crlf;
}

void append_listing_line(std::string& out, std::uint64_t number, std::uint64_t octets) {
  append_number(out, number);
  out += ' ';
  append_number(out, octets);
  out += crlf;
}

void append_listing_line(std::string& out, std::uint64_t number, std::string_view id) {
  append_number(out, number);
  out += ' ';
  out += id;
  out += crlf;
}

void append_end(std::string& out) {
  out += ".\r\n";
}

void append_capabilities(std::string& out, const Capabilities& capabilities) {
  out += "+OK what this server can do\r\n";
  out += "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE ";
  if (capabilities.expire_days) {
    append_number(out, *capabilities.expire_days);
  } else {
    out += "NEVER";
  }
  out += crlf;
  if (capabilities.login_delay != 0) {
    out += "LOGIN-DELAY ";
    append_number(out, capabilities.login_delay);
    out += crlf;
  }
  if (capabilities.user) out += "USER\r\n";
  if (!capabilities.mechanisms.empty()) {
    out += "SASL";
    for (const auto& mechanism : capabilities.mechanisms) (out += ' ') += mechanism;
    out += crlf;
  }
  if (capabilities.stls) out += "STLS\r\n";
  out += "IMPLEMENTATION Pennypost\r\n";
  append_end(out);
}

void append_mechanisms(std::string& out, const std::vector<std::string>& mechanisms) {
  append_reply(out, Cause::done);
  for (const auto& mechanism : mechanisms) (out += mechanism) += crlf;
  append_end(out);
}

}  // namespace pop3d
