#include "smtpd/folders/spool_reader.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "smtpd/folders/file_pieces.hpp"
#include "smtpd/folders/spool_envelope.hpp"
#include "smtpd/protocol/reply.hpp"
#include "smtpd/protocol/trace.hpp"
#include "smtpd/session/acceptance.hpp"
#include "smtpd/session/incoming_message.hpp"
#include "smtpd/session/lookups.hpp"

namespace smtpd::folders {
namespace {

/// Of commands; a line is no longer than at the socket.
constexpr std::size_t line_limit = command_line_limit;
/// Of all commands together: 60,000 recipients with long names.
constexpr std::size_t envelope_limit = std::size_t{16} << 20U;

Unread broken(std::string text) {
  return {Unread::Why::broken, std::move(text)};
}
Unread later(std::string text) {
  return {Unread::Why::later, std::move(text)};
}

}  // namespace

/// What has been read: the envelope, and what of the message came with it.
struct SpoolReader::Envelope {
  FilePieces source;
  std::string rest;
  Transaction transaction;
  std::string parameters;
};

SpoolReader::SpoolReader(mailstore::Store& store, const common::Clock& clock, std::function<Server()> server)
    : store_(store), clock_(clock), server_(std::move(server)) {}

asio::awaitable<Reading> SpoolReader::read(const OpenedFile& file) {
  auto server = server_();
  if (!server) co_return later("no server of kind smtp is configured");
  SpoolEnvelope::Desk desk;
  desk.find_sender = [&](const CheckSender& question, Transaction& transaction) {
    return find_sender(*store_.directory(), *server, question, transaction);
  };
  desk.find_recipient = [&](const CheckRecipient& question) {
    return find_recipient(*store_.directory(), clock_, *server, question);
  };
  const auto asked = server->filters ? SpoolEnvelope::Asked::kept : SpoolEnvelope::Asked::forgotten;
  SpoolEnvelope said{server->terms, asked, std::move(desk)};
  Envelope envelope{FilePieces{file.descriptor()}, {}, {}, {}};
  std::size_t at = 0, octets = 0;
  for (bool data = false; !data;) {
    const auto end = envelope.rest.find("\r\n", at);
    if (end == std::string::npos) {
      envelope.rest.erase(0, std::exchange(at, 0));
      if (envelope.rest.size() > line_limit) co_return broken("a line of its envelope is too long");
      const auto piece = envelope.source.next();
      if (!piece) co_return later(std::strerror(errno));
      if (piece->empty()) co_return broken("its envelope is not whole");
      octets += piece->size();
      if (octets > envelope_limit + FilePieces::octets) co_return broken("its envelope is too long");
      envelope.rest += *piece;
      continue;
    }
    const auto taken = said.take(std::string_view{envelope.rest}.substr(at, end - at));
    if (!taken) {
      const bool wait = taken.error().why == SpoolEnvelope::Fault::Why::later;
      co_return wait ? later(taken.error().text) : broken("its envelope: " + taken.error().text);
    }
    data = *taken;
    at = end + 2;
  }
  envelope.rest.erase(0, at);
  envelope.transaction = std::move(said.transaction());
  envelope.parameters = said.parameters();
  auto reading = read_body(file, std::move(envelope), std::move(server));
  co_return co_await std::move(reading);
}

asio::awaitable<Reading> SpoolReader::read_body(const OpenedFile& file, Envelope envelope, Server server) {
  const auto& terms = server->terms;
  auto beginning = store_.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return Unread{Unread::Why::trouble, std::move(draft.error().detail)};
  const auto id = mailstore::format_id(draft->id());
  const auto now = std::chrono::floor<std::chrono::seconds>(clock_.wall());
  Trace trace;
  trace.helo = "localhost";
  trace.address = "unix";
  trace.hostname = terms.hostname;
  trace.id = id;
  if (envelope.transaction.recipients == 1) trace.recipient = envelope.transaction.recipient;
  trace.user = file.owner();
  trace.protocol = Trace::Protocol::none;
  trace.time = now;
  DataLimits limits;
  limits.octets = terms.message_octets;
  limits.hops = terms.hops;
  limits.bare_newline = terms.bare_newline;
  MissingFields missing{format_date_field(now), format_message_id_field(id, terms.hostname)};
  IncomingMessage incoming{std::move(*draft),  format_received(trace), limits,
                           std::move(missing), Framing::counted,       header_use(*server, envelope.transaction)};
  std::optional<std::string_view> piece = envelope.rest;
  while (!incoming.fault()) {
    incoming.feed(*piece);
    if (incoming.wants_spill()) {
      auto spilling = incoming.spill();
      co_await std::move(spilling);
    }
    if (incoming.trouble()) co_return Unread{Unread::Why::trouble, incoming.trouble()->detail};
    piece = envelope.source.next();
    if (!piece) co_return later(std::strerror(errno));
    if (piece->empty()) break;
  }
  incoming.finish();
  if (const auto fault = incoming.fault()) co_return broken(format_code(*fault));
  const auto facts = incoming.facts();
  auto header = incoming.take_header();
  Message message{incoming.take(),   std::move(envelope.transaction), facts, std::move(header),
                  std::move(server), std::move(envelope.parameters)};
  co_return std::move(message);
}

}  // namespace smtpd::folders
