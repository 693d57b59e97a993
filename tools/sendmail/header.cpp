#include "tools/sendmail/header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "common/address_list.hpp"
#include "common/auth/sasl.hpp"
#include "common/utf8.hpp"

namespace tools::sendmail {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

/// So much of a line tells whether it begins a field: nobody's name is longer.
constexpr std::size_t name_limit = 1000;

/// RFC 5322 3.6.8 ftext, and 4.5: blanks before the colon. Empty: the line begins no field.
std::string_view name_of(std::string_view line) {
  const auto colon = line.substr(0, name_limit).find(':');
  if (colon == std::string_view::npos) return {};
  auto name = line.substr(0, colon);
  while (!name.empty() && is_blank(name.back())) name.remove_suffix(1);
  return std::ranges::all_of(name, [](char c) { return c > ' ' && c <= '~'; }) ? name : std::string_view{};
}

bool same(std::string_view one, std::string_view other) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(one, other, {}, lower, lower);
}
bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::any_of(names, [&](std::string_view other) { return same(name, other); });
}

/// The value in one line.
std::string unfolded(std::string_view field) {
  std::string value{field.substr(field.find(':') + 1)};
  std::erase_if(value, [](char c) { return c == '\r' || c == '\n'; });
  return value;
}

std::string encoded_words(std::string_view name) {
  // RFC 2047 2: 75 characters a word, a character in one word alone.
  constexpr std::size_t most = 45;
  std::string out;
  std::string piece;
  const auto flush = [&] {
    if (piece.empty()) return;
    out += (out.empty() ? "=?utf-8?B?" : "\r\n =?utf-8?B?") + common::auth::encode_base64(piece) + "?=";
    piece.clear();
  };
  for (auto rest = name; !rest.empty();) {
    const auto octets = common::first_character(rest).octets;
    if (piece.size() + octets > most) flush();
    piece += rest.substr(0, octets);
    rest.remove_prefix(octets);
  }
  flush();
  return out;
}

}  // namespace

bool HeaderReader::feed(std::string_view octets) {
  held_ += octets;
  return take_lines();
}

void HeaderReader::finish() {
  if (take_lines()) return;
  body_at_ = at_;
  done_ = true;
}

bool HeaderReader::take_lines() {
  while (!done_) {
    const auto end = held_.find("\r\n", at_);
    if (end == std::string::npos) {
      const auto begun = std::string_view{held_}.substr(at_);
      const bool goes_on = !begun.empty() && is_blank(begun.front()) && !fields_.empty();
      // A line without end that is no field: a megabyte of it need not be waited for.
      if (begun.size() >= name_limit && !goes_on && name_of(begun).empty() &&
          !(at_ == 0 && begun.starts_with("From "))) {
        body_at_ = at_;
        done_ = true;
      }
      break;
    }
    const auto line = std::string_view{held_}.substr(at_, end + 2 - at_);
    const bool first = at_ == 0;
    if (line.size() == 2) {
      body_at_ = end + 2;
      done_ = true;
    } else if (first && line.starts_with("From ")) {
      // The line that mailbox files have between messages.
    } else if (is_blank(line.front()) && !fields_.empty()) {
      fields_.back() += line;
    } else if (name_of(line).empty()) {
      body_at_ = at_;
      done_ = true;
    } else {
      fields_.emplace_back(line);
    }
    at_ = end + 2;
  }
  too_long_ = (done_ ? body_at_ : held_.size()) > header_limit;
  return done_ || too_long_;
}

std::vector<std::string> HeaderReader::take_fields() {
  return std::move(fields_);
}

std::expected<Header, Refusal> prepare_header(const std::vector<std::string>& fields, Recipients recipients,
                                              const Author& author) {
  Header header;
  bool from = false;
  bool date = false;
  bool message_id = false;
  const bool again = std::ranges::any_of(
      fields, [](const auto& field) { return is_one_of(name_of(field), {"Resent-To", "Resent-Cc", "Resent-Bcc"}); });
  for (const auto& field : fields) {
    const auto name = name_of(field);
    from = from || same(name, "From");
    date = date || same(name, "Date");
    message_id = message_id || same(name, "Message-ID");
    if (recipients == Recipients::from_header) {
      if (again ? is_one_of(name, {"Resent-To", "Resent-Cc", "Resent-Bcc"}) : is_one_of(name, {"To", "Cc", "Bcc"})) {
        auto list = common::parse_address_list(unfolded(field));
        if (!list)
          return std::unexpected(Refusal{Status::bad_data, fmt::format("the field {}: {}", name, list.error())});
        std::ranges::move(*list, std::back_inserter(header.recipients));
      }
      if (is_one_of(name, {"Bcc", "Resent-Bcc"})) continue;
    }
    header.text += field;
  }
  if (!from) {
    const auto name = format_display_name(author.full_name);
    header.text += name.empty() ? fmt::format("From: {}\r\n", author.address)
                                : fmt::format("From: {} <{}>\r\n", name, author.address);
  }
  if (!date) header.text += fmt::format("Date: {}\r\n", author.date);
  if (!message_id) header.text += fmt::format("Message-ID: <{}>\r\n", author.message_id);
  header.text += "\r\n";
  if (header.text.size() > header_limit)
    return std::unexpected(Refusal{Status::bad_data, "the header is longer than a megabyte"});
  return header;
}

std::string format_display_name(std::string_view name) {
  constexpr std::string_view plain = "!#$%&'*+-/=?^_`{|}~ ";
  if (!common::is_utf8(name)) return {};
  bool quotes = false;
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7F) return {};
    if (static_cast<unsigned char>(c) >= 0x80) return encoded_words(name);
    const bool atom = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || plain.contains(c);
    quotes = quotes || !atom;
  }
  // What looks like an encoded word would be read as one.
  if (!quotes && !name.contains("=?")) return std::string{name};
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace tools::sendmail
