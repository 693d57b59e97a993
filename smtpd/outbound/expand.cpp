#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/address.hpp"
#include "common/log.hpp"

#include "smtpd/outbound/scheduler_run.hpp"
#include "smtpd/report/auto_replier.hpp"
#include "smtpd/routing/forwarding.hpp"
#include "smtpd/session/transaction.hpp"

/// Recipients in the queue that the directory has go on: what was held back until a person released it, addresses whose
/// domain became ours, aliases that were made meanwhile.
namespace smtpd::outbound {
namespace {

namespace log = common::log;

/// Owners and remotes of one copy, as many as one recipient may lead to.
constexpr std::size_t most_together = routing::address_limit;

struct Head {
  std::string kept;          ///< up to the limit within which it is looked for circles
  std::uint64_t octets = 0;  ///< stored, the empty line behind it included
};

Head read_head(const mailstore::OpenMessage& message) {
  constexpr std::size_t most_kept = std::size_t{64} * 1024;
  constexpr std::string_view end = "\r\n\r\n";
  Head head;
  head.octets = message.stored_octets;
  std::string piece(std::size_t{16} * 1024, '\0');
  std::string tail;
  for (std::uint64_t at = 0; at < message.stored_octets;) {
    const auto got = message.read(at, piece);
    if (!got || *got == 0) break;
    if (head.kept.size() < most_kept) head.kept.append(piece, 0, std::min(*got, most_kept - head.kept.size()));
    const auto before = tail.size();
    tail.append(piece, 0, *got);
    if (at == 0 && tail.starts_with("\r\n")) {
      head.octets = 2;
      break;
    }
    if (const auto found = tail.find(end); found != tail.npos) {
      head.octets = at - before + found + end.size();
      break;
    }
    tail.erase(0, tail.size() - std::min(tail.size(), end.size() - 1));
    at += *got;
  }
  if (head.kept.size() > head.octets) head.kept.resize(static_cast<std::size_t>(head.octets));
  return head;
}

}  // namespace

/// They go on under the id of a copy, to mailboxes of ours or to other addresses: one copy for all, so that whoever two
/// of them lead to gets it once.
asio::awaitable<void> Scheduler::expand(const ServerPlan& plan, const mailstore::Envelope& envelope,
                                        const mailstore::OpenMessage& message, std::vector<Moved> moved) {
  std::vector<Moved> together;
  std::size_t addresses = 0;
  for (auto& each : moved) {
    const auto more = each.found.targets.size() + each.found.remotes.size();
    if (!together.empty() && addresses + more > most_together) {
      co_await expand_together(plan, envelope, message, std::exchange(together, {}));
      addresses = 0;
    }
    addresses += more;
    together.push_back(std::move(each));
  }
  co_await expand_together(plan, envelope, message, std::move(together));
}

asio::awaitable<void> Scheduler::expand_together(const ServerPlan& plan, const mailstore::Envelope& envelope,
                                                 const mailstore::OpenMessage& message, std::vector<Moved> moved) {
  const auto& first = moved.front().recipient;
  const auto message_id = first.name.id;
  const auto id = mailstore::format_id(message_id);
  auto copying = queue_.copy(first.name.id);
  auto draft = co_await std::move(copying);
  if (!draft) {
    log::error("queue.failed", {{"id", id}, {"why", draft.error().detail}});
    co_return;
  }
  auto head = read_head(message);
  mailstore::BodyFacts facts;
  facts.octets = first.octets;
  facts.header_octets = head.octets;
  facts.stuffed = draft->size() != first.octets;
  Transaction onward;
  onward.envelope = envelope;
  mailstore::Attempt attempt;
  attempt.at = now();
  attempt.answer = {0, "2.1.5", "its domain is ours now, or leads on"};
  std::vector<mailstore::Settlement> outcomes;
  std::vector<std::string> left;
  for (auto& [recipient, before, found] : moved) {
    for (auto& next : found.remotes) {
      // What led here before still holds where nothing else leads on.
      if (next.by.empty()) next.by = before.sent_on_by;
      if (next.returns_to.empty()) next.returns_to = before.returns_to;
    }
    // Its domain had its copies when it came, or has them among the recipients.
    found.journals.clear();
    CheckRecipient asked;
    if (auto address = common::parse_address(recipient.address)) asked.recipient = std::move(*address);
    asked.notify = recipient.notify;
    asked.original_recipient = before.original_recipient;
    onward.add(asked, std::move(found));
    left.push_back(std::move(recipient.address));
    outcomes.push_back({std::move(recipient.name), mailstore::Leaves{mailstore::QueueOutcome::expanded, attempt}});
  }
  // Whoever would get it again hears so as a recipient of the copy.
  routing::mark_circles(onward.envelope, routing::find_delivered_to(head.kept));
  report::Occasion occasion{mailstore::format_id(draft->id()), envelope.reverse_path, std::move(head.kept),
                            std::move(onward.responders)};
  auto settling =
      queue_.settle(std::move(outcomes), mailstore::Successor{std::move(*draft), std::move(onward.envelope), facts});
  const auto settled = co_await std::move(settling);
  if (!settled) {
    log::error("queue.failed", {{"id", id}, {"why", settled.error().detail}});
    co_return;
  }
  for (const auto& address : left)
    log::info("message.expanded", {{"id", id}, {"to", address}, {"successor", occasion.id}});
  if (!settled->successor_taken) co_return;
  // RFC 3461 5.2.7.3, 5.2.2: that it was expanded, or is in the mailbox, is for us to tell.
  if (!onward.successes.empty()) {
    auto reporting = reporter_.send(plan.reporting, message_id, envelope, message, std::move(onward.successes));
    co_await std::move(reporting);
  }
  if (occasion.responders.empty()) co_return;
  report::AutoReplier replier{store_, worker_.clock(), plan.reporting};
  auto answering = replier.answer(occasion);
  co_await std::move(answering);
}

}  // namespace smtpd::outbound
