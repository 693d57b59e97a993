// Log lines with whatever a peer sent as their values: always one line, always readable, and nobody writes a field that
// is not his. The octets up to the first NUL are one value, the rest another.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "common/escape.hpp"
#include "common/log_line.hpp"
#include "common/utf8.hpp"

namespace {

namespace log = common::log;

constexpr std::size_t value_limit = 512;  // of log_line.cpp, in escaped octets

void expect(bool holds) {
  if (!holds) std::abort();
}

/// One line, UTF-8, nothing in it that a terminal or an editor obeys.
std::string_view one_line(std::string_view line) {
  expect(line.ends_with('\n'));
  line.remove_suffix(1);
  for (std::string_view rest = line; !rest.empty();) {
    const auto [code, octets] = common::first_character(rest);
    expect(octets != 0 && code >= 0x20 && code != 0x7F && !common::is_steering(code));
    rest.remove_prefix(octets);
  }
  return line;
}

/// Takes a value off, in quotes or bare; its octets without escapes.
std::optional<std::string> take_value(std::string_view& text) {
  const bool quoted = text.starts_with('"');
  if (quoted) text.remove_prefix(1);
  std::string value;
  while (!text.empty() && text.front() != (quoted ? '"' : ' ')) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c != '\\') {
      value += c;
      continue;
    }
    if (text.empty()) return std::nullopt;
    const char kind = text.front();
    text.remove_prefix(1);
    if (kind == 'x') {
      if (text.size() < 2) return std::nullopt;
      value += static_cast<char>(std::stoi(std::string{text.substr(0, 2)}, nullptr, 16));
      text.remove_prefix(2);
    } else {
      value += kind == 'n' ? '\n' : kind == 'r' ? '\r' : kind == 't' ? '\t' : kind;
    }
  }
  if (quoted) {
    if (text.empty()) return std::nullopt;
    text.remove_prefix(1);
  }
  return value;
}

void check_value(std::string_view told, std::string_view value) {
  if (common::escape(value, value.size() * 4 + 1).size() <= value_limit) {
    expect(told == value);
  } else {
    expect(told.ends_with("...") && value.starts_with(told.substr(0, told.size() - 3)));
  }
}

void check_text(std::string_view line, std::string_view from, std::string_view to) {
  const auto take = [&line](std::string_view what) {
    expect(line.starts_with(what));
    line.remove_prefix(what.size());
  };
  take("message.refused from=");
  const auto first = take_value(line);
  expect(first.has_value());
  check_value(*first, from);
  take(" octets=7 to=");
  const auto second = take_value(line);
  expect(second.has_value());
  check_value(*second, to);
  take(" last=true");
  expect(line.empty());
}

void check_json(std::string_view line, std::string_view from, std::string_view to) {
  const auto told = nlohmann::json::parse(line, nullptr, false);
  expect(told.is_object() && told.size() == 8);
  expect(told.at("event") == "message.refused" && told.at("octets") == 7 && told.at("last") == true);
  for (const auto& [key, value] : {std::pair{"from", from}, std::pair{"to", to}}) {
    const auto text = told.at(key).get<std::string>();
    // Octets that are no UTF-8 stand there as \xNN, which a text may say of itself.
    if (common::is_utf8(value) && value.size() * 6 <= value_limit) expect(text == value);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets{reinterpret_cast<const char*>(data), size};
  const auto from = octets.substr(0, octets.find('\0'));
  const auto to = octets.substr(std::min(octets.size(), from.size() + 1));
  for (const auto form : {log::Form::text, log::Form::bare, log::Form::json}) {
    std::string line;
    log::append_line(line, form, log::Time{std::chrono::milliseconds{1}}, common::config::LogLevel::info, "smtpd",
                     "message.refused", {{"from", from}, {"octets", std::uint64_t{7}}, {"to", to}, {"last", true}});
    const auto text = one_line(line);
    if (form == log::Form::json) check_json(text, from, to);
    if (form == log::Form::bare) check_text(text, from, to);
    if (form == log::Form::text) expect(text.starts_with("1970-01-01T00:00:00.001Z info smtpd message.refused from="));
  }
  return 0;
}
