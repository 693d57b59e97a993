#include "smtpd/folders/pickup_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "smtpd/protocol/reply.hpp"
#include "smtpd/protocol/trace.hpp"
#include "smtpd/session/acceptance.hpp"
#include "smtpd/session/incoming_message.hpp"
#include "smtpd/session/lookups.hpp"

namespace smtpd::folders {
namespace {

/// Envelope and header section together.
constexpr std::size_t head_limit = std::size_t{2} << 20U;
/// Whether somebody writes to a file of another user cannot be asked: it is taken once it was left alone so long.
constexpr std::chrono::seconds left_alone{2};

Unread broken(std::string text, BadmailCause cause = BadmailCause::bad_pickup_file) {
  return {Unread::Why::broken, std::move(text), cause};
}
Unread later(std::string text) {
  return {Unread::Why::later, std::move(text)};
}

/// Somebody has it open to write. Who has not closed it has not finished it.
bool is_being_written(const OpenedFile& file, std::chrono::system_clock::time_point now) {
  // A lease for reading is given only where nobody may write. Not kept: a writer would wait for us.
  if (::fcntl(file.descriptor(), F_SETLEASE, F_RDLCK) == 0) {
    ::fcntl(file.descriptor(), F_SETLEASE, F_UNLCK);
    return false;
  }
  if (errno == EAGAIN) return true;
  struct stat about{};
  if (::fstat(file.descriptor(), &about) != 0) return false;
  const auto changed = std::chrono::system_clock::from_time_t(about.st_mtim.tv_sec);
  return changed <= now && now - changed < left_alone;
}

bool has_eight_bit(std::string_view octets) {
  return std::ranges::any_of(octets, [](char octet) { return static_cast<unsigned char>(octet) >= 0x80; });
}

}  // namespace

/// nullopt: they are in the envelope, with what they bring along.
std::optional<Unread> PickupReader::find_people(const PickupHead& head, const VirtualServer& server,
                                                Transaction& transaction) {
  constexpr std::string_view unknown = "the directory could not be read";
  transaction.envelope.server = server.terms.server;
  transaction.envelope.reverse_path = head.reverse_path;
  if (server.filters) transaction.asked.emplace();
  const auto directory = store_.directory();
  if (auto sender = common::parse_address(head.reverse_path); sender && !head.reverse_path.empty()) {
    const CheckSender question{std::move(*sender), std::nullopt};
    if (!find_sender(*directory, server, question, transaction))
      return Unread{Unread::Why::trouble, std::string{unknown}};
  }
  for (const auto& address : head.recipients) {
    transaction.envelope.utf8 = transaction.envelope.utf8 || !address.ascii;
    CheckRecipient question{.recipient = address, .relay = routing::Relay::allowed};
    auto found = find_recipient(*directory, clock_, server, question);
    if (!found) return Unread{Unread::Why::trouble, std::string{unknown}};
    if (found->outcome != routing::Outcome::found) found = to_be_queued(address, std::move(*found));
    if (!transaction.add(question, std::move(*found))) return broken("it has too many recipients");
  }
  return std::nullopt;
}

asio::awaitable<Reading> PickupReader::read(const OpenedFile& file) {
  auto server = server_();
  if (!server) co_return later("its virtual server is gone");
  if (is_being_written(file, clock_.wall())) co_return Unread{Unread::Why::busy, {}};
  // One with a hole of terabytes in it is not read to its end to be told so.
  struct stat about{};
  if (::fstat(file.descriptor(), &about) != 0) co_return later(std::strerror(errno));
  const auto most = server->terms.message_octets;
  if (most != 0 && static_cast<std::uint64_t>(about.st_size) > most + head_limit)
    co_return broken("it is larger than messages may be");
  FilePieces source{file.descriptor()};
  std::string text;
  while (!has_whole_head(text)) {
    const auto piece = source.next();
    if (!piece) co_return later(std::strerror(errno));
    if (piece->empty()) break;
    text += *piece;
    if (text.size() > head_limit) co_return broken("its header section is too long");
  }
  if (text.empty()) co_return broken("it is empty");
  auto head = parse_pickup_head(text, server->terms.default_domain);
  if (!head) co_return broken(std::move(head.error().why), head.error().cause);

  Transaction transaction;
  if (auto unread = find_people(*head, *server, transaction)) co_return std::move(*unread);

  // The file's own line first: one out of a drop folder knows.
  auto dots = head->dots != DotStuffed::unknown ? head->dots : server->terms.pickup_dots;
  if (dots == DotStuffed::unknown) {
    DotScan scan;
    source.go_to(head->octets);
    const auto others = co_await asio::this_coro::executor;
    for (std::size_t pieces = 1;; ++pieces) {
      if (pieces % 64 == 0) co_await asio::post(others, asio::use_awaitable);
      const auto piece = source.next();
      if (!piece) co_return later(std::strerror(errno));
      if (piece->empty()) break;
      scan.feed(*piece);
    }
    dots = scan.stuffed() ? DotStuffed::yes : DotStuffed::no;
  }
  source.go_to(head->octets);
  auto reading = read_message(file, source, std::move(server), std::move(transaction), std::move(head->header), dots);
  co_return co_await std::move(reading);
}

asio::awaitable<Reading> PickupReader::read_message(const OpenedFile& file, FilePieces& source, Server server,
                                                    Transaction transaction, std::string head, DotStuffed dots) {
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
  trace.user = file.owner();
  trace.protocol = Trace::Protocol::none;
  trace.time = now;
  DataLimits limits;
  limits.octets = terms.message_octets;
  limits.hops = terms.hops;
  // Files are written by programs of this machine, whose line ends are what they are.
  limits.bare_newline = BareNewline::normalize;
  MissingFields missing{format_date_field(now), format_message_id_field(id, terms.hostname)};
  const bool stuffed = dots == DotStuffed::yes;
  IncomingMessage incoming{std::move(*draft),
                           format_received(trace),
                           limits,
                           std::move(missing),
                           stuffed ? Framing::dotted : Framing::counted,
                           header_use(*server, transaction)};
  CrlfEnds ends;
  std::string lines;
  std::string last;  // two octets
  std::string_view piece = head;
  bool more = true;
  while (more && !incoming.fault()) {
    lines.clear();
    ends.feed(piece, lines);
    transaction.envelope.eight_bit = transaction.envelope.eight_bit || has_eight_bit(piece);
    const auto taken = incoming.feed(lines);
    if (incoming.complete()) {
      // Behind the dot there is nothing, or it ended too early.
      auto rest = std::string_view{lines}.substr(taken);
      const auto next = source.next();
      if (!next) co_return later(std::strerror(errno));
      if (!rest.empty() || !next->empty()) co_return broken("there is text behind the line that is a dot alone");
      break;
    }
    last += std::string_view{lines}.substr(lines.size() - std::min<std::size_t>(lines.size(), 2));
    last.erase(0, last.size() - std::min<std::size_t>(last.size(), 2));
    if (incoming.wants_spill()) {
      auto spilling = incoming.spill();
      co_await std::move(spilling);
    }
    if (incoming.trouble()) co_return Unread{Unread::Why::trouble, incoming.trouble()->detail};
    const auto next = source.next();
    if (!next) co_return later(std::strerror(errno));
    piece = *next;
    more = !next->empty();
  }
  if (!stuffed) {
    incoming.finish();
  } else if (!incoming.complete() && !incoming.fault()) {
    incoming.feed(last == "\r\n" ? ".\r\n" : "\r\n.\r\n");
  }
  if (const auto fault = incoming.fault()) {
    co_return broken(std::string{reply_text(*fault).text.substr(0, reply_text(*fault).text.find(", the limit"))},
                     *fault == Cause::too_many_hops ? BadmailCause::hop_count : BadmailCause::bad_pickup_file);
  }
  const auto facts = incoming.facts();
  auto header = incoming.take_header();
  Message message{incoming.take(), std::move(transaction), facts, std::move(header), std::move(server)};
  co_return std::move(message);
}

}  // namespace smtpd::folders
