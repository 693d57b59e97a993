#pragma once

#include <asio/ip/address.hpp>
#include <optional>
#include <string>
#include <string_view>

/// Names of the DNS between their wire form (RFC 1035 3.1) and text. No I/O.
namespace common::dns {

/// Letters, digits, hyphens, underscores and dots, within the limits of RFC 1035 2.3.4, the last label not a number
/// (RFC 1123 2.1): what may stand in a trace field, a log or a command as it is. Without the dot at the end.
bool is_host_name(std::string_view text);
/// Lower case, without the dot at the end; nullopt if it is no host name.
std::optional<std::string> canonical_name(std::string_view text);
/// An uncompressed name that fills `wire`, in lower case; empty for the root. Nullopt for anything that is no host
/// name: a name of the DNS may hold every octet, and what its owner put there is not passed on.
std::optional<std::string> parse_name(std::string_view wire);
/// "4.3.2.1.in-addr.arpa" (RFC 1035 3.5), "b.a....ip6.arpa" (RFC 3596 2.5).
std::string reverse_name(const asio::ip::address& address);

}  // namespace common::dns
