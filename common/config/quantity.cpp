#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "common/config/values.hpp"

namespace common::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
// Largest first: format_ takes the first that divides.
constexpr std::array<Unit, 3> size_units = {{{"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}}};
constexpr std::array<Unit, 4> time_units = {{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}}};

bool same_letters(std::string_view one, std::string_view other) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(one, other, {}, lower, lower);
}

/// The number that the text begins with, and what stands behind it.
struct Amount {
  std::int64_t number = 0;
  std::string_view unit;
};
std::expected<Amount, std::string> take_amount(std::string_view text) {
  Amount amount;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount.number);
  if (error == std::errc::result_out_of_range) return std::unexpected("is too large");
  if (error != std::errc{} || text.starts_with('-')) return std::unexpected("does not begin with a number");
  amount.unit = text.substr(static_cast<std::size_t>(end - text.data()));
  return amount;
}

std::expected<std::int64_t, std::string> times_factor(std::int64_t number, std::int64_t factor) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(number, factor, &product)) return std::unexpected("is too large");
  return product;
}

}  // namespace

std::expected<Octets, std::string> parse_size(std::string_view text) {
  const auto amount = take_amount(text);
  if (!amount) return std::unexpected(amount.error());
  if (amount->unit.empty()) return static_cast<Octets>(amount->number);
  for (const auto& unit : size_units) {
    if (!same_letters(amount->unit, unit.name)) continue;
    const auto octets = times_factor(amount->number, unit.factor);
    if (!octets) return std::unexpected(octets.error());
    return static_cast<Octets>(*octets);
  }
  return std::unexpected("has an unknown unit");
}

std::expected<Duration, std::string> parse_time(std::string_view text) {
  const auto amount = take_amount(text);
  if (!amount) return std::unexpected(amount.error());
  if (amount->unit.empty() && amount->number == 0) return Duration{};
  for (const auto& unit : time_units) {
    if (amount->unit != unit.name) continue;
    const auto time = times_factor(amount->number, unit.factor);
    if (!time) return std::unexpected(time.error());
    return Duration{*time};
  }
  return std::unexpected(amount->unit.empty() ? "has no unit" : "has an unknown unit");
}

std::string format_size(Octets octets) {
  for (const auto& unit : size_units) {
    const auto factor = static_cast<Octets>(unit.factor);
    if (octets != 0 && octets % factor == 0) return fmt::format("{}{}", octets / factor, unit.name);
  }
  return std::to_string(octets);
}

std::string format_time(Duration time) {
  for (const auto& unit : time_units) {
    if (time.count() != 0 && time.count() % unit.factor == 0) {
      return fmt::format("{}{}", time.count() / unit.factor, unit.name);
    }
  }
  return std::to_string(time.count());
}

}  // namespace common::config
