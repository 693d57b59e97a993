#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.hpp"

/// The addresses of a header field (RFC 5322 3.4): display names, comments, groups, quoted strings and old routes are
/// left behind. No I/O.
namespace common {

/// Every address in `text`, the value of a field, folded or not. Bare local parts are taken: programs write "To: root".
/// Error: what is wrong, in a few words; nothing is guessed.
std::expected<std::vector<Address>, std::string> parse_address_list(std::string_view text);

}  // namespace common
