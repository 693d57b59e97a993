#include "smtpd/folders/spool_envelope.hpp"

#include <utility>
#include <variant>

#include "smtpd/protocol/command.hpp"
#include "smtpd/protocol/reply.hpp"

namespace smtpd::folders {
namespace {

std::unexpected<SpoolEnvelope::Fault> broken(const Reply& reply) {
  return std::unexpected(SpoolEnvelope::Fault{SpoolEnvelope::Fault::Why::broken, format_code(reply.cause)});
}

}  // namespace

SpoolEnvelope::SpoolEnvelope(const Terms& terms, Asked asked, Desk desk)
    : asked_(asked), desk_(std::move(desk)), conversation_(terms, false, [] { return common::auth::Channel{}; }) {
  conversation_.on_line({"EHLO localhost", {}});
}

std::expected<bool, SpoolEnvelope::Fault> SpoolEnvelope::take(std::string_view line) {
  auto step = conversation_.on_line({line, {}});
  if (std::holds_alternative<ReadMessage>(step)) return true;
  if (const auto* question = std::get_if<CheckRecipient>(&step)) return take_recipient(*question, line);
  if (const auto* question = std::get_if<CheckSender>(&step)) {
    const auto own = desk_.find_sender(*question, transaction());
    if (!own) return std::unexpected(Fault{Fault::Why::later, format_code(own.error())});
    step = conversation_.on_sender(own);
  }
  const auto* answer = std::get_if<Send>(&step);
  if (answer != nullptr && answer->reply.cause == Cause::sender_ok) {
    if (asked_ == Asked::kept) transaction().asked.emplace();
    parameters_ = parameters_of(line);
    return false;
  }
  if (answer != nullptr) return broken(answer->reply);
  // Whatever else a conversation asks for, pennypost-sendmail says nothing of it.
  return std::unexpected(Fault{Fault::Why::broken, "a command that has no place in a spool file"});
}

std::expected<bool, SpoolEnvelope::Fault> SpoolEnvelope::take_recipient(const CheckRecipient& question,
                                                                        std::string_view line) {
  auto found = desk_.find_recipient(question);
  if (!found) return std::unexpected(Fault{Fault::Why::later, format_code(found.error())});
  if (found->outcome != routing::Outcome::found) found = to_be_queued(question.recipient, std::move(*found));
  const auto step = conversation_.on_recipient(question, std::move(*found));
  const auto& reply = std::get<Send>(step).reply;
  if (reply.cause != Cause::recipient_ok) return broken(reply);
  if (auto& asked = transaction().asked) asked->back().parameters = parameters_of(line);
  return false;
}

}  // namespace smtpd::folders
