#include "common/daemon/control_line.hpp"

namespace common::daemon {
namespace {

using Json = nlohmann::json;

std::string one_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string format_question(std::string_view command) {
  return one_line(Json{{"command", command}});
}

std::expected<std::string, std::string> parse_question(std::string_view line) {
  const auto question = Json::parse(line, nullptr, false);
  if (!question.is_object()) return std::unexpected("not a JSON object on one line");
  const auto command = question.find("command");
  if (command == question.end() || !command->is_string()) return std::unexpected("no \"command\"");
  return command->get<std::string>();
}

std::string format_answer(const Json& answer) {
  return one_line(answer);
}

std::optional<Json> parse_answer(std::string_view line) {
  auto answer = Json::parse(line, nullptr, false);
  if (!answer.is_object()) return std::nullopt;
  return answer;
}

}  // namespace common::daemon
