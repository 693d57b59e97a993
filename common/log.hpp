#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <expected>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "common/config/config.hpp"

/// The log of a daemon: lines of `event key=value ...` (text) or one object each (json). Lines are gathered in memory
/// and written by a thread of the log's own every 50 ms, at once from `warning` up; callers never wait for the disk.
/// Any thread.
namespace common::log {

using Value = std::variant<std::string_view, std::int64_t, std::uint64_t, bool>;
/// Values are escaped here: nothing a peer sent can break a line or a terminal.
struct Field {
  std::string_view key;
  Value value;
};

/// Error: a sentence with the remedy (a target that cannot be opened). Called once more after a reload.
std::expected<void, std::string> start(const config::Log& settings, std::string_view program);
/// Writes what is held and ends the thread.
void stop();
bool enabled(config::LogLevel level);
void write(config::LogLevel level, std::string_view event, std::initializer_list<Field> fields);

inline void error(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(config::LogLevel::error, event, fields);
}
inline void warning(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(config::LogLevel::warning, event, fields);
}
inline void info(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(config::LogLevel::info, event, fields);
}
inline void debug(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(config::LogLevel::debug, event, fields);
}

}  // namespace common::log
