#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smtpd/outbound/answer.hpp"

/// Which servers take mail for a domain (RFC 5321 5.1), from what DNS said. No I/O, no chance but what is handed in.
namespace smtpd::outbound {

enum class Lookup : std::uint8_t {
  found,
  empty,    ///< the name is there, records of that kind are not
  no_name,  ///< there is no such name (NXDOMAIN)
  trouble,  ///< nobody knows now: time-out, SERVFAIL, a signature that is wrong
};
struct Exchanger {
  std::uint16_t preference = 0;
  std::string host;  ///< lower case, without the last dot; empty: the root, which says "none" (RFC 7505)
  friend bool operator==(const Exchanger&, const Exchanger&) = default;
};
struct MxAnswer {
  Lookup lookup = Lookup::trouble;
  std::vector<Exchanger> records;
  std::string why;  ///< of trouble, for people
};
struct AddressAnswer {
  Lookup lookup = Lookup::trouble;
  std::vector<std::string> addresses;  ///< numeric, IPv6 and IPv4
  std::string why;
};

/// More are not tried, whatever a domain's owner lists.
inline constexpr std::size_t exchangers_limit = 16;
inline constexpr std::size_t addresses_limit = 8;

/// A number below `bound`, which is not 0.
using Dice = std::function<std::uint32_t(std::uint32_t bound)>;

/// The servers in the order in which they are to be tried: by preference, equals shuffled, those that are no better
/// than ourselves left out (RFC 5321 5.1: mail must not come back). `own_names`: what we are called, in lower case.
/// Error: the answer for all recipients of the domain.
std::expected<std::vector<Exchanger>, Answer> choose_exchangers(std::string_view domain, const MxAnswer& found,
                                                                std::span<const std::string> own_names,
                                                                const Dice& dice);

/// Which kinds of address we can come from.
struct Families {
  bool ipv4 = true;
  bool ipv6 = true;
};
/// Those of `bind`; both if it is empty.
Families families_of(std::span<const std::string> bind);
/// The addresses of one server in turn, IPv6 first, then IPv4 (RFC 8305 4), none twice.
std::vector<std::string> order_addresses(std::span<const std::string> addresses, Families families);

/// Why a server without usable addresses gets no mail.
Answer no_address(std::string_view host, const AddressAnswer& found);

/// No server was found to speak to, for want of names and addresses (S68): then the smart host gets it. A domain that
/// wants no mail, or leads back to us, is known. `failures` are of all its hosts.
bool is_unknown_to_dns(std::span<const Answer> failures);

/// What all the servers of a route said, taken together: permanent if all are, else the first that is not.
const Answer& worst_hope(std::span<const Answer> failures);

}  // namespace smtpd::outbound
