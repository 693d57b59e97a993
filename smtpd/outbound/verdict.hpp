#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mailstore/queue.hpp"

#include "smtpd/outbound/answer.hpp"
#include "smtpd/outbound/schedule.hpp"

/// What an attempt means for a recipient and for its domain. Decides and does nothing.
namespace smtpd::outbound {

/// Who was spoken to, as the queue keeps it.
struct Spoken {
  std::string peer;  ///< name[address]:port; empty: nobody
  std::string tls;   ///< the outcome in words
};

struct Verdict {
  enum class Fate : std::uint8_t {
    delivered,
    relayed,  ///< delivered, to a server that sends no reports
    failed,
    untouched,     ///< nothing was said about it
    waits,         ///< until `due`: the answer is about this recipient
    waits_domain,  ///< for the domain's next round: nobody there could be spoken to
  };
  Fate fate = Fate::waits;
  mailstore::Attempt attempt;
  /// How the domain stands, when nobody there could be spoken to; also of a message whose time that ended.
  std::optional<mailstore::Attempt> trouble;
  Time due{};  ///< of `waits`, and of `waits_domain` when the domain turns out to be well
};

/// `answer` is of an attempt on `recipient` that ended at `now`. A temporary failure is final once the message's time
/// is over. `chance`: see next_attempt.
Verdict judge(const Answer& answer, const Spoken& spoken, const mailstore::QueuedRecipient& recipient,
              const Schedule& schedule, Time now, std::uint32_t chance);

/// "4.4.7", with the words of the last failure: for recipients whose time is over without an attempt of their own.
/// "5.2.2" where a mailbox of ours had no room all the time (S54).
mailstore::Attempt expired_attempt(const mailstore::Attempt& last, Time now);

}  // namespace smtpd::outbound
