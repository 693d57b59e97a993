#include "common/log_line.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <ctime>

#include "common/escape.hpp"

namespace common::log {
namespace {

constexpr std::size_t value_limit = 512;

void append_number(std::string& out, auto number) {
  const fmt::format_int digits{number};
  out.append(digits.data(), digits.size());
}

void append_text_value(std::string& out, std::string_view value) {
  const bool quotes = value.empty() || value.contains(' ') || !is_plain(value.substr(0, value_limit));
  if (quotes) out += '"';
  append_escaped(out, value, value_limit);
  if (quotes) out += '"';
}

void append_json_value(std::string& out, std::string_view value) {
  out += '"';
  append_json_escaped(out, value, value_limit);
  out += '"';
}

void append_value(std::string& out, Form form, const Value& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    form == Form::json ? append_json_value(out, *text) : append_text_value(out, *text);
  } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
    append_number(out, *number);
  } else if (const auto* count = std::get_if<std::uint64_t>(&value)) {
    append_number(out, *count);
  } else {
    out += std::get<bool>(value) ? "true" : "false";
  }
}

void append_json_line(std::string& out, Time time, config::LogLevel level, std::string_view program,
                      std::string_view event, std::initializer_list<Field> fields) {
  out += R"({"time":")";
  append_time(out, time);
  out += R"(","level":")";
  out += level_name(level);
  out += R"(","program":)";
  append_json_value(out, program);
  out += R"(,"event":)";
  append_json_value(out, event);
  for (const auto& [key, value] : fields) {
    out += ',';
    append_json_value(out, key);
    out += ':';
    append_value(out, Form::json, value);
  }
  out += "}\n";
}

}  // namespace

std::string_view level_name(config::LogLevel level) {
  constexpr std::array<std::string_view, 4> names = {"error", "warning", "info", "debug"};
  return names[static_cast<std::size_t>(level)];
}

void append_time(std::string& out, Time time) {
  struct Remembered {
    std::chrono::sys_seconds second{std::chrono::seconds{-1}};
    std::array<char, 20> text{};  // 2026-11-23T20:57:08.
  };
  thread_local Remembered last;
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  if (second != last.second) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(second);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    fmt::format_to_n(last.text.data(), last.text.size(), "{:%Y-%m-%dT%H:%M:%S}.", parts);
    last.second = second;
  }
  out.append(last.text.data(), last.text.size());
  const auto part = static_cast<unsigned>((time - second).count());
  const std::array<char, 4> tail = {static_cast<char>('0' + part / 100), static_cast<char>('0' + part / 10 % 10),
                                    static_cast<char>('0' + part % 10), 'Z'};
  out.append(tail.data(), tail.size());
}

void append_line(std::string& out, Form form, Time time, config::LogLevel level, std::string_view program,
                 std::string_view event, std::initializer_list<Field> fields) {
  if (form == Form::json) return append_json_line(out, time, level, program, event, fields);
  if (form == Form::text) {
    append_time(out, time);
    out += ' ';
    out += level_name(level);
    out += ' ';
    out += program;
    out += ' ';
  }
  append_escaped(out, event, value_limit);
  for (const auto& [key, value] : fields) {
    out += ' ';
    append_escaped(out, key, value_limit);
    out += '=';
    append_value(out, form, value);
  }
  out += '\n';
}

}  // namespace common::log
