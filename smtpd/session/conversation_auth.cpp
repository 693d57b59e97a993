#include <algorithm>
#include <utility>

#include "smtpd/session/conversation.hpp"

/// The part of the conversation that authenticates (RFC 4954).
namespace smtpd {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

Step Conversation::on_auth(std::string_view argument) {
  if (identity_) return reply(Cause::already_authenticated);
  if (!extended_) return reply(Cause::need_ehlo);
  if (terms_.mechanisms.empty()) return reply(Cause::not_implemented);
  auto start = parse_auth(argument);
  if (!start) return syntax_error(std::move(start.error()));

  const bool configured = std::ranges::find(terms_.mechanisms, start->mechanism) != terms_.mechanisms.end();
  const auto offered = common::auth::offered_mechanisms(terms_.mechanisms, secure_, terms_.passwords_need_tls);
  if (std::ranges::find(offered, start->mechanism) == offered.end()) {
    const bool clear_password = start->mechanism == "PLAIN" || start->mechanism == "LOGIN";
    return reply(configured && clear_password ? Cause::clear_password : Cause::unknown_mechanism);
  }
  std::optional<std::string> initial;
  if (start->response) {
    initial = *start->response == "=" ? std::string{} : common::auth::decode_base64(*start->response);
    if (!initial) return reply(Cause::bad_base64);
  }
  auto exchange = std::make_unique<Exchange>();
  // A client that could bind and hears that binding is not offered must find that true (RFC 5802 6).
  const bool binds = std::ranges::any_of(offered, [](const std::string& name) { return name.ends_with("-PLUS"); });
  common::auth::Channel channel;
  if (binds) channel = channel_();
  channel.secure = secure_;
  channel.hostname = terms_.hostname;
  exchange->sasl = common::auth::Sasl::start(start->mechanism, channel);
  if (!exchange->sasl) return reply(Cause::unknown_mechanism);
  exchange->mechanism = std::move(start->mechanism);
  exchange_ = std::move(exchange);
  auth_note_ = {exchange_->mechanism, {}, {}, {}};
  return on_sasl(exchange_->sasl->begin(initial));
}

Step Conversation::on_response(const Line& line) {
  if (line.fault == LineFault::too_long) return end_exchange(Cause::auth_line_too_long, "line too long");
  if (line.fault == LineFault::newline_inside) return end_exchange(Cause::newline_in_line, "CR or LF in a response");
  if (line.text == "*") return end_exchange(Cause::auth_cancelled, "cancelled");
  auto octets = common::auth::decode_base64(line.text);
  if (!octets) return end_exchange(Cause::bad_base64, "bad base64");
  if (exchange_->succeeded) {
    // RFC 4954 4: the data that came with success is answered by an empty response.
    if (!octets->empty()) return end_exchange(Cause::bad_base64, "an answer to the last data");
    return finish_log_in(std::move(exchange_->found), {});
  }
  return on_sasl(exchange_->sasl->answer(*octets));
}

Step Conversation::on_sasl(common::auth::SaslStep step) {
  const auto on_challenge = [&](common::auth::Challenge& challenge) -> Step {
    return Send{{Cause::challenge, common::auth::encode_base64(challenge.octets)}};
  };
  const auto on_password = [&](common::auth::NeedPassword& need) -> Step {
    auth_note_.account = need.account;
    exchange_->authorize = std::move(need.authorize);
    return CheckPassword{std::move(need.account), std::move(need.password)};
  };
  const auto on_need_keys = [&](common::auth::NeedKeys& need) -> Step {
    auth_note_.account = need.account;
    return FindKeys{std::move(need.account)};
  };
  const auto on_success = [&](common::auth::Success& success) -> Step {
    if (!success.authorize.empty() && !same_account(success.authorize, exchange_->found.who)) {
      return end_exchange(Cause::auth_failed, "asked to act for " + success.authorize);
    }
    if (success.last.empty()) return finish_log_in(std::move(exchange_->found), {});
    exchange_->succeeded = true;
    return Send{{Cause::challenge, common::auth::encode_base64(success.last)}};
  };
  const auto on_failure = [&](common::auth::Failure& failure) -> Step {
    return end_exchange(failure.malformed ? Cause::bad_base64 : Cause::auth_failed, std::move(failure.why));
  };
  return std::visit(Overloaded{on_challenge, on_password, on_need_keys, on_success, on_failure}, step);
}

Step Conversation::on_keys(const common::auth::StoredKeys& keys, LogIn found) {
  if (found.access == Access::unavailable) return end_exchange(Cause::auth_unavailable, "store");
  if (found.access == Access::barred) return end_exchange(Cause::auth_barred, "too many failures");
  exchange_->found = std::move(found);
  return on_sasl(exchange_->sasl->give_keys(keys));
}

Step Conversation::on_log_in(LogIn result) {
  const std::string authorize = std::move(exchange_->authorize);
  return finish_log_in(std::move(result), authorize);
}

Step Conversation::finish_log_in(LogIn result, std::string_view authorize) {
  switch (result.access) {
    case Access::refused:
      return end_exchange(Cause::auth_failed, "wrong name or password");
    case Access::unavailable:
      return end_exchange(Cause::auth_unavailable, "store, or too many at once");
    case Access::barred:
      return end_exchange(Cause::auth_barred, "too many failures");
    case Access::locked:
      return end_exchange(Cause::account_locked, "locked");
    case Access::granted:
      break;
  }
  if (!authorize.empty() && !same_account(authorize, result.who)) {
    return end_exchange(Cause::auth_failed, "asked to act for " + std::string{authorize});
  }
  exchange_.reset();
  identity_ = std::move(result.who);
  return Send{{Cause::authenticated, {}}};
}

Step Conversation::end_exchange(Cause cause, std::string why) {
  auth_note_.why = std::move(why);
  auth_note_.failed = cause;
  exchange_.reset();
  return reply(cause);
}

bool Conversation::same_account(std::string_view authorize, const Identity& who) const {
  auto address = common::parse_address(authorize);
  if (!address) return false;
  if (address->domain.empty()) address->domain = terms_.default_domain;
  return common::canonical_key(*address) == who.address;
}

}  // namespace smtpd
