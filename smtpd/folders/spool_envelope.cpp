#include "smtpd/folders/spool_envelope.hpp"

#include <variant>

#include "smtpd/protocol/reply.hpp"

namespace smtpd::folders {
namespace {

std::unexpected<SpoolEnvelope::Fault> broken(const Reply& reply) {
  return std::unexpected(SpoolEnvelope::Fault{SpoolEnvelope::Fault::Why::broken, format_code(reply.cause)});
}

}  // namespace

SpoolEnvelope::SpoolEnvelope(const Terms& terms) : conversation_(terms, false, [] { return common::auth::Channel{}; }) {
  conversation_.on_line({"EHLO localhost", {}});
}

std::expected<bool, SpoolEnvelope::Fault> SpoolEnvelope::take(std::string_view line, const Resolve& resolve) {
  const auto step = conversation_.on_line({line, {}});
  if (std::holds_alternative<ReadMessage>(step)) return true;
  if (const auto* question = std::get_if<CheckRecipient>(&step)) return take_recipient(*question, resolve);
  const auto* answer = std::get_if<Send>(&step);
  if (answer != nullptr && answer->reply.cause == Cause::sender_ok) return false;
  if (answer != nullptr) return broken(answer->reply);
  // Whatever else a conversation asks for, pennypost-sendmail says nothing of it.
  return std::unexpected(Fault{Fault::Why::broken, "a command that has no place in a spool file"});
}

std::expected<bool, SpoolEnvelope::Fault> SpoolEnvelope::take_recipient(const CheckRecipient& question,
                                                                        const Resolve& resolve) {
  auto found = resolve(question);
  if (!found) return std::unexpected(Fault{Fault::Why::later, std::move(found.error())});
  if (found->outcome != routing::Outcome::found) {
    found->outcome = routing::Outcome::found;
    found->targets.clear();
    found->remotes = {common::format_address(question.recipient)};
  }
  const auto step = conversation_.on_recipient(question, std::move(*found));
  const auto& reply = std::get<Send>(step).reply;
  if (reply.cause != Cause::recipient_ok) return broken(reply);
  return false;
}

}  // namespace smtpd::folders
