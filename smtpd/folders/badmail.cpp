#include "smtpd/folders/badmail.hpp"

#include <algorithm>
#include <utility>

#include "common/escape.hpp"

namespace smtpd::folders {
namespace {

constexpr std::array<std::string_view, badmail_causes> names = {"bad-pickup-file", "general-failure", "hop-count",
                                                                "ndr-of-dsn",      "no-recipients",   "by-event"};
constexpr std::size_t longest_name = 1024;

}  // namespace

std::string_view name_of(BadmailCause cause) {
  return names.at(std::to_underlying(cause));
}

std::optional<BadmailCause> parse_badmail_cause(std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<BadmailCause>(found - names.begin());
}

std::string format_badmail_reason(BadmailCause cause, std::string_view why) {
  std::string reason{badmail_mark};
  reason += name_of(cause);
  reason += ": ";
  reason += why;
  return reason;
}

std::optional<BadmailReason> parse_badmail_reason(std::string_view reason) {
  if (!reason.starts_with(badmail_mark)) return std::nullopt;
  reason.remove_prefix(badmail_mark.size());
  const auto end = reason.find(": ");
  if (end != reason.npos) {
    if (const auto cause = parse_badmail_cause(reason.substr(0, end)))
      return BadmailReason{*cause, reason.substr(end + 2)};
  }
  return BadmailReason{BadmailCause::general_failure, reason};
}

std::string format_badmail_note(const BadmailNote& note) {
  std::string text;
  const auto line = [&](std::string_view name, std::string_view value) {
    text += name;
    text += ": ";
    text += common::escape(value, longest_name);
    text += "\n";
  };
  line("Cause", name_of(note.cause));
  line("Reason", note.why);
  line("File", note.file);
  line("Server", note.server);
  return text;
}

BadmailNote parse_badmail_note(std::string_view text) {
  BadmailNote note;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto colon = line.find(": ");
    if (colon == line.npos) continue;
    const auto name = line.substr(0, colon);
    const std::string value{line.substr(colon + 2)};
    if (name == "Cause") note.cause = parse_badmail_cause(value).value_or(BadmailCause::general_failure);
    if (name == "Reason") note.why = value;
    if (name == "File") note.file = value;
    if (name == "Server") note.server = value;
  }
  return note;
}

}  // namespace smtpd::folders
