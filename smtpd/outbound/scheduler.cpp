#include "smtpd/outbound/scheduler.hpp"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>
#include <utility>

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
/// Domains at a time. Each costs some KiB while it runs, and some hundred octets while it waits.
constexpr std::size_t most_runs = 2000;
/// With the store, or with what the machine lacks: what was due is looked at again then.
constexpr std::chrono::seconds after_trouble{30};
/// The same, where a person waits for it.
constexpr std::chrono::seconds after_order{5};
/// A timer that comes in a moment comes too often.
constexpr std::chrono::milliseconds least_wait{500};

/// For all the mail of a virtual server: one of its lanes is free (S60). No destination has such a name.
std::string line_of(std::string_view owner) {
  return '\n' + std::string{owner};
}

}  // namespace

Scheduler::Scheduler(mailstore::Store& store, common::net::Worker& worker, NameService& names, Carrier::Setup setup,
                     std::shared_ptr<const Plans> plans, std::chrono::seconds keep_done)
    : store_(store),
      queue_(store.queue()),
      worker_(worker),
      carrier_(worker, names, setup),
      dice_(setup.dice),
      reporter_(store, worker.clock()),
      plans_(std::move(plans)),
      keep_done_(keep_done),
      turns_(worker.context().get_executor()) {}

Scheduler::~Scheduler() = default;

Time Scheduler::now() const {
  return worker_.clock().wall();
}

Scheduler::Counters Scheduler::counters() const {
  const auto count = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  folders::BadmailCounts badmail{};
  for (std::size_t i = 0; i < badmail.size(); ++i) badmail.at(i) = count(badmail_.at(i));
  return {count(delivered_), count(failed_), count(deferred_), count(reports_), badmail};
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
  schedules_.store(true, std::memory_order_relaxed);
  look_for_changes();
  return true;
}

void Scheduler::stop() {
  stopping_ = true;
  worker_.deadlines().clear(ticking_);
  turns_.call_all();
}

void Scheduler::on_tick(void* context) {
  static_cast<Scheduler*>(context)->tick();
}

void Scheduler::tick() {
  if (stopping_) return;
  const bool housekeeping = ++ticks_ % ticks_between_housekeeping == 0;
  if (!lock_ && housekeeping) {
    start();
    return;
  }
  worker_.deadlines().set(ticking_, worker_.clock().steady() + tick_width, &Scheduler::on_tick, this);
  if (!lock_) return;
  look_for_changes();
  const auto at = now();
  while (!timers_.empty() && timers_.begin()->first <= at) {
    const auto domain = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    if (const auto line = lines_.find(domain); line != lines_.end()) line->second.timer = {};
    begin(domain, Reach::everything);
  }
  if (housekeeping) keep_house();
}

void Scheduler::keep_house() {
  lanes_.forget_idle(worker_.clock().steady());
  std::erase_if(lines_, [](const auto& each) { return !each.second.running && each.second.timer == Time{}; });
  if (trimming_ || keep_done_.count() == 0) return;
  trimming_ = true;
  asio::co_spawn(
      worker_.context(),
      [](Scheduler& self) -> asio::awaitable<void> {
        const common::net::Member member{self.crowd_};
        auto trimming = self.queue_.trim_done(self.now() - self.keep_done_);
        const auto trimmed = co_await std::move(trimming);
        if (!trimmed) log::error("queue.failed", {{"why", trimmed.error().detail}});
        self.trimming_ = false;
      }(*this),
      asio::detached);
}

/// What people and other processes changed since the last look; at the first one, all there is.
void Scheduler::look_for_changes() {
  const auto status = queue_.status();
  if (!status) {
    log::error("queue.failed", {{"why", status.error().detail}});
    return;
  }
  // A release concerns all domains, and none of their rows.
  if (std::exchange(held_, status->held) != status->held) known_changes_.reset();
  if (known_changes_ == status->changes) return;
  std::string after;
  for (;;) {
    const auto page = queue_.domains(after, domains_page, known_changes_.value_or(0));
    if (!page) {
      log::error("queue.failed", {{"why", page.error().detail}});
      return;
    }
    for (const auto& domain : page->domains) {
      lines_[domain.name].noticed.reset();
      lines_[domain.name].suspended = domain.suspended;
      begin(domain.name, Reach::everything);
    }
    if (!page->more) break;
    after = page->last;
  }
  known_changes_ = status->changes;
}

void Scheduler::wake(std::vector<mailstore::QueueName> names) {
  if (stopping_) return;
  for (auto& name : names) {
    auto& line = lines_[name.domain];
    mailstore::QueuePlace before{name.domain, {name.id.value - 1}, 0xffff};
    if (line.noticed && before < *line.noticed) line.noticed.reset();
    if (!line.arrived || before < *line.arrived) line.arrived = std::move(before);
    begin(name.domain, Reach::arrivals);
  }
}

void Scheduler::begin(const std::string& domain, Reach reach) {
  if (stopping_) return;
  auto& line = lines_[domain];
  if (reach == Reach::everything) line.again = true;
  if (line.running) return;
  line.running = true;
  if (runs_ >= most_runs) {
    next_.push_back(domain);
    return;
  }
  spawn(domain);
}

void Scheduler::spawn(const std::string& domain) {
  ++runs_;
  asio::co_spawn(worker_.context(), run(domain), [this, domain](const std::exception_ptr& error) {
    --runs_;
    if (error) {
      try {
        std::rethrow_exception(error);
      } catch (const std::exception& wrong) {
        log::error("queue.run_failed", {{"domain", domain}, {"why", wrong.what()}});
      }
      lines_[domain].running = false;
      set_timer(domain, now() + after_trouble);
    }
    if (next_.empty() || stopping_) return;
    const auto next = std::move(next_.front());
    next_.pop_front();
    spawn(next);
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
  const common::net::Member member{crowd_};
  Run run{std::move(domain), worker_.context()};
  bool unreadable = false;
  for (bool more = true; more && !stopping_;) {
    run.good = false;
    run.streak = 0;
    run.trouble.reset();
    auto row = queue_.domain(run.domain);
    if (!row) {
      log::error("queue.failed", {{"domain", run.domain}, {"why", row.error().detail}});
      unreadable = true;
      break;
    }
    if (!*row) {
      // Nothing waits there: what it was to be looked at for has gone meanwhile.
      auto& line = lines_[run.domain];
      line.again = line.asked = false;
      line.arrived.reset();
      break;
    }
    run.row = std::move(**row);
    const auto drop = is_drop_domain(run.domain);
    if (!drop) {
      unreadable = true;
      break;
    }
    lines_[run.domain].suspended = run.row.suspended;
    run.ours = is_ours(run.domain);
    run.on_demand = is_on_demand(run.domain);
    run.asked = std::exchange(lines_[run.domain].asked, false);
    if (run.asked) lines_[run.domain].again = true;
    // Held as a whole, the queue may be one that was restored, of mail that went long ago.
    const bool everything = lines_[run.domain].again && !held_;
    if (everything) co_await give_notice(run);
    if (*drop) {
      co_await place_round(run);
    } else {
      co_await do_round(run);
    }
    co_await end_round(run);
    if (everything && !held_) co_await expire(run);
    const auto& line = lines_[run.domain];
    more = line.again || line.arrived || line.asked;
  }
  if (!unreadable) {
    leave(run);
  } else if (!stopping_) {
    lines_[run.domain].running = false;
    set_timer(run.domain, now() + after_trouble);
  }
}

/// Nothing but what is to be bounced may be done there.
bool Scheduler::is_closed(const Run& run) {
  return held_ || lines_[run.domain].suspended;
}

/// Begins an attempt for everything that is due, as fast as the limits allow, and waits for the last to end.
asio::awaitable<void> Scheduler::do_round(Run& run) {
  bool round = !is_closed(run) && (run.asked || (!run.on_demand && run.row.next_round <= now()));
  std::optional<mailstore::QueuePlace> after;
  std::optional<mailstore::DuePlace> after_due;
  for (bool more = false; !stopping_;) {
    if (round && (run.over() || is_closed(run))) {
      // What is to be bounced, or goes another way, does not wait for the domain.
      round = false;
      more = true;
    }
    if (!more) {
      // What came meanwhile goes along at once. Before it there is nothing new, unless everything is to be looked at.
      auto& line = lines_[run.domain];
      auto arrived = std::exchange(line.arrived, std::nullopt);
      const bool everything = std::exchange(line.again, false);
      if (!everything && !arrived) break;
      after = everything ? std::nullopt : std::move(arrived);
      after_due.reset();
    }
    const auto status = queue_.status();
    if (!status) break;
    std::vector<mailstore::QueuedRecipient> recipients;
    if (round) {
      auto page = queue_.ready(run.domain, run.asked && run.on_demand ? Time::max() : now(), after, page_size);
      if (!page) break;
      recipients = std::move(page->recipients);
      after = std::move(page->last);
      more = page->more;
    } else {
      // Bounces and those wanted now stand before all others.
      auto page = queue_.due(run.domain, now(), after_due, page_size);
      if (!page) break;
      recipients = std::move(page->recipients);
      after_due = page->last;
      more = page->more && !recipients.empty() && recipients.back().due <= mailstore::retry_time;
    }
    // Now, before anything waits: what is in hand at this moment was read because it is not settled yet.
    std::erase_if(recipients, [&](const mailstore::QueuedRecipient& recipient) {
      return !may_go(run, recipient, round) ||
             !in_hand_.emplace(recipient.name.id.value, recipient.name.ordinal).second;
    });
    co_await launch(run, std::move(recipients), status->changes);
  }
  while (run.under_way > 0) co_await run.next_end();
}

bool Scheduler::may_go(const Run& run, const mailstore::QueuedRecipient& recipient, bool round) {
  if (recipient.state == mailstore::QueueState::bounce) return true;
  if (is_closed(run)) return false;
  if (!recipient.reroute.empty()) return true;
  if (run.over()) return false;
  // While a domain waits for its round, or to be asked for, only who was ordered to goes before it: the others would
  // each ask it anew.
  return round || recipient.due == mailstore::retry_time;
}

/// Recipients of one message that take the same way go together.
std::vector<Scheduler::Group> Scheduler::group_by_message(std::vector<mailstore::QueuedRecipient> recipients,
                                                          std::uint64_t changes) {
  std::vector<Group> groups;
  for (auto& recipient : recipients) {
    const bool fits =
        !groups.empty() && groups.back().id == recipient.name.id && groups.back().reroute == recipient.reroute &&
        groups.back().recipients.front().state == recipient.state && groups.back().recipients.size() < most_together;
    if (!fits) groups.push_back({recipient.name.id, recipient.server, recipient.reroute, changes, {}});
    groups.back().recipients.push_back(std::move(recipient));
  }
  return groups;
}

asio::awaitable<void> Scheduler::launch(Run& run, std::vector<mailstore::QueuedRecipient> recipients,
                                        std::uint64_t changes) {
  auto groups = group_by_message(std::move(recipients), changes);
  for (auto& group : groups) {
    // A dead domain costs one attempt a round: until somebody there was spoken to, one goes alone.
    for (;;) {
      const auto& line = lines_[run.domain];
      const auto most = run.may_widen(line.proven) ? line.width * 2 : 1;
      if (run.under_way < most || stopping_) break;
      co_await run.next_end();
    }
    if (stopping_ || !may_go(run, group.recipients.front(), true)) {
      for (const auto& recipient : group.recipients) in_hand_.erase({recipient.name.id.value, recipient.name.ordinal});
      continue;
    }
    begin_attempt(run, std::move(group));
  }
}

void Scheduler::begin_attempt(Run& run, Group group) {
  ++run.under_way;
  auto going = attempt(run, std::move(group));
  asio::co_spawn(worker_.context(), std::move(going), [&run](const std::exception_ptr& error) {
    --run.under_way;
    run.ended.cancel();
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& wrong) {
      log::error("queue.attempt_failed", {{"domain", run.domain}, {"why", wrong.what()}});
    }
  });
}

bool Scheduler::is_ours(const std::string& domain) const {
  const auto directory = store_.directory();
  const auto found = directory->domain(domain);
  return found && *found && (*found)->kind != mailstore::DomainKind::remote;
}

asio::awaitable<void> Scheduler::wait_for_lane(const std::string& destination, Lanes::Limits limits) {
  auto place = Turns::Place::tail;
  bool called = false;
  while (!stopping_) {
    const auto verdict = lanes_.begin(destination, limits, worker_.clock().steady());
    if (verdict.hold == Lanes::Hold::none) co_return;
    const bool total = verdict.hold == Lanes::Hold::total;
    // A lane of the server's is free, and not for this one: the next may have it.
    if (called && !total) turns_.call(line_of(limits.owner), 1);
    called = total;
    const bool rate = verdict.hold == Lanes::Hold::rate;
    auto waiting = turns_.wait(total ? line_of(limits.owner) : destination, place,
                               rate ? verdict.at : std::chrono::steady_clock::time_point::max());
    co_await std::move(waiting);
    place = Turns::Place::head;
  }
}

void Scheduler::leave_lane(const std::string& destination, const std::string& owner, Pace::Sign sign) {
  lanes_.end(destination, owner, sign);
  turns_.call(destination, lanes_.room(destination));
  turns_.call(line_of(owner), 1);
}

/// One row says how the domain stands, however many wait on it.
asio::awaitable<void> Scheduler::end_round(Run& run) {
  auto& line = lines_[run.domain];
  std::vector<mailstore::Round> rounds;
  std::vector<mailstore::Settlement> own;
  const bool dead = run.over();
  line.proven = !dead && (run.good || line.proven);
  if (dead) {
    for (auto& each : std::exchange(run.undecided, {})) {
      if (!each.had_due) continue;  // its domain's row says it all
      std::get<mailstore::Stays>(each.stays.what).due = mailstore::no_time;
      own.push_back(std::move(each.stays));
    }
    add_ordered(run, own);
    // Anybody may ask by ETRN: what fails then makes nobody's mail wait longer.
    const bool ahead = run.asked && (run.on_demand || run.row.next_round > now());
    const auto next = next_attempt(*run.schedule, run.row.failed_rounds + 1, now(), now(), chance());
    rounds.push_back({run.domain, next, *run.trouble, ahead});
    log::info("domain.deferred", {{"domain", run.domain},
                                  {"peer", run.trouble->peer},
                                  {"why", run.trouble->answer.text},
                                  {"rounds", std::uint64_t{run.row.failed_rounds} + (ahead ? 0 : 1)}});
  } else {
    for (auto& each : std::exchange(run.undecided, {})) own.push_back(std::move(each.stays));
    if (run.good && (run.row.failed_rounds > 0 || run.row.last.at != mailstore::no_time))
      rounds.push_back({run.domain, {}, {}});
  }
  if (!rounds.empty() || !own.empty()) co_await settle(own, std::move(rounds));
  for (const auto& hand : std::exchange(run.kept, {})) in_hand_.erase(hand);
}

/// Those that a person wanted to be tried at once, and whose turn did not come: the first told how the domain stands.
void Scheduler::add_ordered(Run& run, std::vector<mailstore::Settlement>& own) {
  std::optional<mailstore::DuePlace> after;
  for (bool more = true; more;) {
    const auto page = queue_.due(run.domain, mailstore::retry_time, after, page_size);
    if (!page) return;
    for (const auto& recipient : page->recipients) {
      if (recipient.state != mailstore::QueueState::waiting || !recipient.reroute.empty()) continue;
      if (is_in_hand(recipient)) continue;
      own.push_back({recipient.name, mailstore::Stays{*run.trouble, mailstore::no_time}});
    }
    after = page->last;
    more = page->more;
  }
}

/// When it is to be looked at again.
void Scheduler::leave(Run& run) {
  auto& line = lines_[run.domain];
  line.running = false;
  if (stopping_) return;
  if (line.again || line.arrived || line.asked) return begin(run.domain, Reach::arrivals);
  const auto row = queue_.domain(run.domain);
  if (!row) return set_timer(run.domain, now() + after_trouble);
  if (!*row || ((*row)->waiting == 0 && (*row)->held == 0)) {
    // What is remembered of a domain that takes mail spares the next message the probe.
    if (!line.proven && line.timer == Time{}) lines_.erase(run.domain);
    return;
  }
  const bool open = !held_ && !(*row)->suspended;
  Time at = Time::max();
  // Due, and all the same not done: something of ours was in the way.
  if ((*row)->bounces > 0) at = now() + after_order;
  const bool on_demand = is_on_demand(run.domain);
  const auto due = (*row)->next_due;
  if (open && due != mailstore::no_time && (!on_demand || due <= mailstore::retry_time)) {
    const bool ordered = due <= mailstore::retry_time;
    const bool failing = (*row)->next_round > now();
    // Of a domain that waits, those whose own time has come wait with it.
    if (due > now())
      at = due;
    else if (ordered || !failing)
      at = now() + (ordered ? after_order : after_trouble);
  }
  if (open && !on_demand && (*row)->waiting > (*row)->due_alone) {
    const bool overdue = (*row)->next_round <= now();
    at = std::min(at, overdue ? Time{now() + after_trouble} : (*row)->next_round);
  }
  if (!held_) at = std::min(at, next_age(run));
  if (at != Time::max()) set_timer(run.domain, std::max<Time>(at, now() + least_wait));
}

/// Those in force; what was made for others is forgotten.
std::shared_ptr<const Plans> Scheduler::plans() {
  auto newest = plans_.get();
  if (newest != plans_in_use_) {
    terms_.clear();
    for (auto& [name, line] : lines_) line.noticed.reset();
    plans_in_use_ = newest;
  }
  return newest;
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
