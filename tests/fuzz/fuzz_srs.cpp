// SRS addresses from any octets: what we did not make is refused, what we made of any address comes back, also where a
// server on the way changed the case of its letters, and what a second forwarder makes of it goes back past him.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "smtpd/routing/srs.hpp"

namespace {

using smtpd::routing::Srs;

void expect(bool holds) {
  if (!holds) std::abort();
}

std::string lowered(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Srs ours{{{"a key of sixteen", "another of sixteen"}, {}, std::chrono::days{21}}};
  static const Srs others{{{"somebody else's key"}, {}, std::chrono::days{21}}};
  constexpr std::chrono::sys_days today{std::chrono::days{20'000}};
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto address = common::parse_address(text);
  if (!address || address->domain.empty()) return 0;

  // Nobody who does not know the key finds one of ours.
  expect(!ours.back(*address, today));
  const auto made = ours.forward(*address, "ours.test", today);
  expect(made.domain == "ours.test" && Srs::has_form(made.local));
  const auto written = common::format_address(made);
  const auto read = common::parse_address(written);
  if (!read) return written.size() > 250 ? 0 : (std::abort(), 0);
  expect(!others.back(*read, today));
  const auto back = ours.back(*read, today);
  // One that was of the form before goes to whom it stands for at its maker's, whose form need not be an address.
  if (Srs::has_form(address->local)) return 0;
  expect(back && back->domain == address->domain && back->local == address->local);
  auto small = *read;
  small.local = lowered(small.local);
  const auto again = ours.back(small, today);
  expect(again && lowered(again->local) == lowered(address->local));

  const auto twice = others.forward(*read, "others.test", today);
  if (const auto parsed = common::parse_address(common::format_address(twice))) {
    const auto once = others.back(*parsed, today);
    expect(once && once->local == read->local && once->domain == "ours.test");
  }
  return 0;
}
