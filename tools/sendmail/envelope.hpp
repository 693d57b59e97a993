#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/address.hpp"

#include "tools/sendmail/options.hpp"

/// The envelope in SMTP's own words, for the socket and for the spool. No I/O.
namespace tools::sendmail {

struct Envelope {
  std::string sender;  ///< without <>; empty: the null reverse-path
  std::vector<common::Address> recipients;
  std::string notify, return_content, envelope_id;  ///< as in Options
  bool eight_bit = false;
  bool utf8 = false;         ///< an address has letters beyond ASCII
  std::uint64_t octets = 0;  ///< of the message, CRLF line ends
};

/// What a server offers of what we would say.
struct Offer {
  bool size = false, eight_bit = false, utf8 = false, dsn = false;
};
/// "SIZE" and others, from the lines of the answer to EHLO.
Offer parse_offer(std::string_view reply);

/// "MAIL FROM:<...> ..." without CRLF.
std::string mail_command(const Envelope& envelope, const Offer& offer);
std::string rcpt_command(const Envelope& envelope, const common::Address& recipient, const Offer& offer);

/// What a refusal for good means to the caller: "550 5.1.1 ..." is EX_NOUSER.
Status status_of(std::string_view reply);

}  // namespace tools::sendmail
