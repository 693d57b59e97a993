#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>

#include "common/log.hpp"

#include "smtpd/protocol/trace.hpp"
#include "smtpd/session/session.hpp"

/// The part of the session that takes a message: from DATA to the moment it is ours.
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

/// The time that a message may take: what silence may last, and more for every octet that came.
struct Allowance {
  std::chrono::steady_clock::time_point base;
  std::chrono::steady_clock::time_point until(std::uint64_t octets) const {
    return base + std::chrono::seconds{octets / static_cast<std::uint64_t>(common::net::slowest_rate)};
  }
};

}  // namespace

asio::awaitable<Step> Session::read_message(Reply go_ahead) {
  co_await settle_name();
  auto draft = co_await services_.store.begin();
  if (!draft) co_return conversation_.on_no_draft(*refuse(draft.error(), {}).refused);
  if (filtering_) {
    auto asking = ask_about_data(draft->id());
    auto refused = co_await std::move(asking);
    if (refused) co_return conversation_.on_filtered(std::move(*refused));
  }
  queue(go_ahead);
  co_await flush();
  const MessageEnd end = co_await receive(std::move(*draft));
  if (!open_) co_return Step{};
  co_return conversation_.on_message(end);
}

DataLimits Session::data_limits() const {
  const Terms& terms = server_->terms;
  DataLimits limits;
  limits.octets = terms.message_octets;
  limits.hops = terms.hops;
  limits.bare_newline = terms.bare_newline;
  return limits;
}

MissingFields Session::missing_fields(mailstore::MessageId id) const {
  if (!server_->terms.submission && !server_->terms.local) return {};
  return {format_date_field(std::chrono::floor<std::chrono::seconds>(worker_.clock().wall())),
          format_message_id_field(mailstore::format_id(id), server_->terms.hostname)};
}

/// Reads to the end of data and stores the message. A peer that is gone before: `open_` is false, nothing is stored.
asio::awaitable<MessageEnd> Session::receive(mailstore::Draft draft) {
  const auto id = draft.id();
  IncomingMessage incoming{std::move(draft),   received_line(id), data_limits(),
                           missing_fields(id), Framing::dotted,   header_use()};
  const Allowance allowance{worker_.clock().steady() + server_->idle_timeout};
  std::uint64_t octets_before = 0;
  for (;;) {
    const auto taken = incoming.feed(input_.octets());
    octets_before += taken;
    input_.take(taken);
    if (incoming.complete()) break;
    if (incoming.wants_spill()) {
      input_.keep();
      co_await incoming.spill();
    }
    stream_.set_deadline(allowance.until(octets_before));
    const auto octets = co_await stream_.read();
    if (!octets) {
      end(octets.error());
      co_return MessageEnd{};
    }
    input_.give(*octets);
  }
  stream_.set_deadline({});
  input_.keep();
  if (auto refused = refusal_of(incoming)) co_return std::move(*refused);
  const auto facts = incoming.facts();
  auto header = incoming.take_header();
  co_return co_await finish(incoming.take(), facts, std::move(header));
}

/// A chunk that cannot be used is read to its end all the same (RFC 3030 2).
asio::awaitable<Step> Session::read_chunk(Chunk chunk) {
  if (!chunks_) {
    co_await settle_name();
    auto draft = co_await services_.store.begin();
    if (!draft) {
      const MessageEnd end = refuse(draft.error(), {});
      co_await skip_chunk(chunk.octets);
      if (!open_) co_return Step{};
      co_return chunk.last ? conversation_.on_message(end) : conversation_.on_chunk(chunk, end.refused);
    }
    const auto id = draft->id();
    if (filtering_) {
      auto asking = ask_about_data(id);
      auto refused = co_await std::move(asking);
      if (refused) {
        co_await skip_chunk(chunk.octets);
        if (!open_) co_return Step{};
        MessageEnd end;
        end.refused = refused->cause;
        end.words = refused->detail;
        conversation_.on_words(refused->detail);
        co_return chunk.last ? conversation_.on_message(end) : conversation_.on_chunk(chunk, end.refused);
      }
    }
    chunks_ = std::make_unique<IncomingMessage>(std::move(*draft), received_line(id), data_limits(), missing_fields(id),
                                                Framing::counted, header_use());
  }
  const Allowance allowance{worker_.clock().steady() + server_->idle_timeout};
  for (std::uint64_t left = chunk.octets; left != 0;) {
    if (input_.empty()) {
      if (chunks_->wants_spill()) co_await chunks_->spill();
      co_await flush();
      stream_.set_deadline(allowance.until(chunk.octets - left));
      const bool more = co_await read_more();
      if (!more) co_return Step{};
    }
    const auto piece = input_.octets().substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left, SIZE_MAX)));
    chunks_->feed(piece);
    input_.take(piece.size());
    left -= piece.size();
  }
  stream_.set_deadline({});
  input_.keep();
  if (chunk.last) chunks_->finish();
  if (const auto refused = refusal_of(*chunks_)) {
    chunks_.reset();
    co_return chunk.last ? conversation_.on_message(*refused) : conversation_.on_chunk(chunk, refused->refused);
  }
  if (!chunk.last) co_return conversation_.on_chunk(chunk, std::nullopt);
  const auto facts = chunks_->facts();
  auto draft = chunks_->take();
  auto header = chunks_->take_header();
  chunks_.reset();
  const MessageEnd end = co_await finish(std::move(draft), facts, std::move(header));
  co_return conversation_.on_message(end);
}

asio::awaitable<void> Session::skip_chunk(std::uint64_t octets) {
  const Allowance allowance{worker_.clock().steady() + server_->idle_timeout};
  for (std::uint64_t taken = 0; octets != 0;) {
    if (input_.empty()) {
      co_await flush();
      stream_.set_deadline(allowance.until(taken));
      const bool more = co_await read_more();
      if (!more) co_return;
    }
    const auto now = std::min<std::uint64_t>(octets, input_.octets().size());
    input_.take(static_cast<std::size_t>(now));
    octets -= now;
    taken += now;
  }
  stream_.set_deadline({});
  input_.keep();
}

/// All octets are in: nullopt, the message can be stored.
std::optional<MessageEnd> Session::refusal_of(const IncomingMessage& incoming) {
  if (const auto fault = incoming.fault()) return refuse(*fault, incoming.id(), {});
  if (const auto& trouble = incoming.trouble()) return refuse(*trouble, incoming.id());
  return std::nullopt;
}

/// What the log says of a message that was stored.
struct Session::Accepted {
  std::string id, from, to;
  std::size_t owners = 0;
  std::size_t remotes = 0;
  std::uint64_t octets = 0;
};

/// What RFC 3461 wants told of a message that was stored.
struct Session::Success {
  mailstore::MessageId id;
  mailstore::Envelope envelope;                    ///< without recipients
  std::optional<mailstore::MailboxNumber> reader;  ///< one of those who have it; nullopt: it is in the queue alone
  std::vector<report::Recipient> recipients;
};

asio::awaitable<MessageEnd> Session::finish(mailstore::Draft draft, mailstore::BodyFacts facts, std::string header) {
  std::string hold;
  if (filtering_) {
    auto asking = ask_about_message(draft, facts, hold);
    auto end = co_await std::move(asking);
    if (end) co_return std::move(*end);
  }
  auto storing = store(std::move(draft), facts, std::move(hold), std::move(header));
  co_return co_await std::move(storing);
}

Header Session::header_use() {
  // Filters may add recipients for whom it matters.
  return filtering_ || conversation_.transaction()->wants_header() ? Header::kept : Header::passes;
}

/// What the header and the directory have to say of who gets it; nullopt: it can be stored.
std::optional<MessageEnd> Session::complete_envelope(std::string_view header, std::string_view id,
                                                     std::string_view hold) {
  auto& transaction = *conversation_.transaction();
  if (!transaction.wants_header()) return std::nullopt;
  const auto been = routing::find_delivered_to(header);
  if (routing::mark_circles(transaction.envelope, been) == routing::Circle::whole)
    return refuse(Cause::forwarding_loop, id, {});
  if (transaction.journals.empty()) return std::nullopt;
  const auto directory = services_.store.directory();
  // What is held back is held back from everybody.
  const auto add = hold.empty() ? routing::add_journals : routing::hold_journals;
  const auto added = add(*directory, transaction.envelope, transaction.journals, been, server_->terms.default_domain);
  if (!added) return refuse(added.error(), id);
  return std::nullopt;
}

asio::awaitable<MessageEnd> Session::store(mailstore::Draft draft, mailstore::BodyFacts facts, std::string hold,
                                           std::string header) {
  MessageEnd end;
  end.id = mailstore::format_id(draft.id());
  end.octets = facts.octets;
  if (auto refused = complete_envelope(header, end.id, hold)) co_return std::move(*refused);
  report::Occasion occasion;
  occasion.responders = std::move(conversation_.transaction()->responders);
  mailstore::Envelope envelope = std::move(conversation_.transaction()->envelope);
  // For the log, which tells it only afterwards: what was not stored was not accepted.
  Accepted accepted{
      end.id,    envelope.reverse_path, name_recipients(envelope), envelope.owners.size(), envelope.remotes.size(),
      end.octets};
  const auto drop = conversation_.transaction()->drop ? server_->drop : nullptr;
  if (drop) drop->expect(facts.octets);
  auto success = success_of(draft.id(), envelope);
  auto storing = hold.empty() ? services_.store.accept(std::move(draft), std::move(envelope), facts)
                              : services_.store.accept_held(std::move(draft), std::move(envelope), facts, hold);
  const auto stored = co_await std::move(storing);
  if (!stored) {
    if (drop) drop->forget(facts.octets);
    conversation_.transaction()->envelope.reverse_path = std::move(accepted.from);
    co_return refuse(stored.error(), end.id);
  }
  log_accepted(accepted);
  if (!hold.empty()) log::info("message.held", {{"id", end.id}, {"why", hold}, {"server", server_->terms.server}});
  if (!occasion.responders.empty() && hold.empty()) {
    occasion.id = end.id;
    occasion.reverse_path = std::move(accepted.from);
    occasion.header = std::move(header);
    occasion_ = std::make_unique<report::Occasion>(std::move(occasion));
  }
  // Before the 250, so that who asked for a report has it once the message is acknowledged; nobody else waits for it.
  if (success) co_await report_success(std::move(*success));
  co_return end;
}

/// Behind the reply, for which nobody is to wait longer.
asio::awaitable<void> Session::answer_automatically() {
  std::exception_ptr lost;
  try {
    co_await flush();
  } catch (const std::system_error&) {
    lost = std::current_exception();
  }
  const auto occasion = std::move(occasion_);
  report::AutoReplier replier{services_.store, worker_.clock(), server_->reporting};
  auto answering = replier.answer(*occasion);
  co_await std::move(answering);
  if (lost) std::rethrow_exception(lost);
}

std::optional<Session::Success> Session::success_of(mailstore::MessageId id, const mailstore::Envelope& envelope) {
  auto& recipients = conversation_.transaction()->successes;
  if (recipients.empty()) return std::nullopt;
  Success success{id, {}, {}, std::move(recipients)};
  success.envelope.reverse_path = envelope.reverse_path;
  success.envelope.envelope_id = envelope.envelope_id;
  success.envelope.return_content = envelope.return_content;
  success.envelope.utf8 = envelope.utf8;
  if (!envelope.owners.empty()) success.reader = envelope.owners.front().mailbox;
  return success;
}

/// Without octets if it has gone already, which is no reason not to report.
mailstore::OpenMessage Session::open_stored(const Success& success) {
  const auto scratch = worker_.scratch();
  if (!success.reader) {
    auto opened = services_.store.queue().open_message(success.id, scratch, 0);
    return opened ? std::move(*opened) : mailstore::OpenMessage{};
  }
  const auto view = services_.store.peek(*success.reader);
  if (!view) return {};
  const auto entry = services_.store.find(*view, success.id);
  if (!entry || !*entry) return {};
  auto opened = services_.store.open_message(*success.reader, **entry, scratch, 0);
  return opened ? std::move(*opened) : mailstore::OpenMessage{};
}

/// RFC 3461 5.2.2, 5.2.7.3: "delivered", "expanded". What cannot be told is in the log: the message itself is stored.
asio::awaitable<void> Session::report_success(Success success) {
  const auto id = mailstore::format_id(success.id);
  const auto at = std::chrono::floor<std::chrono::seconds>(worker_.clock().wall());
  for (auto& recipient : success.recipients) recipient.tried = at;
  const auto original = open_stored(success);
  report::Reporter reporter{services_.store, worker_.clock()};
  auto making =
      reporter.make(server_->reporting, success.id, success.envelope, original, std::move(success.recipients));
  auto made = co_await std::move(making);
  if (!made) {
    const bool trouble = made.error() == report::Reporter::Refusal::trouble;
    log::write(trouble ? common::config::LogLevel::warning : common::config::LogLevel::info, "message.not_reported",
               {{"id", id},
                {"to", success.envelope.reverse_path},
                {"why", trouble ? "the store could not take the report" : "nobody is there"}});
    co_return;
  }
  const auto report_id = mailstore::format_id(made->draft.id());
  auto accepting = services_.store.accept(std::move(made->draft), std::move(made->envelope), made->facts);
  const auto accepted = co_await std::move(accepting);
  if (!accepted) {
    log::warning("message.not_reported",
                 {{"id", id}, {"to", success.envelope.reverse_path}, {"why", accepted.error().detail}});
    co_return;
  }
  log::info("message.report", {{"id", report_id}, {"about", id}, {"to", success.envelope.reverse_path}});
}

void Session::log_accepted(const Accepted& accepted) {
  log::info("message.accepted", {{"id", accepted.id},
                                 {"from", accepted.from},
                                 {"to", accepted.to},
                                 {"owners", std::uint64_t{accepted.owners}},
                                 {"remotes", std::uint64_t{accepted.remotes}},
                                 {"size", accepted.octets},
                                 {"peer", peer_},
                                 {"peer_name", client_name()},
                                 {"tls", tls_name()},
                                 {"auth", account()},
                                 {"server", server_->terms.server}});
}

std::string Session::received_line(mailstore::MessageId id) {
  const auto& transaction = *conversation_.transaction();
  const std::string id_text = mailstore::format_id(id);
  Trace trace;
  trace.helo = conversation_.helo();
  trace.name = client_name();
  trace.address = user_ ? "unix" : std::string_view{peer_};
  trace.user = user_;
  trace.hostname = server_->terms.hostname;
  trace.id = id_text;
  if (transaction.recipients == 1) trace.recipient = transaction.recipient;
  if (tls_) {
    trace.tls_protocol = tls_->protocol;
    trace.tls_cipher = tls_->cipher;
  }
  trace.protocol = server_->terms.lmtp        ? Trace::Protocol::lmtp
                   : conversation_.extended() ? Trace::Protocol::esmtp
                                              : Trace::Protocol::smtp;
  trace.utf8 = transaction.envelope.utf8;
  trace.authenticated = conversation_.identity().has_value();
  trace.time = std::chrono::floor<std::chrono::seconds>(worker_.clock().wall());
  return format_received(trace);
}

MessageEnd Session::refuse(Cause cause, std::string_view id, std::string_view detail) {
  const auto code = format_code(cause);
  const auto& transaction = conversation_.transaction();
  const std::string_view from = transaction ? std::string_view{transaction->envelope.reverse_path} : std::string_view{};
  const auto level = detail.empty() ? common::config::LogLevel::info : common::config::LogLevel::warning;
  log::write(level, "message.refused",
             {{"id", id},
              {"from", from},
              {"peer", peer_},
              {"code", code},
              {"why", detail.empty() ? reply_text(cause).text.substr(0, reply_text(cause).text.find(',')) : detail},
              {"tls", tls_name()},
              {"auth", account()},
              {"server", server_->terms.server}});
  MessageEnd end;
  end.refused = cause;
  return end;
}

MessageEnd Session::refuse(const mailstore::Error& error, std::string_view id) {
  return refuse(error.code == mailstore::Errc::full ? Cause::store_full : Cause::store_trouble, id, error.detail);
}

}  // namespace smtpd
