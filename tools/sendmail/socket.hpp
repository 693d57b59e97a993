#pragma once

#include <filesystem>
#include <string>

#include "tools/sendmail/body.hpp"
#include "tools/sendmail/envelope.hpp"

/// smtpd's Unix socket.
namespace tools::sendmail {

struct Told {
  enum class Fate {
    sent,
    refused,  ///< for good: `why` and `status` say what of it
    later,    ///< nobody took it: smtpd is down, or cannot take it for the moment
  } fate = Fate::later;
  Status status = Status::done;
  std::string why;
};

/// Hands the message in. A recipient that is refused refuses the message: who calls again after a failure must not send
/// it to the others twice.
Told submit(const std::filesystem::path& socket, const Envelope& envelope, const Body& body);

/// Carries octets between standard input and output and the socket until either is at its end.
Status talk(const std::filesystem::path& socket);

}  // namespace tools::sendmail
