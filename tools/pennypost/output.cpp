#include "tools/pennypost/output.hpp"

#include <unistd.h>

#include <cstdio>
#include <ctime>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/escape.hpp"

namespace tools {
namespace {

constexpr std::size_t page_rows = 200;

std::string json_of(const Cell& cell) {
  struct {
    std::string operator()(std::monostate) const { return "null"; }
    std::string operator()(const std::string& text) const { return json_text(text); }
    std::string operator()(std::uint64_t number) const { return fmt::format("{}", number); }
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(Octets octets) const { return fmt::format("{}", octets.value); }
    std::string operator()(Percent percent) const { return fmt::format("{}", percent.value); }
    std::string operator()(Time time) const { return json_text(format_time(time.micros)); }
    std::string operator()(const std::vector<std::string>& texts) const { return json_text(texts); }
  } visitor;
  return std::visit(visitor, cell);
}

std::string text_of(const Cell& cell) {
  struct {
    std::string operator()(std::monostate) const { return "-"; }
    std::string operator()(const std::string& text) const { return text.empty() ? "-" : shown(text); }
    std::string operator()(std::uint64_t number) const { return fmt::format("{}", number); }
    std::string operator()(bool flag) const { return flag ? "yes" : "no"; }
    std::string operator()(Octets octets) const { return format_octets(octets.value); }
    std::string operator()(Percent percent) const { return fmt::format("{}%", percent.value); }
    std::string operator()(Time time) const { return format_time(time.micros); }
    std::string operator()(const std::vector<std::string>& texts) const {
      std::string all;
      for (const auto& text : texts) all += (all.empty() ? "" : ", ") + shown(text);
      return all.empty() ? "-" : all;
    }
  } visitor;
  return std::visit(visitor, cell);
}

bool is_number(const Cell& cell) {
  return std::holds_alternative<std::uint64_t>(cell) || std::holds_alternative<Octets>(cell) ||
         std::holds_alternative<Percent>(cell);
}

bool continues_character(char octet) {
  return (static_cast<unsigned char>(octet) & 0xC0U) == 0x80U;
}

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (const char octet : text) count += continues_character(octet) ? 0 : 1;
  return count;
}

std::string cut(std::string text, std::size_t widest) {
  if (widest == 0 || characters(text) <= widest) return text;
  std::size_t count = 0;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (!continues_character(text[at]) && ++count > widest - 3) break;
  }
  text.resize(at);
  return text + "...";
}

}  // namespace

List::List(Format format, std::vector<Column> columns, std::string_view nothing)
    : format_(format), columns_(std::move(columns)), nothing_(nothing), widths_(columns_.size()) {}

void List::row(std::vector<Cell> cells) {
  if (format_ == Format::json) {
    std::string line = rows_ == 0 ? "[\n  {" : ",\n  {";
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      line += fmt::format("{}\"{}\": {}", i == 0 ? "" : ", ", columns_[i].key, json_of(cells[i]));
    }
    print(line + "}");
  } else {
    page_.push_back(std::move(cells));
  }
  ++rows_;
  if (page_.size() == page_rows) print_page();
}

void List::end() {
  if (format_ == Format::json) {
    print(rows_ == 0 ? "[]\n" : "\n]\n");
  } else if (rows_ == 0) {
    // A program that counts lines gets none; a person is told that this is the whole answer.
    if (isatty(STDOUT_FILENO) == 1) print(std::string(nothing_) + "\n");
  } else {
    print_page();
  }
}

void List::print_page() {
  std::vector<std::vector<std::string>> texts;
  for (const auto& cells : page_) {
    auto& line = texts.emplace_back();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].title.empty()) {
        line.emplace_back();
        continue;
      }
      line.push_back(cut(text_of(cells[i]), columns_[i].widest));
      widths_[i] = std::max({widths_[i], characters(line.back()), columns_[i].title.size()});
    }
  }
  const auto print_line = [&](const auto& text_at, const auto& number_at) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].title.empty()) continue;
      const std::string text(text_at(i));
      const std::string fill(widths_[i] - std::min(widths_[i], characters(text)), ' ');
      if (!line.empty()) line += "  ";
      line += number_at(i) ? fill + text : text + fill;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    print(line + "\n");
  };
  if (!titled_ && !page_.empty()) {
    print_line([&](std::size_t i) { return columns_[i].title; }, [&](std::size_t i) { return is_number(page_[0][i]); });
    titled_ = true;
  }
  for (std::size_t row = 0; row < page_.size(); ++row) {
    print_line([&](std::size_t i) { return texts[row][i]; }, [&](std::size_t i) { return is_number(page_[row][i]); });
  }
  page_.clear();
}

void Record::field(std::string_view key, std::string_view title, Cell value) {
  fields_.push_back({key, title, std::move(value), {}});
}

void Record::json_field(std::string_view key, std::string json) {
  fields_.push_back({key, {}, {}, std::move(json)});
}

std::string Record::json() const {
  std::string text = "{";
  for (const auto& field : fields_) {
    if (field.key.empty()) continue;
    if (text.size() > 1) text += ", ";
    text += fmt::format("\"{}\": {}", field.key, field.json.empty() ? json_of(field.value) : field.json);
  }
  return text + "}";
}

void Record::print() const {
  if (format_ == Format::json) {
    tools::print(json() + "\n");
    return;
  }
  std::size_t width = 0;
  for (const auto& field : fields_) width = std::max(width, field.title.size());
  for (const auto& field : fields_) {
    if (field.title.empty()) continue;
    tools::print(fmt::format("{:<{}}  {}\n", field.title, width, text_of(field.value)));
  }
}

void Report::operator()(bool changed, std::string_view action, std::string_view kind, std::string_view name,
                        std::string_view sentence) const {
  if (format_ == Format::json) {
    print(fmt::format("{{\"changed\": {}, \"action\": \"{}\", \"{}\": {}}}\n", changed, action, kind, json_text(name)));
  } else {
    print(shown(sentence) + "\n");
  }
}

std::string shown(std::string_view text) {
  constexpr std::string_view harmless = "\"\\\t";
  std::string safe;
  while (!text.empty()) {
    const auto end = std::min(text.find_first_of(harmless), text.size());
    // Each octet becomes four at most, so nothing is cut here.
    safe += common::escape(text.substr(0, end), 4 * end + 8);
    if (end < text.size()) safe += text[end];
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return safe;
}

std::string json_text(std::string_view text) {
  // ASCII alone: C1 controls and bidirectional overrides must not reach a terminal through JSON either.
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string json_text(const std::vector<std::string>& texts) {
  std::string all = "[";
  for (const auto& text : texts) all += (all.size() == 1 ? "" : ", ") + json_text(std::string_view(text));
  return all + "]";
}

std::string format_time(std::uint64_t micros) {
  const auto seconds = static_cast<std::time_t>(micros / 1'000'000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string format_octets(std::uint64_t octets) {
  if (octets < 1024) return fmt::format("{} B", octets);
  constexpr std::string_view units[] = {"KB", "MB", "GB", "TB", "PB", "EB"};
  auto value = static_cast<double>(octets) / 1024;
  std::size_t unit = 0;
  for (; value >= 1023.95 && unit + 1 < std::size(units); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string counted(std::uint64_t number, std::string_view noun) {
  const bool plural_es = noun.ends_with("s") || noun.ends_with("x");
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : plural_es ? "es" : "s");
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void complain(std::string_view text) {
  const auto line = "pennypost: " + shown(text) + "\n";
  std::fflush(stdout);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

bool finish_output() {
  const bool flushed = std::fflush(stdout) == 0;
  return flushed && std::ferror(stdout) == 0;
}

}  // namespace tools
