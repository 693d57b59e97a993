#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.hpp"

#include "tools/sendmail/status.hpp"

/// The header section of a program's message: where it ends, whom it names, what it lacks. No I/O.
namespace tools::sendmail {

/// smtpd takes no longer one.
inline constexpr std::size_t header_limit = 1U << 20U;

/// Gathers header fields from the front of a message with CRLF line ends, in any cuts.
class HeaderReader {
 public:
  /// True: the header section is whole, or longer than `header_limit`; nothing is to be fed from then on.
  bool feed(std::string_view octets);
  /// There is no more.
  void finish();
  /// The fields, each with its continuation lines and CRLF.
  std::vector<std::string> take_fields();
  /// What was fed of the body. A first line that is no field begins it, with or without an empty line before.
  std::string_view body() const { return std::string_view{held_}.substr(body_at_); }
  bool too_long() const { return too_long_; }

 private:
  bool take_lines();
  std::string held_;
  std::vector<std::string> fields_;
  std::size_t at_ = 0;  ///< of the first line that was not looked at
  std::size_t body_at_ = 0;
  bool done_ = false;
  bool too_long_ = false;
};

/// Who sends, and when: what a message gets that does not say it.
struct Author {
  std::string address;
  std::string full_name;   ///< empty: unknown
  std::string date;        ///< RFC 5322 3.3
  std::string message_id;  ///< without angle brackets
};

enum class Recipients { from_header, given };

struct Header {
  std::string text;  ///< all fields, and the empty line
  std::vector<common::Address> recipients;
};

/// Recipients::from_header: those of To, Cc and Bcc, or where a message is sent again those of the Resent- fields alone
/// (RFC 5322 3.6.6); Bcc and Resent-Bcc are left out. From, Date and Message-ID are added where they are missing.
std::expected<Header, Refusal> prepare_header(const std::vector<std::string>& fields, Recipients recipients,
                                              const Author& author);

/// A name in front of an address: as it is, in quotes, or in encoded words (RFC 2047); empty if it is no text.
std::string format_display_name(std::string_view name);

}  // namespace tools::sendmail
