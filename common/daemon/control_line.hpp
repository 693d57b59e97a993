#pragma once

#include <cstddef>
#include <expected>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

/// The lines of the control socket without the socket; control_client.hpp tells the protocol.
namespace common::daemon {

/// Line feed included.
inline constexpr std::size_t question_limit = std::size_t{64} << 10U;
inline constexpr std::size_t answer_limit = std::size_t{1} << 20U;

/// One line with its line feed.
std::string format_question(std::string_view command);
/// The command of a question, `line` without its line feed. Error: the sentence that answers it.
std::expected<std::string, std::string> parse_question(std::string_view line);
/// One line with its line feed; what is not UTF-8 in it is replaced.
std::string format_answer(const nlohmann::json& answer);
/// nullopt: not a JSON object. `line` without its line feed.
std::optional<nlohmann::json> parse_answer(std::string_view line);

}  // namespace common::daemon
