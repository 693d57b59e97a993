#pragma once

#include <cstdint>

#include "mailstore/types.hpp"

/// Who is told of what became of a message (RFC 3461 4.1, RFC 3464 2.3.3). No I/O.
namespace smtpd::report {

/// What a report says of one recipient (RFC 3464 2.3.3).
enum class Action : std::uint8_t {
  failed,
  delayed,
  delivered,  ///< in a mailbox of ours
  relayed,    ///< taken by a server that does not know RFC 3461: what comes after, nobody will tell
  expanded,   ///< an alias of several targets
};

/// Whether the sender is to hear of it. Without NOTIFY: of failures and delays (RFC 3461 4.1 leaves delays to us).
constexpr bool is_wanted(Action action, std::uint8_t notify) {
  if ((notify & mailstore::notify_never) != 0) return false;
  switch (action) {
    case Action::failed:
      return notify == 0 || (notify & mailstore::notify_failure) != 0;
    case Action::delayed:
      return notify == 0 || (notify & mailstore::notify_delay) != 0;
    case Action::delivered:
    case Action::relayed:
    case Action::expanded:
      break;
  }
  return (notify & mailstore::notify_success) != 0;
}

}  // namespace smtpd::report
