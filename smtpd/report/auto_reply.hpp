#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/directory.hpp"

/// Automatic replies of mailboxes (RFC 3834). No I/O.
namespace smtpd::report {

/// What of a message's header section matters for an answer to it.
struct Asking {
  bool automatic = false;       ///< Auto-Submitted says so, or what programs say in place of it
  bool of_a_list = false;       ///< List-* fields, or Precedence: list, bulk, junk
  std::vector<std::string> to;  ///< canonical addresses of To and Cc
  std::string message_id;       ///< with its brackets, empty: none that could be quoted
  std::string references;       ///< those that are behind it, for a thread; unfolded
  std::string subject;          ///< unfolded, ASCII; empty: none that could be quoted
};
Asking read_asking(std::string_view header);

/// Why there is no answer.
enum class Withheld : std::uint8_t {
  out_of_season,  ///< not now: before its beginning, behind its end
  no_sender,      ///< the null reverse-path
  robot_sender,   ///< the reverse-path is a program's or a list's
  automatic,      ///< the message is itself an answer, a report, a notice
  of_a_list,
  not_addressed,  ///< the mailbox is named neither in To nor in Cc
};
std::string_view name_of(Withheld why);

/// nullopt: it may be answered. `addressed`: whether one of `asking.to` is the mailbox's.
std::optional<Withheld> check_auto_reply(const mailstore::AutoReply& reply, std::string_view reverse_path,
                                         const Asking& asking, bool addressed, std::chrono::sys_seconds now);

/// What the answer itself carries.
struct Letter {
  std::string id;        ///< the answer's
  std::string hostname;  ///< ours
  std::string from;      ///< the mailbox's address
  std::string to;        ///< the reverse-path
  std::chrono::sys_seconds time;
};
/// The answer in stored form: no line begins with a dot, none is longer than 78 octets but for addresses.
struct Written {
  std::string octets;
  std::uint64_t header_octets = 0;
  bool utf8 = false;  ///< an address is not ASCII
};
Written write_auto_reply(const mailstore::AutoReply& reply, const Asking& asking, const Letter& letter);

}  // namespace smtpd::report
