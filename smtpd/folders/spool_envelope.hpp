#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>

#include "smtpd/session/conversation.hpp"
#include "smtpd/session/terms.hpp"

namespace smtpd::folders {

/// The commands at the head of a spool file, said to a conversation: what they mean is the same as at the socket. No
/// I/O but what the desk does.
class SpoolEnvelope {
 public:
  /// Whoever looks into the directory for it. Not to be known: it is in trouble.
  struct Desk {
    std::function<std::expected<bool, Cause>(const CheckSender&, Transaction&)> find_sender;
    std::function<std::expected<routing::Resolution, Cause>(const CheckRecipient&)> find_recipient;
  };
  /// Transaction::asked.
  enum class Asked : std::uint8_t { forgotten, kept };
  struct Fault {
    enum class Why : std::uint8_t { broken, later } why = Why::broken;
    std::string text;
  };
  /// `terms` outlives it.
  SpoolEnvelope(const Terms& terms, Asked asked, Desk desk);

  /// One line without its CRLF. True: it was DATA, and the message follows.
  std::expected<bool, Fault> take(std::string_view line);
  Transaction& transaction() { return *conversation_.transaction(); }
  /// Of MAIL.
  const std::string& parameters() const { return parameters_; }

 private:
  std::expected<bool, Fault> take_recipient(const CheckRecipient& question, std::string_view line);
  Asked asked_;
  Desk desk_;
  Conversation conversation_;
  std::string parameters_;
};

}  // namespace smtpd::folders
