#include <algorithm>
#include <map>
#include <utility>

#include "common/log.hpp"

#include "smtpd/outbound/about.hpp"
#include "smtpd/outbound/scheduler_run.hpp"

/// Those that have waited too long go back (S53), and those that have waited long are told so once (S52). A domain's
/// recipients lie by age, so both looks end at the first that is young; each page is read by itself.
namespace smtpd::outbound {
namespace {

namespace log = common::log;

constexpr std::size_t page_size = 100;
/// Pages that are looked at for the next that has waited too long; badmail alone may fill more.
constexpr int most_pages = 10;
/// Servers may have different times, so that the next to be told need not be among the oldest.
constexpr std::chrono::hours longest_look{1};

}  // namespace

bool Scheduler::is_badmail(const mailstore::QueuedRecipient& recipient) {
  return recipient.state == mailstore::QueueState::held && recipient.reason.starts_with("badmail:");
}

asio::awaitable<void> Scheduler::give_notice(Run& run) {
  const auto plans = this->plans();
  if (plans->least_notice.count() == 0) co_return;
  auto after = lines_[run.domain].noticed;
  auto noticed = after;
  bool whole = true;  // everybody so far
  for (bool more = true; more && !stopping_;) {
    const auto at = now();
    auto page = queue_.by_age(run.domain, after, page_size);
    if (!page) co_return;
    after = page->last;
    more = page->more;
    std::map<mailstore::MessageId, std::vector<mailstore::QueuedRecipient>> late;
    for (auto& recipient : page->recipients) {
      const auto accepted = mailstore::accepted_at(recipient.name.id);
      if (accepted + plans->least_notice > at) {
        more = whole = false;
        break;
      }
      const auto* plan = plan_of(*plans, recipient.server);
      const bool over = recipient.delay_noticed || is_badmail(recipient) || plan == nullptr;
      const bool now_due = !over && !is_in_hand(recipient) && is_notice_due(run.schedule_of(*plan), at, accepted);
      whole = whole && (over || now_due);
      if (whole) noticed = recipient.name;
      if (now_due) late[recipient.name.id].push_back(std::move(recipient));
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
        mailstore::Settlement settled{recipient.name, mailstore::Noticed{}};
        if (!report::is_wanted(report::Action::delayed, recipient.notify)) {
          silent.push_back(std::move(settled));
          continue;
        }
        auto delayed = about(recipient, envelope, last_words(run, run.row.last, recipient), report::Action::delayed);
        if (delayed.status.empty() || delayed.status.front() != '4') delayed.status = "4.4.0";
        const auto end = mailstore::accepted_at(id) + run.schedule_of(*plan).expire;
        delayed.until = std::chrono::floor<std::chrono::seconds>(end);
        tell_of.push_back(std::move(delayed));
        told.push_back(std::move(settled));
      }
      if (!silent.empty()) co_await settle(std::move(silent));
      if (!told.empty()) co_await tell(*plan, id, envelope, *opened, std::move(told), std::move(tell_of));
    }
  }
  if (!stopping_) lines_[run.domain].noticed = std::move(noticed);
}

/// Behind the round: what lay while we were down is tried once more.
asio::awaitable<void> Scheduler::expire(Run& run) {
  const auto plans = this->plans();
  const auto& domain_last = run.trouble ? *run.trouble : run.row.last;
  std::optional<mailstore::QueuePlace> after;
  for (bool more = true; more && !stopping_;) {
    const auto at = now();
    auto page = queue_.by_age(run.domain, after, page_size);
    if (!page) co_return;
    after = page->last;
    more = page->more;
    std::map<mailstore::MessageId, std::vector<Failure>> expired;
    for (auto& recipient : page->recipients) {
      const auto accepted = mailstore::accepted_at(recipient.name.id);
      if (accepted + plans->least_expire > at) {
        more = false;
        break;
      }
      const auto* plan = plan_of(*plans, recipient.server);
      // Badmail has no time that could be over: nobody is left to be told. What may lie in a drop folder did not fail.
      if (plan == nullptr || is_in_hand(recipient) || is_badmail(recipient) || !recipient.placing.empty()) continue;
      if (!is_expired(run.schedule_of(*plan), at, accepted)) continue;
      auto attempt = expired_attempt(last_words(run, domain_last, recipient), at);
      log::info("message.failed", {{"id", mailstore::format_id(recipient.name.id)},
                                   {"to", recipient.address},
                                   {"why", "expired: " + attempt.answer.text}});
      expired[recipient.name.id].push_back({std::move(recipient), std::move(attempt), {}});
    }
    for (auto& [id, failures] : expired) {
      const auto* plan = plan_of(*plans, failures.front().recipient.server);
      co_await give_up(*plan, id, std::move(failures));
    }
  }
}

/// When the next of a domain has waited long, or too long.
Time Scheduler::next_age(const Run& run) {
  const auto plans = this->plans();
  Time at = now() + longest_look;
  /// The first page, behind `after`, that holds somebody of whom `when` knows a time.
  const auto look = [&](std::optional<mailstore::QueuePlace> after, const auto& when) {
    for (int i = 0; i < most_pages; ++i) {
      const auto page = queue_.by_age(run.domain, after, page_size);
      if (!page) return;
      bool found = false;
      for (const auto& recipient : page->recipients) {
        const auto* plan = plan_of(*plans, recipient.server);
        if (plan == nullptr || is_badmail(recipient) || !recipient.placing.empty()) continue;
        const std::optional<std::chrono::milliseconds> wait = when(run.schedule_of(*plan), recipient);
        if (!wait) continue;
        found = true;
        at = std::min<Time>(at, mailstore::accepted_at(recipient.name.id) + *wait);
      }
      if (found || !page->more) return;
      after = page->last;
    }
  };
  using Wait = std::optional<std::chrono::milliseconds>;
  look(std::nullopt,
       [](const Schedule& schedule, const mailstore::QueuedRecipient&) -> Wait { return schedule.expire; });
  look(lines_[run.domain].noticed, [](const Schedule& schedule, const mailstore::QueuedRecipient& recipient) -> Wait {
    if (recipient.delay_noticed || schedule.delay_notice.count() == 0) return std::nullopt;
    return schedule.delay_notice;
  });
  return at;
}

}  // namespace smtpd::outbound
