#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "common/log.hpp"

#include "smtpd/milter/edits.hpp"
#include "smtpd/protocol/command.hpp"
#include "smtpd/session/session.hpp"

/// The part of the session that shows it to filters, and does what they make of it (LEGACY S97).
namespace smtpd {
namespace {

namespace log = common::log;

/// What stands behind the path of MAIL or RCPT.
std::string_view parameters_of(std::string_view line) {
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\') {
      ++i;
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (line[i] == '>' && !quoted) {
      return line.substr(i + 1);
    }
  }
  return {};
}

/// What a client is greeted with that filters refuse: RFC 5321 3.1 has 554 for it, and 421 where it may come again.
std::string as_greeting(const Reply& refusal) {
  std::string text;
  append_reply(text, refusal);
  const std::string_view code = text.starts_with('4') ? "421" : "554";
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) text.replace(at, code.size(), code);
  return text;
}

std::string in_brackets(std::string_view path) {
  std::string text{"<"};
  text += path;
  text += '>';
  return text;
}

/// The address of a RCPT or of a filter, as one may be found by the other.
std::string key_of(std::string_view address, std::string_view default_domain) {
  auto parsed = common::parse_address(address);
  if (!parsed) return std::string{address};
  if (parsed->domain.empty()) parsed->domain = default_domain;
  return common::canonical_key(*parsed);
}

std::string domain_of(std::string_view address) {
  const auto at = address.rfind('@');
  return at == std::string_view::npos ? std::string{} : std::string{address.substr(at + 1)};
}

Step refusal_step(Reply refusal) {
  if (ends_session(refusal)) return Close{std::move(refusal)};
  return Send{std::move(refusal)};
}

}  // namespace

/// A step that filters have a say in before it is done.
bool Session::concerns_filters(const Step& step) const {
  if (!filtering_) return false;
  if (std::holds_alternative<CheckRecipient>(step)) return true;
  const auto* send = std::get_if<Send>(&step);
  if (send == nullptr) return false;
  const auto cause = send->reply.cause;
  return cause == Cause::helo || cause == Cause::ehlo || cause == Cause::sender_ok || cause == Cause::unknown_command;
}

/// Nothing else is kept of what was said: there may be secrets in it.
void Session::note_for_filters(const Step& step, std::string_view line) {
  if (concerns_filters(step) || (filtering_ && std::holds_alternative<CheckHelo>(step))) filtering_->line = line;
}

void Session::update_facts() {
  auto& facts = filtering_->filters.facts();
  if (tls_) {
    facts.tls_version = tls_->protocol;
    facts.cipher = tls_->cipher;
    facts.cipher_bits = std::to_string(tls_->bits);
  }
  facts.auth_authen = account();
  if (facts.auth_authen.empty()) facts.auth_type.clear();
}

asio::awaitable<void> Session::show_connection() {
  co_await settle_name();
  filtering_ = std::make_unique<Filtering>(worker_, services_.resolver, server_->filters);
  auto& facts = filtering_->filters.facts();
  facts.hostname = server_->terms.hostname;
  facts.version = "Pennypost " PENNYPOST_VERSION;
  facts.daemon = server_->terms.server;
  facts.client_address = peer_;
  facts.client_port = stream_.peer_port();
  facts.client_name = client_name();
  if (peer_ != "unix") {
    facts.local_address = stream_.local_address();
    facts.local_port = std::to_string(stream_.local_port());
  }
  update_facts();
  auto asking = filtering_->filters.on_connect();
  auto decision = co_await std::move(asking);
  if (decision.kind != milter::Decision::Kind::refuse) co_return;
  replies_ = as_greeting(decision.reply);
  if (replies_.starts_with("421")) open_ = false;
  conversation_.bar(std::move(decision.reply));
  if (!open_) co_await flush();
}

asio::awaitable<Step> Session::ask_filters(Step& step) {
  if (auto* recipient = std::get_if<CheckRecipient>(&step)) {
    auto asking = ask_about_recipient(*recipient);
    co_return co_await std::move(asking);
  }
  auto& filters = filtering_->filters;
  const std::string line = std::exchange(filtering_->line, {});
  const auto cause = std::get<Send>(step).reply.cause;
  update_facts();
  milter::Decision decision;
  if (cause == Cause::sender_ok) {
    filtering_->recipients.clear();
    const auto& sender = conversation_.transaction()->envelope.reverse_path;
    filters.facts().id.clear();
    filters.facts().mail_address = sender;
    filters.facts().mail_host = domain_of(sender);
    auto asking = filters.on_mail(in_brackets(sender), std::string{parameters_of(line)});
    decision = co_await std::move(asking);
    if (decision.kind == milter::Decision::Kind::refuse) co_return conversation_.on_filtered(std::move(decision.reply));
  } else if (cause == Cause::unknown_command) {
    auto asking = filters.on_unknown(line);
    decision = co_await std::move(asking);
    if (decision.kind == milter::Decision::Kind::refuse) co_return refusal_step(std::move(decision.reply));
  } else {
    auto asking = filters.on_helo(conversation_.helo().empty() ? std::string{split_command(line).argument}
                                                               : conversation_.helo());
    decision = co_await std::move(asking);
    if (decision.kind == milter::Decision::Kind::refuse) {
      conversation_.bar(decision.reply);
      co_return refusal_step(std::move(decision.reply));
    }
  }
  co_return std::move(step);
}

asio::awaitable<Step> Session::ask_about_recipient(const CheckRecipient& question) {
  const std::string line = std::exchange(filtering_->line, {});
  auto found = resolve_recipient(question);
  if (!found || found->outcome != routing::Outcome::found) {
    // Refused by ourselves: no filter hears of it.
    Step step = conversation_.on_recipient(question, std::move(found));
    log_refused_recipient(question, step);
    co_return step;
  }
  auto& filters = filtering_->filters;
  const auto address = common::format_address(question.recipient);
  filters.facts().rcpt_address = address;
  filters.facts().rcpt_host = question.recipient.domain;
  filters.facts().rcpt_mailer = found->targets.empty() ? "smtp" : "local";
  auto asking = filters.on_rcpt(in_brackets(address), std::string{parameters_of(line)});
  auto decision = co_await std::move(asking);
  if (decision.kind == milter::Decision::Kind::refuse) {
    Step refused = refusal_step(std::move(decision.reply));
    log_refused_recipient(question, refused);
    co_return refused;
  }
  filtering_->recipients.push_back({question, *found});
  Step step = conversation_.on_recipient(question, std::move(found));
  log_refused_recipient(question, step);
  const auto* send = std::get_if<Send>(&step);
  if (send == nullptr || send->reply.cause != Cause::recipient_ok) filtering_->recipients.pop_back();
  co_return step;
}

asio::awaitable<std::optional<Reply>> Session::ask_about_data(mailstore::MessageId id) {
  filtering_->filters.facts().id = mailstore::format_id(id);
  auto asking = filtering_->filters.on_data();
  auto decision = co_await std::move(asking);
  std::optional<Reply> refusal;
  if (decision.kind == milter::Decision::Kind::refuse) refusal = std::move(decision.reply);
  co_return refusal;
}

asio::awaitable<std::optional<MessageEnd>> Session::ask_about_message(mailstore::Draft& draft,
                                                                      mailstore::BodyFacts& facts, std::string& hold) {
  using Kind = milter::Decision::Kind;
  const auto id = mailstore::format_id(draft.id());
  milter::Edits edits;
  auto asking = filtering_->filters.on_message(draft, facts, edits);
  auto decision = co_await std::move(asking);
  std::optional<MessageEnd> end;
  if (decision.store) {
    end = refuse(*decision.store, id);
    co_return end;
  }
  if (decision.kind == Kind::refuse) {
    end.emplace();
    end->refused = decision.reply.cause;
    end->words = std::move(decision.reply.detail);
    log::info("message.refused", {{"id", id},
                                  {"from", conversation_.transaction()->envelope.reverse_path},
                                  {"peer", peer_},
                                  {"code", format_code(Reply{*end->refused, end->words})},
                                  {"why", "a filter"},
                                  {"tls", tls_name()},
                                  {"auth", account()},
                                  {"server", server_->terms.server}});
    co_return end;
  }
  if (decision.kind == Kind::go_on) apply_edits(edits, id);
  auto& envelope = conversation_.transaction()->envelope;
  const bool nobody = envelope.owners.empty() && envelope.remotes.empty();
  if (decision.kind == Kind::discard || nobody) {
    end.emplace();
    end->id = id;
    end->octets = facts.octets;
    log::info("message.discarded", {{"id", id},
                                    {"from", envelope.reverse_path},
                                    {"peer", peer_},
                                    {"why", nobody ? "filters left no recipient" : "a filter"},
                                    {"size", facts.octets},
                                    {"server", server_->terms.server}});
    co_return end;
  }
  if (edits.quarantine) {
    hold = *edits.quarantine;
    hold_recipients();
  }
  co_return end;
}

/// A mailbox holds nothing back from its owner; the queue does. It gets the recipients as they were asked for: where
/// they lead, by forwarding and to groups, is found once, when they are released.
void Session::hold_recipients() {
  auto& transaction = *conversation_.transaction();
  auto& envelope = transaction.envelope;
  envelope.owners.clear();
  envelope.remotes.clear();
  std::unordered_set<std::string> there;
  for (const auto& [asked, found] : filtering_->recipients) {
    mailstore::Remote remote;
    remote.address = common::format_address(asked.recipient);
    if (!there.insert(found.targets.empty() ? remote.address : common::canonical_key(asked.recipient)).second) continue;
    remote.original_recipient = asked.original_recipient;
    remote.notify = asked.notify;
    envelope.remotes.push_back(std::move(remote));
  }
  // Nothing is delivered yet.
  transaction.successes.clear();
}

void Session::apply_edits(const milter::Edits& edits, std::string_view id) {
  const auto warn = [&](std::string_view what, std::string_view address) {
    log::warning("filter.bad_address",
                 {{"id", id}, {"what", what}, {"address", address}, {"server", server_->terms.server}});
  };
  auto& envelope = conversation_.transaction()->envelope;
  if (edits.sender) {
    const auto sender = edits.sender->empty() ? std::nullopt : std::optional{common::parse_address(*edits.sender)};
    if (!sender) {
      envelope.reverse_path.clear();
    } else if (!*sender || (*sender)->domain.empty()) {
      warn("sender", *edits.sender);
    } else {
      envelope.reverse_path = common::format_address(**sender);
      envelope.utf8 = envelope.utf8 || !(*sender)->ascii;
    }
  }
  bool removed = false;
  for (const auto& edit : edits.recipients) {
    if (edit.kind == milter::RecipientEdit::Kind::add) {
      if (!add_for_filter(edit)) warn("recipient", edit.address);
      continue;
    }
    const auto& domain = server_->terms.default_domain;
    const auto key = key_of(edit.address, domain);
    const auto gone = std::erase_if(filtering_->recipients, [&](const Filtering::Recipient& each) {
      return common::canonical_key(each.asked.recipient) == key;
    });
    removed = removed || gone != 0;
  }
  if (removed || edits.sender) {
    // Two recipients may lead to one mailbox: it goes with the last of them. What a sender is told, and where a group's
    // mail comes back to, depends on whether there is one.
    conversation_.clear_recipients();
    for (const auto& each : filtering_->recipients) conversation_.add_recipient(each.asked, each.found);
  }
  if (edits.changes_envelope() || edits.header.changed()) {
    log::info("message.changed", {{"id", id},
                                  {"header", edits.header.changed()},
                                  {"from", edits.sender ? envelope.reverse_path : std::string{}},
                                  {"recipients", std::uint64_t{edits.recipients.size()}},
                                  {"server", server_->terms.server}});
  }
}

/// A filter is ours: it may send anywhere, and beyond a quota.
bool Session::add_for_filter(const milter::RecipientEdit& edit) {
  const std::string argument = "TO:" + in_brackets(edit.address) + (edit.arguments.empty() ? "" : " ") + edit.arguments;
  auto rcpt = parse_rcpt(argument, Charset::utf8);
  if (!rcpt) return false;
  if (rcpt->recipient.domain.empty()) rcpt->recipient.domain = server_->terms.default_domain;
  CheckRecipient question{.recipient = std::move(rcpt->recipient)};
  question.relay = routing::Relay::allowed;
  question.notify = rcpt->notify;
  question.original_recipient = std::move(rcpt->original_recipient);
  auto& envelope = conversation_.transaction()->envelope;
  envelope.utf8 = envelope.utf8 || !question.recipient.ascii;
  const auto directory = services_.store.directory();
  auto found = routing::resolve(*directory, question.recipient, server_->terms.default_domain, question.relay);
  if (!found || found->outcome != routing::Outcome::found || question.recipient.domain.empty()) return false;
  filtering_->recipients.push_back({question, *found});
  return conversation_.add_recipient(question, std::move(*found));
}

}  // namespace smtpd
