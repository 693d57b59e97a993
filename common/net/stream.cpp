#include "common/net/stream.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "common/net/listening.hpp"
#include "common/net/stream_state.hpp"
#include "common/net/tls_client_context.hpp"

namespace common::net {
namespace {

// Up to here a file's octets are copied through the scratch and leave with what stands before and behind them in one
// call; sendfile, with two calls more, costs less beyond (measured: 5.5 instead of 7.5 us at 4 KiB, 10 instead of 13 at
// 75 KiB, but 68 instead of 37 at 400 KB).
constexpr std::size_t file_chunk = Wire::records * TlsSession::record_octets;
constexpr std::uint64_t small_file = file_chunk;
static_assert(file_chunk <= Worker::scratch_size);

[[noreturn]] void throw_end(End end) {
  switch (end) {
    case End::timeout:
      throw std::system_error(asio::error::make_error_code(asio::error::timed_out));
    case End::shutdown:
      throw std::system_error(asio::error::make_error_code(asio::error::operation_aborted));
    case End::closed:
      break;
  }
  throw std::system_error(asio::error::make_error_code(asio::error::connection_reset));
}

/// Reads all of `into` from `offset`.
void read_file(int file, std::uint64_t offset, std::span<char> into) {
  while (!into.empty()) {
    const auto got = ::pread(file, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw std::system_error(errno, std::system_category(), "pread");
    if (got == 0) throw std::system_error(EIO, std::system_category(), "the file ends too early");
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

std::uint16_t port_of(const sockaddr* name) {
  if (name->sa_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(name)->sin_port);
  if (name->sa_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(name)->sin6_port);
  return 0;
}

/// A numeric address as the system calls take it; AF_UNSPEC: it is none.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  int family() const { return storage.ss_family; }
  const sockaddr* name() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const std::string& address, std::uint16_t port) {
  SocketAddress result;
  auto& four = reinterpret_cast<sockaddr_in&>(result.storage);
  auto& six = reinterpret_cast<sockaddr_in6&>(result.storage);
  if (::inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    result.length = sizeof four;
  } else if (::inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    result.length = sizeof six;
  } else {
    result.storage = {};
  }
  return result;
}

sockaddr_storage local_name(int descriptor) {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&name), &length) != 0) name.ss_family = AF_UNSPEC;
  return name;
}

}  // namespace

Stream::Stream(Worker& worker, Socket socket) : state_(std::make_unique<State>(worker, std::move(socket))) {}
Stream::Stream(Worker& worker, Socket socket, const sockaddr& peer, socklen_t length)
    : Stream(worker, std::move(socket)) {
  state_->set_peer(peer, length);
}
Stream::Stream(Stream&&) noexcept = default;
Stream::~Stream() = default;

asio::awaitable<std::expected<Stream, std::string>> Stream::connect(Worker& worker, std::string address,
                                                                    std::uint16_t port, std::string source,
                                                                    std::chrono::milliseconds limit) {
  const auto to = socket_address(address, port);
  const auto from = socket_address(source, 0);
  if (to.family() == AF_UNSPEC) co_return std::unexpected(std::string{"not a numeric address"});
  Descriptor descriptor{::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP)};
  if (descriptor.get() < 0) co_return std::unexpected(std::string{std::strerror(errno)});
  const int on = 1;
  ::setsockopt(descriptor.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (from.family() != AF_UNSPEC) {
    // The port is chosen with the peer known: as many connections to each peer as there are ports, not in all.
    ::setsockopt(descriptor.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (::bind(descriptor.get(), from.name(), from.length) != 0)
      co_return std::unexpected(source + ": " + std::strerror(errno));
  }
  const bool at_once = ::connect(descriptor.get(), to.name(), to.length) == 0;
  if (!at_once && errno != EINPROGRESS) co_return std::unexpected(std::string{std::strerror(errno)});
  Socket socket{worker.context(), asio::generic::stream_protocol{to.family(), IPPROTO_TCP}, descriptor.release()};
  Stream stream{worker, std::move(socket), *to.name(), to.length};
  if (!at_once) {
    State& state = *stream.state_;
    state.limit = limit;
    asio::error_code error;
    auto ready = asio::redirect_error(asio::use_awaitable, error);
    state.begin_wait(State::Wait::write);
    co_await state.socket.async_wait(Socket::wait_write, ready);
    const auto end = state.end_wait(error);
    int refused = 0;
    socklen_t size = sizeof refused;
    if (!end) ::getsockopt(state.descriptor(), SOL_SOCKET, SO_ERROR, &refused, &size);
    if (end || refused != 0) {
      state.peer_gone = true;
      co_return std::unexpected(std::string{end == End::timeout    ? "no answer in time"
                                            : end == End::shutdown ? "the daemon stops"
                                            : end                  ? "the connection was lost"
                                                                   : std::strerror(refused)});
    }
  }
  co_return stream;
}

asio::awaitable<std::expected<Stream, std::string>> Stream::connect_unix(Worker& worker, std::string path,
                                                                         std::chrono::milliseconds limit) {
  constexpr std::chrono::milliseconds rest{10};
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path) co_return std::unexpected(std::string{"the path is too long for a socket"});
  std::memcpy(to.sun_path, path.data(), path.size());
  const auto& name = reinterpret_cast<const sockaddr&>(to);
  Descriptor descriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (descriptor.get() < 0) co_return std::unexpected(std::string{std::strerror(errno)});
  const auto until = worker.clock().steady() + limit;
  while (::connect(descriptor.get(), &name, sizeof to) != 0) {
    // No EINPROGRESS here: a full queue says EAGAIN, and nothing tells when there is room.
    if (errno != EAGAIN && errno != EINTR) co_return std::unexpected(std::string{std::strerror(errno)});
    if (worker.ending_now()) co_return std::unexpected(std::string{"the daemon stops"});
    if (worker.clock().steady() >= until) co_return std::unexpected(std::string{"its queue is full"});
    asio::steady_timer timer{worker.context(), rest};
    asio::error_code ignored;
    auto over = asio::redirect_error(asio::use_awaitable, ignored);
    co_await timer.async_wait(over);
  }
  Socket socket{worker.context(), asio::generic::stream_protocol{AF_UNIX, 0}, descriptor.release()};
  co_return Stream{worker, std::move(socket), name, sizeof to};
}

asio::awaitable<std::expected<std::string_view, End>> Stream::read() {
  State& state = *state_;
  const auto into = state.worker.buffer();
  for (;;) {
    if (state.tls != nullptr && state.tls->end() != TlsSession::Result::more) break;
    if (!pending()) {
      if (state.must_end()) co_return std::unexpected(End::shutdown);
      if (!state.socket.is_open()) co_return std::unexpected(End::closed);
      if (state.full_reads == 0) {
        asio::error_code error;
        auto ready = asio::redirect_error(asio::use_awaitable, error);
        state.begin_wait(State::Wait::read);
        co_await state.socket.async_wait(Socket::wait_read, ready);
        if (const auto end = state.end_wait(error)) co_return std::unexpected(*end);
      }
      const auto target = state.tls != nullptr ? std::span<char>{state.worker.wire().in} : into;
      std::size_t count = 0;
      const auto got = state.receive(target, count);
      if (got == State::Got::closed) co_return std::unexpected(End::closed);
      if (got == State::Got::nothing_yet) continue;
      if (state.tls == nullptr) co_return std::string_view{into.data(), count};
      state.tls->feed({target.data(), count});
    }
    std::size_t count = 0;
    state.worker.wire().out_used = 0;
    const auto result = state.tls->decrypt(into, count);
    state.tls->keep_input();
    // Answers of TLS itself (alerts, key updates); what does not go now goes with the next write.
    if (state.worker.wire().out_used > 0) state.flush_now();
    if (count > 0) co_return std::string_view{into.data(), count};
    if (result != TlsSession::Result::more) break;
  }
  // A peer that vanished without close_notify was answered above: mail protocols mark their ends themselves.
  if (state.tls->end() == TlsSession::Result::failed) {
    throw std::system_error(EPROTO, std::system_category(), "TLS: " + state.tls->error());
  }
  co_return std::unexpected(End::closed);
}

bool Stream::pending() const {
  return state_->tls != nullptr && state_->tls->pending();
}

asio::awaitable<void> Stream::State::writable() {
  if (worker.ending_now()) throw_end(End::shutdown);
  asio::error_code error;
  auto ready = asio::redirect_error(asio::use_awaitable, error);
  begin_wait(Wait::write);
  co_await socket.async_wait(Socket::wait_write, ready);
  if (const auto end = end_wait(error)) throw_end(*end);
}

asio::awaitable<void> Stream::write(std::string_view octets) {
  State& state = *state_;
  Outgoing out{octets};
  if (state.write_now(out)) co_return;
  const State::Pace pace{state, octets.size()};
  do {
    out.leave(state.worker);
    co_await state.writable();
  } while (!state.write_now(out));
}

asio::awaitable<void> Stream::write(std::span<const iovec> pieces) {
  State& state = *state_;
  Outgoing out{pieces};
  if (state.write_now(out)) co_return;
  std::uint64_t octets = 0;
  for (const auto& piece : pieces) octets += piece.iov_len;
  const State::Pace pace{state, octets};
  do {
    out.leave(state.worker);
    co_await state.writable();
  } while (!state.write_now(out));
}

asio::awaitable<void> Stream::write_file(std::string_view front, int descriptor, std::uint64_t offset,
                                         std::uint64_t length, std::string_view back) {
  State& state = *state_;
  std::optional<State::Pace> pace;
  const auto begin_pace = [&] {
    if (!pace) pace.emplace(state, front.size() + length + back.size());
  };
  if (state.tls == nullptr && length > small_file) {
    Outgoing before{front};
    begin_pace();
    while (!state.write_now(before, MSG_MORE)) co_await state.writable();
    while (length > 0) {
      const auto sent = state.send_file_now(descriptor, offset, length);
      offset += sent;
      length -= sent;
      // A turn for the others, also when this peer takes megabyte after megabyte.
      if (length > 0) co_await state.writable();
    }
    Outgoing after{back};
    while (!state.write_now(after)) co_await state.writable();
    co_return;
  }
  // Chunk by chunk; after a wait the rest of a chunk is read again, for the scratch had other users meanwhile.
  bool slow = false;
  while (front.size() + length + back.size() > 0) {
    bool all = false;
    {
      const auto from_file =
          static_cast<std::size_t>(std::min<std::uint64_t>(length, slow ? TlsSession::record_octets : file_chunk));
      const auto chunk = state.worker.scratch().first(from_file);
      read_file(descriptor, offset, chunk);
      const bool complete = from_file == length;
      const std::array<iovec, 3> pieces{iovec{const_cast<char*>(front.data()), front.size()},
                                        iovec{chunk.data(), chunk.size()},
                                        iovec{const_cast<char*>(back.data()), complete ? back.size() : 0}};
      Outgoing out{pieces};
      all = state.write_now(out, complete ? 0 : MSG_MORE);
      auto gone = out.gone();
      const auto of_front = std::min(gone, front.size());
      front.remove_prefix(of_front);
      gone -= of_front;
      const auto of_file = std::min(gone, from_file);
      offset += of_file;
      length -= of_file;
      gone -= of_file;
      back.remove_prefix(gone);
    }
    if (!all) {
      begin_pace();
      slow = true;
      co_await state.writable();
    }
  }
  if (state.tls != nullptr) {
    while (!state.flush_now()) co_await state.writable();
  }
}

void Stream::set_timeout(std::chrono::milliseconds limit) {
  state_->limit = limit;
  if (limit.count() <= 0) state_->worker.deadlines().clear(state_->deadline);
}

void Stream::set_deadline(std::chrono::steady_clock::time_point at) {
  state_->until = at;
}

asio::awaitable<std::optional<End>> Stream::pause(std::chrono::milliseconds time) {
  State& state = *state_;
  const auto until = state.worker.clock().steady() + time;
  while (state.worker.clock().steady() < until) {
    if (state.worker.ending()) co_return End::shutdown;
    if (!state.socket.is_open()) co_return End::closed;
    asio::error_code error;
    auto ready = asio::redirect_error(asio::use_awaitable, error);
    state.begin_pause(until);
    // Urgent octets wake it up and change nothing; what else can be read stays where it is.
    co_await state.socket.async_wait(Socket::wait_error, ready);
    const auto end = state.end_wait(error);
    // Woken by something else it would end the next wait.
    state.worker.deadlines().clear(state.deadline);
    if (end && *end != End::timeout) co_return end;
  }
  co_return std::nullopt;
}

void Stream::set_idle(bool idle) {
  state_->idle = idle;
}

asio::awaitable<std::expected<void, std::string>> Stream::State::shake_hands() {
  State& state = *this;
  if (state.tls == nullptr) co_return std::unexpected(std::string{"no memory for TLS"});
  if (state.limit.count() > 0) state.until = state.worker.clock().steady() + state.limit;
  std::string why;
  const bool was_idle = std::exchange(state.idle, true);
  for (;;) {
    state.worker.wire().out_used = 0;
    const auto result = state.tls->handshake();
    state.tls->keep_input();
    try {
      while (!state.flush_now()) co_await state.writable();
    } catch (const std::system_error& error) {
      if (why.empty()) why = error.code().message();
    }
    if (result == TlsSession::Result::failed) why = state.tls->error();
    if (result == TlsSession::Result::closed) why = "the peer closed the connection";
    if (result == TlsSession::Result::done || !why.empty()) break;

    asio::error_code error;
    auto ready = asio::redirect_error(asio::use_awaitable, error);
    if (state.must_end()) {
      why = "the daemon stops";
      break;
    }
    state.begin_wait(State::Wait::read);
    co_await state.socket.async_wait(Socket::wait_read, ready);
    const auto end = state.end_wait(error);
    std::size_t count = 0;
    const auto got = end ? State::Got::closed : state.receive(state.worker.wire().in, count);
    if (got == State::Got::closed) {
      why = end == End::timeout    ? "the peer took too long"
            : end == End::shutdown ? "the daemon stops"
                                   : "the peer closed the connection";
      break;
    }
    if (got == State::Got::octets) state.tls->feed({state.worker.wire().in.data(), count});
  }
  state.until = {};
  state.idle = was_idle;
  if (!why.empty()) co_return std::unexpected(std::move(why));
  co_return std::expected<void, std::string>{};
}

asio::awaitable<std::expected<void, std::string>> Stream::accept_tls(const TlsContext& context) {
  State& state = *state_;
  if (state.tls != nullptr) co_return std::unexpected(std::string{"TLS already"});
  state.tls = TlsSession::start(context, state.worker.wire());
  auto outcome = co_await state.shake_hands();
  co_return outcome;
}

asio::awaitable<std::expected<void, std::string>> Stream::connect_tls(std::shared_ptr<const TlsClientContext> context,
                                                                      std::string host) {
  State& state = *state_;
  if (state.tls != nullptr) co_return std::unexpected(std::string{"TLS already"});
  state.tls = TlsSession::start(std::move(context), host, state.worker.wire());
  auto outcome = co_await state.shake_hands();
  co_return outcome;
}

bool Stream::secure() const {
  return state_->tls != nullptr && state_->tls->established();
}
bool Stream::silent() const {
  if (!state_->socket.is_open() || pending()) return false;
  char octet;
  const auto got = ::recv(state_->descriptor(), &octet, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}
TlsFacts Stream::tls_facts() const {
  return secure() ? state_->tls->facts() : TlsFacts{};
}
std::string Stream::channel_binding(std::string_view type) const {
  return secure() ? state_->tls->channel_binding(type) : std::string{};
}

const sockaddr& Stream::peer() const {
  return *state_->peer_name();
}
std::string Stream::peer_address() const {
  return numeric_address(*state_->peer_name());
}
std::uint16_t Stream::peer_port() const {
  return port_of(state_->peer_name());
}
std::optional<std::uint32_t> Stream::peer_user() const {
  ucred who{};
  socklen_t length = sizeof who;
  if (peer().sa_family != AF_UNIX || ::getsockopt(state_->descriptor(), SOL_SOCKET, SO_PEERCRED, &who, &length) != 0)
    return std::nullopt;
  return who.uid;
}
std::string Stream::local_address() const {
  const auto name = local_name(state_->descriptor());
  return numeric_address(reinterpret_cast<const sockaddr&>(name));
}
std::uint16_t Stream::local_port() const {
  const auto name = local_name(state_->descriptor());
  return port_of(reinterpret_cast<const sockaddr*>(&name));
}

void Stream::close() noexcept {
  state_->close();
}

}  // namespace common::net
