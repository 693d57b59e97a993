#include "tools/pennypost/queue_words.hpp"

#include <algorithm>

#include <fmt/ranges.h>

#include "smtpd/folders/drop_file.hpp"

namespace tools {
namespace {

using mailstore::QueueState;

bool is_due(const mailstore::QueuedRecipient& recipient, const mailstore::QueueDomain& domain, mailstore::Time now) {
  return (recipient.due == mailstore::no_time ? domain.next_round : recipient.due) <= now;
}

/// Waits until it is asked for; what a person orders goes all the same.
bool is_on_demand(const mailstore::QueuedRecipient& recipient, const mailstore::RemoteSettings* remote) {
  return remote != nullptr && remote->hold && recipient.due != mailstore::retry_time;
}

}  // namespace

std::string_view state_of(const mailstore::QueuedRecipient& recipient, const mailstore::QueueDomain& domain,
                          const mailstore::QueueStatus& status, const mailstore::RemoteSettings* remote,
                          mailstore::Time now) {
  if (recipient.state == QueueState::bounce) return "active";
  if (recipient.state == QueueState::held || status.held || domain.suspended) return "held";
  if (is_on_demand(recipient, remote)) return "held";
  return is_due(recipient, domain, now) ? "active" : "waiting";
}

std::string answer_text(const mailstore::Answer& answer) {
  std::string text;
  if (answer.code != 0) text = std::to_string(answer.code);
  for (const auto& part : {answer.enhanced, answer.text}) {
    if (!text.empty() && !part.empty()) text += ' ';
    text += part;
  }
  return text;
}

const mailstore::Attempt& last_attempt(const mailstore::QueuedRecipient& recipient,
                                       const mailstore::QueueDomain& domain) {
  return recipient.due == mailstore::no_time && domain.last.at > recipient.last.at ? domain.last : recipient.last;
}

Why explain(const mailstore::QueuedRecipient& recipient, const mailstore::QueueDomain& domain,
            const mailstore::QueueStatus& status, const mailstore::RemoteSettings* remote, mailstore::Time now) {
  const auto id = mailstore::format_id(recipient.name.id);
  Why why{.state = state_of(recipient, domain, status, remote, now), .cause = {}, .rule = {}, .next = {}, .remedy = {}};
  if (recipient.state == QueueState::bounce) {
    why.cause = fmt::format("a failure report was asked for ({}) and smtpd has not sent it yet", recipient.reason);
    why.rule = "pennypost queue bounce";
    why.next = now;
    return why;
  }
  if (recipient.state == QueueState::held) {
    why.cause = fmt::format("it is held ({})", recipient.reason);
    why.rule = "pennypost queue hold";
    why.remedy = fmt::format("pennypost queue release {}", id);
    return why;
  }
  if (status.held) {
    why.cause = fmt::format("the whole queue is held ({})", status.reason);
    why.rule = "pennypost queue suspend --all";
    why.remedy = "pennypost queue resume --all";
    return why;
  }
  if (domain.suspended) {
    why.cause = fmt::format("the domain {} is suspended ({})", domain.name, domain.reason);
    why.rule = "pennypost queue suspend";
    why.remedy = fmt::format("pennypost queue resume {}", domain.name);
    return why;
  }
  if (is_on_demand(recipient, remote)) {
    why.cause = fmt::format("it is held until ETRN for {}", domain.name);
    if (!remote->dequeue_accounts.empty())
      why.cause += fmt::format(", or ATRN by {}", fmt::join(remote->dequeue_accounts, ", "));
    why.rule = "pennypost domain set --hold";
    why.remedy = fmt::format("pennypost queue retry {}", id);
    return why;
  }
  why.next = std::max(now, recipient.due == mailstore::no_time ? domain.next_round : recipient.due);
  const bool waits = why.next > now;
  why.rule = waits ? "[delivery] retry, or that of its remote domain"
                   : "[outbound] connections and per_domain; smtpd takes it when one is free";
  if (!recipient.placing.empty()) {
    why.cause = fmt::format("it is being put into {}", smtpd::folders::parse_placing(recipient.placing).file);
  } else if (recipient.due == mailstore::retry_time) {
    why.cause = "another try was asked for and has not been made yet";
  } else if (recipient.due != mailstore::no_time) {
    why.cause = fmt::format("it was put off with an answer of its own, after {} attempt{}", recipient.attempts,
                            recipient.attempts == 1 ? "" : "s");
  } else if (domain.failed_rounds > 0) {
    why.cause = fmt::format("{} could not be reached, {} time{} in a row", domain.name, domain.failed_rounds,
                            domain.failed_rounds == 1 ? "" : "s");
  } else if (recipient.attempts > 0) {
    why.cause = fmt::format("it was put off {} time{} and joins the next round to {}", recipient.attempts,
                            recipient.attempts == 1 ? "" : "s", domain.name);
  } else {
    why.cause = "it has not been tried yet";
  }
  return why;
}

std::string_view outcome_text(mailstore::QueueOutcome outcome) {
  switch (outcome) {
    case mailstore::QueueOutcome::delivered:
      return "delivered";
    case mailstore::QueueOutcome::relayed:
      return "relayed";
    case mailstore::QueueOutcome::failed:
      return "failed";
    case mailstore::QueueOutcome::expanded:
      return "expanded";
    case mailstore::QueueOutcome::deleted:
      return "deleted";
  }
  return "unknown";
}

}  // namespace tools
