#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <utility>

#include "common/log.hpp"

#include "smtpd/outbound/scheduler_run.hpp"

/// Mail that is asked for: a round of a domain that is held else (ETRN, RFC 1985), and one over the connection of who
/// asked (ATRN, RFC 2645).
namespace smtpd::outbound {
namespace {

namespace log = common::log;

constexpr std::size_t page_size = 100;

}  // namespace

void Scheduler::ask(std::vector<std::string> domains) {
  if (stopping_ || !lock_) return;
  for (auto& domain : domains) {
    lines_[domain].asked = true;
    begin(domain, Reach::arrivals);
  }
}

/// Whether mail to the domain waits until it is asked for, as the directory has it now.
bool Scheduler::is_on_demand(const std::string& domain) {
  if (is_ours(domain)) return false;
  const auto directory = store_.directory();
  const auto settings = routing::find_remote_domain(*directory, domain);
  if (!settings) {
    log::warning("directory.failed", {{"domain", domain}, {"why", settings.error().detail}});
    return true;  // to wait harms nobody
  }
  return *settings && (*settings)->remote.hold;
}

void Scheduler::serve(Turned turned) {
  if (stopping_ || !lock_) return;
  asio::co_spawn(worker_.context(), serve_turned(std::move(turned)), [](const std::exception_ptr& error) {
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& wrong) {
      log::error("queue.run_failed", {{"why", wrong.what()}});
    }
  });
}

asio::awaitable<void> Scheduler::serve_turned(Turned turned) {
  const common::net::Member member{crowd_};
  const auto plans = this->plans();
  const auto* plan = plan_of(*plans, turned.server);
  if (plan == nullptr) co_return;
  auto terms = std::make_shared<ClientTerms>();
  terms->hostname = plan->reporting.hostname;
  // What protects the connection is there by now, or was not asked for.
  terms->security = Security::none;
  terms->messages = 0;
  terms->timeouts = shortened(terms->timeouts, plan->outbound.idle_timeout);
  // Who has just asked is there and waits.
  terms->timeouts.greeting = std::min<std::chrono::milliseconds>(terms->timeouts.greeting, std::chrono::minutes{1});
  ClientSession session{worker_,        common::net::Stream{worker_, std::move(turned.stream)},
                        turned.account, std::move(terms),
                        nullptr,        Attempt::first};
  co_await session.open();
  if (const auto& failure = session.conversation().failure()) {
    log::info("turn.failed",
              {{"account", turned.account}, {"peer", session.address()}, {"why", format_answer(*failure)}});
    co_return;
  }
  std::uint64_t messages = 0;
  for (const auto& domain : turned.reserved->domains()) {
    if (stopping_ || !session.conversation().reusable()) break;
    auto handing = hand_over(domain, session);
    messages += co_await std::move(handing);
  }
  // Whoever calls again behind our QUIT is served again.
  turned.reserved.reset();
  log::info("turn.done", {{"account", turned.account}, {"peer", session.address()}, {"messages", messages}});
  if (session.conversation().resting()) co_await session.quit();
}

/// Whether a person wants the domain's mail to stay where it is, as it is now: there is no taking back what went.
bool Scheduler::is_stopped(const std::string& domain) {
  const auto status = queue_.status();
  const auto row = queue_.domain(domain);
  return !status || status->held || !row || (*row && (*row)->suspended);
}

/// One domain's mail, whatever it waits for, one message after the other; what an ordinary round has in hand stays with
/// that. Returns how many messages were offered.
asio::awaitable<std::uint64_t> Scheduler::hand_over(std::string domain, ClientSession& session) {
  Run run{std::move(domain), worker_.context()};
  run.given = &session;
  auto row = queue_.domain(run.domain);
  if (!row || !*row) co_return 0;
  run.row = std::move(**row);
  // It may have become one since it was asked for; what lies in its folder by now goes nowhere else.
  const auto drop = is_drop_domain(run.domain);
  if (!drop || *drop) co_return 0;
  std::uint64_t messages = 0;
  std::optional<mailstore::QueuePlace> after;
  bool stopped = is_stopped(run.domain);
  for (bool more = true; more && !stopped && !stopping_ && session.conversation().reusable();) {
    const auto status = queue_.status();
    if (!status) break;
    auto page = queue_.ready(run.domain, Time::max(), after, page_size);
    if (!page) {
      log::error("queue.failed", {{"domain", run.domain}, {"why", page.error().detail}});
      break;
    }
    after = page->last;
    more = page->more;
    // Bounces are the ordinary round's, and so is what a person sends elsewhere.
    std::erase_if(page->recipients, [&](const mailstore::QueuedRecipient& recipient) {
      return recipient.state != mailstore::QueueState::waiting || !recipient.reroute.empty() ||
             !in_hand_.emplace(recipient.name.id.value, recipient.name.ordinal).second;
    });
    auto groups = group_by_message(std::move(page->recipients), status->changes);
    for (auto& each : groups) {
      stopped = stopped || is_stopped(run.domain);
      if (stopped || stopping_ || !session.conversation().reusable()) {
        for (const auto& recipient : each.recipients) in_hand_.erase({recipient.name.id.value, recipient.name.ordinal});
        continue;
      }
      ++messages;
      // Those behind it are in hand still: what is wrong with one is not theirs.
      try {
        auto going = attempt(run, std::move(each));
        co_await std::move(going);
      } catch (const std::exception& wrong) {
        log::error("queue.attempt_failed", {{"domain", run.domain}, {"why", wrong.what()}});
      }
    }
  }
  co_return messages;
}

/// What a report says of one that waits: its own last answer or its domain's, and why there may be none.
mailstore::Attempt Scheduler::last_words(const Run& run, const mailstore::Attempt& domain_last,
                                         const mailstore::QueuedRecipient& recipient) {
  auto last = recipient.last.at >= domain_last.at ? recipient.last : domain_last;
  if (run.on_demand && last.at == mailstore::no_time)
    last.answer = {0, "4.4.0", "its server has not asked for it yet (ETRN, ATRN)"};
  return last;
}

}  // namespace smtpd::outbound
