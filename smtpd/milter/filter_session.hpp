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

/// [milters] of a virtual server.
struct FilterTerms {
  std::vector<common::config::FilterPlace> places;  ///< in the order in which they are asked
  std::chrono::milliseconds connect_timeout{}, command_timeout{}, content_timeout{};
  WhenGone when_gone = WhenGone::tempfail;
  std::uint64_t message_octets = 0;  ///< a body may become so long; 0: no limit
  /// Of each place: it was seen to decide before the end of a message (FilterSession::settle).
  std::unique_ptr<std::atomic<bool>[]> early;
};
FilterTerms make_filter_terms(const common::config::Server& server);

/// What one filter makes of a message while it is being asked; takes the place of what was when it is done.
struct Changes {
  Edits edits;
  std::unique_ptr<IncomingMessage> body;  ///< one that takes the place of the message's
  const mailstore::Draft& original;
  std::uint64_t body_limit = 0;
};

/// The connection to one filter. Does what its conversation says and decides nothing. An error of any call is a
/// sentence; the connection is closed then.
class FilterSession {
 public:
  FilterSession(common::net::Worker& worker, common::dns::Resolver& resolver, const FilterTerms& terms,
                std::size_t number)
      : worker_(worker),
        resolver_(resolver),
        terms_(terms),
        place_(terms.places[number]),
        early_(terms.early[number]) {}
  FilterSession(const FilterSession&) = delete;
  FilterSession& operator=(const FilterSession&) = delete;

  using Outcome = std::expected<Ruled, std::string>;

  /// Connects and negotiates.
  asio::awaitable<std::expected<void, std::string>> open();
  bool is_open() const { return stream_ != nullptr; }
  /// Open, and the filter has not hung up, nor spoken unasked.
  bool is_alive() const { return is_open() && reader_.empty() && stream_->silent(); }
  FilterConversation& conversation() { return conversation_; }
  bool decides_early() const { return early_.load(std::memory_order_relaxed); }
  const std::string& name() const { return place_.text; }

  /// Sends what the conversation has, and then `more`, if there is somebody who waits for it; hears the answers, if any
  /// are to come, each within `patience`, up to the first that is not "go on". `changes`: what it may change, if
  /// anything. A filter that decides while events behind that one are on their way answers those or does not (libmilter
  /// ignores them): then nobody knows what the next packet is about, so the connection is closed, and from then on it
  /// is asked step by step.
  asio::awaitable<Outcome> settle(Expects expects, std::chrono::milliseconds patience, std::string_view more = {},
                                  Changes* changes = nullptr);
  /// Sends what there is, without an answer.
  asio::awaitable<void> send_off();
  void close();

 private:
  asio::awaitable<std::expected<common::net::Stream, std::string>> connect();
  asio::awaitable<std::expected<common::net::Stream, std::string>> connect_by_name();
  asio::awaitable<std::optional<std::string>> send(std::string_view more);
  asio::awaitable<std::expected<Packet, std::string>> next_packet(std::chrono::milliseconds patience);
  asio::awaitable<std::optional<std::string>> change(const Answer& answer, Changes& changes);

  common::net::Worker& worker_;
  common::dns::Resolver& resolver_;
  const FilterTerms& terms_;
  const common::config::FilterPlace& place_;
  std::atomic<bool>& early_;
  std::unique_ptr<common::net::Stream> stream_;
  FilterConversation conversation_;
  PacketReader reader_;
};

}  // namespace smtpd::milter
