#pragma once

#include <netinet/in.h>

#include <asio/error_code.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/net/outgoing.hpp"
#include "common/net/stream.hpp"
#include "common/net/tls_session.hpp"
#include "common/net/worker.hpp"

namespace common::net {

/// The inside of a Stream: everything about a connection that does not wait, but for `writable`. Waiting is the
/// coroutines' part (stream.cpp): begin_wait, co_await, end_wait.
class Stream::State final : public Waiter {
 public:
  State(Worker& worker, Socket socket);
  ~State();

  enum class Wait : std::uint8_t { none, read, write, pause };
  void begin_wait(Wait what);
  void begin_pause(std::chrono::steady_clock::time_point until);
  /// Why the wait brought nothing; nullopt: the socket is ready.
  std::optional<End> end_wait(const asio::error_code& error);
  /// Waits until the peer takes more. Throws std::system_error when it will not.
  asio::awaitable<void> writable();
  /// The handshake of `tls`, to its end.
  asio::awaitable<std::expected<void, std::string>> shake_hands();
  /// The end of a write of so many octets, begun now; what `until` was is put back when this goes.
  class Pace {
   public:
    Pace(State& state, std::uint64_t octets);
    Pace(const Pace&) = delete;
    Pace& operator=(const Pace&) = delete;
    ~Pace() { state_.until = before_; }

   private:
    State& state_;
    std::chrono::steady_clock::time_point before_;
  };
  /// The daemon stops, and this session may be ended here.
  bool must_end() const { return worker.ending() && (idle || worker.ending_now()); }
  void end(bool now) noexcept override;

  enum class Got : std::uint8_t { octets, nothing_yet, closed };
  /// One recv into `into`.
  Got receive(std::span<char> into, std::size_t& count);
  /// Writes what goes without waiting; true: all of it, down to the last record. Throws std::system_error when the peer
  /// is gone.
  bool write_now(Outgoing& out, int flags = 0);
  /// The same for records that stand in the worker's wire or were left over.
  bool flush_now();
  /// sendfile, from `offset`, at most `length` octets; 0: wait first. Throws as above, and when the file ends before.
  std::size_t send_file_now(int descriptor, std::uint64_t offset, std::uint64_t length);
  void close() noexcept;
  /// Closed without a word: the descriptor is the caller's.
  int let_go();

  int descriptor() { return socket.native_handle(); }
  const sockaddr* peer_name();
  void set_peer(const sockaddr& name, socklen_t length);

  Worker& worker;
  Socket socket;
  std::unique_ptr<TlsSession> tls;
  Deadline deadline;
  std::chrono::milliseconds limit{0};
  /// All waits end here, however much moves meanwhile; none while it is the epoch.
  std::chrono::steady_clock::time_point until{};
  Wait waiting = Wait::none;
  bool idle = false;
  bool timed_out = false;
  bool ended = false;
  bool peer_gone = false;
  /// How many reads in a row filled the buffer: more is there for certain, but others want their turn.
  std::uint8_t full_reads = 0;

 private:
  std::size_t send_now(const iovec* pieces, std::size_t count, int flags);
  bool encrypt_now(Outgoing& out);
  static void expired(void* context);

  sockaddr_in6 peer_{};  // large enough for IPv4; of a Unix socket only the family
};

}  // namespace common::net
