#include "pop3d/session/session.hpp"

#include <system_error>
#include <utility>

#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>

#include "common/auth/apop.hpp"
#include "common/log.hpp"
#include "mailstore/account_key.hpp"
#include "pop3d/protocol/reply.hpp"
#include "pop3d/session/output.hpp"

namespace pop3d {

namespace log = common::log;
using common::net::End;

namespace {

// A peer that sends so much without a line end is not going to.
constexpr std::uint64_t line_patience = 256 * 1024;
// What may wait in memory behind a log-in that is held back; a client that sends more on is refused.
constexpr std::size_t held_octets = 4096;

}  // namespace

Session::Session(common::net::Worker& worker, common::net::Stream stream, std::shared_ptr<const Settings> settings,
                 PostOffice office)
    : worker_{worker},
      stream_{std::move(stream)},
      settings_{std::move(settings)},
      office_{office},
      conversation_{settings_->rules, false},
      login_until_{worker.clock().steady() + settings_->login_timeout} {
  stream_.set_timeout(settings_->login_timeout);
}

Session::~Session() {
  return_output(std::move(out_));
}

asio::awaitable<void> Session::run(bool tls_first) {
  try {
    co_await converse(tls_first);
  } catch (const std::system_error& error) {
    // The connection is over, whatever we wanted to say; what was marked stays (RFC 1939 6).
    end(error.code() == asio::error::timed_out ? "timeout" : "lost");
  }
  close_maildrop();
  end("closed");
  stream_.close();
}

asio::awaitable<void> Session::converse(bool tls_first) {
  if (tls_first) {
    const bool secured = co_await accept_tls();
    if (!secured) co_return;
  }
  out_ = borrow_output();
  conversation_.greet(out_, settings_->rules.apop ? common::auth::make_apop_stamp(settings_->rules.hostname) : "");
  while (open_) {
    switch (advance()) {
      case Due::input: {
        co_await flush();
        const bool more = co_await read_more();
        if (!more) co_return;
        break;
      }
      case Due::output:
        keep_input();
        co_await flush();
        break;
      case Due::file:
        keep_input();
        co_await send_file();
        break;
      case Due::turn:
        keep_input();
        co_await asio::post(worker_.context(), asio::use_awaitable);
        break;
      case Due::step:
        keep_input();
        co_await perform();
        break;
    }
  }
  // Before the farewell goes: whoever hears it may log in again at once.
  close_maildrop();
  co_await flush();
}

/// Reads what the peer says next; false: nothing more comes. The buffer for output goes back while it waits.
asio::awaitable<bool> Session::read_more() {
  if (lines_.unfinished() > line_patience) {
    append_reply(out_, Cause::line_too_long);
    end("noise");
    co_await flush();
    co_return false;
  }
  return_output(std::exchange(out_, {}));
  if (rest_.capacity() > 64) rest_ = std::string{};
  stream_.set_idle(true);
  const auto octets = co_await stream_.read();
  stream_.set_idle(false);
  out_ = borrow_output();
  if (octets &&
      (conversation_.logged_in() || settings_->login_timeout.count() == 0 || worker_.clock().steady() < login_until_)) {
    input_ = *octets;
    in_rest_ = false;
    co_return true;
  }
  const auto why = octets ? End::timeout : octets.error();
  // RFC 1939 3: a session that waited too long is closed without a word, and without removing anything.
  if (why == End::shutdown) {
    conversation_.on_shutdown(out_);
    end("shutdown");
    co_await flush();
  }
  end(why == End::timeout ? "timeout" : "lost");
  co_return false;
}

asio::awaitable<void> Session::flush() {
  if (out_.empty()) co_return;
  co_await stream_.write(out_);
  out_.clear();
}

asio::awaitable<void> Session::send_file() {
  const auto message = std::move(*file_);
  file_.reset();
  out_ += message.front;
  co_await stream_.write_file(out_, message.descriptor(), message.file_offset(), message.stored_octets, ".\r\n");
  out_.clear();
}

/// What was read and not yet taken lies in the worker's buffer, which others use while this session waits.
void Session::keep_input() {
  if (input_.empty() || in_rest_) return;
  rest_ = input_;
  input_ = rest_;
  in_rest_ = true;
}

/// Takes lines and does what needs no waiting, until something does.
Session::Due Session::advance() {
  for (;;) {
    if (!std::holds_alternative<Proceed>(step_)) {
      const auto due = perform_now();
      if (due) return *due;
      continue;
    }
    if (out_.size() >= output_due) return Due::output;
    const auto line = lines_.take(input_);
    if (!line) return Due::input;
    step_ = conversation_.on_line(*line, out_);
    // Cancelled, or no longer to be understood: nobody failed.
    if (attempt_ && !conversation_.in_exchange() && std::holds_alternative<Proceed>(step_)) attempt_.reset();
  }
}

/// The steps that wait.
asio::awaitable<void> Session::perform() {
  if (std::holds_alternative<CheckPassword>(step_)) {
    co_await check_password();
  } else if (std::holds_alternative<Update>(step_)) {
    co_await update();
  } else if (std::holds_alternative<FindKeys>(step_)) {
    co_await find_keys();
  } else if (std::holds_alternative<CheckApop>(step_)) {
    co_await check_apop();
  } else if (std::holds_alternative<StartTls>(step_)) {
    co_await start_tls();
  } else if (const auto* close = std::get_if<Close>(&step_)) {
    open_ = false;
    close_maildrop();
    end(close->why);
  }
}

common::auth::Judgement Session::begin_attempt(const std::string& name) {
  const auto directory = office_.store.directory();
  const auto key = mailstore::account_key(*directory, name, settings_->default_domain);
  attempt_ = std::make_unique<common::auth::Guard::Attempt>(
      office_.guard.attempt(stream_.peer(), stream_.peer_address(), key));
  return attempt_->judge();
}

asio::awaitable<bool> Session::admit(const std::string& name) {
  const auto judgement = begin_attempt(name);
  bool refused = judgement.refused.has_value();
  if (!refused && judgement.delay.count() > 0) {
    refused = input_.size() > held_octets;
    if (!refused) {
      office_.guard.count_delayed();
      co_await flush();
      return_output(std::exchange(out_, {}));
      const auto over = co_await stream_.pause(judgement.delay);
      out_ = borrow_output();
      if (over) {
        open_ = false;
        if (*over == End::shutdown) conversation_.on_shutdown(out_);
        end(*over == End::shutdown ? "shutdown" : "lost");
        co_return false;
      }
      refused = attempt_->judge().refused.has_value();
    }
  }
  if (refused) {
    office_.guard.count_refused();
    attempt_.reset();
  }
  co_return !refused;
}

asio::awaitable<void> Session::find_keys() {
  const auto question = std::get<FindKeys>(std::exchange(step_, Proceed{}));
  const bool admitted = co_await admit(question.name);
  if (!admitted) {
    if (open_) step_ = conversation_.on_barred(out_);
    co_return;
  }
  common::auth::StoredKeys keys;
  {
    const auto directory = office_.store.directory();
    auto account = find_account(*directory, question.name, settings_->default_domain);
    // Trouble shows at the end, when the maildrop cannot be opened either.
    if (!account) log_trouble("pop3.directory", account.error());
    if (account && *account) keys = std::move((*account)->keys);
  }
  proof_ = std::make_unique<Proof>(Proof{question.name, keys.version});
  step_ = conversation_.on_keys(keys, out_);
}

/// The account of a log-in that is let in to be checked; the inner nullopt: there is none. nullopt: it has its answer.
asio::awaitable<std::optional<std::optional<Account>>> Session::begin_login(std::string name, std::string mechanism) {
  const bool admitted = co_await admit(name);
  if (!admitted) {
    if (open_) step_ = conversation_.on_login(Login::barred, 0, 0, out_);
    co_return std::nullopt;
  }
  std::optional<std::optional<Account>> found;
  {
    const auto directory = office_.store.directory();
    auto account = find_account(*directory, name, settings_->default_domain);
    if (account) {
      found.emplace(std::move(*account));
    } else {
      log_trouble("pop3.directory", account.error());
    }
  }
  if (!found) answer_login(Login::store_trouble, name, mechanism);
  co_return found;
}

asio::awaitable<void> Session::check_password() {
  const auto step = std::get<CheckPassword>(std::exchange(step_, Proceed{}));
  const auto found = co_await begin_login(step.name, step.mechanism);
  if (!found) co_return;
  const auto& account = *found;
  // A name that nobody has costs the time of one that somebody has.
  const common::auth::StoredKeys nobody;
  const std::uint64_t number = account ? static_cast<std::uint64_t>(account->mailbox) : 0;
  const auto& keys = account ? account->keys : nobody;
  // Replies that wait in `out_` are for commands before this one; they go with its answer.
  const auto verdict = co_await office_.verifier.verify(number, keys, step.password);
  if (verdict == common::auth::Verdict::right && account) {
    open_maildrop(*account, step.mechanism);
  } else {
    const bool busy = verdict == common::auth::Verdict::busy;
    answer_login(busy ? Login::overloaded : Login::wrong, step.name, step.mechanism);
  }
}

asio::awaitable<void> Session::check_apop() {
  const auto question = std::get<CheckApop>(std::exchange(step_, Proceed{}));
  std::string mechanism{"APOP"};
  const auto found = co_await begin_login(question.name, std::move(mechanism));
  if (!found) co_return;
  const auto& account = *found;
  const std::string_view secret = account ? std::string_view{account->keys.shared_secret} : std::string_view{};
  if (!common::auth::check_apop(question.stamp, secret, question.digest)) {
    answer_login(Login::wrong, question.name, "APOP");
    co_return;
  }
  open_maildrop(*account, "APOP");
}

asio::awaitable<void> Session::update() {
  auto changes = conversation_.take_update();
  // What goes because it was retrieved is on its way first: a peer that is gone keeps it.
  if (settings_->rules.retrieved == Retrieved::removed) co_await flush();
  if (!changes.noted.empty()) {
    const auto now = common::unix_microseconds(worker_.clock());
    const auto noted = co_await maildrop_->note_retrieved(std::move(changes.noted), now);
    // Nobody asked for that: they are kept longer than they had to be.
    if (!noted) log_trouble("pop3.note_failed", noted.error());
  }
  auto told = changes.removed;
  const auto removed = co_await maildrop_->remove(std::move(changes.removed));
  if (removed) {
    removed_ = told.size();
    // One line names up to 32 of them: the log says what became of each message.
    for (std::size_t i = 0; i < told.size(); i += 32) {
      std::string names;
      for (std::size_t j = i; j < std::min(i + 32, told.size()); ++j) {
        if (!names.empty()) names += ' ';
        names += mailstore::format_id(told[j]);
      }
      log::info("pop3.deleted", {{"mailbox", address_}, {"ids", names}});
    }
  } else {
    log_trouble("pop3.delete_failed", removed.error());
  }
  step_ = conversation_.on_updated(removed.has_value(), out_);
}

asio::awaitable<void> Session::start_tls() {
  step_ = Proceed{};
  co_await flush();
  // RFC 2595 4: what came in the clear behind STLS may be anybody's.
  input_ = {};
  lines_.reset();
  const bool secured = co_await accept_tls();
  open_ = secured;
  if (!secured) end("tls");
}

asio::awaitable<bool> Session::accept_tls() {
  const auto accepted = co_await stream_.accept_tls(*settings_->tls);
  if (!accepted) {
    log::info("pop3.tls_failed", {{"server", settings_->server}, {"peer", peer()}, {"why", accepted.error()}});
    end("tls");
    co_return false;
  }
  common::auth::Channel channel{true, {}, {}};
  for (const auto& mechanism : settings_->rules.mechanisms) {
    if (!mechanism.ends_with("-PLUS")) continue;
    channel.exporter = stream_.channel_binding("tls-exporter");
    channel.unique = stream_.channel_binding("tls-unique");
  }
  conversation_.on_secure(std::move(channel));
  co_return true;
}

}  // namespace pop3d
