#pragma once

#include <cstddef>
#include <string_view>

namespace common {

/// One character of UTF-8 text (RFC 3629).
struct Utf8Character {
  char32_t code = 0;
  std::size_t octets = 0;  ///< 0: what stands there is not valid UTF-8
};

/// The character that `text` begins with; `text` is not empty.
Utf8Character first_character(std::string_view text);
bool is_utf8(std::string_view text);
/// Invisible characters that change how the text around them is shown: C1 controls, line separators and what steers the
/// direction of writing.
bool is_steering(char32_t code);

}  // namespace common
