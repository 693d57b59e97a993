// What the tool shows of a message: header fields from any octets, cut anywhere, and stuffed dots taken away in any
// cuts. The first octet is the length of the cuts.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tools/pennypost/header.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

bool same(const tools::HeaderField& a, const tools::HeaderField& b) {
  return a.name == b.name && a.value == b.value;
}

std::string unstuffed(std::string_view stored, std::size_t piece) {
  tools::Unstuffer unstuffer;
  std::string out;
  for (; !stored.empty(); stored.remove_prefix(std::min(piece, stored.size())))
    unstuffer.append(stored.substr(0, piece), out);
  return out;
}

/// As a sender stuffs dots (RFC 5321 4.5.2), line by line.
std::string stuffed(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto end = text.find("\r\n");
    const auto line = text.substr(0, end == text.npos ? text.size() : end + 2);
    if (line.starts_with('.')) out += '.';
    out += line;
    text.remove_prefix(line.size());
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = std::max<std::size_t>(data[0], 1);
  const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};

  const auto fields = tools::parse_header(text, true);
  std::size_t octets = 0;
  for (const auto& field : fields) {
    octets += field.name.size() + field.value.size();
    expect(field.name.find(':') == field.name.npos);
    expect(field.name.find("\r\n") == field.name.npos && field.value.find("\r\n") == field.value.npos);
    expect(tools::field_value(fields, field.name) ==
               std::ranges::find(fields, field.name, &tools::HeaderField::name)->value ||
           field.name.empty() || !std::ranges::all_of(field.name, [](char c) { return c < 'A' || c > 'Z'; }));
  }
  expect(octets <= text.size());
  // Of a header that is cut off, the fields that are whole: the first ones of the whole header's.
  for (std::size_t cut = 0; cut <= text.size(); cut += piece) {
    const auto some = tools::parse_header(text.substr(0, cut), false);
    expect(some.size() <= fields.size() && std::equal(some.begin(), some.end(), fields.begin(), same));
  }

  const auto plain = unstuffed(text, text.size() + 1);
  expect(unstuffed(text, 1) == plain && unstuffed(text, piece) == plain);
  expect(unstuffed(stuffed(text), piece) == text);
  return 0;
}
