#pragma once

#include <cstdint>
#include <string>

namespace tools::sendmail {

/// How the program ends, in the words of sysexits(3): those who call a sendmail know them.
enum class Status : std::uint8_t {
  done = 0,
  usage = 64,        ///< EX_USAGE: the command line is wrong
  bad_data = 65,     ///< EX_DATAERR: the message or an address in it cannot be read
  no_user = 67,      ///< EX_NOUSER
  no_host = 68,      ///< EX_NOHOST
  unavailable = 69,  ///< EX_UNAVAILABLE: refused for good, for another reason
  system = 71,       ///< EX_OSERR
  try_again = 75,    ///< EX_TEMPFAIL: neither sent nor kept
  not_allowed = 77,  ///< EX_NOPERM
};

/// Why nothing was sent: one sentence for a person.
struct Refusal {
  Status status = Status::unavailable;
  std::string why;
};

}  // namespace tools::sendmail
