#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Octets to command lines. Only CRLF ends a line (RFC 5321 2.3.8): what a lone LF would end elsewhere stays inside one
/// line here, and makes it a wrong one.
namespace smtpd {

/// RFC 5321 4.5.3.1.4 asks for 512 octets with CRLF; devices and long parameter lists need more.
inline constexpr std::size_t command_line_limit = 4096;
/// RFC 4954 4: an AUTH command or response, CRLF included.
inline constexpr std::size_t auth_line_limit = 12288;

enum class LineFault : std::uint8_t {
  none,
  newline_inside,  ///< a CR or LF that is not part of the CRLF at its end
  too_long,        ///< longer than auth_line_limit; `text` is its beginning
};

struct Line {
  std::string_view text;  ///< without its CRLF
  LineFault fault = LineFault::none;
};

class LineSplitter {
 public:
  /// Takes octets from the front of `in` until a line is complete or `in` is empty (then nullopt, and the beginning is
  /// kept). The line's text lies in `in` or in this object and holds until the next call.
  std::optional<Line> next(std::string_view& in);
  /// Nothing of an unfinished line is kept.
  bool empty() const { return (held_.empty() || handed_out_) && !overflown_; }
  /// Forgets an unfinished line (after STARTTLS).
  void clear();
  /// Gives back memory that no unfinished line needs; called when the session begins to wait.
  void release();

 private:
  static Line judge(std::string_view text);
  void hold(std::string_view octets);

  std::string held_;
  bool handed_out_ = false;  ///< `held_` is the line that the last call gave
  bool overflown_ = false;   ///< the unfinished line is over the limit; only its end is looked for
  bool after_cr_ = false;    ///< the last octet of the unfinished line was CR
};

}  // namespace smtpd
