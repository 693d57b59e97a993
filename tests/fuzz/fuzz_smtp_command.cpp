// Command lines: the same in any cuts and as a simple reading splits them, parsed without a crash; an address that was
// taken is taken again in the form we would write it, and nothing in a command writes a line into a message.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/utf8.hpp"

#include "smtpd/protocol/command.hpp"
#include "smtpd/protocol/lines.hpp"
#include "smtpd/protocol/trace.hpp"

namespace {

/// Octet by octet is slow, and long inputs tell no more that way than short ones.
constexpr std::size_t slow_octets = 600;

void expect(bool holds) {
  if (!holds) std::abort();
}

void check_address(const common::Address& address) {
  const auto again = common::parse_address(common::format_address(address));
  expect(again.has_value());
  expect(common::canonical_key(*again) == common::canonical_key(address));
}

/// One field, folded: what follows its first line is white space in front of text.
void check_trace(const smtpd::Trace& trace) {
  const auto field = smtpd::format_received(trace);
  expect(field.starts_with("Received: from ") && field.ends_with(" +0000\r\n") && common::is_utf8(field));
  std::string_view rest = field;
  while (!rest.empty()) {
    const auto end = rest.find("\r\n");
    const auto line = rest.substr(0, end);
    expect(!line.empty() && (rest.data() == field.data() || line.front() == '\t'));
    for (const char c : line.substr(1)) expect(static_cast<unsigned char>(c) >= ' ' && c != '\x7f');
    rest.remove_prefix(end + 2);
  }
}

void check_line(std::string_view line) {
  const auto command = smtpd::split_command(line);
  expect(smtpd::split_command(line).argument == command.argument);
  smtpd::Trace trace{.address = "192.0.2.1", .hostname = "mx.example.test", .id = "id"};
  if (const auto mail = smtpd::parse_mail(command.argument); mail && mail->sender) check_address(*mail->sender);
  for (const auto charset : {smtpd::Charset::ascii, smtpd::Charset::utf8}) {
    const auto rcpt = smtpd::parse_rcpt(command.argument, charset);
    if (!rcpt) continue;
    check_address(rcpt->recipient);
    const auto recipient = common::format_address(rcpt->recipient);
    trace.recipient = recipient;
    check_trace(trace);
  }
  trace.recipient = {};
  if (smtpd::is_helo_name(command.argument)) {
    trace.helo = command.argument;
    check_trace(trace);
  }
  if (const auto auth = smtpd::parse_auth(command.argument)) expect(!auth->mechanism.empty());
  if (const auto chunk = smtpd::parse_bdat(command.argument)) {
    expect(smtpd::parse_bdat(std::to_string(chunk->octets) + (chunk->last ? " LAST" : "")).has_value());
  }
  smtpd::parse_vrfy(command.argument);
  if (const auto node = smtpd::parse_etrn(command.argument); node && node->reach != smtpd::Node::Reach::queue)
    expect(common::canonical_domain(node->name) == node->name);
  if (const auto domains = smtpd::parse_atrn(command.argument)) {
    for (const auto& domain : *domains) expect(common::canonical_domain(domain) == domain);
  }
}

using Lines = std::vector<std::pair<std::string, smtpd::LineFault>>;

Lines split(std::string_view octets, std::size_t piece) {
  Lines lines;
  smtpd::LineSplitter splitter;
  while (!octets.empty()) {
    // A copy, so that the sanitizer sees whoever looks past its end.
    const std::string part{octets.substr(0, piece)};
    octets.remove_prefix(part.size());
    std::string_view input = part;
    while (const auto line = splitter.next(input)) lines.emplace_back(line->text, line->fault);
    expect(input.empty());
    splitter.release();
  }
  return lines;
}

Lines split_simply(std::string_view octets) {
  Lines lines;
  for (auto end = octets.find("\r\n"); end != octets.npos; end = octets.find("\r\n")) {
    const auto line = octets.substr(0, end);
    octets.remove_prefix(end + 2);
    const bool newline = line.find_first_of("\r\n") != line.npos;
    if (line.size() + 2 > smtpd::auth_line_limit) {
      lines.emplace_back(line.substr(0, smtpd::command_line_limit), smtpd::LineFault::too_long);
    } else {
      lines.emplace_back(line, newline ? smtpd::LineFault::newline_inside : smtpd::LineFault::none);
    }
  }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets{reinterpret_cast<const char*>(data), size};
  const auto lines = split(octets, size + 1);
  expect(lines == split_simply(octets));
  expect(split(octets, 7) == lines);
  if (size <= slow_octets) expect(split(octets, 1) == lines);
  for (const auto& [text, fault] : lines) check_line(text);
  return 0;
}
