#include "smtpd/protocol/lines.hpp"

#include <cstring>

namespace smtpd {
namespace {

/// Position behind the first CRLF of `in`, or npos; `after_cr`: the octet before `in` was CR.
std::size_t end_of_line(std::string_view in, bool after_cr) {
  std::size_t from = 0;
  while (from < in.size()) {
    const void* found = std::memchr(in.data() + from, '\n', in.size() - from);
    if (found == nullptr) return std::string_view::npos;
    const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - in.data());
    if (at == 0 ? after_cr : in[at - 1] == '\r') return at + 1;
    from = at + 1;
  }
  return std::string_view::npos;
}

}  // namespace

Line LineSplitter::judge(std::string_view text) {
  const bool newline =
      std::memchr(text.data(), '\n', text.size()) != nullptr || std::memchr(text.data(), '\r', text.size()) != nullptr;
  return {text, newline ? LineFault::newline_inside : LineFault::none};
}

void LineSplitter::hold(std::string_view octets) {
  if (octets.empty()) return;
  after_cr_ = octets.back() == '\r';
  if (overflown_) return;
  if (held_.size() + octets.size() > auth_line_limit) {
    overflown_ = true;
    held_.append(octets.substr(0, auth_line_limit - held_.size()));
    return;
  }
  held_.append(octets);
}

std::optional<Line> LineSplitter::next(std::string_view& in) {
  if (handed_out_) {
    held_.clear();
    handed_out_ = false;
  }
  const auto end = end_of_line(in, after_cr_);
  if (end == std::string_view::npos) {
    hold(in);
    in = {};
    return std::nullopt;
  }
  const std::string_view tail = in.substr(0, end);
  in.remove_prefix(end);
  if (held_.empty() && !overflown_) {
    after_cr_ = false;
    if (tail.size() > auth_line_limit) return Line{tail.substr(0, command_line_limit), LineFault::too_long};
    return judge(tail.substr(0, tail.size() - 2));
  }
  hold(tail);
  const bool too_long = overflown_;
  overflown_ = false;
  after_cr_ = false;
  handed_out_ = true;
  if (too_long) return Line{std::string_view{held_}.substr(0, command_line_limit), LineFault::too_long};
  return judge(std::string_view{held_}.substr(0, held_.size() - 2));
}

void LineSplitter::clear() {
  held_.clear();
  handed_out_ = overflown_ = after_cr_ = false;
}

void LineSplitter::release() {
  if (handed_out_) {
    held_.clear();
    handed_out_ = false;
  }
  if (held_.empty() && held_.capacity() > std::string{}.capacity()) std::string{}.swap(held_);
}

}  // namespace smtpd
