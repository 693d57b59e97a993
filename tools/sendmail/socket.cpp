#include "tools/sendmail/socket.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace tools::sendmail {
namespace {

/// RFC 5321 4.5.3.2; smtpd is on this machine, so one limit is enough for all.
constexpr timeval patience{.tv_sec = 300, .tv_usec = 0};
constexpr std::size_t reply_limit = 64 * 1024;

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& from) noexcept : descriptor_(std::exchange(from.descriptor_, -1)), held_(std::move(from.held_)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int get() const { return descriptor_; }

  bool send(std::string_view octets) {
    while (!octets.empty()) {
      const auto sent = ::send(descriptor_, octets.data(), octets.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      octets.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  /// One reply with all its lines, parted by "\n"; nullopt: the connection is over, or what came is no reply.
  std::optional<std::string> reply() {
    std::string text;
    for (;;) {
      const auto line = next_line();
      if (!line || line->size() < 3 || text.size() > reply_limit) return std::nullopt;
      text += *line + '\n';
      if (line->size() == 3 || (*line)[3] != '-') return text;
    }
  }
  std::optional<std::string> ask(const std::string& command) {
    if (!send(command + "\r\n")) return std::nullopt;
    return reply();
  }

 private:
  std::optional<std::string> next_line() {
    for (;;) {
      if (const auto end = held_.find("\r\n"); end != std::string::npos) {
        auto line = held_.substr(0, end);
        held_.erase(0, end + 2);
        return line;
      }
      if (held_.size() > reply_limit) return std::nullopt;
      std::array<char, 4096> piece{};
      const auto got = ::recv(descriptor_, piece.data(), piece.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return std::nullopt;
      held_.append(piece.data(), static_cast<std::size_t>(got));
    }
  }
  int descriptor_;
  std::string held_;
};

std::expected<Socket, std::string> connect(const std::filesystem::path& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const auto& text = path.native();
  const auto wrong = [&](const char* why) { return std::unexpected(fmt::format("{}: {}", text, why)); };
  if (text.size() >= sizeof name.sun_path) return wrong(std::strerror(ENAMETOOLONG));
  std::memcpy(name.sun_path, text.data(), text.size());
  Socket socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (socket.get() < 0) return wrong(std::strerror(errno));
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
    return wrong(std::strerror(errno));
  return socket;
}

std::string first_line(const std::string& reply) {
  return reply.substr(0, reply.find('\n'));
}

Told later(std::string why) {
  return {Told::Fate::later, Status::try_again, std::move(why)};
}

/// What any reply but the wanted one means. `about`: "<ann@example.org>: " or nothing.
Told judge(const std::optional<std::string>& reply, std::string_view about) {
  if (!reply) return later("smtpd closed the connection");
  auto why = fmt::format("{}{}", about, first_line(*reply));
  if (reply->front() != '5') return later(std::move(why));
  return {Told::Fate::refused, status_of(*reply), std::move(why)};
}

bool is(const std::optional<std::string>& reply, char first) {
  return reply && reply->front() == first;
}

/// The message with dots stuffed (RFC 5321 4.5.2) and the line that ends it; false: the connection is over.
bool send_message(Socket& socket, const Body& body, std::expected<void, Refusal>& read) {
  bool line_start = true;
  bool going = true;
  std::string stuffed;
  read = body.tell([&](std::string_view piece) {
    stuffed.clear();
    for (const char c : piece) {
      if (line_start && c == '.') stuffed += '.';
      stuffed += c;
      line_start = c == '\n';
    }
    going = socket.send(stuffed);
    return going;
  });
  return read && going && socket.send(".\r\n");
}

}  // namespace

Told submit(const std::filesystem::path& path, const Envelope& envelope, const Body& body) {
  auto socket = connect(path);
  if (!socket) return later(std::move(socket.error()));
  auto reply = socket->reply();
  if (!is(reply, '2')) return later(reply ? first_line(*reply) : "smtpd closed the connection");
  // smtpd knows who we are by the socket.
  reply = socket->ask("EHLO localhost");
  if (!is(reply, '2')) return judge(reply, "");
  const auto offer = parse_offer(*reply);
  reply = socket->ask(mail_command(envelope, offer));
  if (!is(reply, '2')) return judge(reply, fmt::format("sender <{}>: ", envelope.sender));
  std::optional<Told> refused;
  std::optional<Told> waits;
  for (const auto& recipient : envelope.recipients) {
    reply = socket->ask(rcpt_command(envelope, recipient, offer));
    if (is(reply, '2')) continue;
    auto told = judge(reply, fmt::format("<{}>: ", common::format_address(recipient)));
    if (!reply) return told;
    // All that are refused are named.
    auto& kept = told.fate == Told::Fate::refused ? refused : waits;
    if (kept) {
      kept->why += "; " + told.why;
    } else {
      kept = std::move(told);
    }
  }
  if (refused) return std::move(*refused);
  if (waits) return std::move(*waits);
  reply = socket->ask("DATA");
  if (!is(reply, '3')) return judge(reply, "");
  std::expected<void, Refusal> read;
  const bool all = send_message(*socket, body, read);
  if (!read) return {Told::Fate::refused, read.error().status, read.error().why};
  if (!all) return later("smtpd closed the connection");
  reply = socket->reply();
  if (!is(reply, '2')) return judge(reply, "");
  socket->send("QUIT\r\n");
  return {Told::Fate::sent, Status::done, first_line(*reply)};
}

Status talk(const std::filesystem::path& path) {
  auto socket = connect(path);
  const auto say = [](std::string_view octets) {
    while (!octets.empty()) {
      const auto written = ::write(STDOUT_FILENO, octets.data(), octets.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return false;
      octets.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  };
  if (!socket) {
    say("421 4.3.2 the mail server does not answer\r\n");
    return Status::try_again;
  }
  std::array<char, 16384> piece{};
  std::array<pollfd, 2> ends{pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{socket->get(), POLLIN, 0}};
  for (;;) {
    if (::poll(ends.data(), ends.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return Status::system;
    }
    if (ends[1].revents != 0) {
      const auto got = ::recv(socket->get(), piece.data(), piece.size(), 0);
      if (got <= 0) return Status::done;
      if (!say({piece.data(), static_cast<std::size_t>(got)})) return Status::done;
    }
    if (ends[0].revents != 0) {
      const auto got = ::read(STDIN_FILENO, piece.data(), piece.size());
      if (got > 0) {
        if (!socket->send({piece.data(), static_cast<std::size_t>(got)})) return Status::try_again;
      } else {
        // What was said is still to be answered.
        ::shutdown(socket->get(), SHUT_WR);
        ends[0].fd = -1;
      }
    }
  }
}

}  // namespace tools::sendmail
