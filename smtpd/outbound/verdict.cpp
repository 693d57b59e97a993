#include "smtpd/outbound/verdict.hpp"

#include "common/escape.hpp"

namespace smtpd::outbound {
namespace {

/// RFC 3463 3.5: the time for delivery is over.
constexpr std::string_view time_over = "4.4.7";
/// RFC 3463 3.3
constexpr std::string_view mailbox_full = "4.2.2";

/// The trouble is with all that the route leads to, whoever the message is for.
bool is_of_domain(const Answer& answer) {
  switch (answer.stage) {
    case Stage::routing:
    case Stage::connect:
    case Stage::greeting:
    case Stage::hello:
    case Stage::tls:
    case Stage::auth:
      return true;
    case Stage::mail:
    case Stage::rcpt:
    case Stage::data:
    case Stage::end:
    case Stage::ours:
      break;
  }
  return false;
}

mailstore::Attempt attempt_of(const Answer& answer, const Spoken& spoken, Time now) {
  mailstore::Attempt attempt;
  attempt.at = now;
  attempt.answer = {answer.code, answer.enhanced, answer.text};
  attempt.peer = spoken.peer;
  attempt.tls = spoken.tls;
  return attempt;
}

}  // namespace

Verdict judge(const Answer& answer, const Spoken& spoken, const mailstore::QueuedRecipient& recipient,
              const Schedule& schedule, Time now, std::uint32_t chance) {
  using enum Verdict::Fate;
  Verdict verdict;
  verdict.attempt = attempt_of(answer, spoken, now);
  switch (answer.outcome) {
    case Outcome::delivered:
      verdict.fate = answer.dsn_passed_on ? delivered : relayed;
      return verdict;
    case Outcome::permanent:
      verdict.fate = failed;
      return verdict;
    case Outcome::untried:
      verdict.fate = untouched;
      return verdict;
    case Outcome::temporary:
    case Outcome::unknown:
      break;
  }
  if (answer.outcome == Outcome::temporary && is_of_domain(answer)) verdict.trouble = verdict.attempt;
  const auto accepted = mailstore::accepted_at(recipient.name.id);
  if (is_expired(schedule, now, accepted)) {
    verdict.fate = failed;
    verdict.attempt.answer.enhanced = time_over;
    return verdict;
  }
  verdict.fate = verdict.trouble ? waits_domain : waits;
  verdict.due = next_attempt(schedule, recipient.attempts + 1, now, accepted, chance);
  return verdict;
}

mailstore::Attempt expired_attempt(const mailstore::Attempt& last, Time now) {
  auto attempt = last;
  attempt.at = now;
  attempt.answer.enhanced = last.answer.code == 0 && last.answer.enhanced == mailbox_full ? "5.2.2" : time_over;
  if (attempt.answer.text.empty()) attempt.answer.text = "it could not be tried";
  return attempt;
}

}  // namespace smtpd::outbound
