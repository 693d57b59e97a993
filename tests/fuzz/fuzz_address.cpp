// Addresses from any octets: no crash, and an address that was accepted is written in a form that is accepted as the
// same.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/address.hpp"
#include "common/escape.hpp"
#include "common/utf8.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  expect(common::is_utf8(common::escape(text)));
  if (const auto domain = common::canonical_domain(text)) expect(common::canonical_domain(*domain) == *domain);

  const auto address = common::parse_address(text);
  if (!address) {
    expect(!address.error().empty());
    return 0;
  }
  expect(!address->local.empty() && common::is_utf8(address->local));
  const auto written = common::format_address(*address);
  const auto again = common::parse_address(written);
  // Quotes that only its form of writing needs may make a very long local part too long.
  if (!again) return written.size() > 64 ? 0 : (std::abort(), 0);
  expect(again->local == address->local && again->domain == address->domain);
  expect(common::canonical_key(*again) == common::canonical_key(*address));
  return 0;
}
