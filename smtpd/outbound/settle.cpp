#include <algorithm>
#include <utility>

#include "common/log.hpp"

#include "smtpd/outbound/scheduler_run.hpp"

/// What an answer means for the queue, and who is told of it: in one transaction, so that no report is lost or doubled.
namespace smtpd::outbound {
namespace {

namespace log = common::log;

/// A line of Turns of its own: no lane has this name.
constexpr std::string_view unsettled = "\n";
constexpr std::chrono::seconds store_rest{1};

std::string words_of(const mailstore::Answer& answer) {
  if (answer.code == 0) return answer.text;
  std::string text = std::to_string(answer.code);
  if (!answer.enhanced.empty()) text += ' ' + answer.enhanced;
  return text + ' ' + answer.text;
}

/// "mx.example.net[192.0.2.1]:25" without its numbers.
std::string name_of_peer(const std::string& peer) {
  return peer.substr(0, peer.find('['));
}

report::Recipient about(const mailstore::QueuedRecipient& recipient, const mailstore::Envelope& envelope,
                        const mailstore::Attempt& attempt, report::Action action) {
  report::Recipient told;
  told.address = recipient.address;
  if (recipient.name.ordinal < envelope.remotes.size())
    told.original = report::readable_original(envelope.remotes[recipient.name.ordinal].original_recipient);
  told.action = action;
  told.status = attempt.answer.enhanced;
  told.peer = name_of_peer(attempt.peer);
  if (attempt.answer.code != 0) {
    told.answer = words_of(attempt.answer);
  } else {
    told.why = attempt.answer.text;
  }
  if (attempt.at != mailstore::no_time) told.tried = std::chrono::floor<std::chrono::seconds>(attempt.at);
  return told;
}

}  // namespace

/// Until it is written, or the daemon stops: who forgets that a message was delivered delivers it twice.
asio::awaitable<void> Scheduler::settle(std::vector<mailstore::Settlement> outcomes,
                                        std::vector<mailstore::Round> rounds) {
  for (;;) {
    auto settling = queue_.settle(outcomes, rounds);
    const auto settled = co_await std::move(settling);
    if (settled) co_return;
    log::error("queue.not_settled", {{"why", settled.error().detail}});
    if (stopping_) co_return;
    co_await rest();
  }
}

bool Scheduler::is_badmail(const mailstore::QueuedRecipient& recipient) {
  return recipient.state == mailstore::QueueState::held && folders::parse_badmail_reason(recipient.reason);
}

/// They leave as failed, and who sent them hears of it.
asio::awaitable<void> Scheduler::give_up(const ServerPlan& plan, mailstore::MessageId id,
                                         std::vector<Failure> failures) {
  std::vector<mailstore::Settlement> silent;
  std::vector<mailstore::Settlement> told;
  std::vector<report::Recipient> tell_of;
  auto opened = queue_.open_message(id, worker_.scratch(), 0);
  if (!opened) co_return;
  const auto envelope = opened->envelope();
  for (auto& failure : failures) {
    mailstore::Settlement leaves{failure.recipient.name,
                                 mailstore::Leaves{mailstore::QueueOutcome::failed, failure.attempt}};
    if (!report::is_wanted(report::Action::failed, failure.recipient.notify)) {
      silent.push_back(std::move(leaves));
      continue;
    }
    auto recipient = about(failure.recipient, envelope, failure.attempt, report::Action::failed);
    if (!failure.why.empty()) recipient.why = std::move(failure.why);
    tell_of.push_back(std::move(recipient));
    told.push_back(std::move(leaves));
  }
  if (!silent.empty()) co_await settle(std::move(silent));
  if (!told.empty()) co_await tell(plan, id, envelope, *opened, std::move(told), std::move(tell_of));
}

asio::awaitable<void> Scheduler::tell(const ServerPlan& plan, mailstore::MessageId id,
                                      const mailstore::Envelope& envelope, const mailstore::OpenMessage& message,
                                      std::vector<mailstore::Settlement> outcomes,
                                      std::vector<report::Recipient> recipients) {
  const bool any_failed = std::ranges::any_of(
      recipients, [](const report::Recipient& each) { return each.action == report::Action::failed; });
  for (;;) {
    auto making = reporter_.make(plan.reporting, id, envelope, message, recipients);
    auto made = co_await std::move(making);
    using enum report::Reporter::Refusal;
    if (!made && made.error() != trouble) {
      if (!any_failed) {
        co_await settle(std::move(outcomes));
        co_return;
      }
      if (made.error() == no_reverse_path) {
        co_await set_aside(std::move(outcomes), folders::BadmailCause::ndr_of_dsn,
                           "it failed, and has no sender to be told");
      } else {
        co_await set_aside(std::move(outcomes), folders::BadmailCause::general_failure,
                           "it failed, and its sender is nobody here");
      }
      co_return;
    }
    std::string why = "the report could not be written";
    if (made) {
      const auto report_id = mailstore::format_id(made->draft.id());
      auto settling = queue_.settle(outcomes, std::move(*made));
      const auto settled = co_await std::move(settling);
      if (settled) {
        if (!settled->successor_taken) co_return;
        reports_.fetch_add(1, std::memory_order_relaxed);
        log::info("message.report",
                  {{"id", report_id}, {"about", mailstore::format_id(id)}, {"to", envelope.reverse_path}});
        co_return;
      }
      why = settled.error().detail;
    }
    log::error("queue.not_settled", {{"id", mailstore::format_id(id)}, {"why", why}});
    if (stopping_) co_return;
    co_await rest();
  }
}

/// A moment in which whatever ails the store may pass.
asio::awaitable<void> Scheduler::rest() {
  auto waiting = turns_.wait(std::string{unsettled}, Turns::Place::tail, std::chrono::steady_clock::now() + store_rest);
  co_await std::move(waiting);
}

/// Kept with its cause until a person decides (S16).
asio::awaitable<void> Scheduler::set_aside(std::vector<mailstore::Settlement> outcomes, folders::BadmailCause cause,
                                           std::string_view why) {
  std::vector<mailstore::QueueName> names;
  for (const auto& outcome : outcomes) {
    names.push_back(outcome.name);
    log::warning("message.badmail",
                 {{"id", mailstore::format_id(outcome.name.id)}, {"cause", folders::name_of(cause)}, {"why", why}});
    badmail_.at(std::to_underlying(cause)).fetch_add(1, std::memory_order_relaxed);
  }
  // The answer stays with it: held ones keep what was said last.
  std::vector<mailstore::Settlement> notes;
  for (auto& outcome : outcomes) {
    if (auto* leaves = std::get_if<mailstore::Leaves>(&outcome.what))
      notes.push_back({outcome.name, mailstore::Stays{std::move(leaves->attempt), {}}});
  }
  co_await settle(std::move(notes));
  auto ordering = queue_.order(std::move(names), mailstore::HoldOrder{folders::format_badmail_reason(cause, why)});
  const auto held = co_await std::move(ordering);
  if (!held) log::error("queue.failed", {{"why", held.error().detail}});
}

/// Those that have waited too long go back, and those that have waited long are told so.
asio::awaitable<void> Scheduler::age(Run& run) {
  constexpr std::size_t page_size = 100;
  const auto plans = this->plans();
  std::optional<mailstore::QueuePlace> after;
  for (bool more = true; more && !stopping_;) {
    const auto at = now();
    auto page = queue_.by_age(run.domain, after, page_size);
    if (!page) co_return;
    after = page->last;
    bool any = false;
    std::map<mailstore::MessageId, std::vector<Failure>> expired;
    std::map<mailstore::MessageId, std::vector<mailstore::QueuedRecipient>> late;
    for (auto& recipient : page->recipients) {
      const auto* plan = plan_of(*plans, recipient.server);
      if (plan == nullptr || in_hand_.contains({recipient.name.id.value, recipient.name.ordinal})) continue;
      const auto accepted = mailstore::accepted_at(recipient.name.id);
      // Badmail has no time that could be over: nobody is left to be told.
      if (is_badmail(recipient)) continue;
      // A person wants it to be tried once more, however old it is.
      if (recipient.due == mailstore::retry_time) continue;
      if (is_expired(plan->schedule, at, accepted)) {
        any = true;
        const auto& last = recipient.last.at >= run.row.last.at ? recipient.last : run.row.last;
        auto attempt = expired_attempt(last, at);
        expired[recipient.name.id].push_back({std::move(recipient), std::move(attempt), {}});
      } else if (!recipient.delay_noticed && is_notice_due(plan->schedule, at, accepted)) {
        any = true;
        late[recipient.name.id].push_back(std::move(recipient));
      }
    }
    // Oldest first: where a whole page is young, the rest is.
    more = page->more && any;
    for (auto& [id, failures] : expired) {
      const auto* plan = plan_of(*plans, failures.front().recipient.server);
      for (const auto& failure : failures) {
        log::info("message.failed", {{"id", mailstore::format_id(id)},
                                     {"to", failure.recipient.address},
                                     {"why", "expired: " + failure.attempt.answer.text}});
      }
      co_await give_up(*plan, id, std::move(failures));
    }
    for (auto& [id, recipients] : late) {
      const auto* plan = plan_of(*plans, recipients.front().server);
      auto opened = queue_.open_message(id, worker_.scratch(), 0);
      if (!opened) continue;
      const auto envelope = opened->envelope();
      std::vector<mailstore::Settlement> silent;
      std::vector<mailstore::Settlement> told;
      std::vector<report::Recipient> tell_of;
      for (auto& recipient : recipients) {
        mailstore::Settlement noticed{recipient.name, mailstore::Noticed{}};
        if (!report::is_wanted(report::Action::delayed, recipient.notify)) {
          silent.push_back(std::move(noticed));
          continue;
        }
        const auto& last = recipient.last.at >= run.row.last.at ? recipient.last : run.row.last;
        auto delayed = about(recipient, envelope, last, report::Action::delayed);
        if (delayed.status.empty() || delayed.status.front() != '4') delayed.status = "4.4.0";
        delayed.until = std::chrono::floor<std::chrono::seconds>(mailstore::accepted_at(id) + plan->schedule.expire);
        tell_of.push_back(std::move(delayed));
        told.push_back(std::move(noticed));
      }
      if (!silent.empty()) co_await settle(std::move(silent));
      if (!told.empty()) co_await tell(*plan, id, envelope, *opened, std::move(told), std::move(tell_of));
    }
  }
}

}  // namespace smtpd::outbound
