#include "common/net/listening.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace common::net {
namespace {

constexpr int backlog = 4096;

struct Name {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

std::string shown(const config::Listen& where, std::uint16_t port) {
  if (!where.path.empty()) return "unix:" + where.path;
  const bool six = where.address.find(':') != std::string::npos;
  return six ? fmt::format("[{}]:{}", where.address, port) : fmt::format("{}:{}", where.address, port);
}

bool make_name(const config::Listen& where, std::uint16_t port, Name& name) {
  auto& four = reinterpret_cast<sockaddr_in&>(name.storage);
  auto& six = reinterpret_cast<sockaddr_in6&>(name.storage);
  if (::inet_pton(AF_INET, where.address.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    name.length = sizeof four;
    return true;
  }
  name.storage = {};
  if (::inet_pton(AF_INET6, where.address.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    name.length = sizeof six;
    return true;
  }
  return false;
}

bool set(int socket, int level, int option) {
  const int on = 1;
  return ::setsockopt(socket, level, option, &on, sizeof on) == 0;
}

std::string refusal(const std::string& address, int error, Moment moment) {
  const char* remedy = "correct the address in `listen`";
  if (error == EADDRINUSE) remedy = "stop the other program that listens there, or choose another port";
  if (error == EACCES || error == EPERM)
    remedy = moment == Moment::reload
                 ? "the daemon has given up the right to it, so it needs a restart"
                 : "start as root (the daemon gives it up after binding), or choose a port from 1024 up";
  if (error == EADDRNOTAVAIL) remedy = "this machine has no such address; use one of its own, or 0.0.0.0 for all";
  if (error == EMFILE || error == ENFILE) remedy = "raise the limit of open files";
  return fmt::format("cannot listen on {}: {}; {}", address, std::strerror(error), remedy);
}

/// A bound TCP socket; error: errno.
std::expected<Descriptor, int> bind_tcp(const Name& name, bool shared) {
  Descriptor socket{::socket(name.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (socket.get() < 0) return std::unexpected(errno);
  // Accepted sockets inherit TCP_NODELAY from the listener: no call for each connection.
  if (!set(socket.get(), SOL_SOCKET, SO_REUSEADDR) || !set(socket.get(), IPPROTO_TCP, TCP_NODELAY))
    return std::unexpected(errno);
  if (shared && !set(socket.get(), SOL_SOCKET, SO_REUSEPORT)) return std::unexpected(errno);
  if (name.storage.ss_family == AF_INET6 && !set(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY))
    return std::unexpected(errno);
  if (::bind(socket.get(), name.get(), name.length) != 0) return std::unexpected(errno);
  return socket;
}

std::uint16_t port_of(int socket) {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length) != 0) return 0;
  return ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(name).sin6_port
                                          : reinterpret_cast<sockaddr_in&>(name).sin_port);
}

std::expected<Listening, std::string> open_tcp(const config::Listen& where, std::size_t workers, Moment moment) {
  Listening result;
  result.port = where.port;
  Name name;
  if (!make_name(where, where.port, name)) {
    return std::unexpected(
        fmt::format("cannot listen on {}: not a numeric address; correct it in `listen`", where.text));
  }
  if (where.port != 0) {
    // SO_REUSEPORT would let us share the port of another daemon of the same user, each getting some of the
    // connections: without it the kernel tells.
    const auto probe = bind_tcp(name, false);
    if (!probe) return std::unexpected(refusal(shown(where, where.port), probe.error(), moment));
  }
  for (std::size_t i = 0; i < workers; ++i) {
    auto socket = bind_tcp(name, true);
    if (!socket) return std::unexpected(refusal(shown(where, result.port), socket.error(), moment));
    if (result.port == 0) {
      result.port = port_of(socket->get());
      make_name(where, result.port, name);
    }
    result.sockets.push_back(std::move(*socket));
  }
  // Listening only when all are bound: a connection must not be given to a socket that is going to be closed again.
  for (const auto& socket : result.sockets) {
    if (::listen(socket.get(), backlog) != 0) return std::unexpected(refusal(shown(where, result.port), errno, moment));
  }
  result.address = shown(where, result.port);
  return result;
}

std::expected<Listening, std::string> open_unix(const config::Listen& where, Moment moment) {
  Listening result;
  result.address = "unix:" + where.path;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (where.path.size() >= sizeof name.sun_path) {
    return std::unexpected(fmt::format("cannot listen on {}: the path is longer than {} octets; choose a shorter one",
                                       result.address, sizeof name.sun_path - 1));
  }
  std::memcpy(name.sun_path, where.path.data(), where.path.size());
  const auto* const generic = reinterpret_cast<const sockaddr*>(&name);

  struct stat there{};
  if (::lstat(where.path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode)) {
      return std::unexpected(
          fmt::format("cannot listen on {}: the path is there and is not a socket; remove it or choose another path",
                      result.address));
    }
    const Descriptor probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (probe.get() < 0) return std::unexpected(refusal(result.address, errno, moment));
    // EAGAIN: somebody listens and is busy. Only a refused connection proves that nobody does.
    if (::connect(probe.get(), generic, sizeof name) == 0 || errno != ECONNREFUSED) {
      return std::unexpected(refusal(result.address, EADDRINUSE, moment));
    }
    if (::unlink(where.path.c_str()) != 0) return std::unexpected(refusal(result.address, errno, moment));
  }
  Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (socket.get() < 0 || ::bind(socket.get(), generic, sizeof name) != 0 || ::chmod(where.path.c_str(), 0666) != 0 ||
      ::listen(socket.get(), backlog) != 0) {
    return std::unexpected(refusal(result.address, errno, moment));
  }
  result.sockets.push_back(std::move(socket));
  return result;
}

}  // namespace

Descriptor::~Descriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string numeric_address(const sockaddr& name) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (name.sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(name).sin_addr, text.data(), text.size());
  } else if (name.sa_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(name).sin6_addr, text.data(), text.size());
  } else if (name.sa_family == AF_UNIX) {
    return "unix";
  }
  return text.data();
}

std::expected<Listening, std::string> open_listening(const config::Listen& where, std::size_t workers, Moment moment) {
  return where.path.empty() ? open_tcp(where, workers, moment) : open_unix(where, moment);
}

}  // namespace common::net
