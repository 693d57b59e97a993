#include "smtpd/folders/entrance.hpp"

#include <fmt/format.h>

#include <utility>

#include "smtpd/protocol/reply.hpp"
#include "smtpd/session/acceptance.hpp"
#include "smtpd/session/filtering.hpp"

namespace smtpd::folders {
namespace {

/// Why a message is not taken that a session would refuse, or say 250 to and throw away.
Unread unread(const MessageEnd& end) {
  if (end.discarded) return {Unread::Why::broken, "a filter discarded it", BadmailCause::by_event};
  const Reply reply{*end.refused, end.words};
  const auto code = format_code(reply);
  if (code.starts_with('4')) {
    const bool ours =
        reply.cause == Cause::store_full || reply.cause == Cause::store_trouble || reply.cause == Cause::filter_gone;
    return {ours ? Unread::Why::trouble : Unread::Why::later,
            reply.cause == Cause::filter_gone ? "a filter cannot be asked" : code};
  }
  if (reply.cause == Cause::forwarding_loop)
    return {Unread::Why::broken, code + " it was forwarded from here before, and goes in circles",
            BadmailCause::hop_count};
  if (reply.cause != Cause::filter_said)
    return {Unread::Why::broken, "a filter refused it: " + code, BadmailCause::by_event};
  // "550-5.7.1 no\n550 5.7.1 never": on one line.
  std::string words = reply.detail;
  for (auto& octet : words) {
    if (octet == '\n') octet = ' ';
  }
  return {Unread::Why::broken, "a filter refused it: " + words, BadmailCause::by_event};
}

}  // namespace

asio::awaitable<std::optional<Unread>> Entrance::accept(const OpenedFile& file, Message message, std::string origin) {
  const auto server = message.server;
  const auto peer = fmt::format("uid {}", file.owner());
  const Sender sender{peer, {}, {}, {}, door_};
  Acceptance acceptance{means_.store, means_.worker, *server, message.transaction, sender};
  WholeMessage whole{std::move(message.draft), message.facts, std::move(message.header), std::move(origin)};
  std::unique_ptr<Filtering> filtering;
  MessageEnd end;
  if (server->filters) {
    filtering = std::make_unique<Filtering>(means_.worker, means_.resolver, *server);
    filtering->facts().client_address = "unix";
    auto showing = filtering->show_envelope(message.transaction, message.parameters, whole.draft.id());
    auto decision = co_await std::move(showing);
    if (decision.kind == milter::Decision::Kind::refuse)
      end = acceptance.refuse(std::move(decision.reply), mailstore::format_id(whole.draft.id()));
  }
  if (!end.refused) {
    auto taking = acceptance.take(whole, filtering.get());
    end = co_await std::move(taking);
  }
  if (filtering) {
    auto leaving = filtering->filters().on_quit();
    co_await std::move(leaving);
  }
  std::optional<Unread> refused;
  if (end.refused || end.discarded) refused = unread(end);
  if (refused && refused->why == Unread::Why::broken && refused_ == Refused::message) {
    const auto fate = end.discarded ? Acceptance::Fate::kept : Acceptance::Fate::returned;
    auto keeping = acceptance.set_aside(whole, refused->cause, refused->text, fate);
    end = co_await std::move(keeping);
    refused.reset();
    if (end.refused) refused = unread(end);
    co_return refused;
  }
  if (!refused && acceptance.has_answers()) {
    auto answering = acceptance.answer_automatically();
    co_await std::move(answering);
  }
  co_return refused;
}

}  // namespace smtpd::folders
