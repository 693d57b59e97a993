#pragma once

#include <compare>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The words of the store's interface: what a message, an owner and a maildrop are, without saying where they lie.
namespace mailstore {

/// Why an operation of the store did not happen. Callers turn `code` into a reply; `detail` is for the log alone.
enum class Errc : std::uint8_t {
  not_found,    ///< no such domain, mailbox, alias or message
  exists,       ///< the name is taken
  in_use,       ///< somebody else holds the maildrop
  conflict,     ///< the change contradicts what is there (a loop, a domain with mailboxes, a removed name)
  full,         ///< no room: the disk's reserve or the index's map (452 4.3.1)
  unavailable,  ///< a file call or a commit failed; nothing was acknowledged (451, [SYS/TEMP])
  corrupt,      ///< what was read does not check out
  unusable,     ///< the store cannot be opened: missing, of another version, truncated
};

struct Error {
  Errc code;
  std::string detail;
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Errc code, std::string detail) {
  return std::unexpected(Error{code, std::move(detail)});
}

/// Names one message for ever: microseconds since 2020 (52 bits) and the store's generation (12 bits).
/// Never zero. In text it is base32 (RFC 4648 alphabet in lower case, no padding, 13 letters): queue id, UIDL and log
/// id.
struct MessageId {
  std::uint64_t value = 0;
  friend auto operator<=>(MessageId, MessageId) = default;
};

std::string format_id(MessageId id);
std::optional<MessageId> parse_id(std::string_view text);

/// The number of a mailbox; given once, kept through renames, never given again.
enum class MailboxNumber : std::uint32_t {};

/// A local recipient of a message.
struct Owner {
  MailboxNumber mailbox{};
  std::string delivered_to;        ///< the mailbox's own address as it was at delivery; makes the Delivered-To line
  std::string original_recipient;  ///< ORCPT (RFC 3461), empty if none
  std::string unique_id;           ///< an imported UIDL, empty: the message's own id
  std::uint8_t notify = 0;         ///< NOTIFY flags (RFC 3461), 0: not given
};

/// NOTIFY of RFC 3461 4.1, as flags of `notify`.
inline constexpr std::uint8_t notify_never = 1, notify_success = 2, notify_failure = 4, notify_delay = 8;

/// A recipient of a message that does not live here.
struct Remote {
  std::string address;             ///< canonical forward-path, at most 320 octets
  std::string original_recipient;  ///< ORCPT as received: type, ";", the address still in xtext; empty if none
  std::uint8_t notify = 0;         ///< NOTIFY flags (RFC 3461), 0: not given
  std::string sent_on_by{};        ///< the alias or mailbox of ours that leads there; empty: the peer named it
  std::string returns_to{};  ///< the reverse-path in place of the message's (a group's owner); empty: the message's
  bool looped = false;       ///< the message has been at `sent_on_by` before: it is not sent there again
};

/// Everything about a message that is not its octets; stands in its record and is kept for ever.
struct Envelope {
  std::string reverse_path;         ///< without <>; empty: the null reverse-path
  std::string authenticated;        ///< the address that authenticated, empty: nobody
  std::string server;               ///< the virtual server that accepted it (its file name without .toml)
  std::string envelope_id;          ///< ENVID (RFC 3461)
  std::uint8_t return_content = 0;  ///< RET: 0 not given, 1 FULL, 2 HDRS
  bool eight_bit = false;           ///< BODY=8BITMIME
  bool utf8 = false;                ///< SMTPUTF8
  std::vector<Owner> owners;
  std::vector<Remote> remotes;  ///< at most 65,535; who of them is still to be served is the queue's to know
};

/// What the receiver counted while the octets passed by.
struct BodyFacts {
  std::uint64_t octets = 0;         ///< real octets: CRLF line ends, without stuffed dots and the closing line
  std::uint64_t header_octets = 0;  ///< stored octets of the header section, its empty line included
  bool stuffed = false;             ///< at least one line carries a stuffed dot
};

/// A message as one maildrop lists it.
struct Entry {
  MessageId id;
  std::uint64_t octets = 0;  ///< what LIST says: real octets with this owner's Return-Path and Delivered-To lines
  std::uint64_t header_octets = 0;  ///< stored octets of the header section, without the owner's lines
  std::uint16_t ordinal = 0;        ///< which of the record's owners this maildrop is
  std::uint64_t arrival = 0;        ///< position in the maildrop's arrival order
  std::uint64_t retrieved = 0;      ///< when that was noted first, microseconds since the Unix epoch; 0: never
};

/// What a POP3 session sees: the maildrop as it was at log-in. What arrives later is not part of it.
struct View {
  MailboxNumber mailbox{};
  std::uint64_t arrivals = 0;  ///< entries with an arrival number above this came later
  MessageId last;              ///< nothing of the view lies behind it: a walk ends here, however much came later
  std::uint64_t messages = 0;
  std::uint64_t octets = 0;
};

}  // namespace mailstore
