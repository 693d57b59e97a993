#include "pop3d/protocol/line_reader.hpp"

#include <cstring>

namespace pop3d {
namespace {

bool has(std::string_view text, char octet) {
  return std::memchr(text.data(), octet, text.size()) != nullptr;
}

}  // namespace

std::optional<Line> LineReader::take(std::string_view& input) {
  if (finished_) reset();

  std::size_t searched = 0;
  while (searched < input.size()) {
    const auto at = input.find('\n', searched);
    if (at == input.npos) break;
    const bool cr_before = at > 0 ? input[at - 1] == '\r' : !kept_.empty() && kept_.back() == '\r';
    searched = at + 1;
    if (!cr_before) {
      faulty_ = true;
      continue;
    }
    std::string_view text = input.substr(0, at);
    input.remove_prefix(at + 1);
    const bool too_long = unfinished_ + text.size() > longest + 1;
    if (unfinished_ > 0) {
      if (!too_long) kept_ += text;
      text = kept_;
    }
    finished_ = true;
    unfinished_ = 0;
    if (too_long) return Line{{}, LineFault::too_long};
    text.remove_suffix(1);  // the CR
    const bool stray = faulty_ || has(text, '\r') || has(text, '\0');
    return Line{text, stray ? LineFault::stray_control : LineFault::none};
  }

  unfinished_ += input.size();
  if (unfinished_ > longest + 1) {
    // Only the last octet still matters: it may be the CR of the line end.
    const char last = input.empty() ? '\0' : input.back();
    if (!input.empty()) {
      kept_.assign(1, last);
      kept_.shrink_to_fit();
    }
  } else {
    kept_ += input;
  }
  input = {};
  return std::nullopt;
}

void LineReader::reset() {
  // A log-in's base64 may have been long; between lines a session owns nothing.
  if (kept_.capacity() > 64) {
    kept_ = std::string{};
  } else {
    kept_.clear();
  }
  faulty_ = false;
  finished_ = false;
  unfinished_ = 0;
}

}  // namespace pop3d
