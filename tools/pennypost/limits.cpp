#include "tools/pennypost/limits.hpp"

#include <charconv>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "tools/pennypost/failure.hpp"

namespace tools {

std::optional<std::uint64_t> parse_count(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::pair<std::string_view, unsigned> units[] = {{"KB", 10}, {"MB", 20}, {"GB", 30}};
  unsigned shift = 0;
  for (const auto& [suffix, bits] : units) {
    if (!text.ends_with(suffix)) continue;
    text.remove_suffix(suffix.size());
    shift = bits;
    break;
  }
  const auto value = parse_count(text);
  if (!value || *value > std::numeric_limits<std::uint64_t>::max() >> shift) return std::nullopt;
  return *value << shift;
}

std::uint64_t need_size(std::string_view option, const std::string& text) {
  const auto size = parse_size(text);
  if (!size)
    refuse(fmt::format("{} {}: not a size; write octets, or a number with KB, MB or GB; 0: no limit", option, text));
  return *size;
}

}  // namespace tools
