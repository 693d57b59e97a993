#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

/// Addresses and domains: grammar (RFC 5321 4.1.2, RFC 6531), A-labels, canonical keys. No I/O.
namespace common {

struct Address {
  std::string local;   ///< without quotes, case as it came
  std::string domain;  ///< lower-case A-labels, or an address literal with its brackets; empty: a bare local part
  bool ascii = true;   ///< false: the local part or the domain as written needs SMTPUTF8
  friend bool operator==(const Address&, const Address&) = default;
};

/// A whole address "local@domain" or a bare "local", quoted local parts allowed; nothing before or after it. Limits:
/// local part 64 octets (250 where it begins with "SRS0=" or its like), domain 255 (RFC 5321 4.5.3.1). An empty local
/// part is refused, quoted or not. Error: what is wrong with it, in a few words.
std::expected<Address, std::string> parse_address(std::string_view text);
/// Lower-case A-labels (IDNA 2008, UTS 46) of a domain name; error: in a few words.
std::expected<std::string, std::string> canonical_domain(std::string_view text);
/// local@domain with the local part quoted where the grammar needs it.
std::string format_address(const Address& address);
/// The key under which the directory keeps it: local part case-folded (ASCII; UTF-8 through NFC and simple folding),
/// domain as it is. Quoted where format_address quotes, so that parse_address reads a key back.
std::string canonical_key(const Address& address);

}  // namespace common
