#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>

#include "smtpd/protocol/trace.hpp"
#include "smtpd/session/session.hpp"

/// The part of the session that takes a message: from DATA to the moment it is ours.
namespace smtpd {
namespace {

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
  if (!draft) co_return conversation_.on_no_draft(*acceptance().refuse(draft.error(), {}).refused);
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
                           missing_fields(id), Framing::dotted,   acceptance().header_use()};
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
      const MessageEnd end = acceptance().refuse(draft.error(), {});
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
                                                Framing::counted, acceptance().header_use());
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
  if (const auto fault = incoming.fault()) return acceptance().refuse(*fault, incoming.id());
  if (const auto& trouble = incoming.trouble()) return acceptance().refuse(*trouble, incoming.id());
  return std::nullopt;
}

Acceptance Session::acceptance() {
  const std::string_view door = server_->terms.lmtp ? "lmtp" : "smtp";
  const Sender sender{peer_, client_name(), tls_name(), account(), door};
  return {services_.store, worker_, *server_, *conversation_.transaction(), sender};
}

asio::awaitable<MessageEnd> Session::finish(mailstore::Draft draft, mailstore::BodyFacts facts, std::string header) {
  auto accepting = acceptance();
  WholeMessage message{std::move(draft), facts, std::move(header)};
  auto taking = accepting.take(message, filtering_.get());
  auto end = co_await std::move(taking);
  if (accepting.has_answers()) occasion_ = std::make_unique<report::Occasion>(accepting.take_occasion());
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

}  // namespace smtpd
