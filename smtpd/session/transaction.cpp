#include "smtpd/session/transaction.hpp"

#include <algorithm>
#include <utility>

namespace smtpd {
namespace {

/// A record keeps the ordinals of its owners in 16 bits.
constexpr std::size_t owner_limit = 60'000;
/// From here on a set tells whether a mailbox is there already.
constexpr std::size_t many_owners = 32;
/// Of one message; a large list of people who are all away is not answered by all of them.
constexpr std::size_t most_responders = 16;

using routing::Wishes;

/// RFC 3461 5.2.7.3 (c): behind an alias of several targets nobody reports success, since the alias has done so. Who
/// wanted to hear of nothing else hears nothing.
std::uint8_t without_success(std::uint8_t notify) {
  const auto rest = static_cast<std::uint8_t>(notify & ~mailstore::notify_success);
  return rest == 0 ? mailstore::notify_never : rest;
}

mailstore::Owner make_owner(const Wishes& asked, routing::Target& target) {
  mailstore::Owner owner;
  owner.mailbox = target.mailbox;
  owner.delivered_to = std::move(target.address);
  owner.original_recipient = asked.original_recipient;
  owner.notify = asked.notify;
  return owner;
}

void add_remote(Transaction& transaction, const Wishes& asked, routing::Onward& onward) {
  if (!transaction.remotes.insert(onward.address).second) return;
  transaction.sent_on = transaction.sent_on || !onward.by.empty();
  transaction.envelope.remotes.push_back(
      routing::make_remote(std::move(onward), transaction.envelope.reverse_path, asked));
}

/// Those who may answer by themselves, each once; the sender of nothing gets no answer.
void add_responders(Transaction& transaction, std::vector<routing::Responder>& found) {
  if (transaction.envelope.reverse_path.empty()) return;
  for (auto& responder : found) {
    const bool there = std::ranges::any_of(
        transaction.responders, [&](const routing::Responder& other) { return other.mailbox == responder.mailbox; });
    if (!there && transaction.responders.size() < most_responders)
      transaction.responders.push_back(std::move(responder));
  }
}

void add_owner(Transaction& transaction, const Wishes& asked, routing::Target& target) {
  auto& owners = transaction.envelope.owners;
  const auto number = static_cast<std::uint32_t>(target.mailbox);
  if (owners.size() < many_owners) {
    // A mailbox reached twice by one message gets one copy.
    if (std::ranges::any_of(owners, [&](const mailstore::Owner& owner) { return owner.mailbox == target.mailbox; }))
      return;
  } else {
    if (transaction.mailboxes.empty()) {
      for (const auto& owner : owners) transaction.mailboxes.insert(static_cast<std::uint32_t>(owner.mailbox));
    }
    if (!transaction.mailboxes.insert(number).second) return;
  }
  owners.push_back(make_owner(asked, target));
}

void note_success(Transaction& transaction, const CheckRecipient& asked, report::Action action) {
  if (transaction.envelope.reverse_path.empty()) return;
  report::Recipient success;
  success.address = common::format_address(asked.recipient);
  success.original = report::readable_original(asked.original_recipient);
  success.action = action;
  success.status = "2.0.0";
  transaction.successes.push_back(std::move(success));
}

}  // namespace

bool Transaction::add(const CheckRecipient& asked_for, routing::Resolution found) {
  if (envelope.owners.size() + found.targets.size() > owner_limit ||
      envelope.remotes.size() + found.remotes.size() > owner_limit) {
    return false;
  }
  if (asked) asked->push_back({asked_for, found});
  Wishes wishes{asked_for.notify, asked_for.original_recipient};
  if ((asked_for.notify & mailstore::notify_success) != 0) {
    // One that is sent on alone is reported where it arrives (RFC 3461 5.2.7.2).
    const bool expanded = found.targets.size() + found.remotes.size() > 1;
    if (expanded) wishes.notify = without_success(asked_for.notify);
    if (expanded || found.remotes.empty())
      note_success(*this, asked_for, expanded ? report::Action::expanded : report::Action::delivered);
  }
  for (auto& target : found.targets) add_owner(*this, wishes, target);
  for (auto& onward : found.remotes) add_remote(*this, wishes, onward);
  add_responders(*this, found.responders);
  add_journals(std::move(found.journals));
  drop = drop || found.drop;
  return true;
}

void Transaction::clear_recipients() {
  envelope.owners.clear();
  envelope.remotes.clear();
  mailboxes.clear();
  remotes.clear();
  successes.clear();
  responders.clear();
  sent_on = false;
}

void Transaction::add_journals(std::vector<std::string> found) {
  for (auto& journal : found) {
    if (std::ranges::find(journals, journal) == journals.end()) journals.push_back(std::move(journal));
  }
}

routing::Resolution to_be_queued(const common::Address& recipient, routing::Resolution refused) {
  routing::Resolution queued;
  queued.outcome = routing::Outcome::found;
  queued.remotes.push_back({common::format_address(recipient), {}, {}});
  queued.drop = refused.drop;
  if (refused.outcome == routing::Outcome::full) queued.journals = std::move(refused.journals);
  return queued;
}

}  // namespace smtpd
