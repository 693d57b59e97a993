#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// 64-bit ids as text: base32 with the alphabet of RFC 4648 section 6 in lower case, without padding, over the eight
/// octets in network order. Always 13 letters.
namespace common {

std::string format_base32(std::uint64_t value);
/// Exactly what format_base32 writes; nullopt for anything else, other spellings of the same bits included: an id has
/// one name.
std::optional<std::uint64_t> parse_base32(std::string_view text);

}  // namespace common
