#include "smtpd/session/conversation.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "smtpd/protocol/cursor.hpp"

namespace smtpd {
namespace {

/// Where the configuration has no limit: sums stay far from overflowing.
constexpr std::uint64_t no_message_is_longer = std::uint64_t{1} << 62U;
/// RFC 9422 4.1, 4.2: six digits at most. A sender that keeps to fewer than are allowed does no harm.
constexpr std::uint64_t limit_told = 999'999;
/// A refused chunk up to here is waited for to its end, and one up to twice the limit of messages.
constexpr std::uint64_t skipped_chunk_limit = std::uint64_t{64} << 20U;

}  // namespace

Cause cause_of(routing::Outcome outcome) {
  switch (outcome) {
    case routing::Outcome::found:
      return Cause::recipient_ok;
    case routing::Outcome::no_domain:
      return Cause::unknown_domain;
    case routing::Outcome::not_ours:
      return Cause::relaying_denied;
    case routing::Outcome::too_far:
      return Cause::routing_loop;
    case routing::Outcome::forged_return:
      return Cause::forged_return;
    case routing::Outcome::expired_return:
      return Cause::expired_return;
    case routing::Outcome::full:
      return Cause::mailbox_full;
    case routing::Outcome::too_big:
      return Cause::over_quota;
    case routing::Outcome::unknown:
      break;
  }
  return Cause::unknown_recipient;
}

/// Which command may come when: Cause::ok, or why not.
struct Conversation::Order {
  Verb verb;
  Cause connected, greeted, mail, rcpt, chunks;
  bool before_tls;   ///< where TLS is required (RFC 3207 4)
  bool before_auth;  ///< where authentication is required (RFC 4954 4, RFC 6409 4.3)

  Cause at(State state) const {
    switch (state) {
      case State::connected:
        return connected;
      case State::greeted:
        return greeted;
      case State::mail:
        return mail;
      case State::rcpt:
        return rcpt;
      case State::chunks:
        break;
    }
    return chunks;
  }
};

const Conversation::Order& Conversation::order_of(Verb verb) {
  using enum Cause;
  constexpr bool yes = true, no = false;
  // clang-format off
  static constexpr auto table = std::to_array<Order>({
    //               connected   greeted    mail            rcpt            chunks          before TLS, AUTH
    {Verb::helo,     ok,         ok,        ok,             ok,             ok,             yes, yes},
    {Verb::ehlo,     ok,         ok,        ok,             ok,             ok,             yes, yes},
    {Verb::mail,     need_helo,  ok,        nested_mail,    nested_mail,    nested_mail,    no,  no},
    {Verb::rcpt,     need_helo,  need_mail, ok,             ok,             in_chunks,      no,  no},
    {Verb::data,     need_helo,  need_mail, need_recipient, ok,             in_chunks,      no,  no},
    {Verb::bdat,     need_helo,  need_mail, need_recipient, ok,             ok,             no,  no},
    {Verb::rset,     ok,         ok,        ok,             ok,             ok,             yes, yes},
    {Verb::noop,     ok,         ok,        ok,             ok,             ok,             yes, yes},
    {Verb::quit,     ok,         ok,        ok,             ok,             ok,             yes, yes},
    {Verb::vrfy,     ok,         ok,        ok,             ok,             ok,             no,  yes},
    {Verb::expn,     ok,         ok,        ok,             ok,             ok,             no,  yes},
    {Verb::help,     ok,         ok,        ok,             ok,             ok,             no,  yes},
    {Verb::starttls, need_ehlo,  ok,        in_transaction, in_transaction, in_transaction, yes, yes},
    {Verb::auth,     need_ehlo,  ok,        in_transaction, in_transaction, in_transaction, no,  yes},
    {Verb::etrn,     need_helo,  ok,        in_transaction, in_transaction, in_transaction, no,  no},
    {Verb::atrn,     need_ehlo,  ok,        in_transaction, in_transaction, in_transaction, no,  no},
    {Verb::turn,     need_helo,  ok,        in_transaction, in_transaction, in_transaction, no,  no},
    {Verb::lhlo,     ok,         ok,        ok,             ok,             ok,             yes, yes},
    {Verb::unknown,  ok,         ok,        ok,             ok,             ok,             yes, yes},
  });
  // clang-format on
  return *std::ranges::find(table, verb, &Order::verb);
}

Conversation::Conversation(const Terms& terms, bool secure, std::function<common::auth::Channel()> channel)
    : terms_(terms), channel_(std::move(channel)), secure_(secure) {}

Reply Conversation::greeting() const {
  return {Cause::greeting, terms_.hostname + (terms_.lmtp ? " LMTP" : " ESMTP")};
}

Step Conversation::reply(Cause cause, std::string detail) {
  if (reply_text(cause).broken && ++errors_ > terms_.errors && terms_.errors != 0) return close(Cause::too_many_errors);
  return Send{{cause, std::move(detail)}};
}

Step Conversation::close(Cause cause) {
  // RFC 5321 4.2.3: 421 and 220 begin with the domain; 221 need not for those who have read this far.
  return Close{{cause, terms_.hostname}};
}

Step Conversation::syntax_error(SyntaxError error) {
  return reply(error.cause, std::move(error.expected));
}

void Conversation::end_transaction() {
  transaction_.reset();
  if (state_ != State::connected) state_ = State::greeted;
}

Step Conversation::on_line(const Line& line) {
  if (exchange_) return on_response(line);
  if (line.fault == LineFault::too_long) return reply(Cause::line_too_long);
  if (line.fault == LineFault::newline_inside) return reply(Cause::newline_in_line);
  const CommandLine command = split_command(line.text);
  if (line.text.size() + 2 > command_line_limit && command.verb != Verb::auth) return reply(Cause::line_too_long);
  return on_command(command);
}

Step Conversation::on_command(const CommandLine& command) {
  const Order& order = order_of(command.verb);
  // RFC 2033 4.1: LHLO takes the place of HELO and EHLO.
  const bool others =
      terms_.lmtp ? command.verb == Verb::helo || command.verb == Verb::ehlo : command.verb == Verb::lhlo;
  if (others) return reply(Cause::unsupported_command);
  const bool asks = command.verb == Verb::etrn || command.verb == Verb::atrn || command.verb == Verb::turn;
  if (asks && (terms_.lmtp || !terms_.only_domain.empty())) return reply(Cause::not_implemented);
  Cause refused = order.at(state_);
  if (!terms_.anonymous && !identity_ && !order.before_auth) refused = Cause::auth_required;
  if (terms_.tls_required && !secure_ && !order.before_tls) refused = Cause::tls_required;
  // What makes a session, and no mail, goes on: RFC 5321 3.1 lets who is not served say QUIT.
  if (barred_ && !order.before_tls) refused = *barred_;
  // Its octets follow, whatever the answer is.
  if (command.verb == Verb::bdat) return on_bdat(command.argument, refused);
  if (refused != Cause::ok) return reply(refused, message_reply(refused).detail);

  const auto without_argument = [&](auto&& act) -> Step {
    if (!command.argument.empty()) return reply(Cause::syntax, "end of line");
    return act();
  };
  switch (command.verb) {
    case Verb::helo:
      return on_hello(false, command.argument);
    case Verb::ehlo:
    case Verb::lhlo:
      return on_hello(true, command.argument);
    case Verb::mail:
      return on_mail(command.argument);
    case Verb::rcpt:
      return on_rcpt(command.argument);
    case Verb::data:
      return without_argument([&]() -> Step { return ReadMessage{{Cause::go_ahead, {}}}; });
    case Verb::rset:
      return without_argument([&] {
        end_transaction();
        failed_chunk_.reset();
        return reply(Cause::ok);
      });
    case Verb::noop:
      return reply(Cause::ok);
    case Verb::quit:
      return without_argument([&] { return close(Cause::bye); });
    case Verb::vrfy:
      return on_vrfy(command.argument);
    case Verb::expn:
      return reply(Cause::not_implemented);
    case Verb::help:
      return reply(Cause::help,
                   std::string{terms_.lmtp ? "see RFC 2033; commands: LHLO" : "see RFC 5321; commands: HELO EHLO"} +
                       " MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH" +
                       (terms_.lmtp ? "" : " ETRN ATRN TURN"));
    case Verb::starttls:
      return on_starttls(command.argument);
    case Verb::auth:
      return on_auth(command.argument);
    case Verb::etrn:
      return on_etrn(command.argument);
    case Verb::atrn:
    case Verb::turn:
      return on_turn_command(command.verb, command.argument);
    case Verb::bdat:
    case Verb::unknown:
      break;
  }
  return reply(Cause::unknown_command);
}

Step Conversation::on_hello(bool extended, std::string_view name) {
  if (name.empty()) return reply(Cause::bad_helo);
  const bool proper = is_helo_name(name);
  if (!proper && terms_.helo_check != HeloCheck::off) return reply(Cause::bad_helo);
  if (terms_.helo_check == HeloCheck::fcrdns) return CheckHelo{std::string{name}, extended};
  return greet(extended, proper ? std::string{name} : std::string{});
}

Step Conversation::on_helo(const CheckHelo& asked, std::expected<bool, Cause> leads_to_client) {
  // RFC 5321 4.1.4 lets us verify and not refuse; who sets fcrdns has decided otherwise.
  if (!leads_to_client) return reply(leads_to_client.error());
  if (!*leads_to_client) return reply(Cause::helo_not_yours);
  return greet(asked.extended, asked.name);
}

Step Conversation::greet(bool extended, std::string name) {
  end_transaction();  // RFC 5321 4.1.4
  failed_chunk_.reset();
  helo_ = std::move(name);
  extended_ = extended;
  state_ = State::greeted;
  if (!extended) return Send{{Cause::helo, terms_.hostname}};
  return Send{{Cause::ehlo, ehlo_text()}};
}

std::string Conversation::ehlo_text() const {
  std::string text = terms_.hostname;
  text += "\nPIPELINING\nSIZE";
  if (terms_.message_octets != 0) text += ' ' + std::to_string(terms_.message_octets);
  text += "\n8BITMIME\nCHUNKING\nDSN\nSMTPUTF8";
  const bool asked = !terms_.lmtp && terms_.only_domain.empty();
  if (terms_.has_certificate && !secure_) text += "\nSTARTTLS";
  if (secure_ || !terms_.tls_required) {
    std::string mechanisms;
    for (const auto& mechanism :
         common::auth::offered_mechanisms(terms_.mechanisms, secure_, terms_.passwords_need_tls)) {
      mechanisms += ' ' + mechanism;
    }
    if (!mechanisms.empty()) text += "\nAUTH" + mechanisms;
    if (!mechanisms.empty() && asked) text += "\nATRN";
    if (asked) text += "\nETRN";
  }
  std::string limits;
  const auto limit = [&limits](std::string_view name, std::uint64_t value) {
    if (value != 0) (limits += name) += std::to_string(std::min(value, limit_told));
  };
  limit(" MAILMAX=", terms_.messages_per_session);
  limit(" RCPTMAX=", terms_.recipients);
  if (!limits.empty()) text += "\nLIMITS" + limits;
  text += "\nENHANCEDSTATUSCODES";
  return text;
}

Step Conversation::on_mail(std::string_view argument) {
  auto mail = parse_mail(argument);
  if (!mail) return syntax_error(std::move(mail.error()));
  const bool messages_used_up = terms_.messages_per_session != 0 && messages_ >= terms_.messages_per_session;
  const bool octets_used_up = terms_.session_octets != 0 && octets_ >= terms_.session_octets;
  if (messages_used_up || octets_used_up) return close(Cause::session_used_up);
  if (mail->size && terms_.message_octets != 0 && *mail->size > terms_.message_octets) {
    return reply(Cause::declared_too_big, std::to_string(terms_.message_octets));
  }
  Transaction transaction;
  if (mail->sender) {
    if (!routing::complete(*mail->sender, terms_.default_domain)) return reply(Cause::bad_sender, "domain missing");
    transaction.envelope.reverse_path = common::format_address(*mail->sender);
  }
  transaction.declared = mail->size;
  transaction.envelope.return_content = mail->return_content;
  transaction.envelope.envelope_id = std::move(mail->envelope_id);
  transaction.envelope.server = terms_.server;
  transaction.envelope.utf8 = mail->utf8;
  transaction.envelope.eight_bit = mail->body == Body::eight_bit_mime;
  if (identity_) transaction.envelope.authenticated = identity_->address;
  transaction_ = std::move(transaction);
  failed_chunk_.reset();
  // The null reverse-path is nobody's address: notifications come with it, those of mail programs too (RFC 8098 3).
  if (mail->sender && identity_) return CheckSender{std::move(*mail->sender), identity_->mailbox};
  if (mail->sender && terms_.local) return CheckSender{std::move(*mail->sender), std::nullopt};
  return on_sender(true);
}

Step Conversation::on_vrfy(std::string_view argument) {
  auto fine = parse_vrfy(argument);
  return fine ? reply(Cause::cannot_verify) : syntax_error(std::move(fine.error()));
}

Step Conversation::on_sender(std::expected<bool, Cause> own) {
  if (!own || !*own) {
    end_transaction();
    return reply(own ? Cause::not_your_address : own.error());
  }
  state_ = State::mail;
  return Send{{Cause::sender_ok, {}}};
}

Step Conversation::on_rcpt(std::string_view argument) {
  auto rcpt = parse_rcpt(argument, transaction_->envelope.utf8 ? Charset::utf8 : Charset::ascii);
  if (!rcpt) return syntax_error(std::move(rcpt.error()));
  // Where there is no limit, too: one address may come as often as somebody likes, and what each asks for is kept.
  const auto most = terms_.recipients != 0 ? std::min<std::uint64_t>(terms_.recipients, owner_limit) : owner_limit;
  if (transaction_->recipients >= most) return reply(Cause::too_many_recipients);
  const bool bare = rcpt->recipient.domain.empty();
  if (!routing::complete(rcpt->recipient, terms_.default_domain)) return reply(Cause::bad_recipient, "domain missing");
  if (!terms_.only_domain.empty() && rcpt->recipient.domain != terms_.only_domain) {
    // RFC 5321 4.5.1: <Postmaster> alone is to be reached in every session, whatever else this one is for.
    if (!bare || !common::canonical_key(rcpt->recipient).starts_with("postmaster@"))
      return reply(Cause::relaying_denied);
  }
  CheckRecipient question{.recipient = std::move(rcpt->recipient), .declared = transaction_->declared};
  question.relay = relay_for(terms_, identity_ ? Client::authenticated : Client::stranger);
  question.notify = rcpt->notify;
  question.original_recipient = std::move(rcpt->original_recipient);
  return question;
}

Step Conversation::on_recipient(const CheckRecipient& asked, std::expected<routing::Resolution, Cause> found) {
  if (!found) return reply(found.error());
  if (found->outcome != routing::Outcome::found) return reply(cause_of(found->outcome));
  if (!transaction_->add(asked, std::move(*found))) return reply(Cause::too_many_recipients);
  if (++transaction_->recipients == 1) transaction_->recipient = common::format_address(asked.recipient);
  state_ = State::rcpt;
  return Send{{Cause::recipient_ok, {}}};
}

void Conversation::bar(Reply refusal) {
  barred_ = refusal.cause;
  said_ = std::move(refusal.detail);
}

Step Conversation::on_filtered(Reply refusal) {
  end_transaction();
  if (ends_session(refusal)) return Close{std::move(refusal)};
  return Send{std::move(refusal)};
}

/// RFC 1985 5. Who asks need not be known: the mail goes where it goes anyhow.
Step Conversation::on_etrn(std::string_view argument) {
  auto node = parse_etrn(argument);
  if (!node) return syntax_error(std::move(node.error()));
  return AskRun{std::move(*node)};
}

Step Conversation::on_run(const outbound::RunAnswer& answer) {
  using enum outbound::RunAnswer::What;
  switch (answer.what) {
    case started:
      return answer.pending ? reply(Cause::run_pending, std::to_string(*answer.pending)) : reply(Cause::run_started);
    case nothing:
      return reply(Cause::run_nothing);
    case unable:
      return reply(Cause::run_unable);
    case refused:
      break;
  }
  return reply(Cause::run_refused);
}

/// RFC 2645 5.2.1; TURN (RFC 5321 F.1) is the same without arguments, and as closed to those who are not known.
Step Conversation::on_turn_command(Verb verb, std::string_view argument) {
  if (!identity_) return reply(Cause::auth_required);
  if (verb == Verb::turn) {
    if (!argument.empty()) return reply(Cause::syntax, "end of line");
    return AskTurn{identity_->address, {}};
  }
  auto domains = parse_atrn(argument);
  if (!domains) return syntax_error(std::move(domains.error()));
  return AskTurn{identity_->address, std::move(*domains)};
}

Step Conversation::on_turn(outbound::TurnAnswer answer) {
  using enum outbound::TurnAnswer;
  switch (answer) {
    case granted:
      return HandOver{{Cause::turn_started, {}}};
    case nothing:
      return reply(Cause::turn_nothing);
    case unable:
      return reply(Cause::turn_unable);
    case needs_tls:
      return reply(Cause::tls_required);
    case refused:
      break;
  }
  return reply(Cause::turn_refused);
}

Step Conversation::on_message(const MessageEnd& end) {
  const auto answers = message_answers();
  end_transaction();
  if (end.refused) {
    said_ = end.words;
    auto refusal = message_reply(*end.refused);
    if (ends_session(refusal)) return Close{std::move(refusal)};
    return Send{std::move(refusal), answers};
  }
  ++messages_;
  octets_ += end.octets;
  // RFC 5321 4.2.5: with this the message is ours. It is on stable storage.
  return Send{{Cause::stored, end.id}, answers};
}

Step Conversation::on_no_draft(Cause cause) {
  end_transaction();
  return Send{message_reply(cause)};
}

std::uint64_t Conversation::message_answers() const {
  return terms_.lmtp ? transaction_->recipients : 1;
}

Reply Conversation::message_reply(Cause cause) const {
  if (cause == Cause::filter_said) return {cause, said_};
  if (cause == Cause::filter_closes) return {cause, terms_.hostname};
  return {cause, cause == Cause::message_too_big ? std::to_string(message_limit()) : std::string{}};
}

std::uint64_t Conversation::message_limit() const {
  return terms_.message_octets != 0 ? terms_.message_octets : no_message_is_longer;
}

/// RFC 3030 2. Whatever is wrong with the command, exactly its octets are taken: behind them the next one begins.
Step Conversation::on_bdat(std::string_view argument, Cause refused) {
  const auto chunk = parse_bdat(argument);
  if (!chunk) {
    // A number that cannot be read announces octets all the same: taken for commands, they would be the message's
    // author's.
    if (!argument.empty() && argument.front() >= '0' && argument.front() <= '9') return close(Cause::chunk_unclear);
    return syntax_error(chunk.error());
  }
  if (refused == Cause::ok) {
    if (chunk->octets <= message_limit() - transaction_->chunk_octets) {
      transaction_->chunk_octets += chunk->octets;
      return ReadChunk{*chunk};
    }
    refused = Cause::message_too_big;
  }
  // So much would be waited for without end.
  if (chunk->octets > skipped_chunk_limit && chunk->octets / 2 > terms_.message_octets)
    return Close{message_reply(refused)};
  return fail_chunk(*chunk, refused);
}

Step Conversation::fail_chunk(const Chunk& chunk, Cause cause) {
  if (failed_chunk_) return SkipChunk{chunk.octets, {message_reply(*failed_chunk_)}};
  const auto answers = cause == Cause::message_too_big && chunk.last ? message_answers() : 1;
  end_transaction();  // or what comes later would pass for the whole message
  failed_chunk_ = cause;
  Step step = reply(cause, message_reply(cause).detail);
  if (auto* send = std::get_if<Send>(&step)) return SkipChunk{chunk.octets, {std::move(send->reply), answers}};
  return step;
}

Step Conversation::on_chunk(const Chunk& chunk, std::optional<Cause> refused) {
  if (refused) {
    end_transaction();
    failed_chunk_ = refused;
    auto refusal = message_reply(*refused);
    if (ends_session(refusal)) return Close{std::move(refusal)};
    return Send{std::move(refusal)};
  }
  state_ = State::chunks;
  return Send{{Cause::chunk_taken, std::to_string(chunk.octets)}};
}

Step Conversation::on_starttls(std::string_view argument) {
  if (!terms_.has_certificate) return reply(Cause::not_implemented);
  if (secure_) return reply(Cause::already_secure);
  if (!argument.empty()) return reply(Cause::syntax, "end of line");
  return StartTls{{Cause::tls_ready, {}}};
}

void Conversation::on_tls() {
  secure_ = true;
  extended_ = false;
  failed_chunk_.reset();
  state_ = State::connected;
  helo_.clear();
  identity_.reset();
  transaction_.reset();
}

}  // namespace smtpd
