// The steps of a session that do not wait: looking up, reading, gathering answers. What it waits for stands in
// session.cpp.
#include <algorithm>
#include <utility>

#include "common/log.hpp"
#include "pop3d/protocol/reply.hpp"
#include "pop3d/session/output.hpp"
#include "pop3d/session/session.hpp"

namespace pop3d {

namespace log = common::log;
using mailstore::Errc;

namespace {

// Up to here a body is copied into the output and leaves with the other answers in one call; a longer one goes from its
// file. Between 16 and 64 KiB neither way was measurably better, beyond that the file is; the smaller number keeps the
// output buffers small.
constexpr std::uint64_t gathered_most = 16 * 1024;

}  // namespace

/// Does the step at hand as far as it goes without waiting; nullopt: there is a next one.
std::optional<Session::Due> Session::perform_now() {
  if (const auto* question = std::get_if<FindMessage>(&step_)) return find_message(*question);
  if (const auto* message = std::get_if<SendMessage>(&step_)) {
    return message->lines ? send_top(*message) : send_message(*message);
  }
  if (const auto* listing = std::get_if<SendListing>(&step_)) return send_listing(*listing);
  if (std::holds_alternative<OpenMaildrop>(step_)) {
    open_proved(std::get<OpenMaildrop>(std::exchange(step_, Proceed{})));
    return std::nullopt;
  }
  if (std::holds_alternative<Refused>(step_)) {
    const auto refused = std::get<Refused>(std::exchange(step_, Proceed{}));
    log::info("pop3.auth_failed", {{"server", settings_->server},
                                   {"peer", peer()},
                                   {"name", proof_ ? std::string_view{proof_->name} : std::string_view{}},
                                   {"why", refused.why}});
    if (attempt_ && !refused.malformed) attempt_->on_wrong();
    attempt_.reset();
    proof_.reset();
    if (refused.close) step_ = Close{"errors"};
    return std::nullopt;
  }
  return Due::step;
}

std::optional<Session::Due> Session::find_message(const FindMessage& question) {
  const auto found = maildrop_->numbering().find(*maildrop_, question.number);
  if (found && found->answer == Numbering::Answer::unfinished) return Due::turn;
  if (found && found->answer == Numbering::Answer::found) {
    // `question` lives in step_, which is about to be another.
    auto next = conversation_.on_found(question, found->entry, out_);
    step_ = std::move(next);
    return std::nullopt;
  }
  log_trouble("pop3.find_failed",
              found ? mailstore::Error{Errc::corrupt, "the maildrop ends before its count"} : found.error());
  step_ = conversation_.on_trouble(out_);
  return std::nullopt;
}

std::optional<Session::Due> Session::send_message(const SendMessage& message) {
  const auto& entry = message.entry;
  // What is stored is longer than what is told by its stuffed dots; should that be much, the file it is.
  const auto want = entry.octets <= gathered_most ? 2 * gathered_most : 0;
  auto opened = maildrop_->read(entry, worker_.scratch(), want);
  if (!opened) {
    log_trouble("pop3.read_failed", opened.error());
    step_ = conversation_.on_trouble(out_);
    return std::nullopt;
  }
  conversation_.on_retrieved(message);
  ++retrieved_;
  retrieved_octets_ += entry.octets;
  append_octets(out_, entry.octets);
  step_ = Proceed{};
  if (opened->prefix.size() != opened->stored_octets) {
    file_ = std::move(*opened);
    return Due::file;
  }
  out_ += opened->front;
  out_ += opened->prefix;
  append_end(out_);
  return std::nullopt;
}

std::optional<Session::Due> Session::send_top(const SendMessage& message) {
  const auto& entry = message.entry;
  if (!top_) {
    auto opened = maildrop_->read(entry, worker_.scratch(), TopReader::next_piece(entry.header_octets, *message.lines));
    if (!opened) {
      log_trouble("pop3.read_failed", opened.error());
      step_ = conversation_.on_trouble(out_);
      return std::nullopt;
    }
    append_reply(out_, Cause::done);
    top_ = std::make_unique<TopReader>(std::move(*opened), entry.header_octets, *message.lines);
  }
  for (;;) {
    const auto all = top_->append(out_, worker_.scratch());
    if (!all) {
      // The answer has begun: only the end of the connection can say that it is not whole.
      log_trouble("pop3.read_failed", all.error());
      top_.reset();
      end("trouble");
      open_ = false;
      return Due::output;
    }
    if (*all) break;
    if (out_.size() >= output_due) return Due::output;
  }
  top_.reset();
  step_ = Proceed{};
  return std::nullopt;
}

std::optional<Session::Due> Session::send_listing(const SendListing& listing) {
  if (!listing_) listing_ = std::make_unique<ListingWriter>(listing.what);
  const auto all = listing_->append(*maildrop_, maildrop_->numbering(), conversation_, out_);
  if (!all) {
    log_trouble("pop3.list_failed", all.error());
    listing_.reset();
    end("trouble");
    open_ = false;
    return Due::output;
  }
  if (!*all) {
    if (out_.size() >= output_due) return Due::output;
    return std::nullopt;
  }
  listing_.reset();
  step_ = Proceed{};
  return std::nullopt;
}

/// A proof was right: the account is read once more, for between its two messages much may have happened.
void Session::open_proved(const OpenMaildrop& step) {
  const auto proof = std::exchange(proof_, nullptr);
  std::optional<Account> account;
  {
    const auto directory = office_.store.directory();
    auto found = find_account(*directory, step.name, settings_->default_domain);
    if (!found) {
      log_trouble("pop3.directory", found.error());
      return answer_login(Login::store_trouble, step.name, step.mechanism);
    }
    account = std::move(*found);
  }
  if (!account || !proof || account->keys.version != proof->version)
    return answer_login(Login::wrong, step.name, step.mechanism);
  open_maildrop(*account, step.mechanism);
}

void Session::open_maildrop(const Account& account, const std::string& mechanism) {
  const auto attempt = std::exchange(attempt_, nullptr);
  if (account.locked) return answer_login(Login::locked, account.address, mechanism);
  if (attempt) attempt->on_right();
  auto opened = Maildrop::open(office_.store, account.mailbox, account.address);
  if (!opened) {
    const bool in_use = opened.error().code == Errc::in_use;
    if (!in_use) log_trouble("pop3.open_failed", opened.error());
    return answer_login(in_use ? Login::in_use : Login::store_trouble, account.address, mechanism);
  }
  if (too_soon(**opened)) return answer_login(Login::too_soon, account.address, mechanism);
  maildrop_ = std::move(*opened);
  address_ = account.address;
  stream_.set_timeout(settings_->idle_timeout);
  answer_login(Login::right, account.address, mechanism);
}

/// RFC 2449 6.5. Only a log-in that is let in counts for the next one; a clock that was put back lets in.
bool Session::too_soon(Maildrop& maildrop) {
  const auto delay = settings_->rules.login_delay;
  if (delay.count() == 0) return false;
  const auto now = common::unix_microseconds(worker_.clock());
  const auto last = maildrop.last_login();
  if (last && *last <= now && now - *last < static_cast<std::uint64_t>(std::chrono::microseconds{delay}.count()))
    return true;
  auto noted = maildrop.note_login(now);
  if (!last || !noted) log_trouble("pop3.login_delay", !last ? last.error() : noted.error());
  return false;
}

void Session::answer_login(Login login, std::string_view name, std::string_view mechanism) {
  if (login == Login::wrong && attempt_) attempt_->on_wrong();
  attempt_.reset();
  std::string_view why;
  switch (login) {
    case Login::right:
      break;
    case Login::barred:
      why = "too many failures";
      break;
    case Login::wrong:
      why = "name or password wrong";
      break;
    case Login::locked:
      why = "locked";
      break;
    case Login::in_use:
      why = "maildrop in use";
      break;
    case Login::too_soon:
      why = "sooner than login_delay";
      break;
    case Login::overloaded:
      why = "too many checks wait";
      break;
    case Login::store_trouble:
      why = "store trouble";
      break;
  }
  if (login == Login::right) {
    log::info("pop3.login", {{"server", settings_->server},
                             {"peer", peer()},
                             {"mailbox", name},
                             {"mechanism", mechanism},
                             {"tls", stream_.secure()},
                             {"messages", maildrop_->view().messages}});
    step_ = conversation_.on_login(login, maildrop_->view().messages, maildrop_->view().octets, out_);
    return;
  }
  log::info("pop3.auth_failed",
            {{"server", settings_->server}, {"peer", peer()}, {"name", name}, {"mechanism", mechanism}, {"why", why}});
  step_ = conversation_.on_login(login, 0, 0, out_);
}

void Session::close_maildrop() {
  top_.reset();
  listing_.reset();
  file_.reset();
  maildrop_.reset();
}

/// The session's one line in the log; the first reason counts.
void Session::end(std::string_view how) {
  if (ended_) return;
  ended_ = true;
  if (address_.empty()) {
    log::debug("pop3.closed", {{"server", settings_->server}, {"peer", peer()}, {"end", how}});
    return;
  }
  log::info("pop3.session", {{"server", settings_->server},
                             {"peer", peer()},
                             {"mailbox", address_},
                             {"retrieved", retrieved_},
                             {"octets", retrieved_octets_},
                             {"deleted", removed_},
                             {"end", how}});
}

std::string Session::peer() const {
  const auto address = stream_.peer_address();
  const bool six = address.find(':') != address.npos;
  return (six ? "[" + address + "]" : address) + ":" + std::to_string(stream_.peer_port());
}

void Session::log_trouble(std::string_view event, const mailstore::Error& error) const {
  log::error(event, {{"server", settings_->server}, {"mailbox", address_}, {"why", error.detail}});
}

}  // namespace pop3d
