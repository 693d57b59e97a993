#pragma once

#include <string>

namespace tools {

enum class Status : int { done = 0, failed = 1, usage = 2 };

/// Ends the command; main prints the sentence (none if it is empty: all was said) and exits with the status.
struct Failure {
  Status status;
  std::string sentence;
};

/// `sentence` names the value, the place and the remedy.
[[noreturn]] inline void fail(std::string sentence) {
  throw Failure{Status::failed, std::move(sentence)};
}
[[noreturn]] inline void refuse(std::string sentence) {
  throw Failure{Status::usage, std::move(sentence)};
}

}  // namespace tools
