#include "smtpd/protocol/reply.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace smtpd {
namespace {

constexpr bool broken = true;
constexpr bool fine = false;

// RFC 5321 4.2, RFC 3463; the codes are fixed, the texts are ours.
constexpr auto table = std::to_array<ReplyText>({
    {Cause::greeting, 220, "", "{}", fine},
    {Cause::helo, 250, "", "{}", fine},
    {Cause::ehlo, 250, "", "{}", fine},
    {Cause::ok, 250, "2.0.0", "ok", fine},
    {Cause::help, 214, "2.0.0", "{}", fine},
    {Cause::cannot_verify, 252, "2.0.0", "not verified; send the message and see", fine},
    {Cause::sender_ok, 250, "2.1.0", "sender ok", fine},
    {Cause::recipient_ok, 250, "2.1.5", "recipient ok", fine},
    {Cause::go_ahead, 354, "", "end with <CRLF>.<CRLF>", fine},
    {Cause::stored, 250, "2.0.0", "{} stored", fine},
    {Cause::chunk_taken, 250, "2.0.0", "{} octets received", fine},
    {Cause::bye, 221, "2.0.0", "bye", fine},
    {Cause::tls_ready, 220, "2.0.0", "ready for TLS", fine},
    {Cause::challenge, 334, "", "{}", fine},
    {Cause::authenticated, 235, "2.7.0", "authenticated", fine},

    {Cause::unknown_command, 500, "5.5.2", "command not recognized", broken},
    {Cause::unsupported_command, 500, "5.5.1", "command not supported here", broken},
    {Cause::newline_in_line, 500, "5.5.2", "a CR or LF alone does not end a line", broken},
    {Cause::line_too_long, 500, "5.5.2", "line too long", broken},
    // RFC 4954 6
    {Cause::auth_line_too_long, 500, "5.5.6", "authentication exchange line is too long", broken},
    {Cause::syntax, 501, "5.5.4", "syntax error, expected {}", broken},
    {Cause::bad_helo, 501, "5.5.4", "not a domain name or address literal", broken},
    {Cause::helo_not_yours, 550, "5.7.1", "this name does not lead to your address", broken},
    // RFC 3463 3.5: the directory server failed
    {Cause::helo_unverified, 451, "4.4.3", "this name cannot be looked up now, try again later", fine},
    {Cause::bad_sender, 501, "5.1.7", "bad sender address: {}", broken},
    {Cause::bad_recipient, 501, "5.1.3", "bad recipient address: {}", broken},
    // RFC 6531 3.5 gives the code
    {Cause::not_ascii, 553, "5.6.7", "an address that is not ASCII needs SMTPUTF8", broken},
    {Cause::bad_parameter, 501, "5.5.4", "bad value of parameter {}", broken},
    {Cause::unknown_parameter, 555, "5.5.4", "parameter not recognized or not implemented", broken},
    {Cause::chunk_unclear, 501, "5.5.4", "no telling how many octets follow, closing", broken},

    {Cause::not_implemented, 502, "5.5.1", "command not implemented", broken},
    {Cause::need_helo, 503, "5.5.1", "send HELO or EHLO (LMTP: LHLO) first", broken},
    {Cause::need_ehlo, 503, "5.5.1", "send EHLO first", broken},
    {Cause::nested_mail, 503, "5.5.1", "there is a sender already", broken},
    {Cause::need_mail, 503, "5.5.1", "need MAIL first", broken},
    {Cause::need_recipient, 503, "5.5.1", "need RCPT first", broken},
    {Cause::in_transaction, 503, "5.5.1", "not during a mail transaction", broken},
    {Cause::in_chunks, 503, "5.5.1", "not between the chunks of a message", broken},
    {Cause::already_secure, 503, "5.5.1", "TLS is on already", broken},
    {Cause::already_authenticated, 503, "5.5.1", "authenticated already", broken},
    {Cause::tls_required, 530, "5.7.0", "must issue STARTTLS first", broken},
    {Cause::auth_required, 530, "5.7.0", "authentication required", broken},

    {Cause::clear_password, 538, "5.7.11", "encryption required for this authentication mechanism", broken},
    {Cause::unknown_mechanism, 504, "5.5.4", "authentication mechanism not offered", broken},
    {Cause::auth_cancelled, 501, "5.7.0", "authentication cancelled", broken},
    {Cause::bad_base64, 501, "5.5.2", "not a base64 response", broken},
    {Cause::auth_failed, 535, "5.7.8", "authentication credentials invalid", broken},
    {Cause::account_locked, 535, "5.7.13", "this mailbox is locked", broken},
    {Cause::auth_unavailable, 454, "4.7.0", "authentication is not possible now, try again later", fine},
    // RFC 4954 6: a client should not ask its user for another password then.
    {Cause::auth_barred, 454, "4.7.0", "too many failed log-ins, try again later", broken},

    {Cause::not_your_address, 550, "5.7.1", "this sender address is not yours", fine},
    {Cause::unknown_recipient, 550, "5.1.1", "no such mailbox here", fine},
    {Cause::unknown_domain, 550, "5.1.2", "no such domain here", fine},
    {Cause::relaying_denied, 550, "5.7.1", "relaying denied", fine},
    {Cause::routing_loop, 550, "5.4.6", "the alias leads too far", fine},
    {Cause::mailbox_full, 452, "4.2.2", "mailbox full, try again later", fine},
    // RFC 1870 6.1
    {Cause::over_quota, 552, "5.2.2", "the message is larger than all that the mailbox may hold", fine},
    {Cause::too_many_recipients, 452, "4.5.3", "too many recipients, send the rest in another message", fine},

    {Cause::declared_too_big, 552, "5.3.4", "message too big, the limit is {} octets", fine},
    {Cause::message_too_big, 552, "5.3.4", "message too big, the limit is {} octets", fine},
    {Cause::header_too_big, 552, "5.3.4", "message header too big", fine},
    {Cause::too_many_hops, 554, "5.4.6", "too many Received lines, this message goes in circles", fine},
    {Cause::bare_newline, 554, "5.6.0", "the message contains a CR or LF alone; lines end with CRLF", fine},
    {Cause::store_full, 452, "4.3.1", "no room at the moment, try again later", fine},
    {Cause::store_trouble, 451, "4.3.0", "not stored, try again later", fine},

    {Cause::filter_refused, 550, "5.7.1", "refused", fine},
    {Cause::filter_deferred, 451, "4.7.1", "not now, try again later", fine},
    {Cause::filter_gone, 451, "4.3.0", "mail cannot be looked at now, try again later", fine},
    {Cause::filter_gone_for_good, 554, "5.3.0", "mail cannot be looked at", fine},
    {Cause::filter_said, 550, "5.7.1", "{}", fine},

    {Cause::filter_closes, 421, "4.3.0", "{} not now, closing", fine},
    {Cause::too_many_errors, 421, "4.7.0", "{} too many errors, closing", fine},
    {Cause::session_used_up, 421, "4.7.0", "{} enough mail for one connection, closing", fine},
    {Cause::too_many_connections, 421, "4.7.0", "{} too many connections, try again later", fine},
    {Cause::idle_too_long, 421, "4.4.2", "{} idle for too long, closing", fine},
    {Cause::shutting_down, 421, "4.3.2", "{} shutting down, try again later", fine},
});

constexpr bool table_in_order() {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (static_cast<std::size_t>(table[i].cause) != i) return false;
  }
  return table.back().cause == Cause::shutting_down;
}
static_assert(table_in_order(), "the table is indexed by cause");

void append_number(std::string& out, std::uint16_t code) {
  out.push_back(static_cast<char>('0' + code / 100));
  out.push_back(static_cast<char>('0' + code / 10 % 10));
  out.push_back(static_cast<char>('0' + code % 10));
}

void append_line(std::string& out, const ReplyText& row, char separator, std::string_view text) {
  append_number(out, row.code);
  out.push_back(separator);
  if (!row.enhanced.empty()) {
    out += row.enhanced;
    out.push_back(' ');
  }
  out += text;
  out += "\r\n";
}

/// Whole lines, of which only the mark of those that are not the last is missing.
void append_lines(std::string& out, std::string_view lines) {
  while (!lines.empty()) {
    const auto end = lines.find('\n');
    const auto line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    out += line.substr(0, 3);
    out.push_back(lines.empty() ? ' ' : '-');
    out += line.substr(std::min<std::size_t>(line.size(), 4));
    out += "\r\n";
  }
}

}  // namespace

const ReplyText& reply_text(Cause cause) {
  return table[static_cast<std::size_t>(cause)];
}

void append_reply(std::string& out, const Reply& reply) {
  if (reply.cause == Cause::filter_said) return append_lines(out, reply.detail);
  const ReplyText& row = reply_text(reply.cause);
  const auto gap = row.text.find("{}");
  if (gap == std::string_view::npos) {
    append_line(out, row, ' ', row.text);
    return;
  }
  std::string whole{row.text.substr(0, gap)};
  whole += reply.detail;
  whole += row.text.substr(gap + 2);
  std::string_view rest = whole;
  for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    append_line(out, row, '-', rest.substr(0, end));  // RFC 5321 4.2.1
    rest.remove_prefix(end + 1);
  }
  append_line(out, row, ' ', rest);
}

std::string format_code(const Reply& reply) {
  if (reply.cause != Cause::filter_said) return format_code(reply.cause);
  const std::string_view said{reply.detail};
  const auto enhanced = said.substr(std::min<std::size_t>(4, said.size()));
  const bool has_one = enhanced.size() > 2 && enhanced[0] == said[0] && enhanced[1] == '.';
  return std::string{said.substr(0, has_one ? said.find_first_of(" \n", 4) : 3)};
}

bool ends_session(const Reply& reply) {
  if (reply.cause == Cause::filter_said) return reply.detail.starts_with("421");
  return reply_text(reply.cause).code == 421;
}

std::string format_code(Cause cause) {
  const ReplyText& row = reply_text(cause);
  std::string out;
  append_number(out, row.code);
  if (!row.enhanced.empty()) {
    out.push_back(' ');
    out += row.enhanced;
  }
  return out;
}

}  // namespace smtpd
