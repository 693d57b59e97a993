#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Badmail: mail that can neither be delivered nor go back, and files that are no mail (LEGACY S16, S17). A message
/// stays in the queue, held, with a reason that names the cause; a file lies in the badmail folder, with a note beside
/// it. No I/O.
namespace smtpd::folders {

/// What makes badmail; each is counted.
enum class BadmailCause : std::uint8_t {
  bad_pickup_file,
  general_failure,
  hop_count,
  ndr_of_dsn,  ///< a report would have to answer a report
  no_recipients,
  by_event,  ///< a person or a program said so
};
inline constexpr std::size_t badmail_causes = 6;
using BadmailCounts = std::array<std::uint64_t, badmail_causes>;

/// "bad-pickup-file", for options and the log.
std::string_view name_of(BadmailCause cause);
std::optional<BadmailCause> parse_badmail_cause(std::string_view name);

/// How the reason of every one that is held as badmail begins.
inline constexpr std::string_view badmail_mark = "badmail: ";
/// The reason of a held recipient: "badmail: ndr-of-dsn: it failed, ...".
std::string format_badmail_reason(BadmailCause cause, std::string_view why);
/// nullopt: held for another reason.
struct BadmailReason {
  BadmailCause cause = BadmailCause::general_failure;
  std::string_view why;
};
std::optional<BadmailReason> parse_badmail_reason(std::string_view reason);

/// What stands beside a file in the badmail folder, as ID.BDR beside ID.BAD.
struct BadmailNote {
  BadmailCause cause = BadmailCause::bad_pickup_file;
  std::string why;
  std::string file;    ///< as it was called; may be any octets
  std::string server;  ///< whose folder it was in
};
inline constexpr std::string_view bad_file_suffix = ".BAD", bad_note_suffix = ".BDR", bad_envelope_suffix = ".BDP";

/// Lines "Name: value" for people.
std::string format_badmail_note(const BadmailNote& note);
/// What of it can be read; what cannot is left empty.
BadmailNote parse_badmail_note(std::string_view text);

}  // namespace smtpd::folders
