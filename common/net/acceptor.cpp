#include "common/net/acceptor.hpp"

#include <cerrno>
#include <chrono>

namespace common::net {
namespace {

// Several for each time it is woken, but the sessions there are want their turn too.
constexpr int accepts_at_once = 64;
// Without descriptors the socket stays readable: asking on would burn the processor until a session ends.
constexpr std::chrono::milliseconds rest{100};

}  // namespace

Acceptor::Acceptor(Worker& worker, Descriptor socket, Target target, Take take, std::function<void(int)> complain)
    : target_(std::move(target)),
      take_(std::move(take)),
      complain_(std::move(complain)),
      socket_(worker.context(), socket.get()),
      rest_(worker.context()) {
  socket.release();
}

void Acceptor::close() {
  asio::error_code ignored;
  socket_.close(ignored);
  rest_.cancel();
}

void Acceptor::wait() {
  if (!socket_.is_open()) return;
  socket_.async_wait(decltype(socket_)::wait_read, [self = shared_from_this()](const asio::error_code& error) {
    if (!error) self->on_ready();
  });
}

void Acceptor::on_ready() {
  for (int i = 0; i < accepts_at_once && socket_.is_open(); ++i) {
    Accepted accepted;
    accepted.peer_length = sizeof accepted.peer;
    accepted.socket = Descriptor{::accept4(socket_.native_handle(), reinterpret_cast<sockaddr*>(&accepted.peer),
                                           &accepted.peer_length, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (accepted.socket.get() >= 0) {
      take_(std::move(accepted), target_);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return pause(errno);
    short_of_descriptors_ = false;
    break;
  }
  wait();
}

void Acceptor::pause(int error) {
  if (!short_of_descriptors_) complain_(error);
  short_of_descriptors_ = true;
  rest_.expires_after(rest);
  rest_.async_wait([self = shared_from_this()](const asio::error_code& cancelled) {
    if (!cancelled) self->wait();
  });
}

}  // namespace common::net
