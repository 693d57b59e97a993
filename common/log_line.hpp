#pragma once

#include <chrono>
#include <initializer_list>
#include <string>
#include <string_view>

#include "common/log.hpp"

/// The text of log lines, without the log.
namespace common::log {

enum class Form : std::uint8_t {
  text,  ///< time level program event key=value ...
  bare,  ///< event key=value ...: syslog and the journal keep the rest themselves
  json,  ///< {"time":...,"level":...,"program":...,"event":...,key:value,...}
};

using Time = std::chrono::sys_time<std::chrono::milliseconds>;
std::string_view level_name(config::LogLevel level);
/// RFC 3339 in UTC, as 2026-11-23T20:57:08.123Z. The second that was formatted last is remembered by each thread.
void append_time(std::string& out, Time time);
/// One line with its line feed. Text values stand in quotes when they are empty or hold a space, a quote or an escape.
void append_line(std::string& out, Form form, Time time, config::LogLevel level, std::string_view program,
                 std::string_view event, std::initializer_list<Field> fields);

}  // namespace common::log
