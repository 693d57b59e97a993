#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.hpp"

/// The sender rewriting scheme: reverse-paths of ours for mail of strangers that we send on, so that the next server
/// does not take us for somebody who forges them (SPF), and what comes back finds its way. No I/O.
///
///     SRS0=HASH=DAY=stranger.example=name@ours.example        of name@stranger.example
///     SRS1=HASH=other.example==REST@ours.example              of SRS0=REST@other.example: not longer with each hop
namespace smtpd::routing {

class Srs {
 public:
  struct Terms {
    std::vector<std::string> keys;  ///< not empty; the first signs, all are believed
    std::string domain;             ///< of what we make; empty: that of the address of ours that the mail was for
    std::chrono::days max_age{21};  ///< at most 500: days are told modulo 1024
  };
  explicit Srs(Terms terms) : terms_(std::move(terms)) {}

  enum class Fault : std::uint8_t {
    forged,   ///< we never made it
    expired,  ///< we did, too long ago
  };
  /// Begins as such an address does.
  static bool has_form(std::string_view local);

  /// The reverse-path for mail of `sender` (with a domain) that was for an address in `ours`. May be longer than RFC
  /// 5321 4.5.3.1.1 wants of a local part, which hardly anybody minds.
  common::Address forward(const common::Address& sender, std::string_view ours, std::chrono::sys_days today) const;
  /// Whose mail comes back to an address that has the form.
  std::expected<common::Address, Fault> back(const common::Address& address, std::chrono::sys_days today) const;

  const std::string& domain() const { return terms_.domain; }

 private:
  bool is_ours(std::string_view hash, std::string_view kind, std::string_view first, std::string_view second,
               std::string_view third) const;
  Terms terms_;
};

}  // namespace smtpd::routing
