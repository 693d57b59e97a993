#include "smtpd/session/session.hpp"

#include <utility>

#include "common/log.hpp"

#include "mailstore/account_key.hpp"

#include "smtpd/session/lookups.hpp"

namespace smtpd {
namespace {

namespace log = common::log;
using common::net::End;

/// More than this is given back before a wait.
constexpr std::size_t kept_reply_octets = 512;
/// So much goes before more commands are looked at: a peer that asks and does not read must not make answers pile up.
constexpr std::size_t due_reply_octets = 16 * 1024;
/// What may wait in memory behind a log-in that is held back. RFC 4954 4: its answer has to be awaited; a client that
/// sends more than this on is refused.
constexpr std::size_t held_octets = 4096;

}  // namespace

Session::Session(Services services, common::net::Worker& worker, common::net::Stream stream,
                 std::shared_ptr<const VirtualServer> server)
    : services_(services),
      worker_(worker),
      stream_(std::move(stream)),
      server_(std::move(server)),
      user_(server_->terms.local ? stream_.peer_user() : std::nullopt),
      peer_(user_ ? "uid " + std::to_string(*user_) : stream_.peer_address()),
      conversation_(server_->terms, stream_.secure(), [this] {
        return common::auth::Channel{stream_.secure(), stream_.channel_binding("tls-exporter"),
                                     stream_.channel_binding("tls-unique")};
      }) {
  // A connection of ours whose roles were reversed.
  if (stream_.secure()) tls_ = std::make_unique<common::net::TlsFacts>(stream_.tls_facts());
}

asio::awaitable<void> Session::run(bool tls_at_once) {
  stream_.set_timeout(server_->idle_timeout);
  if (server_->terms.reverse_dns) name_ = ClientName::look_up(services_.resolver, worker_.context(), peer_);
  if (tls_at_once) {
    const bool secured = co_await secure();
    if (!secured) co_return;
  }
  if (server_->filters) co_await show_connection();
  if (open_ && replies_.empty()) queue(conversation_.greeting());
  for (;;) {
    bool line_taken = false;
    while (open_) {
      const auto line = input_.next_line();
      if (!line) break;
      line_taken = true;
      Step step = conversation_.on_line(*line);
      if (chunks_ && !conversation_.in_chunks() && !std::holds_alternative<ReadChunk>(step)) chunks_.reset();
      if (!perform(step)) {
        note_for_filters(step, line->text);
        co_await perform_waiting(step);
      }
      // RSET, a greeting anew, a message that never was one.
      if (filtering_ && filtering_->filters().in_message() && !conversation_.in_transaction()) {
        input_.keep();
        co_await filtering_->filters().on_abort();
      }
      if (replies_.size() >= due_reply_octets) {
        input_.keep();
        co_await flush();
      }
    }
    co_await flush();
    if (!open_) break;

    input_.release();
    limit_line(line_taken);
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
  if (filtering_) co_await filtering_->filters().on_quit();
}

asio::awaitable<bool> Session::read_more() {
  const auto octets = co_await stream_.read();
  if (!octets) {
    end(octets.error());
    co_return false;
  }
  input_.give(*octets);
  co_return true;
}

/// A line must be whole within the time that silence may last: octet by octet it could take for ever.
void Session::limit_line(bool line_taken) {
  const bool begun = input_.in_line();
  if (begun && (line_taken || !line_begun_)) stream_.set_deadline(worker_.clock().steady() + server_->idle_timeout);
  if (!begun && line_begun_) stream_.set_deadline({});
  line_begun_ = begun;
}

void Session::say(const Step& step) {
  if (const auto* send = std::get_if<Send>(&step)) {
    for (std::uint64_t i = 0; i < send->copies; ++i) queue(send->reply);
  } else if (const auto* close = std::get_if<Close>(&step)) {
    queue(close->farewell);
    open_ = false;
  }
}

bool Session::perform(Step& step) {
  for (;;) {
    if (concerns_filters(step)) return false;
    if (std::holds_alternative<Send>(step) || std::holds_alternative<Close>(step)) {
      say(step);
      return true;
    }
    if (const auto* sender = std::get_if<CheckSender>(&step)) {
      step = check_sender(*sender);
    } else if (const auto* recipient = std::get_if<CheckRecipient>(&step)) {
      step = check_recipient(*recipient);
    } else if (const auto* run = std::get_if<AskRun>(&step)) {
      step = ask_run(*run);
    } else if (const auto* turn = std::get_if<AskTurn>(&step)) {
      step = ask_turn(*turn);
    } else {
      return false;
    }
  }
}

asio::awaitable<void> Session::perform_waiting(Step& step) {
  input_.keep();
  Step next;
  if (auto* helo = std::get_if<CheckHelo>(&step)) {
    next = co_await check_helo(std::move(*helo));
  } else if (auto* message = std::get_if<ReadMessage>(&step)) {
    next = co_await read_message(std::move(message->go_ahead));
  } else if (const auto* chunk = std::get_if<ReadChunk>(&step)) {
    next = co_await read_chunk(chunk->chunk);
  } else if (const auto* skip = std::get_if<SkipChunk>(&step)) {
    co_await skip_chunk(skip->octets);
    next = skip->answer;
  } else if (const auto* password = std::get_if<CheckPassword>(&step)) {
    next = co_await check_password(*password);
  } else if (const auto* keys = std::get_if<FindKeys>(&step)) {
    next = co_await find_keys(*keys);
  } else if (const auto* start = std::get_if<StartTls>(&step)) {
    queue(start->ready);
    co_await flush();
    // What came behind STARTTLS came in the clear, whoever put it there: RFC 3207 6, and the command injection of 2011.
    input_.discard();
    const bool secured = co_await secure();
    if (!secured) open_ = false;
    co_return;
  } else if (const auto* over = std::get_if<HandOver>(&step)) {
    queue(over->ready);
    co_await flush();
    hand_over();
    co_return;
  } else {
    next = std::move(step);
  }
  // After a greeting, a message or a log-in the conversation has an answer, and asks nothing that needs waiting but
  // filters.
  if (open_ && !perform(next)) {
    auto asking = ask_filters(next);
    const auto last = co_await std::move(asking);
    say(last);
  }
  if (occasion_) co_await answer_automatically();
}

asio::awaitable<bool> Session::secure() {
  if (!server_->tls) co_return false;
  const auto shaken = co_await stream_.accept_tls(*server_->tls);
  if (!shaken) {
    log::info("tls.failed", {{"server", server_->terms.server}, {"peer", peer_}, {"why", shaken.error()}});
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
  settle_attempt(reply.cause);
  log_reply(reply);
  append_reply(replies_, reply);
}

/// There is nothing more to read, at a command boundary or within a message.
void Session::end(End end) {
  open_ = false;
  if (conversation_.in_transaction()) {
    const std::string_view why = end == End::timeout ? "timeout" : end == End::shutdown ? "shutdown" : "closed";
    log::info("session.lost", {{"server", server_->terms.server},
                               {"peer", peer_},
                               {"from", conversation_.transaction()->envelope.reverse_path},
                               {"why", why}});
  }
  if (end == End::closed) return;
  queue({end == End::timeout ? Cause::idle_too_long : Cause::shutting_down, server_->terms.hostname});
}

// ---- questions to the directory: microseconds, on this thread

Step Session::check_sender(const CheckSender& question) {
  const auto own = find_sender(*services_.store.directory(), *server_, question, *conversation_.transaction());
  if (own && !*own) {
    log::info("sender.refused", {{"from", common::format_address(question.sender)},
                                 {"peer", peer_},
                                 {"auth", account()},
                                 {"server", server_->terms.server}});
  }
  return conversation_.on_sender(own);
}

std::expected<routing::Resolution, Cause> Session::resolve_recipient(const CheckRecipient& question) {
  auto found = find_recipient(*services_.store.directory(), worker_.clock(), *server_, question);
  if (found && found->outcome == routing::Outcome::found && found->drop) {
    if (const auto refused = check_drop(question)) return std::unexpected(*refused);
  }
  return found;
}

Step Session::check_recipient(const CheckRecipient& question) {
  Step step = conversation_.on_recipient(question, resolve_recipient(question));
  log_refused_recipient(question, step);
  return step;
}

// ---- mail that waits until it is asked for

Step Session::ask_run(const AskRun& question) {
  const auto answer = services_.triggers.start(question.node, common::net::peer_key(stream_.peer()));
  Step step = conversation_.on_run(answer);
  if (const auto* send = std::get_if<Send>(&step)) {
    log::info("etrn", {{"node", question.node.name},
                       {"peer", peer_},
                       {"code", format_code(send->reply.cause)},
                       {"auth", account()},
                       {"server", server_->terms.server}});
  }
  return step;
}

Step Session::ask_turn(const AskTurn& question) {
  // RFC 2645 5.2.1: what is sent behind it is meant for another conversation.
  if (!nothing_behind()) return conversation_.on_not_last();
  auto granted = services_.triggers.turn({question.account, conversation_.secure(), server_->terms.turn_needs_tls},
                                         question.domains);
  reserved_ = std::move(granted.reserved);
  log::info("turn.asked", {{"account", question.account},
                           {"peer", peer_},
                           {"granted", reserved_ ? "yes" : "no"},
                           {"server", server_->terms.server}});
  return conversation_.on_turn(granted.answer);
}

void Session::hand_over() {
  open_ = false;
  outbound::Turned turned{stream_.let_go(), std::move(reserved_), std::string{account()}, server_->terms.server,
                          server_};
  services_.triggers.hand_over(std::move(turned));
}

/// Whether there is room in the drop folder (LEGACY S15).
std::optional<Cause> Session::check_drop(const CheckRecipient& question) const {
  if (!server_->drop) {
    log::warning("drop.no_folder", {{"server", server_->terms.server}, {"why", "mail for a drop domain, and no home"}});
    return Cause::store_trouble;
  }
  if (server_->drop->has_room(question.declared.value_or(0))) return std::nullopt;
  return Cause::mailbox_full;
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
    found.keys = {mailbox.credential.version, std::move(mailbox.credential.password_hash),
                  std::move(mailbox.credential.scram_sha256), std::move(mailbox.apop_secret)};
    found.log_in = {(*account)->locked ? Access::locked : Access::granted,
                    {mailbox.number, std::move(mailbox.address)}};
  }
  return found;
}

// ---- log-ins: held back where many failed before

common::auth::Judgement Session::begin_attempt(const std::string& account) {
  const auto directory = services_.store.directory();
  const auto key = mailstore::account_key(*directory, account, server_->terms.default_domain);
  attempt_ = std::make_unique<common::auth::Guard::Attempt>(services_.guard.attempt(stream_.peer(), peer_, key));
  return attempt_->judge();
}

asio::awaitable<bool> Session::admit(const std::string& account) {
  const auto judgement = begin_attempt(account);
  bool refused = judgement.refused.has_value();
  if (!refused && judgement.delay.count() > 0) {
    refused = input_.octets().size() > held_octets;
    if (!refused) {
      services_.guard.count_delayed();
      co_await flush();
      const auto over = co_await stream_.pause(judgement.delay);
      if (over) {
        end(*over);
        co_return false;
      }
      refused = attempt_->judge().refused.has_value();
    }
  }
  if (refused) {
    services_.guard.count_refused();
    attempt_.reset();
  }
  co_return !refused;
}

void Session::settle_attempt(Cause cause) {
  if (!attempt_ || cause == Cause::challenge) return;
  if (cause == Cause::authenticated) attempt_->on_right();
  if (conversation_.auth_note().failed == Cause::auth_failed) attempt_->on_wrong();
  attempt_.reset();
}

asio::awaitable<Step> Session::find_keys(const FindKeys& question) {
  const bool admitted = co_await admit(question.account);
  Found found;
  if (admitted) {
    found = find_account(question.account);
  } else {
    found.log_in.access = Access::barred;
  }
  co_return conversation_.on_keys(found.keys, std::move(found.log_in));
}

asio::awaitable<Step> Session::check_password(const CheckPassword& question) {
  const bool admitted = co_await admit(question.account);
  // Read now, behind the wait: what was changed meanwhile is in force.
  Found found;
  if (admitted) {
    found = find_account(question.account);
  } else {
    found.log_in.access = Access::barred;
  }
  if (admitted && found.log_in.access != Access::unavailable) {
    const auto number = static_cast<std::uint64_t>(found.log_in.who.mailbox);
    const auto verdict = co_await services_.verifier.verify(number, found.keys, question.password);
    if (verdict == common::auth::Verdict::wrong) found.log_in = {};
    if (verdict == common::auth::Verdict::busy) found.log_in = {Access::unavailable, {}};
  }
  co_return conversation_.on_log_in(std::move(found.log_in));
}

}  // namespace smtpd
