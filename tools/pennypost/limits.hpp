#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tools {

/// "0", "1048576", "50MB" (1024), as in the configuration. nullopt: not a size, or one beyond 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// parse_size of an option's value, or the command ends (usage).
std::uint64_t need_size(std::string_view option, const std::string& text);
/// Digits alone.
std::optional<std::uint64_t> parse_count(std::string_view text);

}  // namespace tools
