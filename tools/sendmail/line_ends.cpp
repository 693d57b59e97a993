#include "tools/sendmail/line_ends.hpp"

namespace tools::sendmail {

void LineEnds::append(std::string_view octets, std::string& out) {
  using enum State;
  for (std::size_t i = 0; i < octets.size() && state_ != ended;) {
    const char c = octets[i];
    switch (state_) {
      case line_start:
        if (c == '.' && dot_ == Dot::ends) {
          state_ = dot;
          ++i;
        } else {
          state_ = text;
        }
        break;
      case dot:
      case dot_cr:
        if (c == '\n') {
          state_ = ended;
        } else if (c == '\r' && state_ == dot) {
          state_ = dot_cr;
          ++i;
        } else {
          // No such line after all: what was held back goes first.
          out += '.';
          state_ = state_ == dot_cr ? cr : text;
        }
        break;
      case text: {
        const auto end = octets.find_first_of("\r\n", i);
        out += octets.substr(i, end - i);
        i = end == octets.npos ? octets.size() : end;
        if (end == octets.npos) break;
        ++i;
        if (octets[end] == '\r') {
          state_ = cr;
        } else {
          out += "\r\n";
          state_ = line_start;
        }
        break;
      }
      case cr:
        if (c == '\n') {
          out += "\r\n";
          state_ = line_start;
          ++i;
        } else {
          out += '\r';  // alone: what it means is smtpd's to say
          state_ = text;
        }
        break;
      case ended:
        break;
    }
  }
}

void LineEnds::finish(std::string& out) {
  using enum State;
  switch (state_) {
    case line_start:
    case ended:
      return;
    case dot:
    case dot_cr:
      state_ = ended;
      return;
    case cr:
    case text:
      out += "\r\n";
      state_ = line_start;
      return;
  }
}

}  // namespace tools::sendmail
