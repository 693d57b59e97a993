#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "smtpd/milter/packet.hpp"

/// What filters are told about a session beside its events: macros, by the names that Sendmail gave them.
namespace smtpd::milter {

/// Empty: not known, or there is none; such a macro is not sent.
struct Facts {
  std::string hostname;  ///< j
  std::string version;   ///< v
  std::string daemon;    ///< {daemon_name}: the virtual server
  std::string local_address, local_port;
  std::string client_address;  ///< numeric; "unix" for a Unix socket
  std::uint16_t client_port = 0;
  std::string client_name;  ///< verified
  std::string tls_version, cipher, cipher_bits;
  std::string auth_type, auth_authen;
  // of the message
  std::string mail_address, mail_host;
  std::string rcpt_address, rcpt_host, rcpt_mailer;
  std::string id;  ///< i: from DATA on
};

/// In the order of a session.
enum class Event : std::uint8_t {
  connect,
  helo,
  mail,
  rcpt,
  data,
  end_of_header,
  end_of_message,
  unknown,
  header,
  body,
};
/// Events that have macros stand first.
inline constexpr std::size_t events_with_macros = 8;

/// The value of macro `name`, "j" or "{client_addr}"; empty: none.
std::string macro_value(const Facts& facts, std::string_view name);
/// What is sent with `event` to a filter that did not choose.
std::string_view default_macros(Event event);
/// Names apart from each other by spaces or commas (smfi_setsymlist).
std::vector<std::string> split_macro_names(std::string_view list);
/// The packet that tells the macros of `event`; nothing if none has a value.
void append_macros(std::string& out, char command, const std::vector<std::string>& names, const Facts& facts);

}  // namespace smtpd::milter
