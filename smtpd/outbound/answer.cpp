#include "smtpd/outbound/answer.hpp"

namespace smtpd::outbound {

std::string_view name_of(Stage stage) {
  switch (stage) {
    case Stage::routing:
      return "routing";
    case Stage::connect:
      return "connect";
    case Stage::greeting:
      return "greeting";
    case Stage::hello:
      return "hello";
    case Stage::tls:
      return "tls";
    case Stage::auth:
      return "auth";
    case Stage::mail:
      return "mail";
    case Stage::rcpt:
      return "rcpt";
    case Stage::data:
      return "data";
    case Stage::end:
      return "end";
    case Stage::ours:
      return "ours";
  }
  return "";
}

std::string format_answer(const Answer& answer) {
  std::string line;
  if (answer.code != 0) line = std::to_string(answer.code);
  for (const auto& part : {answer.enhanced, answer.text}) {
    if (part.empty()) continue;
    if (!line.empty()) line += ' ';
    line += part;
  }
  return line;
}

}  // namespace smtpd::outbound
