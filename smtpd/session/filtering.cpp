#include "smtpd/session/filtering.hpp"

#include <algorithm>
#include <utility>

#include "common/log.hpp"

#include "smtpd/milter/edits.hpp"
#include "smtpd/protocol/command.hpp"

namespace smtpd {
namespace {

namespace log = common::log;
using Kind = milter::Decision::Kind;

std::string in_brackets(std::string_view path) {
  std::string text{"<"};
  text += path;
  text += '>';
  return text;
}

/// The address of a RCPT or of a filter, as one may be found by the other.
std::string key_of(std::string_view address, std::string_view default_domain) {
  auto parsed = common::parse_address(address);
  if (!parsed) return std::string{address};
  if (parsed->domain.empty()) parsed->domain = default_domain;
  return common::canonical_key(*parsed);
}

std::string domain_of(std::string_view address) {
  const auto at = address.rfind('@');
  return at == std::string_view::npos ? std::string{} : std::string{address.substr(at + 1)};
}

}  // namespace

Filtering::Filtering(common::net::Worker& worker, common::dns::Resolver& resolver, const VirtualServer& server)
    : server_(server), filters_(worker, resolver, server.filters) {
  facts().hostname = server.terms.hostname;
  facts().version = "Pennypost " PENNYPOST_VERSION;
  facts().daemon = server.terms.server;
}

asio::awaitable<Filtering::Decision> Filtering::on_mail(const Transaction& transaction, std::string_view parameters) {
  const auto& sender = transaction.envelope.reverse_path;
  facts().id.clear();
  facts().mail_address = sender;
  facts().mail_host = domain_of(sender);
  auto asking = filters_.on_mail(in_brackets(sender), std::string{parameters});
  co_return co_await std::move(asking);
}

asio::awaitable<Filtering::Decision> Filtering::on_recipient(const CheckRecipient& question,
                                                             const routing::Resolution& found,
                                                             std::string_view parameters) {
  const auto address = common::format_address(question.recipient);
  facts().rcpt_address = address;
  facts().rcpt_host = question.recipient.domain;
  facts().rcpt_mailer = found.targets.empty() ? "smtp" : "local";
  auto asking = filters_.on_rcpt(in_brackets(address), std::string{parameters});
  co_return co_await std::move(asking);
}

asio::awaitable<Filtering::Decision> Filtering::on_data(mailstore::MessageId id) {
  facts().id = mailstore::format_id(id);
  auto asking = filters_.on_data();
  co_return co_await std::move(asking);
}

asio::awaitable<Filtering::Decision> Filtering::show_envelope(const Transaction& transaction,
                                                              std::string_view parameters, mailstore::MessageId id) {
  auto connecting = filters_.on_connect();
  auto decision = co_await std::move(connecting);
  if (decision.kind == Kind::refuse) co_return decision;
  auto greeting = filters_.on_helo("localhost");
  decision = co_await std::move(greeting);
  if (decision.kind == Kind::refuse) co_return decision;
  auto beginning = on_mail(transaction, parameters);
  decision = co_await std::move(beginning);
  if (decision.kind == Kind::refuse) co_return decision;
  for (const auto& each : *transaction.asked) {
    auto asking = on_recipient(each.question, each.found, each.parameters);
    decision = co_await std::move(asking);
    if (decision.kind == Kind::refuse) co_return decision;
  }
  auto asking = on_data(id);
  co_return co_await std::move(asking);
}

asio::awaitable<std::optional<MessageEnd>> Filtering::on_message(mailstore::Store& store, Transaction& transaction,
                                                                 WholeMessage& message, std::string& hold,
                                                                 const Acceptance& acceptance, const Sender& sender) {
  const auto id = mailstore::format_id(message.draft.id());
  milter::Edits edits;
  auto asking = filters_.on_message(message.draft, message.facts, edits);
  auto decision = co_await std::move(asking);
  std::optional<MessageEnd> end;
  if (decision.store) {
    end = acceptance.refuse(*decision.store, id);
    co_return end;
  }
  if (decision.kind == Kind::refuse) {
    end = acceptance.refuse(std::move(decision.reply), id);
    co_return end;
  }
  if (decision.kind == Kind::go_on) apply_edits(store, transaction, edits, id);
  auto& envelope = transaction.envelope;
  const bool nobody = envelope.owners.empty() && envelope.remotes.empty();
  if (decision.kind == Kind::discard || nobody) {
    end.emplace();
    end->id = id;
    end->octets = message.facts.octets;
    end->discarded = true;
    log::info("message.discarded", {{"id", id},
                                    {"from", envelope.reverse_path},
                                    {"peer", sender.peer},
                                    {"why", nobody ? "filters left no recipient" : "a filter"},
                                    {"size", message.facts.octets},
                                    {"server", server_.terms.server}});
    co_return end;
  }
  if (edits.quarantine) {
    hold = *edits.quarantine;
    // Released, a recipient of ours is delivered to, as any whose domain has become ours.
    move_to_queue(envelope);
    // Nothing is delivered yet.
    transaction.successes.clear();
  }
  co_return end;
}

void Filtering::apply_edits(mailstore::Store& store, Transaction& transaction, const milter::Edits& edits,
                            std::string_view id) {
  const auto warn = [&](std::string_view what, std::string_view address) {
    log::warning("filter.bad_address",
                 {{"id", id}, {"what", what}, {"address", address}, {"server", server_.terms.server}});
  };
  auto& envelope = transaction.envelope;
  if (edits.sender) {
    const auto sender = edits.sender->empty() ? std::nullopt : std::optional{common::parse_address(*edits.sender)};
    if (!sender) {
      envelope.reverse_path.clear();
    } else if (!*sender || (*sender)->domain.empty()) {
      warn("sender", *edits.sender);
    } else {
      envelope.reverse_path = common::format_address(**sender);
      envelope.utf8 = envelope.utf8 || !(*sender)->ascii;
    }
  }
  bool removed = false;
  for (const auto& edit : edits.recipients) {
    if (edit.kind == milter::RecipientEdit::Kind::add) {
      if (!add(store, transaction, edit)) warn("recipient", edit.address);
      continue;
    }
    const auto key = key_of(edit.address, server_.terms.default_domain);
    const auto gone = std::erase_if(*transaction.asked, [&](const Transaction::Asked& each) {
      return common::canonical_key(each.question.recipient) == key;
    });
    removed = removed || gone != 0;
  }
  if (removed) {
    // Two recipients may lead to one mailbox: it goes with the last of them.
    auto left = std::move(*transaction.asked);
    transaction.asked->clear();
    transaction.clear_recipients();
    for (auto& each : left) transaction.add(each.question, std::move(each.found));
  }
  if (edits.changes_envelope() || edits.header.changed()) {
    log::info("message.changed", {{"id", id},
                                  {"header", edits.header.changed()},
                                  {"from", edits.sender ? envelope.reverse_path : std::string{}},
                                  {"recipients", std::uint64_t{edits.recipients.size()}},
                                  {"server", server_.terms.server}});
  }
}

/// A filter is ours: it may send anywhere, and beyond a quota.
bool Filtering::add(mailstore::Store& store, Transaction& transaction, const milter::RecipientEdit& edit) {
  const std::string argument = "TO:" + in_brackets(edit.address) + (edit.arguments.empty() ? "" : " ") + edit.arguments;
  auto rcpt = parse_rcpt(argument, Charset::utf8);
  if (!rcpt) return false;
  if (rcpt->recipient.domain.empty()) rcpt->recipient.domain = server_.terms.default_domain;
  CheckRecipient question{.recipient = std::move(rcpt->recipient)};
  question.relay = routing::Relay::allowed;
  question.notify = rcpt->notify;
  question.original_recipient = std::move(rcpt->original_recipient);
  auto& envelope = transaction.envelope;
  envelope.utf8 = envelope.utf8 || !question.recipient.ascii;
  const auto directory = store.directory();
  auto found = routing::resolve(*directory, question.recipient, server_.terms.default_domain, question.relay);
  if (!found || found->outcome != routing::Outcome::found || question.recipient.domain.empty()) return false;
  return transaction.add(question, std::move(*found));
}

}  // namespace smtpd
