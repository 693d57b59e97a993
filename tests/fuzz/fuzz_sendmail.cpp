// A program's message from any octets, in two cuts: the same lines, header and body however it is cut; what an address
// list gives is an address that can be written and read again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/address_list.hpp"
#include "tools/sendmail/header.hpp"
#include "tools/sendmail/line_ends.hpp"

namespace {

using namespace tools::sendmail;

void expect(bool holds) {
  if (!holds) std::abort();
}

struct Read {
  std::string text;
  std::vector<std::string> fields;
  std::string body;
};

Read read(std::string_view octets, std::size_t cut, LineEnds::Dot dot) {
  LineEnds line_ends{dot};
  HeaderReader header;
  Read all;
  bool in_header = true;
  const auto take = [&](const std::string& more) {
    all.text += more;
    if (!in_header) all.body += more;
    if (in_header && header.feed(more)) {
      in_header = false;
      all.body = header.body();
    }
  };
  for (std::size_t at = 0; at < octets.size(); at += cut) {
    std::string more;
    line_ends.append(octets.substr(at, cut), more);
    take(more);
  }
  std::string last;
  line_ends.finish(last);
  take(last);
  if (in_header) {
    header.finish();
    all.body = header.body();
  }
  all.fields = header.take_fields();
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};
  const auto dot = (data[0] & 1) != 0 ? LineEnds::Dot::ends : LineEnds::Dot::stays;
  const auto whole = read(octets, size, dot);
  const auto pieces = read(octets, 1U + data[0] % 16U, dot);
  expect(whole.text == pieces.text && whole.fields == pieces.fields && whole.body == pieces.body);
  for (std::size_t at = 0; (at = whole.text.find('\n', at)) != std::string::npos; ++at)
    expect(at > 0 && whole.text[at - 1] == '\r');
  expect(whole.text.empty() || whole.text.ends_with("\r\n"));
  expect(whole.text.ends_with(whole.body));

  const Author author{"a@b.test", "A", "now", "x@y"};
  const auto header = prepare_header(whole.fields, Recipients::from_header, author);
  if (header) {
    expect(header->text.ends_with("\r\n\r\n"));
    for (const auto& address : header->recipients) {
      const auto again = common::parse_address_list(common::format_address(address));
      // Quotes that only its form of writing needs may make a very long local part too long.
      if (again) expect(again->size() == 1 && again->front().local == address.local);
    }
  } else {
    expect(!header.error().why.empty());
  }
  const auto list = common::parse_address_list(octets);
  if (!list) expect(!list.error().empty());
  return 0;
}
