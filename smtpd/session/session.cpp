#include "smtpd/session/session.hpp"

#include <utility>

#include "common/escape.hpp"
#include "common/log.hpp"

#include "smtpd/protocol/trace.hpp"

namespace smtpd {
namespace {

namespace log = common::log;
using common::net::End;

/// More than this is given back before a wait.
constexpr std::size_t kept_reply_octets = 512;

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

}  // namespace

Session::Session(Services services, common::net::Worker& worker, common::net::Stream stream, std::shared_ptr<const VirtualServer> server)
    : services_(services),
      worker_(worker),
      stream_(std::move(stream)),
      server_(std::move(server)),
      client_(stream_.peer_address()),
      conversation_(server_->terms, false, [this] {
        return common::auth::Channel{stream_.secure(), stream_.channel_binding("tls-exporter"), stream_.channel_binding("tls-unique")};
      }) {}

asio::awaitable<void> Session::run(bool tls_at_once) {
  stream_.set_timeout(server_->idle_timeout);
  if (tls_at_once) {
    const bool secured = co_await secure();
    if (!secured) co_return;
  }
  queue(conversation_.greeting());
  for (;;) {
    while (open_) {
      const auto line = input_.next_line();
      if (!line) break;
      Step step = conversation_.on_line(*line);
      if (!perform(step)) co_await perform_waiting(step);
    }
    co_await flush();
    if (!open_) break;

    input_.release();
    stream_.set_idle(!conversation_.in_transaction());
    const auto octets = co_await stream_.read();
    stream_.set_idle(false);
    if (octets) {
      input_.give(*octets);
    } else {
      end(octets.error());
    }
  }
  stream_.close();
}

bool Session::perform(Step& step) {
  for (;;) {
    if (const auto* send = std::get_if<Send>(&step)) {
      queue(send->reply);
      return true;
    }
    if (const auto* close = std::get_if<Close>(&step)) {
      queue(close->farewell);
      open_ = false;
      return true;
    }
    if (const auto* sender = std::get_if<CheckSender>(&step)) {
      step = check_sender(*sender);
    } else if (const auto* recipient = std::get_if<CheckRecipient>(&step)) {
      step = check_recipient(*recipient);
    } else if (const auto* keys = std::get_if<FindKeys>(&step)) {
      step = find_keys(*keys);
    } else {
      return false;
    }
  }
}

asio::awaitable<void> Session::perform_waiting(Step& step) {
  input_.keep();
  Step next;
  if (auto* message = std::get_if<ReadMessage>(&step)) {
    next = co_await read_message(std::move(message->go_ahead));
  } else if (const auto* password = std::get_if<CheckPassword>(&step)) {
    next = co_await check_password(*password);
  } else if (const auto* start = std::get_if<StartTls>(&step)) {
    queue(start->ready);
    co_await flush();
    // What came behind STARTTLS came in the clear, whoever put it there: RFC 3207 6, and the command injection of 2011.
    input_.discard();
    const bool secured = co_await secure();
    if (!secured) open_ = false;
    co_return;
  }
  // After a message or a log-in the conversation has an answer, and asks nothing that needs waiting.
  if (open_) perform(next);
}

asio::awaitable<bool> Session::secure() {
  if (!server_->tls) co_return false;
  const auto shaken = co_await stream_.accept_tls(*server_->tls);
  if (!shaken) {
    log::info("tls.failed", {{"server", server_->terms.server}, {"client", client_}, {"why", shaken.error()}});
    co_return false;
  }
  tls_ = std::make_unique<common::net::TlsFacts>(stream_.tls_facts());
  conversation_.on_tls();
  co_return true;
}

asio::awaitable<void> Session::flush() {
  if (!replies_.empty()) {
    co_await stream_.write(replies_);
    replies_.clear();
    if (replies_.capacity() > kept_reply_octets) std::string{}.swap(replies_);
  }
}

void Session::queue(const Reply& reply) {
  log_reply(reply);
  append_reply(replies_, reply);
}

/// There is nothing more to read, at a command boundary or within a message.
void Session::end(End end) {
  open_ = false;
  if (conversation_.in_transaction()) {
    const std::string_view why = end == End::timeout ? "timeout" : end == End::shutdown ? "shutdown" : "closed";
    log::info("session.lost", {{"server", server_->terms.server},
                               {"client", client_},
                               {"from", conversation_.transaction()->envelope.reverse_path},
                               {"why", why}});
  }
  if (end == End::closed) return;
  queue({end == End::timeout ? Cause::idle_too_long : Cause::shutting_down, server_->terms.hostname});
}

// ---- messages

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

namespace {

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

std::string Session::received_line(mailstore::MessageId id) {
  const auto& transaction = *conversation_.transaction();
  const std::string id_text = mailstore::format_id(id);
  Trace trace;
  trace.helo = conversation_.helo();
  trace.address = client_;
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
              {"client", client_},
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

// ---- questions to the directory: microseconds, on this thread

Step Session::check_sender(const CheckSender& question) {
  std::expected<bool, Cause> own = true;
  {
    const auto directory = services_.store.directory();
    auto found = routing::is_address_of(*directory, question.sender, question.account, server_->terms.default_domain);
    if (found) {
      own = *found;
    } else {
      log::warning("directory.failed", {{"server", server_->terms.server}, {"why", found.error().detail}});
      own = std::unexpected(Cause::store_trouble);
    }
  }
  if (own && !*own) {
    log::info("sender.refused", {{"from", common::format_address(question.sender)},
                                 {"client", client_},
                                 {"auth", account()},
                                 {"server", server_->terms.server}});
  }
  return conversation_.on_sender(own);
}

Step Session::check_recipient(const CheckRecipient& question) {
  std::expected<routing::Resolution, Cause> answer;
  {
    const auto directory = services_.store.directory();
    auto found = routing::resolve(*directory, question.recipient, server_->terms.default_domain);
    if (found) {
      answer = std::move(*found);
    } else {
      log::warning("directory.failed", {{"server", server_->terms.server}, {"why", found.error().detail}});
      answer = std::unexpected(Cause::store_trouble);
    }
  }
  Step step = conversation_.on_recipient(question, std::move(answer));
  log_refused_recipient(question, step);
  return step;
}

struct Session::Found {
  common::auth::StoredKeys keys;
  LogIn log_in;
};

Session::Found Session::find_account(const std::string& name) {
  const auto directory = services_.store.directory();
  auto account = routing::find_account(*directory, name, server_->terms.default_domain);
  Found found;
  if (!account) {
    log::warning("directory.failed", {{"server", server_->terms.server}, {"why", account.error().detail}});
    found.log_in.access = Access::unavailable;
  } else if (*account) {
    auto& mailbox = (*account)->mailbox;
    found.keys = {mailbox.credential.version, std::move(mailbox.credential.password_hash), std::move(mailbox.credential.scram_sha256)};
    found.log_in = {(*account)->locked ? Access::locked : Access::granted, {mailbox.number, std::move(mailbox.address)}};
  }
  return found;
}

Step Session::find_keys(const FindKeys& question) {
  Found found = find_account(question.account);
  return conversation_.on_keys(found.keys, std::move(found.log_in));
}

asio::awaitable<Step> Session::check_password(const CheckPassword& question) {
  Found found = find_account(question.account);
  if (found.log_in.access != Access::unavailable) {
    const auto number = static_cast<std::uint64_t>(found.log_in.who.mailbox);
    const bool right = co_await services_.verifier.check(number, found.keys, question.password);
    if (!right) found.log_in = {};
  }
  co_return conversation_.on_log_in(std::move(found.log_in));
}

// ---- the log

void Session::log_reply(const Reply& reply) {
  switch (reply.cause) {
    case Cause::authenticated: {
      const AuthNote note = conversation_.take_auth_note();
      log::info("auth.ok", {{"account", account()},
                            {"mechanism", note.mechanism},
                            {"client", client_},
                            {"tls", tls_name()},
                            {"server", server_->terms.server}});
      break;
    }
    case Cause::auth_failed:
    case Cause::account_locked:
    case Cause::auth_unavailable: {
      const AuthNote note = conversation_.take_auth_note();
      log::info("auth.failed", {{"account", note.account},
                                {"mechanism", note.mechanism},
                                {"why", note.why},
                                {"client", client_},
                                {"tls", tls_name()},
                                {"server", server_->terms.server}});
      break;
    }
    case Cause::too_many_errors:
    case Cause::session_used_up:
      log::info("session.closed", {{"client", client_}, {"why", format_code(reply.cause)}, {"server", server_->terms.server}});
      break;
    default:
      break;
  }
}

void Session::log_refused_recipient(const CheckRecipient& question, const Step& answer) {
  const auto* send = std::get_if<Send>(&answer);
  if (send == nullptr || send->reply.cause == Cause::recipient_ok) return;
  log::info("recipient.refused", {{"from", conversation_.transaction()->envelope.reverse_path},
                                  {"to", common::format_address(question.recipient)},
                                  {"client", client_},
                                  {"code", format_code(send->reply.cause)},
                                  {"auth", account()},
                                  {"server", server_->terms.server}});
}

void Session::log_accepted(const Accepted& accepted) {
  log::info("message.accepted", {{"id", accepted.id},
                                 {"from", accepted.from},
                                 {"to", accepted.to},
                                 {"owners", std::uint64_t{accepted.owners}},
                                 {"size", accepted.octets},
                                 {"client", client_},
                                 {"tls", tls_name()},
                                 {"auth", account()},
                                 {"server", server_->terms.server}});
}

}  // namespace smtpd
