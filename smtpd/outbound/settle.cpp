#include <algorithm>
#include <utility>

#include "common/log.hpp"

#include "smtpd/outbound/about.hpp"
#include "smtpd/outbound/scheduler_run.hpp"

/// What an answer means for the queue, and who is told of it: in one transaction, so that no report is lost or doubled.
namespace smtpd::outbound {
namespace {

namespace log = common::log;

/// A line of Turns of its own: no lane has this name.
constexpr std::string_view unsettled = "\n\n";
constexpr std::chrono::seconds store_rest{1};

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

/// They leave as failed, and who sent them hears of it.
asio::awaitable<void> Scheduler::give_up(const ServerPlan& plan, mailstore::MessageId id,
                                         std::vector<Failure> failures) {
  std::vector<mailstore::Settlement> silent;
  std::vector<mailstore::Settlement> told;
  std::vector<report::Recipient> tell_of;
  auto opened = queue_.open_message(id, worker_.scratch(), 0);
  if (!opened) co_return;
  const auto envelope = opened->envelope();
  failed_.fetch_add(failures.size(), std::memory_order_relaxed);
  for (auto& failure : failures) {
    mailstore::Settlement leaves{failure.recipient.name,
                                 mailstore::Leaves{mailstore::QueueOutcome::failed, failure.attempt}};
    // A report has nobody to be told of its end, and says so (NOTIFY=NEVER): it is kept aside, never lost (S16).
    const bool report = envelope.reverse_path.empty();
    if (!report && !report::is_wanted(report::Action::failed, failure.recipient.notify)) {
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

/// What became of a group's members is its owner's to know, and the others' sender hears of the others.
asio::awaitable<void> Scheduler::tell(const ServerPlan& plan, mailstore::MessageId id,
                                      const mailstore::Envelope& envelope, const mailstore::OpenMessage& message,
                                      std::vector<mailstore::Settlement> outcomes,
                                      std::vector<report::Recipient> recipients) {
  struct Letter {
    std::vector<mailstore::Settlement> outcomes;
    std::vector<report::Recipient> recipients;
  };
  std::map<std::string, Letter> letters;  // by who gets it in the sender's place
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const auto ordinal = outcomes[i].name.ordinal;
    auto& letter = letters[ordinal < envelope.remotes.size() ? envelope.remotes[ordinal].returns_to : std::string{}];
    letter.outcomes.push_back(std::move(outcomes[i]));
    letter.recipients.push_back(std::move(recipients[i]));
  }
  for (auto& [owner, letter] : letters) {
    auto about = envelope;
    if (!owner.empty()) {
      about.reverse_path = owner;
      about.envelope_id.clear();
      about.return_content = 0;
    }
    auto telling = tell_sender(plan, id, about, message, std::move(letter.outcomes), std::move(letter.recipients));
    co_await std::move(telling);
  }
}

asio::awaitable<void> Scheduler::tell_sender(const ServerPlan& plan, mailstore::MessageId id,
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

}  // namespace smtpd::outbound
