#include "tools/pennypost/header.hpp"

#include <algorithm>

namespace tools {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

}  // namespace

std::vector<HeaderField> parse_header(std::string_view text, bool whole) {
  std::vector<HeaderField> fields;
  bool ended = false;
  while (!text.empty()) {
    const auto end = text.find("\r\n");
    if (end == text.npos && !whole) break;
    const auto line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 2);
    if (line.empty()) {
      ended = true;
      break;
    }
    if (is_blank(line.front())) {
      // RFC 5322 2.2.3: unfolding takes the line end away and leaves the blanks.
      if (!fields.empty()) fields.back().value.append(line);
      continue;
    }
    const auto colon = line.find(':');
    if (colon == line.npos) {
      ended = true;
      break;
    }
    fields.push_back({std::string(trimmed(line.substr(0, colon))), std::string(line.substr(colon + 1))});
  }
  // Its next line, past the cut, may have continued the last one.
  if (!whole && !ended && !fields.empty()) fields.pop_back();
  for (auto& field : fields) field.value = std::string(trimmed(field.value));
  return fields;
}

std::string field_value(const std::vector<HeaderField>& fields, std::string_view name) {
  const auto found =
      std::ranges::find_if(fields, [&](const HeaderField& field) { return same_name(field.name, name); });
  return found == fields.end() ? std::string() : found->value;
}

void Unstuffer::append(std::string_view stored, std::string& out) {
  for (const char c : stored) {
    const bool stuffed = seen_ == Seen::line_start && c == '.';
    // Only CRLF ends a line (RFC 5321 2.3.8).
    if (c == '\r') {
      seen_ = Seen::cr;
    } else if (c == '\n' && seen_ == Seen::cr) {
      seen_ = Seen::line_start;
    } else {
      seen_ = Seen::middle;
    }
    if (!stuffed) out.push_back(c);
  }
}

}  // namespace tools
