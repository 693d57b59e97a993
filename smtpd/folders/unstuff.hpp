#pragma once

#include <string>
#include <string_view>

namespace smtpd::folders {

/// Takes the dots away that RFC 5321 4.5.2 put in front of lines; fed any cut of the message, in order.
class Unstuff {
 public:
  void feed(std::string_view stored, std::string& out) {
    for (const char octet : stored) {
      if (octet != '.' || !line_start_) out += octet;
      line_start_ = octet == '\n' && before_ == '\r';
      before_ = octet;
    }
  }

 private:
  bool line_start_ = true;
  char before_ = 0;
};

}  // namespace smtpd::folders
