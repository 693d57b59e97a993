#include "smtpd/folders/drop_file.hpp"

#include <algorithm>

namespace smtpd::folders {
namespace {

constexpr std::string_view suffix = ".placing";

}  // namespace

std::string drop_file_name(std::string_view id, std::uint16_t first_ordinal) {
  std::string name{id};
  if (first_ordinal != 0) name += '-' + std::to_string(first_ordinal);
  return name + ".eml";
}

std::string placing_name(std::string_view file_name) {
  std::string name{"."};
  name += file_name;
  name += suffix;
  return name;
}

std::string_view placed_name(std::string_view name) {
  if (!name.starts_with('.') || !name.ends_with(suffix) || name.size() <= suffix.size() + 1) return {};
  return name.substr(1, name.size() - suffix.size() - 1);
}

std::string format_placing(const PlacingText& text) {
  return std::string{text.folder_mark} += text.file;
}

PlacingText parse_placing(std::string_view text) {
  const auto file = std::min(text.find('/'), text.size());
  return {text.substr(0, file), text.substr(file)};
}

std::string format_drop_envelope(std::string_view reverse_path, std::span<const std::string> recipients, Dots dots) {
  std::string text{"x-sender: "};
  text += reverse_path.empty() ? "<>" : reverse_path;
  text += "\r\n";
  for (const auto& recipient : recipients) {
    text += "x-receiver: ";
    text += recipient;
    text += "\r\n";
  }
  if (dots == Dots::some) text += "x-dot-stuffed: no\r\n";
  return text;
}

}  // namespace smtpd::folders
