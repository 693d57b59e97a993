// Records' data and the machine's files: parsed without a crash; a name that comes through may stand anywhere as it is.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/dns/name.hpp"
#include "common/dns/record.hpp"
#include "common/dns/settings.hpp"

namespace {

namespace dns = common::dns;

void expect(bool holds) {
  if (!holds) std::abort();
}

void check_name(const std::string& name) {
  expect(!name.empty() && name.size() <= 253);
  expect(std::ranges::none_of(
      name, [](char c) { return c <= ' ' || c >= 0x7F || std::string_view{"\"\\()<>[]{}$%@:;,/"}.contains(c); }));
  expect(dns::canonical_name(name) == name);
  expect(dns::canonical_name(name + '.') == name);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets{reinterpret_cast<const char*>(data), size};
  if (const auto name = dns::parse_name(octets); name && !name->empty()) check_name(*name);
  if (const auto name = dns::parse_pointer(octets)) check_name(*name);
  if (const auto mx = dns::parse_exchanger(octets); mx && !mx->host.empty()) check_name(mx->host);
  if (const auto name = dns::canonical_name(octets)) check_name(*name);
  for (const auto type : {dns::Type::a, dns::Type::aaaa}) {
    if (const auto address = dns::parse_address(type, octets)) check_name(dns::reverse_name(*address));
  }
  for (const auto& server : dns::parse_resolv_conf(octets)) expect(server.ends_with("@53"));
  for (const auto& anchor : dns::parse_anchors(octets)) expect(anchor.find_first_of("\n;") == std::string::npos);
  return 0;
}
