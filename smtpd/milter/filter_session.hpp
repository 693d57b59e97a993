#pragma once

#include <asio/awaitable.hpp>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "common/config/config.hpp"
#include "common/config/values.hpp"
#include "common/dns/resolver.hpp"
#include "common/net/stream.hpp"
#include "common/net/worker.hpp"

#include "smtpd/milter/edits.hpp"
#include "smtpd/milter/filter_conversation.hpp"
#include "smtpd/session/incoming_message.hpp"

namespace smtpd::milter {

/// What becomes of mail while a filter is not to be had.
enum class WhenGone : std::uint8_t { accept, tempfail, reject };

/// What the sessions of a virtual server know of one of its filters, until a reload.
class Seen {
 public:
  using Clock = std::chrono::steady_clock;

  /// It was seen to decide before the end of a message (FilterSession::settle).
  bool decides_early() const { return early_.load(std::memory_order_relaxed); }
  void note_early() { early_.store(true, std::memory_order_relaxed); }

  /// Whether a session may look for it now. While nothing is heard of it one does, of all, for as long as that may take
  /// (`patience`): each look costs a client the whole of it.
  bool may_look(Clock::time_point now, std::chrono::milliseconds patience);
  void on_heard() { next_look_.store(none, std::memory_order_relaxed); }
  /// It said nothing until the time was over. One that says no is asked again at once, which costs nothing.
  void on_missed(Clock::time_point now) { next_look_.store(ticks(now + rest), std::memory_order_relaxed); }

  /// A filter that says nothing is left alone for so long.
  static constexpr std::chrono::seconds rest{5};

 private:
  static constexpr Clock::rep none = Clock::duration::min().count();
  static Clock::rep ticks(Clock::time_point at) { return at.time_since_epoch().count(); }

  std::atomic<bool> early_{false};
  std::atomic<Clock::rep> next_look_{none};
};

/// [milters] of a virtual server.
struct FilterTerms {
  std::vector<common::config::FilterPlace> places;  ///< in the order in which they are asked
  std::chrono::milliseconds connect_timeout{}, command_timeout{}, content_timeout{};
  WhenGone when_gone = WhenGone::tempfail;
  std::uint64_t message_octets = 0;  ///< a body may become so long; 0: no limit
  std::unique_ptr<Seen[]> seen;      ///< of each place
};
FilterTerms make_filter_terms(const common::config::Server& server);

/// What one filter makes of a message while it is being asked; takes the place of what was when it is done.
struct Changes {
  Edits edits;
  std::unique_ptr<IncomingMessage> body;  ///< one that takes the place of the message's
  const mailstore::Draft& original;
  std::uint64_t body_limit = 0;
  std::uint32_t count = 0;
};

/// The connection to one filter. Does what its conversation says and decides nothing. An error of any call is a
/// sentence; the connection is closed then.
class FilterSession {
 public:
  FilterSession(common::net::Worker& worker, common::dns::Resolver& resolver, const FilterTerms& terms,
                std::size_t number)
      : worker_(worker), resolver_(resolver), terms_(terms), place_(terms.places[number]), seen_(terms.seen[number]) {}
  FilterSession(const FilterSession&) = delete;
  FilterSession& operator=(const FilterSession&) = delete;

  using Outcome = std::expected<Ruled, std::string>;

  /// Whether open() makes sense now.
  bool may_open() { return seen_.may_look(worker_.clock().steady(), 2 * terms_.connect_timeout); }
  /// Connects and negotiates.
  asio::awaitable<std::expected<void, std::string>> open();
  bool is_open() const { return stream_ != nullptr; }
  /// Open, and the filter has not hung up, nor spoken unasked.
  bool is_alive() const { return is_open() && reader_.empty() && stream_->silent(); }
  FilterConversation& conversation() { return conversation_; }
  bool decides_early() const { return seen_.decides_early(); }
  const std::string& name() const { return place_.text; }

  /// Sends what the conversation has, and then `more`, if there is somebody who waits for it; hears the answers, if any
  /// are to come, each within `patience`, signs of progress too, and all within twice as long, up to the first that is
  /// not "go on". `changes`: what it may change, if
  /// anything. A filter that decides while events behind that one are on their way answers those or does not (libmilter
  /// ignores them): then nobody knows what the next packet is about, so the connection is closed, and from then on it
  /// is asked step by step.
  asio::awaitable<Outcome> settle(Expects expects, std::chrono::milliseconds patience, std::string_view more = {},
                                  Changes* changes = nullptr);
  /// Sends what there is, without an answer.
  asio::awaitable<void> send_off();
  void close();

 private:
  asio::awaitable<std::expected<void, std::string>> begin();
  asio::awaitable<std::expected<common::net::Stream, std::string>> connect();
  asio::awaitable<std::expected<common::net::Stream, std::string>> connect_by_name();
  asio::awaitable<std::optional<std::string>> send(std::string_view more);
  asio::awaitable<std::expected<Packet, std::string>> next_packet(std::chrono::steady_clock::time_point deadline);
  asio::awaitable<std::optional<std::string>> change(const Answer& answer, Changes& changes);

  common::net::Worker& worker_;
  common::dns::Resolver& resolver_;
  const FilterTerms& terms_;
  const common::config::FilterPlace& place_;
  Seen& seen_;
  std::unique_ptr<common::net::Stream> stream_;
  FilterConversation conversation_;
  PacketReader reader_;
};

}  // namespace smtpd::milter
