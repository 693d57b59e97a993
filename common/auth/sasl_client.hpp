#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/auth/sasl.hpp"
#include "common/secret.hpp"

namespace common::auth {

/// A server may ask for so much work in SCRAM and no more: it is done on an I/O thread (some 40 ms).
constexpr std::uint32_t scram_client_most_iterations = 100'000;

/// The client's side of SASL, without I/O: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), SCRAM-SHA-256 and -PLUS
/// (RFC 5802, 7677). Octets in and out are bare, base64 is the caller's. One exchange.
class SaslClient {
 public:
  /// Null: a mechanism that is not known (names in upper case), or -PLUS without binding data.
  static std::unique_ptr<SaslClient> start(std::string_view mechanism, std::string_view account, const Secret& password,
                                           const Channel& channel);
  virtual ~SaslClient() = default;
  /// The initial response, nullopt: the mechanism has none.
  virtual std::optional<std::string> first() = 0;
  /// Error: the server did not prove itself or spoke nonsense; the exchange is to be cancelled.
  virtual std::expected<std::string, std::string> answer(std::string_view challenge) = 0;
  /// Nothing is missing when the server says that we are in. False after success: it did not prove that it knows the
  /// password (SCRAM).
  virtual bool complete() const = 0;
};

}  // namespace common::auth
