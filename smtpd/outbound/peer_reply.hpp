#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

/// What the next server says (RFC 5321 4.2), taken apart. Nothing it sends is believed beyond these bounds.
namespace smtpd::outbound {

/// RFC 5321 4.5.3.1.5 asks for 512 octets; servers that explain themselves need more.
inline constexpr std::size_t reply_line_limit = 2048;
inline constexpr std::size_t reply_lines_limit = 200;
inline constexpr std::size_t reply_octets_limit = 16 * 1024;

/// One whole reply. Views hold until the reader's next call.
struct PeerReply {
  std::uint16_t code = 0;     ///< 200 to 599
  std::string_view enhanced;  ///< RFC 3463, "5.1.1"; empty: none, or one that contradicts the code
  std::string_view text;      ///< behind code and enhanced code; lines are parted by '\n'
  bool good() const { return code < 300; }
  bool go_ahead() const { return code / 100 == 3; }
  bool temporary() const { return code / 100 == 4; }
  bool permanent() const { return code / 100 == 5; }
};

/// Why octets are no reply.
enum class ReplyFault : std::uint8_t { line_too_long, too_many_lines, too_long, no_code, code_changes, bare_newline };
/// In a few words, for answers and the log.
std::string_view describe(ReplyFault fault);

/// Finds replies in any cuts of what the peer sends.
class ReplyReader {
 public:
  /// Takes octets from the front of `in` until a reply is complete or `in` is empty (nullopt). After a fault there is
  /// no finding back: the connection is to be closed.
  std::optional<std::expected<PeerReply, ReplyFault>> next(std::string_view& in);
  /// Nothing of an unfinished reply is kept.
  bool empty() const { return lines_ == 0 && (held_.empty() || handed_out_); }
  /// Forgets an unfinished reply (what came in the clear, RFC 3207 6).
  void clear();

 private:
  /// True: that was the last line of the reply.
  std::expected<bool, ReplyFault> on_line(std::string_view line);
  PeerReply finish(std::string_view text);

  std::string held_;  ///< an unfinished line
  std::string text_;  ///< lines of an unfinished reply, then of the one that was handed out
  std::size_t lines_ = 0;
  std::uint16_t code_ = 0;
  bool handed_out_ = false;  ///< `held_` is part of the last reply
};

/// Splits an enhanced code off the front of `text` if it is one of the class of `code`; "": none.
std::string_view take_enhanced(std::string_view& text, std::uint16_t code);

}  // namespace smtpd::outbound
