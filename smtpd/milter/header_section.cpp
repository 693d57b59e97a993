#include "smtpd/milter/header_section.hpp"

#include <algorithm>

#include "smtpd/protocol/cursor.hpp"

namespace smtpd::milter {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

bool same_name(std::string_view one, std::string_view other) {
  return std::ranges::equal(one, other, [](char a, char b) { return lower(a) == lower(b); });
}

/// RFC 5322 2.2: name, colon; white space between them is RFC 5322 4.5's. 0: it is no field.
std::size_t name_size_of(std::string_view line) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return 0;
  auto name = line.substr(0, colon);
  while (!name.empty() && is_blank(name.back())) name.remove_suffix(1);
  const bool proper = std::ranges::all_of(name, [](char c) { return c > ' ' && c < '\x7f'; });
  return proper ? name.size() : 0;
}

/// The field of a filter: whatever ends its lines, each that is not the first begins with white space, or it would be a
/// field of its own, or the end of the section.
std::string make_field(std::string_view name, std::string_view value, LeadingSpace space) {
  std::string text{name};
  text.push_back(':');
  if (space == LeadingSpace::separate) text.push_back(' ');
  while (!value.empty() && (value.back() == '\n' || value.back() == '\r')) value.remove_suffix(1);
  for (std::size_t at = 0;;) {
    const auto end = std::min(value.find('\n', at), value.size());
    for (const char c : value.substr(at, end - at)) {
      if (c != '\r') text.push_back(c);
    }
    text += "\r\n";
    if (end == value.size()) break;
    at = end + 1;
    if (at == value.size() || !is_blank(value[at])) text.push_back('\t');
  }
  return text;
}

}  // namespace

HeaderSection::HeaderSection(std::string_view stored) {
  while (!stored.empty()) {
    auto line = stored.substr(0, std::min(stored.find('\n'), stored.size() - 1) + 1);
    stored.remove_prefix(line.size());
    if (line == "\r\n") {
      ended_ = true;
      break;
    }
    if (line.starts_with('.')) line.remove_prefix(1);
    if (!line.empty() && is_blank(line.front()) && !fields_.empty()) {
      fields_.back().text += line;
    } else {
      fields_.push_back({std::string{line}, name_size_of(line)});
    }
    octets_ += line.size();
  }
}

std::string HeaderSection::value_for_filter(const HeaderField& field, LeadingSpace space) {
  auto value = std::string_view{field.text}.substr(field.text.find(':') + 1);
  if (value.ends_with('\n')) value.remove_suffix(1);
  if (value.ends_with('\r')) value.remove_suffix(1);
  if (space == LeadingSpace::separate && value.starts_with(' ')) value.remove_prefix(1);
  std::string told;
  told.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    const bool line_end = value[i] == '\r' && i + 1 < value.size() && value[i + 1] == '\n';
    if (!line_end && value[i] != '\0') told.push_back(value[i]);
  }
  return told;
}

void HeaderSection::put(std::size_t at, std::string_view name, std::string_view value, LeadingSpace space) {
  HeaderField field{make_field(name, value, space), name.size()};
  octets_ += field.text.size();
  at = std::min(at, fields_.size());
  if (at <= own_ && at < fields_.size()) ++own_;
  fields_.insert(fields_.begin() + static_cast<std::ptrdiff_t>(at), std::move(field));
  changed_ = true;
}

void HeaderSection::add(std::string_view name, std::string_view value, LeadingSpace space) {
  put(fields_.size(), name, value, space);
}

void HeaderSection::insert(std::uint32_t index, std::string_view name, std::string_view value, LeadingSpace space) {
  put(index, name, value, space);
}

void HeaderSection::change(std::uint32_t index, std::string_view name, std::string_view value, LeadingSpace space) {
  auto left = std::max<std::uint32_t>(index, 1);
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    auto& field = fields_[i];
    if (i == own_ || !same_name(field.name(), name) || --left != 0) continue;
    octets_ -= field.text.size();
    if (value.empty()) {
      fields_.erase(fields_.begin() + static_cast<std::ptrdiff_t>(i));
      if (i < own_) --own_;
    } else {
      // The name keeps the case that it came in.
      const std::string kept{field.name()};
      field = {make_field(kept, value, space), kept.size()};
      octets_ += field.text.size();
    }
    changed_ = true;
    return;
  }
  if (!value.empty()) add(name, value, space);
}

std::uint64_t HeaderSection::real_octets() const {
  return octets_ + (ended_ ? 2 : 0);
}

HeaderSection::Stored HeaderSection::format() const {
  Stored stored;
  stored.real_octets = real_octets();
  stored.octets.reserve(stored.real_octets);
  for (const auto& field : fields_) {
    bool line_start = true;
    for (const char c : field.text) {
      if (line_start && c == '.') stored.octets.push_back('.');
      stored.octets.push_back(c);
      line_start = c == '\n';
    }
  }
  if (ended_) stored.octets += "\r\n";
  return stored;
}

}  // namespace smtpd::milter
