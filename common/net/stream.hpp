#pragma once

#include <asio/awaitable.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sys/socket.h>
#include <sys/uio.h>

#include "common/net/worker.hpp"

namespace common::net {

class TlsClientContext;
class TlsContext;

/// Why there is nothing more to read.
enum class End : std::uint8_t {
  closed,    ///< the peer closed or vanished
  timeout,   ///< the deadline passed
  shutdown,  ///< the daemon is stopping and this session was idle
};

/// What a handshake settled.
struct TlsFacts {
  std::string protocol;  ///< TLSv1.2, TLSv1.3
  std::string cipher;    ///< the RFC name
  int bits = 0;
  bool resumed = false;
  std::string server_name;  ///< SNI, escaped by whoever logs it
};

/// Octets a second: a peer that takes less, or gives less where it owes a line or a message, is not worth its place.
/// What it is allowed in all is the limit of `set_timeout` and this for every octet.
inline constexpr std::int64_t slowest_rate = 512;

/// A connection, in the clear or over TLS. Belongs to its worker's thread. Owns the socket; while idle it owns no
/// buffer. TLS reads and writes through the worker's buffers (tls_session.hpp), so that a flight of records costs one
/// system call. One coroutine at a time reads or writes.
class Stream {
 public:
  // The executor by its own type: the type-erased one costs an allocation's worth of time for each wait.
  using Socket = asio::basic_stream_socket<asio::generic::stream_protocol, asio::io_context::executor_type>;
  Stream(Worker& worker, Socket socket);
  /// With the peer's address as accept(2) told it.
  Stream(Worker& worker, Socket socket, const sockaddr& peer, socklen_t length);
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) = delete;
  ~Stream();

  /// A new connection to a numeric address, from `source` (numeric, of the same family) or, empty, from where the
  /// system likes. Error: why not, in a few words.
  static asio::awaitable<std::expected<Stream, std::string>> connect(Worker& worker, std::string address,
                                                                     std::uint16_t port, std::string source,
                                                                     std::chrono::milliseconds limit);
  /// The same to a Unix socket; one whose queue is full is tried again within `limit`.
  static asio::awaitable<std::expected<Stream, std::string>> connect_unix(Worker& worker, std::string path,
                                                                          std::chrono::milliseconds limit);

  /// Waits until something can be read, then reads it into the worker's buffer. The view is never empty and holds
  /// until the next co_await of this thread. TLS: may hold what one record or several carried; broken TLS:
  /// std::system_error.
  asio::awaitable<std::expected<std::string_view, End>> read();
  /// True when TLS holds decrypted octets that a read would return without waiting.
  bool pending() const;
  /// Writes all of it, gathering; waits as the peer takes it. A timeout or a lost peer: std::system_error. What lies in
  /// the worker's buffers is copied should there be something to wait for. All of it must go within the limit of
  /// `set_timeout` and what `slowest_rate` allows.
  asio::awaitable<void> write(std::string_view octets);
  asio::awaitable<void> write(std::span<const iovec> pieces);
  /// Writes `front`, then `length` octets of a file from `offset`, then `back`; with sendfile in the clear, through
  /// the worker's scratch over TLS and for what is small. `front` and `back` must not lie in the worker's buffers. A
  /// file that is shorter than that: std::system_error, with the octets before the gap sent.
  asio::awaitable<void> write_file(std::string_view front, int descriptor, std::uint64_t offset, std::uint64_t length,
                                   std::string_view back);

  /// Reads and writes from now on must make progress within `limit` each; set once, it is renewed by every octet moved.
  void set_timeout(std::chrono::milliseconds limit);
  /// What the session waits for ends at `at` at the latest, however much moves meanwhile (End::timeout); the epoch: by
  /// `set_timeout` alone. Without that limit there is none.
  void set_deadline(std::chrono::steady_clock::time_point at);
  /// Lets `time` pass, up to a tick longer, and reads nothing meanwhile; keeps the session's place and nothing else.
  /// Ends early with the daemon: the reason, and nullopt when the time is over.
  asio::awaitable<std::optional<End>> pause(std::chrono::milliseconds time);
  /// The session waits for its next command (true) or is at work (false). Idle sessions end at shutdown.
  void set_idle(bool idle);

  /// Server side of the handshake. Whatever was read in the clear must have been thrown away by the caller.
  /// The whole of it must be done within the limit of `set_timeout`. Error: one escaped sentence for the log.
  asio::awaitable<std::expected<void, std::string>> accept_tls(const TlsContext& context);
  /// The client's side; `host` as in TlsSession::start. Otherwise the same.
  asio::awaitable<std::expected<void, std::string>> connect_tls(std::shared_ptr<const TlsClientContext> context,
                                                                std::string host);
  bool secure() const;
  /// Open, and nothing has come that was not read: a connection that rested may be used again.
  bool silent() const;
  TlsFacts tls_facts() const;
  /// Channel binding data (RFC 9266 tls-exporter with TLS 1.3, RFC 5929 tls-unique with 1.2); empty in the clear.
  std::string channel_binding(std::string_view type) const;

  /// AF_INET, AF_INET6, or the family of a Unix socket alone.
  const sockaddr& peer() const;
  std::string peer_address() const;  ///< numeric, "unix" for a Unix socket
  std::uint16_t peer_port() const;
  /// Of a Unix socket: the number of the user who connected, which the kernel vouches for (SO_PEERCRED).
  std::optional<std::uint32_t> peer_user() const;
  std::string local_address() const;
  std::uint16_t local_port() const;
  /// TLS close_notify if it fits, then close; input that nobody read is thrown away first, so that the peer gets our
  /// last octets and not a reset. Safe to call twice.
  void close() noexcept;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace common::net
