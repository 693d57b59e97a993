#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace smtpd {

/// RFC 3461 4: printable ASCII as it is, but for "+" and "=", which as other octets become +XX.
std::string encode_xtext(std::string_view plain);
bool is_xtext(std::string_view text);
/// What xtext stands for. nullopt: it is none, or hides control octets or what is no UTF-8, which would get into reports
/// and logs. Postfix hides an address in UTF-8 so, though RFC 6533 has a type of its own for it.
std::optional<std::string> decode_xtext(std::string_view text);

}  // namespace smtpd
