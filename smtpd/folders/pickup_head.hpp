#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.hpp"

#include "smtpd/folders/badmail.hpp"

/// How a file in the pickup folder begins (LEGACY S12): the envelope, and the header section. No I/O.
namespace smtpd::folders {

/// Whether lines that begin with a dot have one more in front (S13).
enum class DotStuffed : std::uint8_t { unknown, yes, no };

struct PickupHead {
  std::string reverse_path;  ///< empty: the null one
  std::vector<common::Address> recipients;
  DotStuffed dots = DotStuffed::unknown;  ///< as the file itself says
  std::string header;  ///< what goes on in the place of the first `octets`: without envelope, Bcc and Resent-Bcc
  std::size_t octets = 0;
};
struct PickupFault {
  BadmailCause cause = BadmailCause::bad_pickup_file;
  std::string why;
};

/// `text`: the beginning of the file, its header section at least, or all of it; lines end in LF or CRLF.
///
/// In front, in any order and case: "x-sender: ADDRESS" (<>: the null reverse-path), one "x-receiver: ADDRESS" for each
/// recipient, "x-dot-stuffed: yes" or "no"; an empty line behind them may divide them from the message. What they do
/// not say is taken from the message: Sender, else the first of From; To, Cc and Bcc. `default_domain` completes bare
/// local parts. What stands before the first empty line and is no field makes the file malformed.
std::expected<PickupHead, PickupFault> parse_pickup_head(std::string_view text, std::string_view default_domain);

/// Whether the header section of a file that begins with `text` ends within it.
bool has_whole_head(std::string_view text);

/// Looks for what tells stuffed dots from others: fed a file in any cuts, LF or CRLF.
class DotScan {
 public:
  void feed(std::string_view octets);
  /// Every line that begins with a dot begins with two, or is the last and a dot alone; and there is one.
  bool stuffed() const { return dots_ && !single_; }

 private:
  enum class At : std::uint8_t { line_start, dot, dot_cr, text } at_ = At::line_start;
  bool alone_ = false;  ///< the line before was a dot alone
  bool dots_ = false;
  bool single_ = false;  ///< a line begins with one dot and is not the last, or not alone
};

/// Makes CRLF of every LF; fed in any cuts.
class CrlfEnds {
 public:
  void feed(std::string_view octets, std::string& out);

 private:
  char before_ = 0;
};

}  // namespace smtpd::folders
