#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace smtpd {

/// What the trace line tells (RFC 5321 4.4).
struct Trace {
  std::string_view helo;      ///< a proper name, or empty
  std::string_view name;      ///< of the client, verified: a host name, or empty
  std::string_view address;   ///< numeric, or "unix"
  std::string_view hostname;  ///< ours
  std::string_view id;
  std::string_view recipient;  ///< empty: not told (there are several, and they need not know of each other)
  std::string_view tls_protocol, tls_cipher;  ///< empty in the clear
  std::optional<std::uint32_t> user;          ///< of a program on this machine: whose it is
  enum class Protocol : std::uint8_t { smtp, esmtp, lmtp, none } protocol = Protocol::smtp;
  bool utf8 = false;  ///< SMTPUTF8
  bool authenticated = false;
  std::chrono::sys_seconds time;
};

/// "Received: ...", folded, with its CRLF. Begins no line with a dot, so that it is its own stored form.
std::string format_received(const Trace& trace);
/// RFC 5322 3.3, in UTC.
std::string format_date(std::chrono::sys_seconds time);
/// "Date: ..." with CRLF.
std::string format_date_field(std::chrono::sys_seconds time);
/// "Message-ID: <...>" with CRLF.
std::string format_message_id_field(std::string_view id, std::string_view hostname);

}  // namespace smtpd
