// Automatic replies to any header section: whatever stands in it, the answer is ASCII in short lines, none of which
// begins with a dot, its fields are ours, and where the message has been is read from any cut.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "smtpd/protocol/header_fields.hpp"
#include "smtpd/report/auto_reply.hpp"
#include "smtpd/routing/forwarding.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = std::max<std::size_t>(data[0], 1);
  const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};

  const auto kept = [&](std::size_t cut) {
    smtpd::HeaderKeeper keeper{4096};
    for (std::size_t at = 0; at < text.size(); at += cut) keeper.append(text.substr(at, cut));
    return keeper.take();
  };
  const auto header = kept(piece);
  expect(header == kept(text.size() + 1));
  for (const auto& address : smtpd::routing::find_delivered_to(header)) expect(address.find('@') != address.npos);

  const auto asking = smtpd::report::read_asking(header);
  const mailstore::AutoReply reply{0, 0, piece % 2 == 0 ? std::string{} : std::string{text.substr(0, 200)},
                                   std::string{text}};
  const smtpd::report::Letter letter{"id", "mx.example.test", "ann@example.test", "joe@far.test", {}};
  const auto written = smtpd::report::write_auto_reply(reply, asking, letter);
  std::string_view rest = written.octets;
  std::size_t fields = 0;
  while (!rest.empty()) {
    const auto end = rest.find("\r\n");
    expect(end != rest.npos && !rest.starts_with('.'));
    const auto line = rest.substr(0, end);
    expect(std::ranges::all_of(line, [](char c) { return (c >= ' ' && c < 0x7f) || c == '\t'; }));
    expect(line.size() <= 998);
    rest.remove_prefix(end + 2);
  }
  smtpd::for_each_field(written.octets, [&](const smtpd::HeaderField&) { ++fields; });
  expect(fields == (asking.message_id.empty() ? 9U : 11U));
  return 0;
}
