#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace common::auth {

/// HMAC-SHA-256 over `parts`, each with its length in front: no two lists of parts give the same input.
std::array<std::uint8_t, 32> make_mac(std::string_view key, std::initializer_list<std::string_view> parts);

}  // namespace common::auth
