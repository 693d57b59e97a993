#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What goes to the next server, and what became of it, as values.
namespace smtpd::outbound {

/// NOTIFY (RFC 3461 4.1), 0: not given.
enum Notify : std::uint8_t { notify_never = 1, notify_success = 2, notify_failure = 4, notify_delay = 8 };

struct Recipient {
  std::string path;                ///< forward path without <>; domain as A-labels
  std::uint8_t notify = 0;         ///< Notify
  std::string original_recipient;  ///< ORCPT as it travels (RFC 3461 4.2), empty: none
};

/// RET (RFC 3461 4.3).
enum class ReturnContent : std::uint8_t { not_given, full, headers };

/// One message for some recipients that share a route. Of its octets only what must be said about them.
struct Message {
  std::string id;            ///< for the log
  std::string reverse_path;  ///< without <>; empty: the null one
  std::string envelope_id;   ///< ENVID as it travels (RFC 3461 4.4), empty: none
  ReturnContent return_content = ReturnContent::not_given;
  bool eight_bit = false;           ///< came with BODY=8BITMIME
  bool utf8 = false;                ///< came with SMTPUTF8
  bool stuffed = false;             ///< a dot is stuffed in the stored octets
  std::string front;                ///< lines before the stored octets, with CRLF; none begins with a dot
  std::uint64_t octets = 0;         ///< real octets, for SIZE, without `front`
  std::uint64_t stored_octets = 0;  ///< as they lie
  std::vector<Recipient> recipients;
};

enum class Outcome : std::uint8_t {
  untried,    ///< nothing was said about it: the connection was over, or used up, before its turn
  delivered,  ///< theirs now
  temporary,
  permanent,
  unknown,  ///< all was sent, the answer was lost: may be delivered (RFC 5321 4.5.3.2.6); trying again may double it
};

/// Where in the conversation an answer came.
enum class Stage : std::uint8_t { routing, connect, greeting, hello, tls, auth, mail, rcpt, data, end, ours };
std::string_view name_of(Stage stage);

/// What became of one recipient.
struct Answer {
  Outcome outcome = Outcome::untried;
  Stage stage = Stage::ours;
  /// The trouble is the host's or the connection's: another host of the route may do better at once.
  bool elsewhere = false;
  bool dsn_passed_on = false;  ///< delivered to a server that does DSN: reports of success are its own
  std::uint16_t code = 0;      ///< the peer's; 0: the words are ours
  std::string enhanced;        ///< RFC 3463; what the peer did not say is filled in from its code
  std::string text;            ///< the peer's words, raw: escape before showing
};

/// "550 5.1.1 no such user", for status lines and reports.
std::string format_answer(const Answer& answer);

}  // namespace smtpd::outbound
