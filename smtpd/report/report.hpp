#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "smtpd/report/notify.hpp"

/// Delivery reports (RFC 3461, RFC 3462, RFC 3464; RFC 6533 where an address is not ASCII). No I/O: the octets around
/// the message that is returned, which itself goes from the store into the report as it lies there.
namespace smtpd::report {

/// ORCPT as it came, with the xtext undone (RFC 3461 6.3): what Recipient wants. Empty stays empty.
std::string readable_original(const std::string& original_recipient);

/// What became of one recipient.
struct Recipient {
  std::string address;   ///< as it was tried
  std::string original;  ///< ORCPT, "type;address" with xtext undone; empty: none was given
  Action action = Action::failed;
  std::string status;                             ///< RFC 3463
  std::string peer;                               ///< the server that said so, its name; empty: we
  std::string answer;                             ///< its words, "550 5.1.1 ..."; empty: it said none
  std::string why;                                ///< in our words, one sentence for a person
  std::optional<std::chrono::sys_seconds> tried;  ///< the last attempt
  std::optional<std::chrono::sys_seconds> until;  ///< of a delay: when we give up
};

/// The message reported on.
struct Subject {
  std::string id;
  std::string reverse_path;  ///< who gets the report; never empty (RFC 5321 4.5.5)
  std::string envelope_id;   ///< ENVID with xtext undone; empty: none was given
  bool eight_bit = false;    ///< what goes back has octets beyond ASCII, whatever its envelope said
  bool utf8 = false;         ///< it came with SMTPUTF8
  std::chrono::sys_seconds arrived;
};

/// What the report itself carries.
struct Stamp {
  std::string id;            ///< the report's
  std::string hostname;      ///< ours
  std::string sender;        ///< of the From field: an address that a person reads
  std::uint64_t chance = 0;  ///< drawn anew: nobody who wrote the message can have known the boundary
  std::chrono::sys_seconds time;
};

/// How much of the message goes back.
enum class Returned : std::uint8_t { header, whole };

/// RET as it was given (0: not, 1: FULL, 2: HDRS) and what the message weighs, against `most`. Only a failure returns
/// the whole message (RFC 3461 4.3).
Returned choose_returned(std::uint8_t return_content, bool any_failed, std::uint64_t octets, std::uint64_t most);

/// The report in stored form: `front`, then the returned octets as stored, then `back`. No line of the two begins with
/// a dot.
struct Around {
  std::string front;
  std::string back;
  std::uint64_t header_octets = 0;  ///< of the report's own header section, its empty line included
  bool eight_bit = false;
  bool utf8 = false;
};
/// `recipients` is not empty.
Around format_report(const Subject& subject, std::span<const Recipient> recipients, const Stamp& stamp,
                     Returned returned);

}  // namespace smtpd::report
