#include "smtpd/protocol/header_fields.hpp"

#include <algorithm>

#include "common/address.hpp"

namespace smtpd {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

char lowered(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Behind the comment that begins at `at`; comments stand in comments (RFC 5322 3.2.2).
std::size_t skip_comment(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  for (; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '(') {
      ++depth;
    } else if (text[at] == ')' && --depth == 0) {
      return at + 1;
    }
  }
  return text.size();
}

std::size_t skip_quoted(std::string_view text, std::size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return text.size();
}

}  // namespace

void for_each_field(std::string_view header, const std::function<void(const HeaderField&)>& each) {
  while (!header.empty() && !header.starts_with("\r\n")) {
    // To the line end that no blank follows.
    std::size_t end = header.find("\r\n");
    while (end != header.npos && end + 2 < header.size() && is_blank(header[end + 2]))
      end = header.find("\r\n", end + 2);
    if (end == header.npos) return;
    const auto line = header.substr(0, end);
    header.remove_prefix(end + 2);
    const auto colon = line.find(':');
    if (colon == line.npos || colon == 0) continue;
    auto name = line.substr(0, colon);
    while (!name.empty() && is_blank(name.back())) name.remove_suffix(1);  // RFC 5322 4.5
    const bool plain = std::ranges::all_of(name, [](char c) { return c > ' ' && c < 0x7f; });
    if (plain && !name.empty()) each({name, line.substr(colon + 1)});
  }
}

bool is_named(const HeaderField& field, std::string_view name) {
  return std::ranges::equal(field.name, name, [](char a, char b) { return lowered(a) == b; });
}

std::string unfolded(std::string_view body) {
  std::string text;
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (body.substr(i).starts_with("\r\n")) {
      ++i;
      continue;
    }
    text += body[i];
  }
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::vector<std::string> find_addresses(std::string_view body, std::size_t most) {
  const auto text = unfolded(body);
  std::vector<std::string> found;
  std::string word;  // since the last blank or delimiter, quoted local parts with their quotes
  const auto end_word = [&] {
    if (const auto address = common::parse_address(word); address && !address->domain.empty() && found.size() < most)
      found.push_back(common::canonical_key(*address));
    word.clear();
  };
  for (std::size_t at = 0; at < text.size() && found.size() < most;) {
    const char c = text[at];
    if (c == '(') {
      at = skip_comment(text, at);
    } else if (c == '"') {
      const auto end = skip_quoted(text, at);
      // A name in quotes, unless it goes on as an address does.
      if (end < text.size() && text[end] == '@') word += text.substr(at, end - at);
      at = end;
    } else {
      if (is_blank(c) || std::string_view{"<>,;:"}.contains(c)) {
        end_word();
      } else {
        word += c;
      }
      ++at;
    }
  }
  end_word();
  return found;
}

void HeaderKeeper::append(std::string_view octets) {
  if (over_) return;
  const auto before = text_.size();
  text_ += octets.substr(0, most_ - before);
  // The empty line may have come in pieces.
  const auto end = text_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
  if (end != text_.npos) text_.resize(end + 2);
  over_ = end != text_.npos || text_.size() == most_;
}

}  // namespace smtpd
