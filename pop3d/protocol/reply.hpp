#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What POP3 says: one place for all texts. Every function appends whole lines, with CRLF, to `out`.
namespace pop3d {

/// Causes of a reply without numbers in it. Response codes: RFC 2449 8 [IN-USE], [LOGIN-DELAY], RFC 3206 [AUTH],
/// [SYS/TEMP].
enum class Cause : std::uint8_t {
  done,
  name_taken,  ///< USER: said of every name, so that nobody learns which exist
  start_tls,
  goodbye,
  unknown_command,
  stray_control,
  line_too_long,
  not_before_login,
  not_after_login,
  user_first,
  needs_tls,  ///< USER, PASS and such over a clear connection
  only_tls,   ///< [tls] required
  no_tls,
  tls_already,
  no_mechanism,
  no_apop,
  bad_base64,
  cancelled,
  wrong_password,  ///< unknown names as well
  locked,
  in_use,
  too_soon,  ///< LOGIN-DELAY
  overloaded,
  barred,  ///< too many log-ins failed before
  no_message,
  deleted_already,
  store_trouble,    ///< a log-in or a reading that the store failed
  message_trouble,  ///< one message cannot be read
  update_failed,
  too_many_errors,
  too_many_connections,
  shutting_down,
};

void append_reply(std::string& out, Cause cause);
/// "-ERR " and what the parser wished for.
void append_syntax_error(std::string& out, std::string_view expected);
/// `stamp`: what APOP proves its digest of (RFC 1939 7), empty where it is not offered.
void append_greeting(std::string& out, std::string_view hostname, std::string_view stamp);
/// "+OK 2 320", as STAT, LIST n want it.
void append_numbers(std::string& out, std::uint64_t first, std::uint64_t second);
/// "+OK 3 messages (960 octets)"
void append_maildrop(std::string& out, std::uint64_t messages, std::uint64_t octets);
/// "+OK 120 octets": the line before a message.
void append_octets(std::string& out, std::uint64_t octets);
void append_message_deleted(std::string& out, std::uint64_t number);
/// "+OK 2 aeslt2rcclx5q"
void append_unique_id(std::string& out, std::uint64_t number, std::string_view id);
/// A continuation of AUTH: "+ " and base64 (RFC 5034 4).
void append_challenge(std::string& out, std::string_view base64);

/// Lines of a listing: "2 320", "2 aeslt2rcclx5q".
void append_listing_line(std::string& out, std::uint64_t number, std::uint64_t octets);
void append_listing_line(std::string& out, std::uint64_t number, std::string_view id);
/// The line that ends every multi-line answer.
void append_end(std::string& out);

/// What a session may use, for CAPA (RFC 2449).
struct Capabilities {
  bool user = false;
  bool stls = false;
  std::vector<std::string> mechanisms;
  std::uint64_t login_delay = 0;             ///< seconds; 0: none
  std::optional<std::uint64_t> expire_days;  ///< nullopt: never
};
void append_capabilities(std::string& out, const Capabilities& capabilities);
/// AUTH without an argument, as clients older than CAPA ask it.
void append_mechanisms(std::string& out, const std::vector<std::string>& mechanisms);

}  // namespace pop3d
