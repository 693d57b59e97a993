// Lines of the control socket from any octets, as the daemon and as the tool reads them: no crash, and what was
// understood is one line when it is written, and understood as the same.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/daemon/control_line.hpp"
#include "common/utf8.hpp"

namespace {

using namespace common::daemon;

void expect(bool holds) {
  if (!holds) std::abort();
}

/// `line` with its line feed.
std::string_view one_line(std::string_view line) {
  expect(line.ends_with('\n'));
  line.remove_suffix(1);
  expect(line.find('\n') == std::string_view::npos);
  expect(common::is_utf8(line));
  return line;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line{reinterpret_cast<const char*>(data), size};
  const auto command = parse_question(line);
  if (!command) expect(!command.error().empty());
  if (command) {
    const auto written = format_question(*command);
    expect(parse_question(one_line(written)) == command);
  }
  // A command is a text whatever it says.
  const auto asked = format_question(line);
  const auto read = parse_question(one_line(asked));
  expect(read.has_value());
  if (common::is_utf8(line)) expect(*read == line);

  if (const auto answer = parse_answer(line)) {
    const auto written = format_answer(*answer);
    const auto again = parse_answer(one_line(written));
    // Numbers as large as 1e999 are read as infinite, which JSON cannot say: null.
    expect(again && format_answer(*again) == written);
  }
  const auto told = format_answer({{"ok", false}, {"error", line}});
  expect(parse_answer(one_line(told)).value().at("ok") == false);
  return 0;
}
