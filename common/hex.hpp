#pragma once

#include <span>
#include <string>

namespace common {

/// Two digits an octet, in lower case.
std::string format_hex(std::span<const unsigned char> octets);

}  // namespace common
