#include <optional>
#include <string_view>
#include <utility>

#include "smtpd/protocol/command.hpp"
#include "smtpd/session/session.hpp"

/// The part of the session that shows it to filters, and does what they make of it (LEGACY S97).
namespace smtpd {
namespace {

/// What a client is greeted with that filters refuse: RFC 5321 3.1 has 554 for it, and 421 where it may come again.
std::string as_greeting(const Reply& refusal) {
  std::string text;
  append_reply(text, refusal);
  const std::string_view code = text.starts_with('4') ? "421" : "554";
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) text.replace(at, code.size(), code);
  return text;
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
  auto& facts = filtering_->facts();
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
  filtering_ = std::make_unique<Filtering>(worker_, services_.resolver, *server_);
  auto& facts = filtering_->facts();
  facts.client_address = stream_.peer_address();
  facts.client_port = stream_.peer_port();
  facts.client_name = client_name();
  if (facts.client_address != "unix") {
    facts.local_address = stream_.local_address();
    facts.local_port = std::to_string(stream_.local_port());
  }
  update_facts();
  auto asking = filtering_->filters().on_connect();
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
  auto& filters = filtering_->filters();
  const std::string line = std::exchange(filtering_->line, {});
  const auto cause = std::get<Send>(step).reply.cause;
  update_facts();
  milter::Decision decision;
  if (cause == Cause::sender_ok) {
    conversation_.transaction()->asked.emplace();
    auto asking = filtering_->on_mail(*conversation_.transaction(), parameters_of(line));
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
  auto asking = filtering_->on_recipient(question, *found, parameters_of(line));
  auto decision = co_await std::move(asking);
  if (decision.kind == milter::Decision::Kind::refuse) {
    Step refused = refusal_step(std::move(decision.reply));
    log_refused_recipient(question, refused);
    co_return refused;
  }
  Step step = conversation_.on_recipient(question, std::move(found));
  log_refused_recipient(question, step);
  co_return step;
}

asio::awaitable<std::optional<Reply>> Session::ask_about_data(mailstore::MessageId id) {
  auto asking = filtering_->on_data(id);
  auto decision = co_await std::move(asking);
  std::optional<Reply> refusal;
  if (decision.kind == milter::Decision::Kind::refuse) refusal = std::move(decision.reply);
  co_return refusal;
}

}  // namespace smtpd
