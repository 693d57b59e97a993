// Any octets as a message for a 7-bit peer: no crash, the same in any cuts, and what comes out is what such a peer can
// take.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "smtpd/outbound/seven_bit.hpp"

namespace {

using namespace smtpd::outbound;

void expect(bool holds) {
  if (!holds) std::abort();
}

struct Converted {
  Examination found;
  std::string octets;
};

Converted convert(std::string_view stored, std::size_t piece) {
  MessageExaminer examiner;
  for (std::size_t at = 0; at < stored.size(); at += piece) examiner.feed(stored.substr(at, piece));
  Converted result{examiner.finish(), {}};
  SevenBitConverter converter{examiner.plans()};
  for (std::size_t at = 0; at < stored.size(); at += piece) converter.feed(stored.substr(at, piece), result.octets);
  converter.finish(result.octets);
  return result;
}

/// As the store has it: each dot at the beginning of a line is doubled, CRLF at the end.
std::string store(std::string_view octets) {
  std::string stored;
  bool begins = true;
  for (std::size_t i = 0; i < octets.size(); ++i) {
    if (begins && octets[i] == '.') stored += '.';
    stored += octets[i];
    begins = stored.ends_with("\r\n");
  }
  if (!begins) stored += "\r\n";
  return stored;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto stored = store({reinterpret_cast<const char*>(data) + 1, size - 1});
  const auto whole = convert(stored, std::max<std::size_t>(stored.size(), 1));
  const auto cut = convert(stored, std::max<std::size_t>(data[0], 1));
  expect(whole.found.content == cut.found.content);
  expect(whole.found.header_ascii == cut.found.header_ascii);
  expect(whole.found.why == cut.found.why);
  expect(whole.octets == cut.octets);
  const bool plain = std::ranges::all_of(whole.octets, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (whole.found.content != Examination::Content::fixed) {
    expect(plain);
    expect(!whole.octets.starts_with(".\r\n"));
    expect(whole.octets.find("\r\n.\r\n") == std::string::npos);
    expect(convert(whole.octets, 1000).found.content == Examination::Content::seven_bit);
  }
  return 0;
}
