#include "smtpd/outbound/mime_header.hpp"

#include <algorithm>

namespace smtpd::outbound {
namespace {

constexpr std::size_t boundary_limit = 200;  // RFC 2046 5.1.1 allows 70

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// White space and comments (RFC 5322 3.2.2).
void skip_space(std::string_view& in) {
  int depth = 0;
  while (!in.empty()) {
    const char c = in.front();
    if (depth > 0 && c == '\\' && in.size() > 1) in.remove_prefix(1);
    if (c == '(') ++depth;
    if (depth == 0 && !is_space(c)) return;
    if (c == ')' && depth > 0) --depth;
    in.remove_prefix(1);
  }
}

/// RFC 2045 5.1, in lower case; empty: none there.
std::string take_token(std::string_view& in) {
  std::string token;
  while (!in.empty() && !is_space(in.front()) &&
         std::string_view{"()<>@,;:\\\"/[]?="}.find(in.front()) == std::string_view::npos) {
    token += lower(in.front());
    in.remove_prefix(1);
  }
  return token;
}

/// A token as it stands, or a quoted string without its quotes.
std::optional<std::string> take_value(std::string_view& in) {
  std::string value;
  if (!in.empty() && in.front() == '"') {
    in.remove_prefix(1);
    while (!in.empty() && in.front() != '"') {
      if (in.front() == '\\' && in.size() > 1) in.remove_prefix(1);
      value += in.front();
      in.remove_prefix(1);
    }
    if (in.empty()) return std::nullopt;
    in.remove_prefix(1);
    return value;
  }
  // More than a token may be: what others take for a boundary must be one here.
  while (!in.empty() && !is_space(in.front()) && in.front() != ';') {
    value += in.front();
    in.remove_prefix(1);
  }
  return value;
}

Nature nature_of(std::string_view type, std::string_view subtype) {
  if (type == "text") return Nature::text;
  if (type == "multipart") {
    if (subtype == "signed" || subtype == "encrypted") return Nature::sealed;
    return subtype == "digest" ? Nature::digest : Nature::multipart;
  }
  if (type == "message") return subtype == "rfc822" || subtype == "global" ? Nature::message : Nature::sealed;
  return Nature::other;
}

}  // namespace

ContentType parse_content_type(std::string_view value) {
  ContentType unclear{Nature::unclear, {}};
  skip_space(value);
  const auto type = take_token(value);
  skip_space(value);
  if (type.empty() || value.empty() || value.front() != '/') return unclear;
  value.remove_prefix(1);
  skip_space(value);
  const auto subtype = take_token(value);
  if (subtype.empty()) return unclear;
  ContentType found{nature_of(type, subtype), {}};
  if (found.nature != Nature::multipart && found.nature != Nature::digest) return found;

  for (;;) {
    skip_space(value);
    if (value.empty()) break;
    if (value.front() != ';') return unclear;
    value.remove_prefix(1);
    skip_space(value);
    const auto name = take_token(value);
    skip_space(value);
    if (name.empty() && value.empty()) break;
    if (value.empty() || value.front() != '=') return unclear;
    value.remove_prefix(1);
    skip_space(value);
    auto content = take_value(value);
    if (!content) return unclear;
    // In pieces (RFC 2231 3): nobody does that, and who reads it how is not known.
    if (name.starts_with("boundary*")) return unclear;
    if (name == "boundary") {
      if (!found.boundary.empty()) return unclear;
      found.boundary = std::move(*content);
    }
  }
  while (!found.boundary.empty() && is_space(found.boundary.back())) found.boundary.pop_back();
  const bool printable = std::ranges::all_of(found.boundary, [](char c) { return c >= ' ' && c <= '~'; });
  if (found.boundary.empty() || found.boundary.size() > boundary_limit || !printable) return unclear;
  return found;
}

Encoding parse_transfer_encoding(std::string_view value) {
  skip_space(value);
  const auto name = take_token(value);
  skip_space(value);
  if (!value.empty()) return Encoding::unknown;
  if (name == "7bit") return Encoding::seven_bit;
  if (name == "8bit") return Encoding::eight_bit;
  if (name == "binary") return Encoding::binary;
  if (name == "quoted-printable") return Encoding::quoted_printable;
  if (name == "base64") return Encoding::base64;
  return Encoding::unknown;
}

}  // namespace smtpd::outbound
