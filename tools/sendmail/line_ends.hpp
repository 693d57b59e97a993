#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tools::sendmail {

/// What a program writes, with the line ends that mail has: LF becomes CRLF, CRLF stays. Where a dot ends the message,
/// what follows a line that is a dot is not looked at. Any cuts. No I/O.
class LineEnds {
 public:
  enum class Dot : std::uint8_t { ends, stays };
  explicit LineEnds(Dot dot) : dot_(dot) {}

  void append(std::string_view octets, std::string& out);
  /// There is no more: a last line without its end gets one.
  void finish(std::string& out);
  /// The line that is a dot has come.
  bool ended() const { return state_ == State::ended; }

 private:
  enum class State : std::uint8_t { line_start, text, cr, dot, dot_cr, ended };
  Dot dot_;
  State state_ = State::line_start;
};

}  // namespace tools::sendmail
