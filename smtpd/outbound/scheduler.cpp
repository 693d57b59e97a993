#include "smtpd/outbound/scheduler.hpp"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>

#include "common/log.hpp"

#include "smtpd/outbound/scheduler_run.hpp"

/// Which domain when. What an attempt does stands in attempt.cpp, what it means in settle.cpp.
namespace smtpd::outbound {
namespace {

namespace log = common::log;

constexpr std::chrono::seconds tick_width{1};
constexpr std::uint32_t ticks_between_housekeeping = 60;
constexpr std::size_t page_size = 100;
constexpr std::size_t domains_page = 1000;
/// Recipients of one message that go together; the peer may want fewer.
constexpr std::size_t most_together = 100;
constexpr std::chrono::seconds after_trouble{30};  // with the store: what was due is looked at again then

}  // namespace

Scheduler::Scheduler(mailstore::Store& store, common::net::Worker& worker, NameService& names, Carrier::Setup setup,
                     std::shared_ptr<const Plans> plans, std::uint32_t connections)
    : store_(store),
      queue_(store.queue()),
      worker_(worker),
      carrier_(worker, names, setup),
      dice_(setup.dice),
      lanes_(connections),
      reporter_(store, worker.clock()),
      plans_(std::move(plans)),
      freed_(worker.context()) {
  freed_.expires_at(std::chrono::steady_clock::time_point::max());
}

Scheduler::~Scheduler() = default;

Time Scheduler::now() const {
  return worker_.clock().wall();
}

Scheduler::Counters Scheduler::counters() const {
  const auto count = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  return {count(delivered_), count(failed_), count(deferred_), count(reports_)};
}

std::uint32_t Scheduler::chance() {
  return dice_(0xffffffffU);
}

bool Scheduler::start() {
  worker_.deadlines().set(ticking_, worker_.clock().steady() + tick_width, &Scheduler::on_tick, this);
  auto lock = queue_.lock_scheduler([this](std::vector<mailstore::QueueName> names) {
    asio::post(worker_.context(), [this, names = std::move(names)]() mutable { wake(std::move(names)); });
  });
  if (!lock) {
    log::warning("queue.not_ours", {{"why", lock.error().detail}});
    return false;
  }
  lock_.emplace(std::move(*lock));
  look_for_changes();
  return true;
}

void Scheduler::stop() {
  stopping_ = true;
  worker_.deadlines().clear(ticking_);
  freed_.cancel();
}

void Scheduler::on_tick(void* context) {
  static_cast<Scheduler*>(context)->tick();
}

void Scheduler::tick() {
  if (stopping_) return;
  const bool housekeeping = ++ticks_ % ticks_between_housekeeping == 0;
  if (!lock_) {
    if (housekeeping) {
      start();
    } else {
      worker_.deadlines().set(ticking_, worker_.clock().steady() + tick_width, &Scheduler::on_tick, this);
    }
    return;
  }
  worker_.deadlines().set(ticking_, worker_.clock().steady() + tick_width, &Scheduler::on_tick, this);
  look_for_changes();
  const auto at = now();
  while (!timers_.empty() && timers_.begin()->first <= at) {
    const auto domain = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    if (const auto line = lines_.find(domain); line != lines_.end()) line->second.timer = {};
    begin(domain);
  }
  if (housekeeping) lanes_.forget_idle(worker_.clock().steady());
}

/// What people and other processes changed since the last look; at the first one, all there is.
void Scheduler::look_for_changes() {
  const auto status = queue_.status();
  if (!status) {
    log::error("queue.failed", {{"why", status.error().detail}});
    return;
  }
  held_ = status->held;
  if (known_changes_ != 0 && status->changes == known_changes_) return;
  std::string after;
  for (;;) {
    const auto page = queue_.domains(after, domains_page, known_changes_);
    if (!page) {
      log::error("queue.failed", {{"why", page.error().detail}});
      return;
    }
    for (const auto& domain : page->domains) begin(domain.name);
    if (!page->more) break;
    after = page->last;
  }
  known_changes_ = std::max<std::uint64_t>(status->changes, 1);
}

void Scheduler::wake(std::vector<mailstore::QueueName> names) {
  for (const auto& name : names) begin(name.domain);
}

void Scheduler::begin(const std::string& domain) {
  if (stopping_) return;
  auto& line = lines_[domain];
  if (line.running) {
    line.again = true;
    return;
  }
  line.running = true;
  asio::co_spawn(worker_.context(), run(domain), [this, domain](const std::exception_ptr& error) {
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& wrong) {
      log::error("queue.run_failed", {{"domain", domain}, {"why", wrong.what()}});
    }
    lines_[domain].running = false;
    set_timer(domain, now() + after_trouble);
  });
}

void Scheduler::set_timer(const std::string& domain, Time at) {
  auto& line = lines_[domain];
  if (line.timer != Time{}) {
    const auto [from, to] = timers_.equal_range(line.timer);
    const auto old = std::find_if(from, to, [&](const auto& entry) { return entry.second == domain; });
    if (old != to) timers_.erase(old);
  }
  line.timer = at;
  timers_.emplace(at, domain);
}

asio::awaitable<void> Scheduler::run(std::string domain) {
  Run run{std::move(domain)};
  for (bool more = true; more && !stopping_;) {
    lines_[run.domain].again = false;
    run.good = false;
    run.trouble.reset();
    auto row = queue_.domain(run.domain);
    if (!row) {
      log::error("queue.failed", {{"domain", run.domain}, {"why", row.error().detail}});
      set_timer(run.domain, now() + after_trouble);
      break;
    }
    if (!*row) break;
    run.row = std::move(**row);
    co_await age(run);
    co_await do_round(run);
    co_await end_round(run);
    more = lines_[run.domain].again;
  }
  leave(run);
}

/// Begins an attempt for everything that is due, as fast as the limits allow, and waits for the last to end.
asio::awaitable<void> Scheduler::do_round(Run& run) {
  std::optional<mailstore::QueuePlace> after;
  std::optional<mailstore::DuePlace> after_due;
  const bool open = !held_ && !run.row.suspended;
  const bool round = open && run.row.next_round <= now();
  for (;;) {
    std::vector<mailstore::QueuedRecipient> recipients;
    bool more = false;
    if (round) {
      auto page = queue_.ready(run.domain, now(), after, page_size);
      if (!page) break;
      recipients = std::move(page->recipients);
      after = std::move(page->last);
      more = page->more;
    } else {
      auto page = queue_.due(run.domain, now(), after_due, page_size);
      if (!page) break;
      recipients = std::move(page->recipients);
      after_due = page->last;
      more = page->more;
    }
    // Now, before anything waits: what is in hand at this moment was read because it is not settled yet.
    std::erase_if(recipients, [&](const mailstore::QueuedRecipient& recipient) {
      const bool bounce = recipient.state == mailstore::QueueState::bounce;
      return (!open && !bounce) || !in_hand_.emplace(recipient.name.id.value, recipient.name.ordinal).second;
    });
    std::vector<Group> groups;
    for (auto& recipient : recipients) {
      const bool fits = !groups.empty() && groups.back().id == recipient.name.id &&
                        groups.back().reroute == recipient.reroute &&
                        groups.back().recipients.front().state == recipient.state &&
                        groups.back().recipients.size() < most_together;
      if (!fits) groups.push_back({recipient.name.id, recipient.server, recipient.reroute, {}});
      groups.back().recipients.push_back(std::move(recipient));
    }
    for (auto& group : groups) {
      // A dead domain costs one attempt a round: until somebody there was spoken to, one goes alone.
      while (run.under_way > 0 && !run.good && !lines_[run.domain].proven && !stopping_) {
        asio::error_code ignored;
        auto freed = asio::redirect_error(asio::use_awaitable, ignored);
        co_await freed_.async_wait(freed);
      }
      const bool bounce = group.recipients.front().state == mailstore::QueueState::bounce;
      if (stopping_ || (run.over() && !bounce)) {
        for (const auto& recipient : group.recipients)
          in_hand_.erase({recipient.name.id.value, recipient.name.ordinal});
        continue;
      }
      ++run.under_way;
      auto going = attempt(run, std::move(group));
      asio::co_spawn(worker_.context(), std::move(going), [this, &run](const std::exception_ptr& error) {
        --run.under_way;
        freed_.cancel();
        if (!error) return;
        try {
          std::rethrow_exception(error);
        } catch (const std::exception& wrong) {
          log::error("queue.attempt_failed", {{"domain", run.domain}, {"why", wrong.what()}});
        }
      });
    }
    if (stopping_ || run.over()) break;
    if (more) continue;
    // What came meanwhile goes along at once, wherever it stands in the order.
    if (!std::exchange(lines_[run.domain].again, false)) break;
    after.reset();
    after_due.reset();
  }
  while (run.under_way > 0) {
    asio::error_code ignored;
    auto freed = asio::redirect_error(asio::use_awaitable, ignored);
    co_await freed_.async_wait(freed);
  }
}

asio::awaitable<void> Scheduler::wait_for_lane(const std::string& destination, Lanes::Limits limits) {
  for (;;) {
    const auto verdict = lanes_.begin(destination, limits, worker_.clock().steady());
    if (verdict.hold == Lanes::Hold::none) co_return;
    // Connections that rest count too (S60).
    if (verdict.hold == Lanes::Hold::total) carrier_.drop_idle();
    asio::error_code ignored;
    if (verdict.hold == Lanes::Hold::rate) {
      asio::steady_timer until{worker_.context(), verdict.at};
      auto due = asio::redirect_error(asio::use_awaitable, ignored);
      co_await until.async_wait(due);
    } else {
      auto freed = asio::redirect_error(asio::use_awaitable, ignored);
      co_await freed_.async_wait(freed);
    }
  }
}

/// One row says how the domain stands, however many wait on it.
asio::awaitable<void> Scheduler::end_round(Run& run) {
  auto& line = lines_[run.domain];
  std::vector<mailstore::Round> rounds;
  if (run.over()) {
    line.proven = false;
    const auto next = next_attempt(*run.schedule, run.row.failed_rounds + 1, now(), now(), chance());
    rounds.push_back({run.domain, next, *run.trouble});
    log::info("domain.deferred", {{"domain", run.domain},
                                  {"peer", run.trouble->peer},
                                  {"why", run.trouble->answer.text},
                                  {"rounds", std::uint64_t{run.row.failed_rounds} + 1}});
  } else if (run.good && run.row.failed_rounds > 0) {
    rounds.push_back({run.domain, {}, {}});
  }
  if (run.good) line.proven = true;
  if (rounds.empty()) co_return;
  std::vector<mailstore::Settlement> nothing;
  auto settling = queue_.settle(std::move(nothing), std::move(rounds));
  const auto settled = co_await std::move(settling);
  if (!settled) log::error("queue.failed", {{"domain", run.domain}, {"why", settled.error().detail}});
}

/// When it is to be looked at again.
void Scheduler::leave(Run& run) {
  auto& line = lines_[run.domain];
  line.running = false;
  if (stopping_) return;
  const auto row = queue_.domain(run.domain);
  if (!row) return set_timer(run.domain, now() + after_trouble);
  if (!*row || ((*row)->waiting == 0 && (*row)->held == 0)) {
    lines_.erase(run.domain);
    return;
  }
  const auto plans = plans_.get();
  Time at = Time::max();
  if ((*row)->next_due != mailstore::no_time) at = (*row)->next_due;
  if ((*row)->waiting > (*row)->due_alone && (*row)->next_round != mailstore::no_time)
    at = std::min(at, (*row)->next_round);
  // Who is the next to have waited too long.
  if (const auto oldest = queue_.by_age(run.domain, std::nullopt, page_size)) {
    for (const auto& recipient : oldest->recipients) {
      const auto* plan = plan_of(*plans, recipient.server);
      if (plan == nullptr) continue;
      const auto accepted = mailstore::accepted_at(recipient.name.id);
      at = std::min<Time>(at, accepted + plan->schedule.expire);
      if (!recipient.delay_noticed && plan->schedule.delay_notice.count() != 0)
        at = std::min<Time>(at, accepted + plan->schedule.delay_notice);
    }
  }
  if (at != Time::max()) set_timer(run.domain, std::max<Time>(at, now() + std::chrono::milliseconds{500}));
}

const ServerPlan* Scheduler::plan_of(const Plans& plans, std::string_view server) const {
  auto found = plans.servers.find(server);
  if (found == plans.servers.end()) found = plans.servers.find(plans.first);
  return found == plans.servers.end() ? nullptr : &found->second;
}

std::shared_ptr<const ClientTerms> Scheduler::terms_for(const ServerPlan& plan, const NextHop& hop) {
  const auto key = plan.reporting.server + '\n' + std::string{name_of(hop.security)} + '\n' +
                   (hop.hello == Hello::helo ? "helo" : "ehlo") + '\n' + hop.username + '\n' + hop.password;
  auto& terms = terms_[key];
  if (terms) return terms;
  auto made = std::make_shared<ClientTerms>();
  made->hostname = plan.reporting.hostname;
  made->hello = hop.hello;
  made->security = hop.security;
  if (!hop.username.empty()) {
    auto credentials = std::make_shared<Credentials>();
    credentials->account = hop.username;
    credentials->password = common::Secret{hop.password};
    made->credentials = std::move(credentials);
  }
  made->messages = static_cast<std::uint64_t>(plan.outbound.messages_per_connection);
  made->timeouts = shortened(made->timeouts, plan.outbound.idle_timeout);
  terms = std::move(made);
  return terms;
}

}  // namespace smtpd::outbound
