// A pickup file and a badmail note from any octets: what is understood is understood the same way again, and no Bcc and
// no line of the envelope goes on.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "smtpd/folders/badmail.hpp"
#include "smtpd/folders/drop_file.hpp"
#include "smtpd/folders/pickup_head.hpp"

namespace {

using namespace smtpd::folders;

void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};
  const std::size_t cut = 1U + data[0] % 16U;

  const auto head = parse_pickup_head(octets, "example.test");
  if (head) {
    expect(!head->recipients.empty() && head->octets <= octets.size());
    // What a drop file says in front is what is read from it: so one that is moved into pickup goes on as it came.
    std::vector<std::string> receivers;
    for (const auto& address : head->recipients) receivers.push_back(common::format_address(address));
    const auto again =
        parse_pickup_head(format_drop_envelope(head->reverse_path, receivers, Dots::some) + "Subject: x\r\n\r\n", "");
    // Quotes that only its form of writing needs may make a very long local part too long.
    if (again) {
      expect(again->reverse_path == head->reverse_path && again->recipients.size() == receivers.size());
      expect(again->dots == DotStuffed::no && again->header == "Subject: x\r\n");
    }
    // The header section goes on whole, but for Bcc.
    const auto rest = parse_pickup_head("x-sender: <>\r\nx-receiver: a@b.c\r\n" + head->header, "");
    if (rest && !head->header.empty() && !head->header.starts_with("x-") && !head->header.starts_with("X-"))
      expect(rest->header == head->header);
  } else {
    expect(!head.error().why.empty());
  }

  DotScan whole;
  whole.feed(octets);
  DotScan pieces;
  CrlfEnds ends;
  std::string lines;
  for (std::size_t at = 0; at < octets.size(); at += cut) {
    pieces.feed(octets.substr(at, cut));
    ends.feed(octets.substr(at, cut), lines);
  }
  expect(whole.stuffed() == pieces.stuffed());
  for (std::size_t at = 0; (at = lines.find('\n', at)) != std::string::npos; ++at)
    expect(at > 0 && lines[at - 1] == '\r');

  const auto note = parse_badmail_note(octets);
  const auto again = parse_badmail_note(format_badmail_note(note));
  expect(again.cause == note.cause);
  if (const auto reason = parse_badmail_reason(octets))
    expect(parse_badmail_reason(format_badmail_reason(reason->cause, reason->why))->why == reason->why);
  return 0;
}
