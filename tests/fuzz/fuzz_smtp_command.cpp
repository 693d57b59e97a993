// Command lines: split and parsed without a crash; an address that was taken is taken again in the form we would write
// it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "smtpd/protocol/command.hpp"
#include "smtpd/protocol/lines.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

void check_address(const common::Address& address) {
  const auto again = common::parse_address(common::format_address(address));
  expect(again.has_value());
  expect(common::canonical_key(*again) == common::canonical_key(address));
}

void check_line(std::string_view line) {
  const auto command = smtpd::split_command(line);
  expect(smtpd::split_command(line).argument == command.argument);
  if (const auto mail = smtpd::parse_mail(command.argument); mail && mail->sender) check_address(*mail->sender);
  for (const auto charset : {smtpd::Charset::ascii, smtpd::Charset::utf8}) {
    if (const auto rcpt = smtpd::parse_rcpt(command.argument, charset)) check_address(rcpt->recipient);
  }
  if (const auto auth = smtpd::parse_auth(command.argument)) expect(!auth->mechanism.empty());
  smtpd::is_helo_name(command.argument);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view octets{reinterpret_cast<const char*>(data), size};
  smtpd::LineSplitter splitter;
  while (const auto line = splitter.next(octets)) check_line(line->text);
  return 0;
}
