#include "common/net/inherited.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace common::net {
namespace {

constexpr int first_descriptor = 3;
constexpr int most_descriptors = 1024;

int number(const char* text) {
  int value = -1;
  if (text == nullptr) return value;
  const std::string_view digits{text};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc{} && end == digits.data() + digits.size() ? value : -1;
}

bool is_listening_stream(int socket) {
  int type = 0, listening = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM) return false;
  length = sizeof listening;
  return ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

std::vector<std::string> names_of(int count) {
  std::vector<std::string> names;
  const char* const given = std::getenv("LISTEN_FDNAMES");
  std::string_view rest = given == nullptr ? "" : given;
  for (int i = 0; i < count; ++i) {
    const auto end = rest.find(':');
    names.emplace_back(rest.substr(0, end));
    rest = end == rest.npos ? std::string_view{} : rest.substr(end + 1);
  }
  return names;
}

/// A numeric address in the one way that inet_ntop writes it.
std::string canonical(const std::string& address) {
  in6_addr six{};
  if (::inet_pton(AF_INET6, address.c_str(), &six) != 1) return address;
  char text[INET6_ADDRSTRLEN]{};
  return ::inet_ntop(AF_INET6, &six, text, sizeof text) == nullptr ? address : text;
}

std::string told(const config::Listen& where) {
  if (!where.path.empty()) return "unix:" + where.path;
  const auto address = canonical(where.address);
  const bool six = address.find(':') != std::string::npos;
  return six ? fmt::format("[{}]:{}", address, where.port) : fmt::format("{}:{}", address, where.port);
}

std::string bound_address(int socket, std::uint16_t& port) {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length) != 0) return {};
  if (name.ss_family == AF_UNIX) {
    const auto& unix_name = reinterpret_cast<const sockaddr_un&>(name);
    // Not every name ends in a zero, and one in the abstract namespace begins with it.
    const auto room = length - offsetof(sockaddr_un, sun_path);
    return "unix:" + std::string{unix_name.sun_path, ::strnlen(unix_name.sun_path, room)};
  }
  const auto address = numeric_address(reinterpret_cast<const sockaddr&>(name));
  const bool six = name.ss_family == AF_INET6;
  port = ntohs(six ? reinterpret_cast<const sockaddr_in6&>(name).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(name).sin_port);
  return six ? fmt::format("[{}]:{}", address, port) : fmt::format("{}:{}", address, port);
}

}  // namespace

Inherited Inherited::from_environment() {
  const bool ours = number(std::getenv("LISTEN_PID")) == ::getpid();
  const int count = ours ? std::clamp(number(std::getenv("LISTEN_FDS")), 0, most_descriptors) : 0;
  const auto names = names_of(count);
  for (const char* const variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(variable);
  return Inherited{first_descriptor, names};
}

Inherited::Inherited(int first, const std::vector<std::string>& names) {
  for (int i = 0; i < static_cast<int>(names.size()); ++i) {
    Held held{Descriptor{first + i}, names[static_cast<std::size_t>(i)], {}, 0, false};
    const int socket = held.socket.get();
    if (!is_listening_stream(socket)) continue;
    ::fcntl(socket, F_SETFD, FD_CLOEXEC);
    ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
    // As for sockets of our own; a Unix socket knows nothing of it.
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    held.address = bound_address(socket, held.port);
    held_.push_back(std::move(held));
  }
}

std::optional<std::expected<Listening, std::string>> Inherited::find(const config::Listen& where, std::size_t workers) {
  const std::lock_guard guard{mutex_};
  const auto wanted = told(where);
  const auto found = std::ranges::find(held_, wanted, &Held::address);
  if (found == held_.end()) return std::nullopt;
  found->claimed = true;
  Listening listening;
  listening.address = found->address;
  listening.port = found->port;
  listening.inherited = true;
  const std::size_t count = where.path.empty() ? workers : 1;
  for (std::size_t i = 0; i < count; ++i) {
    Descriptor copy{::fcntl(found->socket.get(), F_DUPFD_CLOEXEC, 0)};
    if (copy.get() < 0) {
      return std::unexpected(
          fmt::format("cannot listen on {}: {}; raise the limit of open files", wanted, std::strerror(errno)));
    }
    listening.sockets.push_back(std::move(copy));
  }
  return listening;
}

std::vector<std::string> Inherited::unclaimed() const {
  const std::lock_guard guard{mutex_};
  std::vector<std::string> names;
  for (const auto& held : held_) {
    if (!held.claimed)
      names.push_back(held.name.empty() ? held.address : fmt::format("{} ({})", held.name, held.address));
  }
  return names;
}

Inherited& inherited_sockets() {
  static Inherited sockets = Inherited::from_environment();
  return sockets;
}

}  // namespace common::net
