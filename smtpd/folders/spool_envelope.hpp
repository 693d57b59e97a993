#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <string>
#include <string_view>

#include "smtpd/session/conversation.hpp"
#include "smtpd/session/terms.hpp"

namespace smtpd::folders {

/// The commands at the head of a spool file, said to a conversation: what they mean is the same as at the socket. No
/// I/O but what `resolve` does.
class SpoolEnvelope {
 public:
  /// Where a recipient leads, in the directory.
  using Resolve = std::function<std::expected<routing::Resolution, std::string>(const CheckRecipient&)>;
  struct Fault {
    enum class Why : std::uint8_t { broken, later } why = Why::broken;
    std::string text;
  };
  /// `terms` outlives it.
  explicit SpoolEnvelope(const Terms& terms);

  /// One line without its CRLF. True: it was DATA, and the message follows.
  std::expected<bool, Fault> take(std::string_view line, const Resolve& resolve);
  Transaction& transaction() { return *conversation_.transaction(); }

 private:
  std::expected<bool, Fault> take_recipient(const CheckRecipient& question, const Resolve& resolve);
  Conversation conversation_;
};

}  // namespace smtpd::folders
