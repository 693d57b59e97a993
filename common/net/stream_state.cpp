#include "common/net/stream_state.hpp"

#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <asio/error.hpp>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace common::net {
namespace {

constexpr std::size_t pieces_at_once = 64;
constexpr std::size_t file_at_once = 1024 * 1024;

[[noreturn]] void fail(int error, const char* what) {
  throw std::system_error(error, std::system_category(), what);
}

}  // namespace

Stream::State::State(Worker& on, Socket from) : worker(on), socket(std::move(from)) {
  static_assert(sizeof(State) <= 320, "every idle connection has one");
  worker.enlist(*this);
}

Stream::State::~State() {
  close();
  worker.dismiss(*this);
}

void Stream::State::begin_wait(Wait what) {
  if (limit.count() > 0) {
    auto at = worker.clock().steady() + limit;
    if (until != std::chrono::steady_clock::time_point{}) at = std::min(at, until);
    worker.deadlines().set(deadline, at, &State::expired, this);
  }
  waiting = what;
}

void Stream::State::begin_pause(std::chrono::steady_clock::time_point at) {
  worker.deadlines().set(deadline, at, &State::expired, this);
  waiting = Wait::pause;
}

Stream::State::Pace::Pace(State& state, std::uint64_t octets) : state_(state), before_(state.until) {
  state.until = state.worker.clock().steady() + state.limit +
                std::chrono::seconds{octets / static_cast<std::uint64_t>(slowest_rate)};
}

std::optional<End> Stream::State::end_wait(const asio::error_code& error) {
  waiting = Wait::none;
  const bool late = timed_out;
  timed_out = false;
  if (!error) return std::nullopt;
  if (late) return End::timeout;
  return ended ? End::shutdown : End::closed;
}

// The deadline is not taken back when a wait is over: setting it again for the next one is an assignment, and one that
// passes while the session is at work finds nobody waiting.
void Stream::State::expired(void* context) {
  auto& state = *static_cast<State*>(context);
  if (state.waiting == Wait::none) return;
  state.timed_out = true;
  asio::error_code ignored;
  state.socket.cancel(ignored);
}

void Stream::State::end(bool now) noexcept {
  const bool may_end = waiting == Wait::pause || (idle && waiting == Wait::read);
  if (waiting == Wait::none || (!now && !may_end)) return;
  ended = true;
  asio::error_code ignored;
  socket.cancel(ignored);
}

Stream::State::Got Stream::State::receive(std::span<char> into, std::size_t& count) {
  for (;;) {
    const auto got = ::recv(descriptor(), into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) {
      count = static_cast<std::size_t>(got);
      full_reads = static_cast<std::uint8_t>(count == into.size() ? (full_reads + 1) % 4 : 0);
      return Got::octets;
    }
    full_reads = 0;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Got::nothing_yet;
    peer_gone = true;
    return Got::closed;
  }
}

std::size_t Stream::State::send_now(const iovec* pieces, std::size_t count, int flags) {
  for (;;) {
    ssize_t sent;
    if (count == 1) {
      sent = ::send(descriptor(), pieces->iov_base, pieces->iov_len, flags | MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces);
      message.msg_iovlen = count;
      sent = ::sendmsg(descriptor(), &message, flags | MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    peer_gone = true;
    fail(errno, "write");
  }
}

bool Stream::State::write_now(Outgoing& out, int flags) {
  if (tls) return encrypt_now(out);
  std::array<iovec, pieces_at_once> pieces;
  while (!out.empty()) {
    const auto count = out.list(pieces);
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < count; ++i) wanted += pieces[i].iov_len;
    const auto sent = send_now(pieces.data(), count, flags);
    out.advance(sent);
    // A short count is the kernel's way to say that it is full: asking again would only hear EAGAIN.
    if (sent < wanted) return false;
  }
  return true;
}

bool Stream::State::encrypt_now(Outgoing& out) {
  auto& wire = worker.wire();
  wire.out_used = 0;
  if (!flush_now()) return false;
  while (!out.empty()) {
    do {
      auto next = out.next();
      if (next.size() >= TlsSession::record_octets || out.last()) {
        next = next.substr(0, TlsSession::record_octets);
        if (!tls->encrypt(next)) throw std::system_error(EPROTO, std::system_category(), "TLS: " + tls->error());
        out.advance(next.size());
        continue;
      }
      // Small pieces share a record.
      std::size_t used = 0;
      while (!out.empty() && used < wire.record.size()) {
        const auto piece = out.next().substr(0, wire.record.size() - used);
        std::memcpy(wire.record.data() + used, piece.data(), piece.size());
        used += piece.size();
        out.advance(piece.size());
      }
      if (!tls->encrypt({wire.record.data(), used}))
        throw std::system_error(EPROTO, std::system_category(), "TLS: " + tls->error());
      // A peer that is behind gets record by record, so that little of ours waits for it.
    } while (!out.empty() && tls->has_room() && !out.waited());
    if (!flush_now()) return false;
  }
  return true;
}

bool Stream::State::flush_now() {
  auto& wire = worker.wire();
  const std::string_view fresh{wire.out.data(), wire.out_used};
  wire.out_used = 0;
  if (!tls->unsent.empty()) {
    tls->unsent.append(fresh);
    const iovec piece{tls->unsent.data(), tls->unsent.size()};
    const auto sent = send_now(&piece, 1, 0);
    if (sent == tls->unsent.size()) {
      tls->unsent = {};
      return true;
    }
    tls->unsent.erase(0, sent);
    return false;
  }
  if (fresh.empty()) return true;
  const iovec piece{const_cast<char*>(fresh.data()), fresh.size()};
  const auto sent = send_now(&piece, 1, 0);
  if (sent == fresh.size()) return true;
  tls->unsent = fresh.substr(sent);
  return false;
}

std::size_t Stream::State::send_file_now(int file, std::uint64_t offset, std::uint64_t length) {
  auto from = static_cast<off_t>(offset);
  for (;;) {
    const auto sent = ::sendfile(descriptor(), file, &from, std::min<std::uint64_t>(length, file_at_once));
    if (sent > 0) return static_cast<std::size_t>(sent);
    if (sent == 0) fail(EIO, "the file ends too early");
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    const int error = errno;
    peer_gone = peer_gone || error == EPIPE || error == ECONNRESET;
    fail(error, "sendfile");
  }
}

void Stream::State::close() noexcept {
  if (!socket.is_open()) return;
  worker.deadlines().clear(deadline);
  if (!peer_gone) {
    if (tls) {
      try {
        tls->say_goodbye();
        flush_now();
      } catch (...) {  // a courtesy: the connection is over either way
      }
    }
    // Closing with input unread would send a reset, which throws our last reply away at the other end.
    std::size_t count = 0;
    for (int i = 0; i < 16 && receive(worker.wire().in, count) == Got::octets; ++i) {
    }
  }
  worker.wire().out_used = 0;
  asio::error_code ignored;
  socket.close(ignored);
}

int Stream::State::let_go() {
  worker.deadlines().clear(deadline);
  asio::error_code error;
  const int descriptor = socket.release(error);
  if (error) throw std::system_error(error);
  return descriptor;
}

const sockaddr* Stream::State::peer_name() {
  if (peer_.sin6_family == AF_UNSPEC) {
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    if (::getpeername(descriptor(), reinterpret_cast<sockaddr*>(&name), &length) == 0) {
      set_peer(reinterpret_cast<const sockaddr&>(name), length);
    }
  }
  return reinterpret_cast<const sockaddr*>(&peer_);
}

void Stream::State::set_peer(const sockaddr& name, socklen_t length) {
  if (name.sa_family == AF_INET || name.sa_family == AF_INET6) {
    std::memcpy(&peer_, &name, std::min<std::size_t>(length, sizeof peer_));
  } else {
    peer_.sin6_family = AF_UNIX;
  }
}

}  // namespace common::net
