#include "common/log.hpp"

#include "smtpd/session/session.hpp"

/// What of a session stands in the log; messages tell of themselves where they are accepted and refused
/// (session_message.cpp).
namespace smtpd {

namespace log = common::log;

void Session::log_reply(const Reply& reply) {
  switch (reply.cause) {
    case Cause::authenticated: {
      const AuthNote note = conversation_.take_auth_note();
      if (filtering_) filtering_->facts().auth_type = note.mechanism;
      log::info("auth.ok", {{"account", account()},
                            {"mechanism", note.mechanism},
                            {"peer", peer_},
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
                                {"peer", peer_},
                                {"tls", tls_name()},
                                {"server", server_->terms.server}});
      break;
    }
    case Cause::too_many_errors:
    case Cause::session_used_up:
      log::info("session.closed",
                {{"peer", peer_}, {"why", format_code(reply.cause)}, {"server", server_->terms.server}});
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
                                  {"peer", peer_},
                                  {"code", format_code(send->reply.cause)},
                                  {"auth", account()},
                                  {"server", server_->terms.server}});
}

}  // namespace smtpd
