#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mailstore/queue.hpp"

/// What the queue's rows say in words. No I/O.
namespace tools {

/// As `queue list` names them: `waiting`, `active` (its time has come: the scheduler has it or takes it next), `held`.
std::string_view state_of(const mailstore::QueuedRecipient& recipient, const mailstore::QueueDomain& domain,
                          const mailstore::QueueStatus& status, const mailstore::RemoteSettings* remote,
                          mailstore::Time now);
/// "451 4.3.0 come back later"; without codes where there was no reply; empty: nobody said anything.
std::string answer_text(const mailstore::Answer& answer);
/// The last words about a recipient: its own, or those of its domain's last round if that is newer.
const mailstore::Attempt& last_attempt(const mailstore::QueuedRecipient& recipient,
                                       const mailstore::QueueDomain& domain);

/// Why a recipient is still in the queue.
struct Why {
  std::string_view state;
  std::string cause;                    ///< one sentence
  std::string rule;                     ///< the setting, limit or order that holds it
  std::optional<mailstore::Time> next;  ///< when it is tried; nullopt: not before somebody says so
  std::string remedy;                   ///< what to say then; empty: time alone
};
/// `remote`: the settings that hold for the domain; null: there are none.
Why explain(const mailstore::QueuedRecipient& recipient, const mailstore::QueueDomain& domain,
            const mailstore::QueueStatus& status, const mailstore::RemoteSettings* remote, mailstore::Time now);

std::string_view outcome_text(mailstore::QueueOutcome outcome);

}  // namespace tools
