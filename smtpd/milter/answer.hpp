#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <variant>

#include "smtpd/milter/packet.hpp"

/// What a filter answers.
namespace smtpd::milter {

// ---- about an event

enum class Ruling : std::uint8_t {
  go_on,
  accept,    ///< without further looks: the message, or from connect and helo on the connection
  reject,    ///< 5xx
  tempfail,  ///< 4xx
  discard,   ///< the message is taken and thrown away
  say,       ///< the filter's own reply
  close,     ///< 421
  skip,      ///< no more pieces of the body, please
};
struct Ruled {
  Ruling ruling = Ruling::go_on;
  std::string words;  ///< of `say`: "550 5.7.1 no", more lines with LF between them, checked
};
/// It is still at work; its time begins anew.
struct Progress {};

// ---- about the message, at its end

struct AddHeader {
  std::string_view name, value;
};
struct InsertHeader {
  std::uint32_t index = 0;  ///< 0: in front of all, our own Received among them
  std::string_view name, value;
};
struct ChangeHeader {
  std::uint32_t index = 0;  ///< among those of this name, from 1
  std::string_view name;
  std::string_view value;  ///< empty: it goes
};
struct ReplaceBody {
  std::string_view octets;  ///< one piece; the first takes the place of all that was
};
struct ChangeSender {
  std::string_view address;
};
struct AddRecipient {
  std::string_view address;
  std::string_view arguments;
};
struct RemoveRecipient {
  std::string_view address;
};
struct Quarantine {
  std::string_view reason;
};

using Answer = std::variant<Ruled, Progress, AddHeader, InsertHeader, ChangeHeader, ReplaceBody, ChangeSender,
                            AddRecipient, RemoveRecipient, Quarantine>;

/// Grammar only: whether the answer may come now is FilterConversation's to say. Views are into the packet. Error: what
/// is wrong, in a few words.
std::expected<Answer, std::string> parse_answer(const Packet& packet);

/// A reply as filters write them, "550 5.7.1 no" or several lines; percent signs are doubled on the way
/// (smfi_setreply). 4xx and 5xx alone, every line with the same code, no octet that a reply may not have; LF between
/// lines. Error: in a few words.
std::expected<std::string, std::string> parse_reply(std::string_view text);

}  // namespace smtpd::milter
