#pragma once

#include <string>
#include <string_view>

namespace smtpd::folders {

/// Takes the dots away that RFC 5321 4.5.2 put in front of lines; fed any cut of the message, in order.
class Unstuff {
 public:
  void feed(std::string_view stored, std::string& out) {
    if (stored.empty()) return;
    std::size_t from = line_start_ && stored.front() == '.' ? 1 : 0;
    for (auto at = stored.find("\n.", from); at != std::string_view::npos; at = stored.find("\n.", at + 2)) {
      if ((at == 0 ? before_ : stored[at - 1]) != '\r') continue;
      out += stored.substr(from, at + 1 - from);
      from = at + 2;
    }
    out += stored.substr(from);
    line_start_ = stored.back() == '\n' && (stored.size() == 1 ? before_ : stored[stored.size() - 2]) == '\r';
    before_ = stored.back();
  }

 private:
  bool line_start_ = true;
  char before_ = 0;
};

}  // namespace smtpd::folders
