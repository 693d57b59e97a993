#include "pop3d/session/conversation.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "pop3d/protocol/reply.hpp"

namespace pop3d {

namespace auth = common::auth;

namespace {

std::string upper(std::string_view text) {
  std::string out{text};
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - ('a' - 'A'));
  return out;
}

bool contains(const std::vector<std::string>& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

}  // namespace

/// Which command may come when (RFC 1939 4 to 6, RFC 2449 5, RFC 2595 4, RFC 5034 4).
bool Conversation::allowed(Verb verb, Phase phase) {
  constexpr auto before = static_cast<unsigned>(Phase::authorization);
  constexpr auto after = static_cast<unsigned>(Phase::transaction);
  unsigned in = 0;
  switch (verb) {
    case Verb::user:
    case Verb::pass:
    case Verb::apop:
    case Verb::auth:
    case Verb::stls:
      in = before;
      break;
    case Verb::capa:
    case Verb::quit:
      in = before | after;
      break;
    case Verb::noop:
    case Verb::stat:
    case Verb::list:
    case Verb::uidl:
    case Verb::retr:
    case Verb::top:
    case Verb::dele:
    case Verb::rset:
      in = after;
      break;
  }
  return (in & static_cast<unsigned>(phase)) != 0;
}

Conversation::Conversation(const Rules& rules, bool secure) : rules_{rules}, secure_{secure} {}

void Conversation::greet(std::string& out, std::string stamp) {
  stamp_ = std::move(stamp);
  append_greeting(out, rules_.hostname, stamp_);
}

/// A command that should not have come, or a log-in that failed: so many of them and no more.
Step Conversation::broken(Cause cause, std::string& out) {
  // RFC 1939 7: PASS comes right behind the USER that it belongs to.
  name_.clear();
  ++errors_;
  if (rules_.errors != 0 && errors_ >= rules_.errors) {
    append_reply(out, Cause::too_many_errors);
    return Close{"errors"};
  }
  append_reply(out, cause);
  return Proceed{};
}

Step Conversation::on_line(const Line& line, std::string& out) {
  if (exchange_) return on_answer(line, out);
  if (line.fault == LineFault::too_long) return broken(Cause::line_too_long, out);
  if (line.fault == LineFault::stray_control) return broken(Cause::stray_control, out);
  const auto command = parse_command(line.text);
  const bool may_be_long = command && command->verb == Verb::auth;
  if (line.text.size() > longest_command && !may_be_long) return broken(Cause::line_too_long, out);
  if (!command) {
    const auto before = out.size();
    auto step = broken(Cause::unknown_command, out);
    if (std::holds_alternative<Close>(step)) return step;
    out.resize(before);
    append_syntax_error(out, command.error().expected);
    return step;
  }
  return on_command(*command, out);
}

Step Conversation::on_command(const Command& command, std::string& out) {
  const auto verb = command.verb;
  if (rules_.only_tls && !secure_ && verb != Verb::capa && verb != Verb::stls && verb != Verb::quit)
    return broken(Cause::only_tls, out);
  if (!allowed(verb, phase_))
    return broken(phase_ == Phase::authorization ? Cause::not_before_login : Cause::not_after_login, out);
  if (verb != Verb::pass && verb != Verb::user) name_.clear();

  switch (verb) {
    case Verb::user:
      return on_user(command.text, out);
    case Verb::pass:
      return on_pass(command.text, out);
    case Verb::apop:
      return on_apop(command, out);
    case Verb::auth:
      return on_auth(command, out);
    case Verb::stls:
      return on_stls(out);
    case Verb::capa: {
      const Capabilities capabilities{passwords_allowed() && !(rules_.only_tls && !secure_),
                                      rules_.tls_available && !secure_, mechanisms(),
                                      static_cast<std::uint64_t>(rules_.login_delay.count()), rules_.expire_days};
      append_capabilities(out, capabilities);
      return Proceed{};
    }
    case Verb::quit:
      return on_quit(out);
    case Verb::noop:
      append_reply(out, Cause::done);
      return Proceed{};
    case Verb::stat:
      append_numbers(out, messages_ - marks_.messages(), octets_ - marks_.octets());
      return Proceed{};
    case Verb::list:
    case Verb::uidl:
      if (command.number) return on_number(command, out);
      append_maildrop(out, messages_ - marks_.messages(), octets_ - marks_.octets());
      return SendListing{verb == Verb::list ? Listing::octets : Listing::unique_ids};
    case Verb::retr:
    case Verb::top:
    case Verb::dele:
      return on_number(command, out);
    case Verb::rset:
      return on_rset(out);
  }
  return Proceed{};
}

Step Conversation::on_user(std::string_view name, std::string& out) {
  if (!passwords_allowed()) return broken(Cause::needs_tls, out);
  name_ = name;
  append_reply(out, Cause::name_taken);
  return Proceed{};
}

Step Conversation::on_pass(std::string_view password, std::string& out) {
  if (!passwords_allowed()) return broken(Cause::needs_tls, out);
  if (name_.empty()) return broken(Cause::user_first, out);
  return CheckPassword{std::exchange(name_, {}), common::Secret{std::string{password}}, "USER"};
}

// RFC 1939 7. What goes over the line is no password, so it may go in the clear.
Step Conversation::on_apop(const Command& command, std::string& out) {
  if (stamp_.empty()) return broken(Cause::no_apop, out);
  return CheckApop{std::string{command.text}, stamp_, std::string{command.digest}};
}

std::vector<std::string> Conversation::mechanisms() const {
  if (rules_.only_tls && !secure_) return {};
  auto offered = auth::offered_mechanisms(rules_.mechanisms, secure_, rules_.require_tls);
  const bool binds = channel_ && !(channel_->exporter.empty() && channel_->unique.empty());
  if (!binds) std::erase_if(offered, [](const std::string& name) { return name.ends_with("-PLUS"); });
  return offered;
}

Step Conversation::on_auth(const Command& command, std::string& out) {
  const auto offered = mechanisms();
  if (command.text.empty()) {
    append_mechanisms(out, offered);
    return Proceed{};
  }
  const auto name = upper(command.text);
  if (!contains(offered, name)) {
    const bool clear_only =
        !passwords_allowed() && contains(auth::offered_mechanisms(rules_.mechanisms, true, false), name);
    return broken(clear_only ? Cause::needs_tls : Cause::no_mechanism, out);
  }
  const bool bindable = std::ranges::any_of(offered, [](const std::string& m) { return m.ends_with("-PLUS"); });
  auth::Channel channel{secure_, {}, {}};
  if (bindable) channel = *channel_;
  channel.hostname = rules_.hostname;
  auto sasl = auth::Sasl::start(name, channel);
  if (!sasl) return broken(Cause::no_mechanism, out);

  std::optional<std::string> initial;
  if (command.initial) {
    // RFC 5034 4: "=" is an initial response without octets.
    initial = *command.initial == "=" ? std::string{} : auth::decode_base64(*command.initial);
    if (!initial) return broken(Cause::bad_base64, out);
  }
  exchange_ = std::make_unique<Exchange>(Exchange{name, std::move(sasl), std::nullopt});
  auto step = initial ? exchange_->sasl->begin(*initial) : exchange_->sasl->begin(std::nullopt);
  return on_sasl(std::move(step), out);
}

/// A line in the middle of AUTH: base64, or "*" to give up.
Step Conversation::on_answer(const Line& line, std::string& out) {
  std::optional<std::string> octets;
  if (line.fault == LineFault::none && line.text != "*") octets = auth::decode_base64(line.text);
  if (!octets) {
    exchange_.reset();
    if (line.fault == LineFault::too_long) return broken(Cause::line_too_long, out);
    return broken(line.text == "*" ? Cause::cancelled : Cause::bad_base64, out);
  }
  if (!exchange_->proved) {
    auto step = exchange_->sasl->answer(*octets);
    return on_sasl(std::move(step), out);
  }
  if (!octets->empty()) {
    exchange_.reset();
    return broken(Cause::bad_base64, out);
  }
  OpenMaildrop open{std::move(*exchange_->proved), std::move(exchange_->mechanism)};
  exchange_.reset();
  return open;
}

Step Conversation::on_keys(const auth::StoredKeys& keys, std::string& out) {
  auto step = exchange_->sasl->give_keys(keys);
  return on_sasl(std::move(step), out);
}

Step Conversation::on_barred(std::string& out) {
  exchange_.reset();
  return broken(Cause::barred, out);
}

Step Conversation::on_sasl(auth::SaslStep step, std::string& out) {
  if (auto* challenge = std::get_if<auth::Challenge>(&step)) {
    append_challenge(out, auth::encode_base64(challenge->octets));
    return Proceed{};
  }
  if (auto* need = std::get_if<auth::NeedKeys>(&step)) return FindKeys{std::move(need->account)};
  if (auto* need = std::get_if<auth::NeedPassword>(&step)) {
    CheckPassword check{std::move(need->account), std::move(need->password), std::move(exchange_->mechanism)};
    exchange_.reset();
    return check;
  }
  if (auto* success = std::get_if<auth::Success>(&step)) {
    if (!success->last.empty()) {
      // RFC 5034 4: +OK has no room for data, so it goes as a challenge, to be answered by an empty line.
      append_challenge(out, auth::encode_base64(success->last));
      exchange_->proved = std::move(success->account);
      return Proceed{};
    }
    OpenMaildrop open{std::move(success->account), std::move(exchange_->mechanism)};
    exchange_.reset();
    return open;
  }
  auto& failure = std::get<auth::Failure>(step);
  exchange_.reset();
  const auto next = broken(failure.malformed ? Cause::bad_base64 : Cause::wrong_password, out);
  return Refused{std::move(failure.why), failure.malformed, std::holds_alternative<Close>(next)};
}

Step Conversation::on_login(Login login, std::uint64_t messages, std::uint64_t octets, std::string& out) {
  switch (login) {
    case Login::right:
      phase_ = Phase::transaction;
      stamp_ = std::string{};
      messages_ = messages;
      octets_ = octets;
      append_maildrop(out, messages, octets);
      return Proceed{};
    case Login::wrong:
      return broken(Cause::wrong_password, out);
    case Login::locked:
      return broken(Cause::locked, out);
    case Login::barred:
      return broken(Cause::barred, out);
    case Login::in_use:
      append_reply(out, Cause::in_use);
      return Proceed{};
    case Login::too_soon:
      append_reply(out, Cause::too_soon);
      return Proceed{};
    case Login::overloaded:
      append_reply(out, Cause::overloaded);
      return Proceed{};
    case Login::store_trouble:
      append_reply(out, Cause::store_trouble);
      return Proceed{};
  }
  return Proceed{};
}

Step Conversation::on_stls(std::string& out) {
  if (secure_) return broken(Cause::tls_already, out);
  if (!rules_.tls_available) return broken(Cause::no_tls, out);
  append_reply(out, Cause::start_tls);
  return StartTls{};
}

void Conversation::on_secure(auth::Channel channel) {
  // RFC 2595 4: nothing that was learned in the clear is remembered.
  name_.clear();
  secure_ = true;
  channel_ = std::make_unique<auth::Channel>(std::move(channel));
}

Step Conversation::on_quit(std::string& out) {
  if (marks_.messages() == 0 && retrieved_.messages() == 0) {
    append_reply(out, Cause::goodbye);
    return Close{"quit"};
  }
  phase_ = Phase::update;
  return Update{};
}

// RFC 2449 6.7: with EXPIRE 0 the server may take it that what was retrieved is to be deleted once the session enters
// UPDATE; a session that is cut off never does.
void Conversation::on_retrieved(const SendMessage& message) {
  const bool matters =
      rules_.retrieved == Retrieved::removed || (rules_.retrieved == Retrieved::noted && message.entry.retrieved == 0);
  if (matters && !retrieved_.marked(message.number)) retrieved_.mark(message.number, message.entry);
}

Changes Conversation::take_update() {
  Changes changes{marks_.take(), retrieved_.take()};
  if (rules_.retrieved == Retrieved::removed) {
    std::vector<mailstore::MessageId> all;
    all.reserve(changes.removed.size() + changes.noted.size());
    std::ranges::set_union(changes.removed, changes.noted, std::back_inserter(all));
    return {std::move(all), {}};
  }
  std::vector<mailstore::MessageId> left;
  std::ranges::set_difference(changes.noted, changes.removed, std::back_inserter(left));
  changes.noted = std::move(left);
  return changes;
}

// RFC 1939 6: +OK only when all that was marked is gone, and gone for good.
Step Conversation::on_updated(bool all, std::string& out) {
  append_reply(out, all ? Cause::goodbye : Cause::update_failed);
  return Close{"quit"};
}

Step Conversation::on_number(const Command& command, std::string& out) {
  const auto number = *command.number;
  if (number == 0 || number > messages_) {
    append_reply(out, Cause::no_message);
    return Proceed{};
  }
  if (marks_.marked(number)) {
    append_reply(out, Cause::deleted_already);
    return Proceed{};
  }
  return FindMessage{command.verb, number, command.lines};
}

Step Conversation::on_found(const FindMessage& question, const mailstore::Entry& entry, std::string& out) {
  switch (question.verb) {
    case Verb::retr:
      return SendMessage{entry, std::nullopt, question.number};
    case Verb::top:
      return SendMessage{entry, question.lines, question.number};
    case Verb::dele:
      marks_.mark(question.number, entry);
      append_message_deleted(out, question.number);
      return Proceed{};
    case Verb::list:
      append_numbers(out, question.number, entry.octets);
      return Proceed{};
    default:
      append_unique_id(out, question.number, mailstore::format_id(entry.id));
      return Proceed{};
  }
}

Step Conversation::on_trouble(std::string& out) {
  append_reply(out, Cause::message_trouble);
  return Proceed{};
}

Step Conversation::on_rset(std::string& out) {
  marks_.clear();
  append_maildrop(out, messages_, octets_);
  return Proceed{};
}

void Conversation::on_shutdown(std::string& out) const {
  append_reply(out, Cause::shutting_down);
}

}  // namespace pop3d
