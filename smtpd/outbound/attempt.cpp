#include <algorithm>
#include <map>
#include <utility>

#include "common/address.hpp"
#include "common/log.hpp"

#include "smtpd/outbound/masquerade.hpp"
#include "smtpd/outbound/reply_answer.hpp"
#include "smtpd/outbound/scheduler_run.hpp"
#include "smtpd/protocol/xtext.hpp"
#include "smtpd/routing/forwarding.hpp"
#include "smtpd/session/transaction.hpp"

/// One message to some recipients of one domain: the way is worked out anew from the live directory, then it goes.
namespace smtpd::outbound {
namespace {

namespace log = common::log;

/// Attempts of one domain at a time, where its destination has no limit.
constexpr std::uint32_t widest = 1000;

/// An address on its way out whose domain became ours, or whose people moved on.
bool is_elsewhere(const routing::Resolution& found, const std::string& address) {
  return found.outcome != routing::Outcome::found || !found.targets.empty() || found.remotes.size() != 1 ||
         found.remotes.front().address != address;
}

using Remotes = std::map<std::uint16_t, mailstore::Remote>;

/// What the envelope says of a recipient.
const mailstore::Remote& remote_of(const Remotes& remotes, const mailstore::QueuedRecipient& recipient) {
  static const mailstore::Remote none;
  const auto found = remotes.find(recipient.name.ordinal);
  return found == remotes.end() ? none : found->second;
}

/// `return_path` and what stands in front hold for all of `recipients`.
Message make_message(const mailstore::Envelope& envelope, std::string return_path, const mailstore::OpenMessage& open,
                     const std::vector<mailstore::QueuedRecipient>& recipients, const Remotes& remotes) {
  Message message;
  message.id = mailstore::format_id(recipients.front().name.id);
  message.reverse_path = std::move(return_path);
  message.front = routing::format_delivered_to(remote_of(remotes, recipients.front()));
  if (!envelope.envelope_id.empty()) message.envelope_id = encode_xtext(envelope.envelope_id);
  message.return_content = static_cast<ReturnContent>(envelope.return_content);
  message.eight_bit = envelope.eight_bit;
  const bool plain = std::ranges::all_of(message.front, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  message.utf8 = envelope.utf8 || !plain;
  message.stuffed = open.stuffed;
  message.octets = recipients.front().octets;
  message.stored_octets = open.stored_octets;
  for (const auto& recipient : recipients) {
    Recipient to;
    to.path = recipient.address;
    to.notify = recipient.notify;
    to.original_recipient = remote_of(remotes, recipient).original_recipient;
    message.recipients.push_back(std::move(to));
  }
  return message;
}

}  // namespace

asio::awaitable<void> Scheduler::attempt(Run& run, Group group) {
  struct Release {
    Scheduler& scheduler;
    std::vector<Hand> hands;
    ~Release() {
      for (const auto& hand : hands) scheduler.in_hand_.erase(hand);
    }
  } release{*this, {}};
  const common::net::Member member{crowd_};
  for (const auto& recipient : group.recipients)
    release.hands.emplace_back(recipient.name.id.value, recipient.name.ordinal);

  // What may lie in a drop folder by now goes nowhere else, whatever its domain has become.
  std::vector<mailstore::QueuedRecipient> placing;
  std::erase_if(group.recipients, [&](mailstore::QueuedRecipient& recipient) {
    if (recipient.placing.empty()) return false;
    placing.push_back(std::move(recipient));
    return true;
  });
  if (!placing.empty()) co_await finish_placing(std::move(placing));
  if (group.recipients.empty()) co_return;

  const auto plans = this->plans();
  const auto* plan = plan_of(*plans, group.server);
  if (plan == nullptr) co_return;
  auto opened = queue_.open_message(group.id, worker_.scratch(), 0);
  if (!opened) {
    if (opened.error().code == mailstore::Errc::not_found) co_return;
    co_await put_off(*plan, std::move(group), "the message could not be read: " + opened.error().detail);
    co_return;
  }
  auto envelope = opened->envelope();
  // Nothing is kept of the others: a message may have thousands, and each of their domains an attempt of its own.
  for (const auto& recipient : group.recipients) {
    const auto ordinal = recipient.name.ordinal;
    if (ordinal < envelope.remotes.size()) group.remotes.emplace(ordinal, std::move(envelope.remotes[ordinal]));
  }
  envelope.owners = {};
  envelope.remotes = {};
  opened->head = {};
  opened->long_head = {};

  if (group.recipients.front().state == mailstore::QueueState::bounce) {
    std::vector<Failure> failures;
    for (auto& recipient : group.recipients) {
      auto attempt = recipient.last;
      attempt.at = now();
      if (attempt.answer.enhanced.empty() || attempt.answer.enhanced.front() != '5') attempt.answer = {0, "5.0.0", ""};
      auto why = recipient.reason;
      failures.push_back({std::move(recipient), std::move(attempt), std::move(why)});
    }
    co_await give_up(*plan, group.id, std::move(failures));
    co_return;
  }

  co_await return_circling(*plan, group);
  if (group.recipients.empty()) co_return;

  // The directory as it is now: a domain may have become ours since, an alias may lead elsewhere.
  std::optional<mailstore::Domain> remote;
  struct Elsewhere {
    Moved moved;
    routing::Outcome room;
  };
  std::vector<Elsewhere> elsewhere;
  bool trouble = false;
  const routing::Returns returns{*plan->reporting.srs, std::chrono::floor<std::chrono::days>(now())};
  {
    const auto directory = store_.directory();
    auto settings = routing::find_remote_domain(*directory, run.domain);
    trouble = !settings;
    if (settings) remote = std::move(*settings);
    std::erase_if(group.recipients, [&](mailstore::QueuedRecipient& recipient) {
      auto address = common::parse_address(recipient.address);
      if (!address) return false;
      auto found = routing::resolve(*directory, *address, plan->reporting.default_domain, routing::Relay::allowed,
                                    nullptr, &returns);
      trouble = trouble || !found;
      if (!found || !is_elsewhere(*found, recipient.address)) return false;
      const auto room = routing::check_room(*directory, found->targets, std::nullopt, plan->reporting.default_domain);
      trouble = trouble || !room;
      if (room) {
        const auto& before = remote_of(group.remotes, recipient);
        elsewhere.push_back({{std::move(recipient), before, std::move(*found)}, *room});
      }
      return true;
    });
  }
  if (trouble) {
    co_await put_off(*plan, std::move(group), "the directory could not be read");
    co_return;
  }
  std::vector<Failure> nobody;
  std::vector<Moved> moved;
  for (auto& [each, room] : elsewhere) {
    auto& [recipient, before, found] = each;
    if (found.outcome == routing::Outcome::found && room == routing::Outcome::full) {
      co_await wait_for_room(run, *plan, std::move(recipient));
      continue;
    }
    if (found.outcome == routing::Outcome::found) {
      moved.push_back(std::move(each));
      continue;
    }
    mailstore::Attempt attempt;
    attempt.at = now();
    const bool too_far = found.outcome == routing::Outcome::too_far;
    attempt.answer = {0, too_far ? "5.4.6" : "5.1.1", too_far ? "the alias leads too far" : "no such mailbox here"};
    nobody.push_back({std::move(recipient), std::move(attempt), {}});
  }
  if (!nobody.empty()) co_await give_up(*plan, group.id, std::move(nobody));
  if (!moved.empty()) co_await expand(*plan, envelope, *opened, std::move(moved));
  if (group.recipients.empty()) co_return;

  if (run.given != nullptr) {
    auto parts = divide(std::move(group));
    for (auto& part : parts) {
      if (!run.given->conversation().reusable()) break;  // it broke: the others were not tried
      auto carrying = carry_there(run, part, envelope, *opened, *plan);
      co_await std::move(carrying);
    }
    co_return;
  }
  auto hop = choose_next_hop(run.domain, remote, plan->outbound, plan->password, envelope.reverse_path, group.reroute);
  if (!hop) {
    log::error("route.broken", {{"domain", run.domain}, {"why", hop.error()}});
    mailstore::Attempt attempt;
    attempt.at = now();
    attempt.answer = {0, "4.3.5", hop.error()};
    run.on_trouble(std::move(attempt), plan->schedule);
    co_return;
  }
  auto parts = divide(std::move(group));
  for (auto& part : parts) {
    auto carrying = carry(run, part, envelope, *opened, *plan, *hop);
    const auto kept = co_await std::move(carrying);
    std::erase_if(release.hands, [&](const Hand& hand) { return std::ranges::find(kept, hand) != kept.end(); });
    run.kept.insert(run.kept.end(), kept.begin(), kept.end());
  }
}

/// By what their copies of the message begin with, and by its reverse-path.
std::vector<Scheduler::Group> Scheduler::divide(Group group) {
  std::vector<Group> parts;
  for (auto& recipient : group.recipients) {
    auto remote = remote_of(group.remotes, recipient);
    auto same = std::ranges::find_if(parts, [&](const Group& part) {
      const auto& other = remote_of(part.remotes, part.recipients.front());
      return other.sent_on_by == remote.sent_on_by && other.returns_to == remote.returns_to;
    });
    if (same == parts.end())
      same = parts.insert(parts.end(), Group{group.id, group.server, group.reroute, group.changes, {}, {}});
    same->remotes.emplace(recipient.name.ordinal, std::move(remote));
    same->recipients.push_back(std::move(recipient));
  }
  return parts;
}

/// That of a stranger whose mail we send on, of a group's owner, or of our own people (S65).
mailstore::Result<std::string> Scheduler::return_path(const ServerPlan& plan, const mailstore::Envelope& envelope,
                                                      const mailstore::Remote& remote) {
  const auto directory = store_.directory();
  const routing::Returns returns{*plan.reporting.srs, std::chrono::floor<std::chrono::days>(now()),
                                 plan.reporting.default_domain};
  auto path = routing::find_return_path(*directory, envelope.reverse_path, remote, returns);
  if (path && *path == envelope.reverse_path) path = leaving_path(*directory, envelope, plan.reporting.masquerade);
  return path;
}

/// Those that the message would go in circles for: whoever sent it is told.
asio::awaitable<void> Scheduler::return_circling(const ServerPlan& plan, Group& group) {
  std::vector<Failure> failures;
  std::erase_if(group.recipients, [&](mailstore::QueuedRecipient& recipient) {
    if (!remote_of(group.remotes, recipient).looped) return false;
    mailstore::Attempt attempt;
    attempt.at = now();
    attempt.answer = {0, "5.4.6",
                      "the message was forwarded from " + remote_of(group.remotes, recipient).sent_on_by +
                          " before: it goes in circles"};
    log::info("message.failed",
              {{"id", mailstore::format_id(group.id)}, {"to", recipient.address}, {"why", attempt.answer.text}});
    failures.push_back({std::move(recipient), std::move(attempt), {}});
    return true;
  });
  if (!failures.empty()) co_await give_up(plan, group.id, std::move(failures));
}

/// Trouble of our own, with this message.
asio::awaitable<void> Scheduler::put_off(const ServerPlan& plan, Group group, std::string why) {
  log::error("queue.put_off", {{"id", mailstore::format_id(group.id)}, {"why", why}});
  mailstore::Attempt attempt;
  attempt.at = now();
  attempt.answer = {0, "4.3.0", std::move(why)};
  std::vector<mailstore::Settlement> outcomes;
  for (auto& recipient : group.recipients) {
    const auto due =
        next_attempt(plan.schedule, recipient.attempts + 1, now(), mailstore::accepted_at(recipient.name.id), chance());
    outcomes.push_back({std::move(recipient.name), mailstore::Stays{attempt, due}});
  }
  co_await settle(std::move(outcomes));
}

asio::awaitable<std::vector<Scheduler::Hand>> Scheduler::carry(Run& run, Group& group,
                                                               const mailstore::Envelope& envelope,
                                                               const mailstore::OpenMessage& open,
                                                               const ServerPlan& plan, NextHop hop) {
  std::vector<Hand> kept;
  const bool aside = !group.reroute.empty();  // how it goes there says nothing of the domain
  const auto destination = hop.host ? format_host_port(*hop.host) : run.domain;
  lines_[run.domain].width = hop.connections == 0 ? widest : std::min(hop.connections, widest);
  const auto& owner = plan.reporting.server;
  const auto total = static_cast<std::uint32_t>(plan.outbound.connections);
  const Lanes::Limits limits{hop.connections, hop.rate, std::chrono::seconds{60}, owner, total};
  for (;;) {
    co_await wait_for_lane(destination, limits);
    if (stopping_) co_return kept;
    const bool closed = is_closed(run);
    if (!closed && (aside || (!run.over() && !run.in_doubt()))) break;
    // A dead domain is not asked by everybody who got as far as this.
    leave_lane(destination, owner, Pace::Sign::none);
    while (!closed && run.in_doubt() && !stopping_) co_await run.next_end();
    if (closed || run.over()) co_return kept;
  }
  struct Lane {
    Scheduler& scheduler;
    Run& run;
    const std::string& destination;
    const std::string& owner;
    Pace::Sign sign = Pace::Sign::none;
    Lane(Scheduler& of, Run& whose, const std::string& to, const std::string& from)
        : scheduler(of), run(whose), destination(to), owner(from) {
      ++run.carrying;
    }
    ~Lane() {
      --run.carrying;
      scheduler.leave_lane(destination, owner, sign);
    }
  } lane{*this, run, destination, owner};
  drop_changed(group);
  if (group.recipients.empty()) co_return kept;
  auto path = return_path(plan, envelope, remote_of(group.remotes, group.recipients.front()));
  if (!path) {
    co_await put_off(plan, std::move(group), "the directory could not be read");
    co_return kept;
  }
  const auto message = make_message(envelope, std::move(*path), open, group.recipients, group.remotes);

  Route route;
  route.domain = run.domain;
  route.via = hop.host;
  route.fallback = hop.fallback;
  route.port = hop.port;
  route.bind = plan.outbound.bind;
  route.most_here = hop.connections;
  route.most_in_all = total;
  if (hop.fallback) {
    // The account is ours at the smart host: no server that DNS names hears of it.
    route.fallback_terms = terms_for(plan, hop);
    hop.username.clear();
    hop.password.clear();
  }
  route.terms = terms_for(plan, hop);
  const Body body{open.descriptor(), open.file_offset(), open.stored_octets};
  auto carrying = carrier_.carry(route, message, body);
  const auto delivery = co_await std::move(carrying);
  lane.sign = delivery.sign;
  auto taking = take_answers(run, group, envelope, open, plan, message, delivery);
  kept = co_await std::move(taking);
  co_return kept;
}

asio::awaitable<void> Scheduler::carry_there(Run& run, Group& group, const mailstore::Envelope& envelope,
                                             const mailstore::OpenMessage& open, const ServerPlan& plan) {
  drop_changed(group);
  if (group.recipients.empty()) co_return;
  auto path = return_path(plan, envelope, remote_of(group.remotes, group.recipients.front()));
  if (!path) {
    co_await put_off(plan, std::move(group), "the directory could not be read");
    co_return;
  }
  const auto message = make_message(envelope, std::move(*path), open, group.recipients, group.remotes);
  const Body body{open.descriptor(), open.file_offset(), open.stored_octets};
  auto carrying = carrier_.carry_by(*run.given, message, body);
  const auto delivery = co_await std::move(carrying);
  auto taking = take_answers(run, group, envelope, open, plan, message, delivery);
  co_await std::move(taking);
}

/// Returns what stays in hand until it is known how the domain stands.
asio::awaitable<std::vector<Scheduler::Hand>> Scheduler::take_answers(Run& run, const Group& group,
                                                                      const mailstore::Envelope& envelope,
                                                                      const mailstore::OpenMessage& open,
                                                                      const ServerPlan& plan, const Message& message,
                                                                      const Delivery& delivery) {
  std::vector<Hand> kept;
  // How it goes there says nothing of the domain's own way.
  const bool aside = !group.reroute.empty() || run.given != nullptr;
  Spoken spoken;
  if (!delivery.address.empty())
    spoken.peer = delivery.host + "[" + delivery.address + "]:" + std::to_string(delivery.port);
  spoken.tls = !delivery.tls.empty() ? delivery.tls : !delivery.tls_trouble.empty() ? delivery.tls_trouble : "none";

  const auto at = now();
  std::vector<mailstore::Settlement> outcomes;
  std::vector<mailstore::Settlement> told;
  std::vector<report::Recipient> tell_of;
  std::vector<Failure> failures;
  std::optional<mailstore::Attempt> met;
  for (std::size_t i = 0; i < group.recipients.size(); ++i) {
    const auto& recipient = group.recipients[i];
    const auto& answer = delivery.answers[i];
    // Cut off by us: it waits as it did.
    if (stopping_ && answer.outcome == Outcome::temporary && answer.code == 0) continue;
    auto verdict = judge(answer, spoken, recipient, plan.schedule, at, chance());
    using enum Verdict::Fate;
    if (verdict.fate == untouched) continue;
    if (aside) {
      if (verdict.fate == waits_domain) verdict.fate = waits;
    } else if (verdict.trouble) {
      met = std::move(verdict.trouble);
    } else {
      run.on_answer();
    }
    const auto words = format_answer(answer);
    const std::string_view event = verdict.fate == failed                                  ? "message.failed"
                                   : verdict.fate == waits || verdict.fate == waits_domain ? "message.deferred"
                                                                                           : "message.delivered";
    log::info(
        event,
        {{"id", message.id}, {"to", recipient.address}, {"peer", spoken.peer}, {"tls", spoken.tls}, {"why", words}});
    switch (verdict.fate) {
      case delivered:
      case relayed: {
        delivered_.fetch_add(1, std::memory_order_relaxed);
        const auto outcome =
            verdict.fate == relayed ? mailstore::QueueOutcome::relayed : mailstore::QueueOutcome::delivered;
        mailstore::Settlement leaves{recipient.name, mailstore::Leaves{outcome, verdict.attempt}};
        // A server that does DSN reports success itself (RFC 3461 5.2.2).
        if (verdict.fate == relayed && report::is_wanted(report::Action::relayed, recipient.notify)) {
          report::Recipient about;
          about.address = recipient.address;
          about.original = report::readable_original(message.recipients[i].original_recipient);
          about.action = report::Action::relayed;
          about.status = "2.0.0";
          about.peer = delivery.host;
          about.answer = words;
          about.tried = std::chrono::floor<std::chrono::seconds>(at);
          tell_of.push_back(std::move(about));
          told.push_back(std::move(leaves));
        } else {
          outcomes.push_back(std::move(leaves));
        }
        break;
      }
      case failed:
        failures.push_back({recipient, std::move(verdict.attempt), {}});
        break;
      case untouched:
        break;
      case waits:
        deferred_.fetch_add(1, std::memory_order_relaxed);
        outcomes.push_back({recipient.name, mailstore::Stays{std::move(verdict.attempt), verdict.due}});
        break;
      case waits_domain:
        deferred_.fetch_add(1, std::memory_order_relaxed);
        kept.emplace_back(recipient.name.id.value, recipient.name.ordinal);
        run.undecided.push_back({{recipient.name, mailstore::Stays{std::move(verdict.attempt), verdict.due}},
                                 recipient.due != mailstore::no_time});
        break;
    }
  }
  if (met) run.on_trouble(std::move(*met), plan.schedule);
  if (!outcomes.empty()) co_await settle(std::move(outcomes));
  if (!told.empty()) co_await tell(plan, group.id, envelope, open, std::move(told), std::move(tell_of));
  if (!failures.empty()) co_await give_up(plan, group.id, std::move(failures));
  co_return kept;
}

/// What people said of recipients while these waited for their turn.
void Scheduler::drop_changed(Group& group) {
  const auto status = queue_.status();
  if (status && status->changes == group.changes) return;
  const auto rows = queue_.recipients(group.id);
  if (!rows) return;
  std::erase_if(group.recipients, [&](const mailstore::QueuedRecipient& recipient) {
    return std::ranges::none_of(*rows, [&](const mailstore::QueuedRecipient& row) {
      return row.name == recipient.name && row.state == recipient.state && row.reroute == recipient.reroute;
    });
  });
}

/// A mailbox of ours that is full: later, for as long as local mail may wait (S54, S55).
asio::awaitable<void> Scheduler::wait_for_room(Run& run, const ServerPlan& plan, mailstore::QueuedRecipient recipient) {
  mailstore::Attempt attempt;
  attempt.at = now();
  attempt.answer = {0, "4.2.2", "the mailbox has no room"};
  const auto accepted = mailstore::accepted_at(recipient.name.id);
  run.on_answer();
  log::info("message.deferred",
            {{"id", mailstore::format_id(recipient.name.id)}, {"to", recipient.address}, {"why", attempt.answer.text}});
  deferred_.fetch_add(1, std::memory_order_relaxed);
  const auto due = next_attempt(plan.local, recipient.attempts + 1, attempt.at, accepted, chance());
  std::vector<mailstore::Settlement> stays{{recipient.name, mailstore::Stays{std::move(attempt), due}}};
  co_await settle(std::move(stays));
}

}  // namespace smtpd::outbound
