#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// What the server says. Every reply has a cause; one table (reply.cpp) turns the cause into code, enhanced code and
/// text.
namespace smtpd {

enum class Cause : std::uint8_t {
  // answers
  greeting,
  helo,
  ehlo,
  ok,
  help,
  cannot_verify,
  sender_ok,
  recipient_ok,
  go_ahead,
  stored,
  chunk_taken,
  bye,
  tls_ready,
  challenge,
  authenticated,
  // lines and grammar
  unknown_command,
  unsupported_command,
  newline_in_line,
  line_too_long,
  auth_line_too_long,
  syntax,
  bad_helo,
  helo_not_yours,
  helo_unverified,
  bad_sender,
  bad_recipient,
  not_ascii,
  bad_parameter,
  unknown_parameter,
  chunk_unclear,
  // order
  not_implemented,
  need_helo,
  need_ehlo,
  nested_mail,
  need_mail,
  need_recipient,
  in_transaction,
  in_chunks,
  already_secure,
  already_authenticated,
  tls_required,
  auth_required,
  // authentication
  clear_password,
  unknown_mechanism,
  auth_cancelled,
  bad_base64,
  auth_failed,
  account_locked,
  auth_unavailable,
  auth_barred,
  // senders and recipients
  not_your_address,
  unknown_recipient,
  unknown_domain,
  relaying_denied,
  routing_loop,
  mailbox_full,
  over_quota,
  too_many_recipients,
  // messages
  declared_too_big,
  message_too_big,
  header_too_big,
  too_many_hops,
  bare_newline,
  store_full,
  store_trouble,
  // filters
  filter_refused,
  filter_deferred,
  filter_gone,
  filter_gone_for_good,
  filter_said,
  // the end
  filter_closes,
  too_many_errors,
  session_used_up,
  too_many_connections,
  idle_too_long,
  shutting_down,
};

/// A reply: its cause decides the rest, `detail` takes the place of "{}" in the text. A '\n' in the result makes lines
/// of it. `detail` is never anything that a peer sent. Cause::filter_said: `detail` is the whole of it, each line with
/// its code ("550 5.7.1 no"), as milter::parse_reply gives it.
struct Reply {
  Cause cause = Cause::ok;
  std::string detail;
};

/// One row of the table.
struct ReplyText {
  Cause cause;
  std::uint16_t code;
  std::string_view enhanced;  ///< RFC 3463; empty where RFC 2034 wants none
  std::string_view text;
  bool broken;  ///< a broken command: counts towards [connections].errors
};

const ReplyText& reply_text(Cause cause);

/// Appends the reply as it travels, CRLF included.
void append_reply(std::string& out, const Reply& reply);

/// "552 5.3.4", for the log.
std::string format_code(Cause cause);
std::string format_code(const Reply& reply);
/// RFC 5321 3.8: with 421 the connection ends.
bool ends_session(const Reply& reply);

}  // namespace smtpd
