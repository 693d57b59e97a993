#include "smtpd/milter/filter_session.hpp"

#include <algorithm>
#include <array>
#include <asio/error.hpp>
#include <span>
#include <utility>

namespace smtpd::milter {
namespace {

using common::net::End;

/// What needs no answer is gathered up to here.
constexpr std::size_t gathered_octets = 64 * 1024;
/// To a body, beyond twice the message.
constexpr std::uint64_t most_added = std::uint64_t{64} << 20U;
/// Changes that one filter may ask for, pieces of a body not counted.
constexpr std::uint32_t most_changes = 12'000;

std::string why_of(const std::system_error& error) {
  if (error.code() == asio::error::timed_out) return "it does not read in time";
  return "it closed the connection";
}

}  // namespace

FilterTerms make_filter_terms(const common::config::Server& server) {
  FilterTerms terms;
  for (const auto& text : server.milters.use) {
    // Each was read so when the configuration was.
    if (auto place = common::config::parse_filter(text)) terms.places.push_back(std::move(*place));
  }
  terms.connect_timeout = server.milters.connect_timeout;
  terms.command_timeout = server.milters.command_timeout;
  terms.content_timeout = server.milters.content_timeout;
  terms.when_gone = server.milters.when_gone == "accept"   ? WhenGone::accept
                    : server.milters.when_gone == "reject" ? WhenGone::reject
                                                           : WhenGone::tempfail;
  terms.message_octets = server.messages.size;
  terms.seen = std::make_unique<Seen[]>(terms.places.size());
  return terms;
}

bool Seen::may_look(Clock::time_point now, std::chrono::milliseconds patience) {
  auto next = next_look_.load(std::memory_order_relaxed);
  if (next == none) return true;
  return ticks(now) >= next &&
         next_look_.compare_exchange_strong(next, ticks(now + patience), std::memory_order_relaxed);
}

asio::awaitable<std::expected<common::net::Stream, std::string>> FilterSession::connect_by_name() {
  // One time for all: each of those that are left gets its share.
  const auto deadline = worker_.clock().steady() + terms_.connect_timeout;
  std::string why = "its name has no address";
  std::vector<std::string> addresses;
  for (const auto family : {common::dns::Family::v4, common::dns::Family::v6}) {
    auto asking = resolver_.addresses(place_.host, family);
    const auto found = co_await std::move(asking);
    if (!found) {
      if (found.error().code != common::dns::Errc::no_data) why = found.error().detail;
      continue;
    }
    for (const auto& address : found->records) addresses.push_back(address.to_string());
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - worker_.clock().steady()) / (addresses.size() - i);
    if (left <= std::chrono::milliseconds{0}) co_return std::unexpected(std::string{"it does not answer in time"});
    auto connecting = common::net::Stream::connect(worker_, addresses[i], place_.port, {}, left);
    auto connected = co_await std::move(connecting);
    if (connected) co_return connected;
    why = std::move(connected.error());
  }
  co_return std::unexpected(std::move(why));
}

asio::awaitable<std::expected<common::net::Stream, std::string>> FilterSession::connect() {
  if (!place_.path.empty()) {
    auto connecting = common::net::Stream::connect_unix(worker_, place_.path, terms_.connect_timeout);
    co_return co_await std::move(connecting);
  }
  if (place_.address.empty()) {
    auto connecting = connect_by_name();
    co_return co_await std::move(connecting);
  }
  auto connecting = common::net::Stream::connect(worker_, place_.address, place_.port, {}, terms_.connect_timeout);
  co_return co_await std::move(connecting);
}

asio::awaitable<std::expected<void, std::string>> FilterSession::open() {
  const auto begun = worker_.clock().steady();
  auto beginning = begin();
  auto opened = co_await std::move(beginning);
  const auto now = worker_.clock().steady();
  if (!opened && now - begun >= terms_.connect_timeout) {
    seen_.on_missed(now);
  } else {
    seen_.on_heard();
  }
  co_return opened;
}

asio::awaitable<std::expected<void, std::string>> FilterSession::begin() {
  close();
  auto connecting = connect();
  auto connected = co_await std::move(connecting);
  if (!connected) co_return std::unexpected(std::move(connected.error()));
  stream_ = std::make_unique<common::net::Stream>(std::move(*connected));
  stream_->set_timeout(terms_.connect_timeout);
  conversation_.negotiate();
  auto sending = send({});
  auto failed = co_await std::move(sending);
  if (!failed) {
    auto hearing = next_packet(worker_.clock().steady() + terms_.connect_timeout);
    const auto packet = co_await std::move(hearing);
    if (packet) {
      const auto agreed = conversation_.on_negotiated(*packet);
      if (agreed) co_return std::expected<void, std::string>{};
      failed = agreed.error();
    } else {
      failed = packet.error();
    }
  }
  close();
  co_return std::unexpected(std::move(*failed));
}

void FilterSession::close() {
  if (stream_) stream_->close();
  stream_.reset();
  conversation_ = {};
  reader_ = {};
}

/// Why it did not go.
asio::awaitable<std::optional<std::string>> FilterSession::send(std::string_view more) {
  const std::string out = std::exchange(conversation_.output(), {});
  const std::array<iovec, 2> pieces{iovec{const_cast<char*>(out.data()), out.size()},
                                    iovec{const_cast<char*>(more.data()), more.size()}};
  const std::span<const iovec> all{pieces};
  std::optional<std::string> failed;
  try {
    co_await stream_->write(all);
  } catch (const std::system_error& error) {
    failed = why_of(error);
  }
  co_return failed;
}

/// The packet holds until the next call.
asio::awaitable<std::expected<Packet, std::string>> FilterSession::next_packet(
    std::chrono::steady_clock::time_point deadline) {
  // The whole answer: octet by octet it could take for ever.
  stream_->set_deadline(deadline);
  for (;;) {
    auto packet = reader_.next();
    if (!packet) co_return std::unexpected(std::move(packet.error()));
    if (*packet) co_return **packet;
    const auto octets = co_await stream_->read();
    if (!octets) {
      co_return std::unexpected(std::string{octets.error() == End::timeout    ? "it does not answer in time"
                                            : octets.error() == End::shutdown ? "the daemon stops"
                                                                              : "it closed the connection"});
    }
    reader_.feed(*octets);
  }
}

asio::awaitable<FilterSession::Outcome> FilterSession::settle(Expects expects, std::chrono::milliseconds patience,
                                                              std::string_view more, Changes* changes) {
  if (!is_open()) co_return std::unexpected(std::string{"there is no connection to it"});
  if (expects == Expects::nothing && more.empty() && conversation_.output().size() < gathered_octets) co_return Ruled{};
  std::optional<std::string> failed;
  // What it says now it was not asked, and would pass for the answer to what it is asked next.
  if (expects == Expects::answer && !is_alive()) failed = "it spoke, or left, unasked";
  if (!failed) {
    stream_->set_timeout(patience);
    auto sending = send(more);
    failed = co_await std::move(sending);
  }
  // Signs of progress and changes without end would hold the client for ever. By default it is ten minutes: so long
  // clients wait for the answer to a message (RFC 5321 4.5.3.2.6).
  const auto end = worker_.clock().steady() + 2 * patience;
  while (!failed) {
    if (expects == Expects::nothing) co_return Ruled{};
    const auto now = worker_.clock().steady();
    if (now >= end) {
      failed = "it does not come to an end in time";
      break;
    }
    auto hearing = next_packet(std::min(now + patience, end));
    const auto packet = co_await std::move(hearing);
    if (!packet) {
      failed = packet.error();
      break;
    }
    auto answer = conversation_.on_packet(*packet);
    if (!answer) {
      failed = std::move(answer.error());
    } else if (auto* ruled = std::get_if<Ruled>(&*answer)) {
      const bool goes_on = ruled->ruling == Ruling::go_on || ruled->ruling == Ruling::skip;
      if (goes_on && conversation_.expects_answer()) continue;
      if (conversation_.expects_answer()) {
        seen_.note_early();
        close();
      }
      co_return std::move(*ruled);
    } else if (changes != nullptr) {
      auto changing = change(*answer, *changes);
      failed = co_await std::move(changing);
    }
  }
  close();
  co_return std::unexpected(std::move(*failed));
}

/// Why it cannot be done.
asio::awaitable<std::optional<std::string>> FilterSession::change(const Answer& answer, Changes& changes) {
  const auto* piece = std::get_if<ReplaceBody>(&answer);
  if (piece == nullptr) {
    if (!std::holds_alternative<Progress>(answer) && ++changes.count > most_changes) co_return "changes without end";
    const auto applied = changes.edits.apply(answer, conversation_.leading_space());
    co_return applied ? std::nullopt : std::optional{applied.error()};
  }
  if (!changes.body) {
    DataLimits limits;
    // Where messages may have any length: none that a filter makes of one is so much longer.
    limits.octets = changes.body_limit != 0 ? changes.body_limit : 2 * changes.original.size() + most_added;
    limits.bare_newline = BareNewline::normalize;
    changes.body = std::make_unique<IncomingMessage>(changes.original.beside(), std::string{}, limits, MissingFields{},
                                                     Framing::counted);
    // The empty line in front of it, so that it is taken for no header.
    changes.body->feed("\r\n");
  }
  changes.body->feed(piece->octets);
  if (changes.body->wants_spill()) co_await changes.body->spill();
  if (changes.body->fault()) co_return "a body longer than messages may be";
  co_return std::nullopt;
}

asio::awaitable<void> FilterSession::send_off() {
  if (!is_open() || conversation_.output().empty()) co_return;
  stream_->set_timeout(terms_.command_timeout);
  auto sending = send({});
  const auto failed = co_await std::move(sending);
  if (failed) close();
}

}  // namespace smtpd::milter
