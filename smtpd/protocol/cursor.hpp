#pragma once

#include <cstddef>
#include <string_view>

namespace smtpd {

inline char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

/// Equal without regard to the case of ASCII letters; `word` is in lower case.
inline bool equals_word(std::string_view text, std::string_view word) {
  if (text.size() != word.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (lower(text[i]) != word[i]) return false;
  }
  return true;
}

/// A place in a line that moves to the right.
class Cursor {
 public:
  explicit Cursor(std::string_view line) : line_(line) {}
  bool at_end() const { return at_ == line_.size(); }
  std::size_t column() const { return at_; }
  std::string_view rest() const { return line_.substr(at_); }
  char peek() const { return at_end() ? '\0' : line_[at_]; }
  bool take(char c) {
    if (at_end() || line_[at_] != c) return false;
    ++at_;
    return true;
  }
  /// Without regard to case; `word` is in lower case.
  bool take_word(std::string_view word) {
    if (!equals_word(rest().substr(0, word.size()), word)) return false;
    at_ += word.size();
    return true;
  }
  void take_spaces() {
    while (take(' ') || take('\t')) {
    }
  }
  /// Up to `stop`, or to the end when there is none.
  std::string_view take_until(char stop) {
    const auto end = rest().find(stop);
    const auto taken = rest().substr(0, end);
    at_ += taken.size();
    return taken;
  }
  std::string_view take_octets(std::size_t count) {
    const auto taken = rest().substr(0, count);
    at_ += taken.size();
    return taken;
  }

 private:
  std::string_view line_;
  std::size_t at_ = 0;
};

}  // namespace smtpd
