#include "tools/sendmail/envelope.hpp"

#include <algorithm>

#include "smtpd/protocol/xtext.hpp"

namespace tools::sendmail {

Offer parse_offer(std::string_view reply) {
  Offer offer;
  while (!reply.empty()) {
    const auto end = reply.find('\n');
    auto line = reply.substr(0, end);
    reply.remove_prefix(end == reply.npos ? reply.size() : end + 1);
    if (line.size() < 4) continue;
    line = line.substr(4, line.find_first_of(" \r", 4) - 4);
    offer.size = offer.size || line == "SIZE";
    offer.eight_bit = offer.eight_bit || line == "8BITMIME";
    offer.utf8 = offer.utf8 || line == "SMTPUTF8";
    offer.dsn = offer.dsn || line == "DSN";
  }
  return offer;
}

std::string mail_command(const Envelope& envelope, const Offer& offer) {
  std::string line = "MAIL FROM:<" + envelope.sender + ">";
  if (offer.size) line += " SIZE=" + std::to_string(envelope.octets);
  if (offer.eight_bit && envelope.eight_bit) line += " BODY=8BITMIME";
  if (offer.utf8 && envelope.utf8) line += " SMTPUTF8";
  if (offer.dsn && !envelope.return_content.empty()) line += " RET=" + envelope.return_content;
  if (offer.dsn && !envelope.envelope_id.empty()) line += " ENVID=" + smtpd::encode_xtext(envelope.envelope_id);
  return line;
}

std::string rcpt_command(const Envelope& envelope, const common::Address& recipient, const Offer& offer) {
  std::string line = "RCPT TO:<" + common::format_address(recipient) + ">";
  if (offer.dsn && !envelope.notify.empty()) line += " NOTIFY=" + envelope.notify;
  return line;
}

Status status_of(std::string_view reply) {
  const auto enhanced = reply.substr(std::min<std::size_t>(4, reply.size()));
  if (enhanced.starts_with("5.1.1 ")) return Status::no_user;
  if (enhanced.starts_with("5.1.2 ")) return Status::no_host;
  if (enhanced.starts_with("5.7.")) return Status::not_allowed;
  // The message, its form or an address in it.
  if (enhanced.starts_with("5.6.") || enhanced.starts_with("5.1.") || enhanced.starts_with("5.5."))
    return Status::bad_data;
  return Status::unavailable;
}

}  // namespace tools::sendmail
