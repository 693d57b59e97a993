#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pop3d {

/// What was wrong with a line as a line.
enum class LineFault : std::uint8_t {
  none,
  too_long,       ///< its octets were thrown away; `text` is empty
  stray_control,  ///< a lone CR or LF, or a NUL, inside it
};

struct Line {
  std::string_view text;  ///< without CRLF; holds until the next `take`
  LineFault fault = LineFault::none;
};

/// Cuts octets into lines. A line ends with CRLF and with nothing else (RFC 1939 3): a lone LF or CR stays inside its
/// line, which is then faulty. Keeps the beginning of a line whose end has not come; owns no memory otherwise.
class LineReader {
 public:
  /// RFC 5034 4: a server that offers AUTH takes 12288 octets; other commands are held to less by the conversation.
  static constexpr std::size_t longest = 12288;

  /// Takes octets off the front of `input`, up to and with the next line end. nullopt: `input` is used up, more is
  /// needed.
  std::optional<Line> take(std::string_view& input);
  /// Forgets the beginning of a line (RFC 2595 4: what came before TLS counts for nothing).
  void reset();
  /// Octets that came since the last line end, those thrown away included.
  std::uint64_t unfinished() const { return unfinished_; }

 private:
  std::string kept_;
  std::uint64_t unfinished_ = 0;
  bool faulty_ = false;
  bool finished_ = false;  ///< kept_ was handed out and goes with the next call
};

}  // namespace pop3d
