#pragma once

#include <asio/awaitable.hpp>
#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/config.hpp"
#include "common/net/stream.hpp"
#include "common/net/worker.hpp"

namespace common::net {

/// Where a connection came in.
struct Door {
  std::size_t server = 0;  ///< index into the servers handed to `listen` or the last `reload`
  bool tls = false;        ///< TLS from the first byte; the handshake is still the session's to do
  /// The virtual server as it was when the connection came: right whatever a reload does meanwhile (`server` then
  /// counts in another list; find by id).
  std::shared_ptr<const config::Server> config;
};
/// Runs one connection to its end. Exceptions end the connection and are logged once.
using Serve = std::function<asio::awaitable<void>(Worker&, Stream, Door)>;
/// What a connection over a limit is told before it is closed, e.g. "421 4.7.0 ...\r\n".
using Refuse = std::function<std::string(const config::Server&)>;

struct BoundAddress {
  std::string server;   ///< its id
  std::string address;  ///< as `address:port` with the real port, "[::1]:25", "unix:/path"
  bool tls = false;
  bool local = false;  ///< of config::Role::local: no virtual server's
};
struct ServerCounters {
  std::uint64_t open = 0, total = 0, refused = 0;
};

/// The listeners of one daemon: a socket for each address and worker (SO_REUSEPORT), limits in all and by address,
/// sessions counted. `listen`, `start`, `reload` and `stop` come from one thread; the rest is thread-safe.
///
/// Limits are those of each virtual server; an address is a whole IPv4 address or the /64 of an IPv6 one, and a Unix
/// socket has none.
class Server {
 public:
  /// `threads`: 0 is one per core.
  Server(std::size_t threads, const Clock& clock, Serve serve, Refuse refuse);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// Binds every address of `servers` (before privileges are dropped). Probes first, so that a busy port is an error
  /// and not a share of it. Error: a sentence with the address and the remedy.
  std::expected<void, std::string> listen(const std::vector<config::Server>& servers);
  std::vector<BoundAddress> addresses() const;
  /// Starts the worker threads; returns once every listener accepts.
  void start();
  /// New limits and listeners after a reload; addresses that stay keep their sockets. Error: nothing changed.
  std::expected<void, std::string> reload(const std::vector<config::Server>& servers);
  /// No new connections; idle sessions end with End::shutdown; returns when all are gone or `grace` is over. Then all
  /// that is left is ended wherever it waits for its peer, and the threads end. What still waits for something else
  /// (the store) is destroyed with the Server: close the store in between.
  void stop(std::chrono::milliseconds grace);
  ServerCounters counters() const;
  /// Of one virtual server; zeros for an id there is not.
  ServerCounters counters(std::string_view server) const;
  std::vector<std::unique_ptr<Worker>>& workers();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace common::net
