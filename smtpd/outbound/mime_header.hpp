#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The two fields of a MIME header that say how a content is to be read (RFC 2045 5, 6).
namespace smtpd::outbound {

/// Only what becomes of octets matters here.
enum class Nature : std::uint8_t {
  text,       ///< text/*, or no Content-Type at all
  other,      ///< any other leaf
  multipart,  ///< parts between delimiters
  digest,     ///< multipart/digest, whose parts are messages unless they say otherwise (RFC 2046 5.1.5)
  message,    ///< message/rfc822 and /global: an entity within
  sealed,     ///< multipart/signed and /encrypted (RFC 1847 2), message/* that must not be encoded (RFC 2046 5.2)
  unclear,    ///< cannot be told
};
struct ContentType {
  Nature nature = Nature::text;
  std::string boundary;  ///< of multipart and digest
};
/// `value`: unfolded or not. What is malformed is unclear.
ContentType parse_content_type(std::string_view value);

enum class Encoding : std::uint8_t { none, seven_bit, eight_bit, binary, quoted_printable, base64, unknown };
Encoding parse_transfer_encoding(std::string_view value);

}  // namespace smtpd::outbound
