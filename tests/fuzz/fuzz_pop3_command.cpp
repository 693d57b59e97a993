// POP3 lines and commands: any octets, in any cut, give the same lines, and every line is a command or an error.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "pop3d/protocol/command.hpp"
#include "pop3d/protocol/line_reader.hpp"

namespace {

using Lines = std::vector<std::pair<std::string, pop3d::LineFault>>;

Lines read(std::string_view octets, std::size_t piece) {
  Lines lines;
  pop3d::LineReader reader;
  while (!octets.empty()) {
    const std::string part{octets.substr(0, piece)};
    octets.remove_prefix(part.size());
    std::string_view input = part;
    while (const auto line = reader.take(input)) lines.emplace_back(line->text, line->fault);
    if (!input.empty()) std::abort();
  }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets{reinterpret_cast<const char*>(data), size};
  const auto lines = read(octets, size + 1);
  if (read(octets, 7) != lines) std::abort();
  // Octet by octet is slow, and long inputs tell no more that way than short ones.
  if (size <= 600 && read(octets, 1) != lines) std::abort();
  for (const auto& [text, fault] : lines) {
    if (text.size() > pop3d::LineReader::longest || text.find("\r\n") != text.npos) std::abort();
    if (fault != pop3d::LineFault::none) continue;
    const auto command = pop3d::parse_command(text);
    if (!command && command.error().expected.empty()) std::abort();
    if (command && command->text.size() > text.size()) std::abort();
  }
  return 0;
}
