#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace smtpd {

/// RFC 3461 4: printable ASCII as it is, but for "+" and "=", which as other octets become +XX.
std::string encode_xtext(std::string_view plain);
bool is_xtext(std::string_view text);
/// What xtext stands for. nullopt: it is none, or hides octets that are not printable ASCII, which would get into reports
/// and logs.
std::optional<std::string> decode_xtext(std::string_view text);

}  // namespace smtpd
