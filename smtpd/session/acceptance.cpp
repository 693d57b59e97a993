#include "smtpd/session/acceptance.hpp"

#include <utility>
#include <vector>

#include "common/log.hpp"

#include "smtpd/report/reporter.hpp"
#include "smtpd/routing/forwarding.hpp"
#include "smtpd/session/filtering.hpp"

namespace smtpd {
namespace {

namespace log = common::log;

/// The owners, for a log line: the first few by name.
std::string name_recipients(const mailstore::Envelope& envelope) {
  constexpr std::size_t named = 8;
  std::string names;
  std::size_t count = 0;
  const auto add = [&](std::string_view address) {
    if (count++ >= named) return;
    if (!names.empty()) names += ',';
    names += address;
  };
  for (const auto& owner : envelope.owners) add(owner.delivered_to);
  for (const auto& remote : envelope.remotes) add(remote.address);
  if (count > named) names += ",...";
  return names;
}

/// What the log says of a message that was stored: only afterwards, as what was not stored was not accepted.
struct Accepted {
  explicit Accepted(const mailstore::Envelope& envelope)
      : from(envelope.reverse_path),
        to(name_recipients(envelope)),
        owners(envelope.owners.size()),
        remotes(envelope.remotes.size()) {}
  void tell(const std::string& id, std::uint64_t octets, const Sender& sender, const std::string& server) const {
    log::info("message.accepted", {{"id", id},
                                   {"from", from},
                                   {"to", to},
                                   {"owners", owners},
                                   {"remotes", remotes},
                                   {"size", octets},
                                   {"peer", sender.peer},
                                   {"peer_name", sender.name},
                                   {"tls", sender.tls},
                                   {"auth", sender.account},
                                   {"by", sender.door},
                                   {"server", server}});
  }
  std::string from, to;
  std::uint64_t owners, remotes;
};

}  // namespace

void move_to_queue(mailstore::Envelope& envelope) {
  for (auto& owner : envelope.owners) {
    mailstore::Remote remote;
    remote.address = std::move(owner.delivered_to);
    remote.original_recipient = std::move(owner.original_recipient);
    remote.notify = owner.notify;
    envelope.remotes.push_back(std::move(remote));
  }
  envelope.owners.clear();
}

/// What RFC 3461 wants told of a message that was stored.
struct Acceptance::Success {
  mailstore::MessageId id;
  mailstore::Envelope envelope;                    ///< without recipients
  std::optional<mailstore::MailboxNumber> reader;  ///< one of those who have it; nullopt: it is in the queue alone
  std::vector<report::Recipient> recipients;
};

asio::awaitable<MessageEnd> Acceptance::take(WholeMessage& message, Filtering* filtering) {
  std::string hold;
  if (filtering != nullptr) {
    auto asking = filtering->on_message(store_, transaction_, message, hold, *this, sender_);
    auto end = co_await std::move(asking);
    if (end) co_return std::move(*end);
  }
  if (auto refused = complete_envelope(message.header, mailstore::format_id(message.draft.id()), hold))
    co_return std::move(*refused);
  auto storing = store(message, std::move(hold));
  co_return co_await std::move(storing);
}

/// What the header and the directory have to say of who gets it; nullopt: it can be stored.
std::optional<MessageEnd> Acceptance::complete_envelope(std::string_view header, std::string_view id,
                                                        std::string_view hold) {
  if (!transaction_.wants_header()) return std::nullopt;
  const auto been = routing::find_delivered_to(header);
  if (routing::mark_circles(transaction_.envelope, been) == routing::Circle::whole)
    return refuse(Cause::forwarding_loop, id);
  // What is held back is held back from everybody.
  if (transaction_.journals.empty() || !hold.empty()) return std::nullopt;
  const auto directory = store_.directory();
  const auto added = routing::add_journals(*directory, transaction_.envelope, transaction_.journals, been,
                                           server_.terms.default_domain);
  if (!added) return refuse(added.error(), id);
  return std::nullopt;
}

asio::awaitable<MessageEnd> Acceptance::store(WholeMessage& message, std::string hold) {
  MessageEnd end;
  end.id = mailstore::format_id(message.draft.id());
  end.octets = message.facts.octets;
  const Accepted accepted{transaction_.envelope};
  auto success = success_of(message.draft.id());
  // Held, a message may go back as well, and then there is nothing to answer.
  occasion_ = {};
  if (hold.empty()) occasion_ = {end.id, accepted.from, std::move(message.header), std::move(transaction_.responders)};
  const auto drop = transaction_.drop ? server_.drop : nullptr;
  if (drop) drop->expect(end.octets);
  auto& envelope = transaction_.envelope;
  auto storing =
      !message.origin.empty()
          ? store_.accept_once(std::move(message.draft), std::move(envelope), message.facts, message.origin, hold)
      : hold.empty() ? store_.accept(std::move(message.draft), std::move(envelope), message.facts)
                     : store_.accept_held(std::move(message.draft), std::move(envelope), message.facts, hold);
  const auto stored = co_await std::move(storing);
  if (!stored) {
    occasion_ = {};
    if (drop) drop->forget(end.octets);
    transaction_.envelope.reverse_path = accepted.from;
    // The same file under another name was quicker.
    if (!message.origin.empty() && stored.error().code == mailstore::Errc::exists) co_return MessageEnd{};
    co_return refuse(stored.error(), end.id);
  }
  accepted.tell(end.id, end.octets, sender_, server_.terms.server);
  if (!hold.empty()) log::info("message.held", {{"id", end.id}, {"why", hold}, {"server", server_.terms.server}});
  // Before the answer, so that who asked for a report has it once the message is acknowledged; nobody else waits for
  // it.
  if (success) {
    const auto original = open_stored(*success);
    report::Reporter reporter{store_, worker_.clock()};
    auto reporting =
        reporter.send(server_.reporting, success->id, success->envelope, original, std::move(success->recipients));
    co_await std::move(reporting);
  }
  co_return end;
}

asio::awaitable<MessageEnd> Acceptance::set_aside(WholeMessage& message, folders::BadmailCause cause,
                                                  const std::string& why, Fate fate) {
  move_to_queue(transaction_.envelope);
  transaction_.successes.clear();
  const auto id = message.draft.id();
  auto storing = store(message, folders::format_badmail_reason(cause, why));
  auto end = co_await std::move(storing);
  if (end.refused || end.id.empty() || fate == Fate::kept) co_return end;
  // Whoever dies here leaves it to a person, who finds the reason with it.
  auto queue = store_.queue();
  std::vector<mailstore::QueueName> names;
  if (auto rows = queue.recipients(id)) {
    for (auto& row : *rows) names.push_back(std::move(row.name));
  }
  auto ordering = queue.order(std::move(names), mailstore::BounceOrder{why});
  const auto ordered = co_await std::move(ordering);
  if (!ordered) log::error("queue.failed", {{"id", end.id}, {"why", ordered.error().detail}});
  co_return end;
}

asio::awaitable<void> Acceptance::answer_automatically() {
  report::AutoReplier replier{store_, worker_.clock(), server_.reporting};
  auto answering = replier.answer(occasion_);
  co_await std::move(answering);
}

std::optional<Acceptance::Success> Acceptance::success_of(mailstore::MessageId id) {
  auto& recipients = transaction_.successes;
  if (recipients.empty()) return std::nullopt;
  const auto& envelope = transaction_.envelope;
  Success success{id, {}, {}, std::move(recipients)};
  success.envelope.reverse_path = envelope.reverse_path;
  success.envelope.envelope_id = envelope.envelope_id;
  success.envelope.return_content = envelope.return_content;
  success.envelope.utf8 = envelope.utf8;
  if (!envelope.owners.empty()) success.reader = envelope.owners.front().mailbox;
  return success;
}

/// Without octets if it has gone already, which is no reason not to report.
mailstore::OpenMessage Acceptance::open_stored(const Success& success) {
  const auto scratch = worker_.scratch();
  if (!success.reader) {
    auto opened = store_.queue().open_message(success.id, scratch, 0);
    return opened ? std::move(*opened) : mailstore::OpenMessage{};
  }
  const auto view = store_.peek(*success.reader);
  if (!view) return {};
  const auto entry = store_.find(*view, success.id);
  if (!entry || !*entry) return {};
  auto opened = store_.open_message(*success.reader, **entry, scratch, 0);
  return opened ? std::move(*opened) : mailstore::OpenMessage{};
}

MessageEnd Acceptance::refuse(Cause cause, std::string_view id, std::string_view detail) const {
  const auto code = format_code(cause);
  const auto level = detail.empty() ? common::config::LogLevel::info : common::config::LogLevel::warning;
  log::write(level, "message.refused",
             {{"id", id},
              {"from", transaction_.envelope.reverse_path},
              {"peer", sender_.peer},
              {"code", code},
              {"why", detail.empty() ? reply_text(cause).text.substr(0, reply_text(cause).text.find(',')) : detail},
              {"tls", sender_.tls},
              {"auth", sender_.account},
              {"server", server_.terms.server}});
  MessageEnd end;
  end.refused = cause;
  return end;
}

MessageEnd Acceptance::refuse(const mailstore::Error& error, std::string_view id) const {
  return refuse(error.code == mailstore::Errc::full ? Cause::store_full : Cause::store_trouble, id, error.detail);
}

MessageEnd Acceptance::refuse(Reply words, std::string_view id) const {
  log::info("message.refused", {{"id", id},
                                {"from", transaction_.envelope.reverse_path},
                                {"peer", sender_.peer},
                                {"code", format_code(words)},
                                {"why", "a filter"},
                                {"tls", sender_.tls},
                                {"auth", sender_.account},
                                {"server", server_.terms.server}});
  MessageEnd end;
  end.refused = words.cause;
  end.words = std::move(words.detail);
  return end;
}

}  // namespace smtpd
