#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/secret.hpp"

namespace smtpd::outbound {

/// How much TLS the route wants (S59).
enum class Security : std::uint8_t {
  none,           ///< never; credentials go in the clear then
  opportunistic,  ///< if the peer has it; its certificate is nobody's business
  tls,            ///< or the message waits
  verify,         ///< the same, with a certificate for the host's name from an issuer we trust
};
std::string_view name_of(Security security);

enum class Hello : std::uint8_t {
  ehlo,  ///< HELO if that is refused
  helo,  ///< at once: `--no-esmtp` (S90)
};

/// RFC 5321 4.5.3.2, as long as each wait for an answer may be.
struct Timeouts {
  std::chrono::milliseconds connect = std::chrono::seconds{30};
  std::chrono::milliseconds greeting = std::chrono::minutes{5};
  std::chrono::milliseconds hello = std::chrono::minutes{5};
  std::chrono::milliseconds tls = std::chrono::minutes{2};
  std::chrono::milliseconds auth = std::chrono::minutes{5};
  std::chrono::milliseconds mail = std::chrono::minutes{5};
  std::chrono::milliseconds rcpt = std::chrono::minutes{5};
  std::chrono::milliseconds data = std::chrono::minutes{2};
  std::chrono::milliseconds block = std::chrono::minutes{3};
  std::chrono::milliseconds end = std::chrono::minutes{10};
  std::chrono::milliseconds quit = std::chrono::seconds{10};
};
/// None longer than `most` (S61); 0: as they are.
Timeouts shortened(Timeouts timeouts, std::chrono::milliseconds most);

struct Credentials {
  std::string account;
  common::Secret password;
};

/// How to speak to the servers of one route.
struct ClientTerms {
  std::string hostname;  ///< what we call ourselves
  Hello hello = Hello::ehlo;
  Security security = Security::opportunistic;
  std::shared_ptr<const Credentials> credentials;  ///< null: no AUTH (S58)
  std::uint64_t messages = 20;                     ///< in one connection; 0: no limit (S45)
  std::size_t recipients = 100;                    ///< in one transaction (RFC 5321 4.5.3.1.8, S46)
  Timeouts timeouts;
};

}  // namespace smtpd::outbound
