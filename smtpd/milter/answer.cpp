#include "smtpd/milter/answer.hpp"

#include <algorithm>
#include <utility>

namespace smtpd::milter {
namespace {

// RFC 5321 4.5.3.1.5, less what stands around the text; libmilter allows 980 and 32 lines.
constexpr std::size_t longest_line = 980;
constexpr std::size_t most_lines = 32;

std::unexpected<std::string> wrong(const char* what) {
  return std::unexpected(std::string{what});
}

/// RFC 5322 2.2
bool is_field_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) { return c > ' ' && c < '\x7f' && c != ':'; });
}

bool is_code(std::string_view line) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return line.size() >= 3 && (line[0] == '4' || line[0] == '5') && is_digit(line[1]) && is_digit(line[2]) &&
         (line.size() == 3 || line[3] == ' ' || line[3] == '-');
}

/// Doubled percent signs are one; what a reply may not have (RFC 5321 4.2) becomes a question mark.
std::string clean(std::string_view line) {
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '%' && i + 1 < line.size() && line[i + 1] == '%') ++i;
    const char c = line[i];
    out.push_back((c >= ' ' && c < '\x7f') || c == '\t' ? c : '?');
  }
  return out;
}

std::expected<Answer, std::string> parse_header(const Packet& packet) {
  Fields fields{packet.data};
  std::uint32_t index = 0;
  if (packet.command != 'h') {
    const auto number = fields.number();
    if (!number) return wrong("a header change without its place");
    index = *number;
  }
  const auto name = fields.text();
  const auto value = fields.text();
  if (!name || !value) return wrong("a header change without name or value");
  if (!is_field_name(*name)) return wrong("a header field's name that is none");
  if (packet.command == 'h') return AddHeader{*name, *value};
  if (packet.command == 'i') return InsertHeader{index, *name, *value};
  return ChangeHeader{index, *name, *value};
}

std::expected<Answer, std::string> parse_recipient(const Packet& packet) {
  Fields fields{packet.data};
  const auto address = fields.text();
  if (!address || address->empty()) return wrong("an address that is missing");
  if (packet.command == '-') return RemoveRecipient{*address};
  if (packet.command == 'e') return ChangeSender{*address};
  AddRecipient added{*address, {}};
  if (packet.command == '2') added.arguments = fields.text().value_or("");
  return added;
}

}  // namespace

std::expected<std::string, std::string> parse_reply(std::string_view text) {
  std::string out;
  std::size_t lines = 0;
  std::string_view code;
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!is_code(line)) return wrong("a reply without a code");
    if (lines != 0 && line.substr(0, 3) != code) return wrong("a reply of two codes");
    code = line.substr(0, 3);
    if (++lines > most_lines) return wrong("a reply of too many lines");
    if (lines != 1) out.push_back('\n');
    out += code;
    out.push_back(' ');
    out += clean(line.substr(std::min<std::size_t>(line.size(), 4))).substr(0, longest_line);
  }
  if (lines == 0) return wrong("an empty reply");
  return out;
}

std::expected<Answer, std::string> parse_answer(const Packet& packet) {
  switch (packet.command) {
    case 'c':
      return Ruled{Ruling::go_on, {}};
    case 'a':
      return Ruled{Ruling::accept, {}};
    case 'r':
      return Ruled{Ruling::reject, {}};
    case 't':
    case 'f':
      return Ruled{Ruling::tempfail, {}};
    case 'd':
      return Ruled{Ruling::discard, {}};
    case '4':
      return Ruled{Ruling::close, {}};
    case 's':
      return Ruled{Ruling::skip, {}};
    case 'p':
      return Progress{};
    case 'y': {
      auto words = parse_reply(packet.data.substr(0, packet.data.find('\0')));
      if (!words) return std::unexpected(std::move(words.error()));
      return Ruled{words->starts_with("421") ? Ruling::close : Ruling::say, std::move(*words)};
    }
    case 'h':
    case 'i':
    case 'm':
      return parse_header(packet);
    case 'b':
      return ReplaceBody{packet.data};
    case '+':
    case '2':
    case '-':
    case 'e':
      return parse_recipient(packet);
    case 'q': {
      const auto reason = Fields{packet.data}.text();
      if (!reason) return wrong("a quarantine without its reason");
      return Quarantine{*reason};
    }
    default:
      break;
  }
  return wrong("an answer that the protocol does not have");
}

}  // namespace smtpd::milter
