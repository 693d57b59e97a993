#pragma once

#include <cstdint>
#include <optional>

/// Mail that waits until somebody asks for it (S93 to S95): what those who ask are told.
namespace smtpd::outbound {

/// Of ETRN (RFC 1985).
struct RunAnswer {
  enum class What : std::uint8_t {
    started,
    nothing,  ///< waits
    unable,   ///< now: too often, or the mail is held by a person
    refused,  ///< its mail is not sent on by way of a remote domain of ours
  };
  What what = What::refused;
  std::optional<std::uint64_t> pending;  ///< of `started`, where it was counted
};

/// Of ATRN (RFC 2645) and TURN.
enum class TurnAnswer : std::uint8_t {
  granted,
  nothing,    ///< waits
  unable,     ///< now: somebody is at it, too often, or the mail is held by a person
  refused,    ///< to this account
  needs_tls,  ///< the domain's mail does not travel in the clear
};

}  // namespace smtpd::outbound
