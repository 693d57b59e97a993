#include <optional>
#include <utility>

#include "common/log.hpp"

#include "smtpd/protocol/trace.hpp"
#include "smtpd/session/session.hpp"

/// The part of the session that takes a message: from DATA to the moment it is ours.
namespace smtpd {
namespace {

namespace log = common::log;

/// The owners, for a log line: the first few by name.
std::string name_owners(const mailstore::Envelope& envelope) {
  constexpr std::size_t named = 8;
  std::string names;
  for (std::size_t i = 0; i < envelope.owners.size() && i < named; ++i) {
    if (i != 0) names += ',';
    names += envelope.owners[i].delivered_to;
  }
  if (envelope.owners.size() > named) names += ",...";
  return names;
}

class DraftSink final : public DataSink {
 public:
  explicit DraftSink(mailstore::Draft& draft) : draft_(draft) {}
  void append(std::string_view octets) override {
    if (!broken_) draft_.append(octets);
  }
  /// Nothing is kept from now on.
  void stop() { broken_ = true; }

 private:
  mailstore::Draft& draft_;
  bool broken_ = false;
};

}  // namespace

asio::awaitable<Step> Session::read_message(Reply go_ahead) {
  auto draft = co_await services_.store.begin();
  MessageEnd end;
  if (!draft) {
    end = refuse(draft.error(), {});
  } else {
    queue(go_ahead);
    co_await flush();
    end = co_await receive(std::move(*draft));
  }
  if (!open_) co_return Step{};
  co_return conversation_.on_message(end);
}

/// Reads to the end of data and stores the message. A peer that is gone before: `open_` is false, nothing is stored.
asio::awaitable<MessageEnd> Session::receive(mailstore::Draft draft) {
  const Terms& terms = server_->terms;
  DataLimits limits;
  limits.octets = terms.message_octets;
  limits.hops = terms.hops;
  limits.bare_newline = terms.bare_newline;
  MissingFields missing;
  if (terms.submission) {
    missing.date = format_date_field(std::chrono::floor<std::chrono::seconds>(worker_.clock().wall()));
    missing.message_id = format_message_id_field(mailstore::format_id(draft.id()), terms.hostname);
  }
  DataReader reader{limits, std::move(missing)};
  DraftSink sink{draft};
  const std::string received = received_line(draft.id());
  draft.append(received);

  std::optional<mailstore::Error> trouble;
  for (;;) {
    input_.take(reader.feed(input_.octets(), sink));
    if (reader.complete()) break;
    if (reader.fault()) sink.stop();
    if (!trouble && !reader.fault() && draft.wants_spill()) {
      input_.keep();
      auto spilled = co_await draft.spill();
      if (!spilled) {
        trouble = std::move(spilled.error());
        sink.stop();
      }
    }
    const auto octets = co_await stream_.read();
    if (!octets) {
      end(octets.error());
      co_return MessageEnd{};
    }
    input_.give(*octets);
  }
  input_.keep();
  if (const auto fault = reader.fault()) co_return refuse(*fault, mailstore::format_id(draft.id()), {});
  if (trouble) co_return refuse(*trouble, mailstore::format_id(draft.id()));
  const DataFacts facts = reader.facts();
  mailstore::BodyFacts body{facts.octets + received.size(), facts.header_octets + received.size(), facts.stuffed};
  co_return co_await store(std::move(draft), body);
}

/// What the log says of a message that was stored.
struct Session::Accepted {
  std::string id, from, to;
  std::size_t owners = 0;
  std::uint64_t octets = 0;
};

asio::awaitable<MessageEnd> Session::store(mailstore::Draft draft, mailstore::BodyFacts facts) {
  MessageEnd end;
  end.id = mailstore::format_id(draft.id());
  end.octets = facts.octets;
  mailstore::Envelope envelope = std::move(conversation_.transaction()->envelope);
  // For the log, which tells it only afterwards: what was not stored was not accepted.
  Accepted accepted{end.id, envelope.reverse_path, name_owners(envelope), envelope.owners.size(), end.octets};
  const auto stored = co_await services_.store.accept(std::move(draft), std::move(envelope), facts);
  if (!stored) {
    conversation_.transaction()->envelope.reverse_path = std::move(accepted.from);
    co_return refuse(stored.error(), end.id);
  }
  log_accepted(accepted);
  co_return end;
}

void Session::log_accepted(const Accepted& accepted) {
  log::info("message.accepted", {{"id", accepted.id},
                                 {"from", accepted.from},
                                 {"to", accepted.to},
                                 {"owners", std::uint64_t{accepted.owners}},
                                 {"size", accepted.octets},
                                 {"peer", peer_},
                                 {"tls", tls_name()},
                                 {"auth", account()},
                                 {"server", server_->terms.server}});
}

std::string Session::received_line(mailstore::MessageId id) {
  const auto& transaction = *conversation_.transaction();
  const std::string id_text = mailstore::format_id(id);
  Trace trace;
  trace.helo = conversation_.helo();
  trace.address = peer_;
  trace.hostname = server_->terms.hostname;
  trace.id = id_text;
  if (transaction.recipients == 1) trace.recipient = transaction.recipient;
  if (tls_) {
    trace.tls_protocol = tls_->protocol;
    trace.tls_cipher = tls_->cipher;
  }
  trace.extended = conversation_.extended();
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
