#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/secret.hpp"

namespace common::auth {

enum class Prepare : unsigned char {
  query,   ///< for comparing: code points that Unicode 3.2 did not know pass
  stored,  ///< for keeping: they do not
};
/// RFC 4013. nullopt: not UTF-8, a prohibited character, or a NUL in it. Printable ASCII stays what it is.
std::optional<Secret> saslprep(std::string_view text, Prepare purpose);

}  // namespace common::auth
