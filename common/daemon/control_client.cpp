#include "common/daemon/control_client.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/daemon/control_line.hpp"
#include "common/net/listening.hpp"

namespace common::daemon {

std::filesystem::path control_path(const std::filesystem::path& run_directory, std::string_view name) {
  return run_directory / (std::string{name} + ".ctl");
}

std::expected<nlohmann::json, std::string> ask(const std::filesystem::path& path, std::string_view command,
                                               std::chrono::milliseconds patience) {
  const auto name = path.stem().string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto text = path.string();
  if (text.size() >= sizeof address.sun_path)
    return std::unexpected(fmt::format("{}: the path is too long for a socket", text));
  std::memcpy(address.sun_path, text.data(), text.size());
  const net::Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (socket.get() < 0) return std::unexpected(fmt::format("{}: {}", text, std::strerror(errno)));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) {
      return std::unexpected(
          fmt::format("{} is not running (nobody answers at {}); start it, or correct run.directory", name, text));
    }
    if (errno == EACCES || errno == EPERM)
      return std::unexpected(fmt::format("{}: not for this user; ask as root or as the daemon's user", text));
    return std::unexpected(fmt::format("{}: {}", text, std::strerror(errno)));
  }
  const auto question = format_question(command);
  if (::send(socket.get(), question.data(), question.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(question.size())) {
    return std::unexpected(fmt::format("{} hung up (it answers root and its own user alone)", name));
  }
  const auto not_understood = fmt::format("{} gave an answer that is not understood; are both of one version?", name);
  const auto until = std::chrono::steady_clock::now() + patience;
  std::string answer;
  while (answer.find('\n') == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd waiting{socket.get(), POLLIN, 0};
    const int ready = left.count() > 0 ? ::poll(&waiting, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::unexpected(fmt::format("{} does not answer; is it stopping or overloaded?", name));
    std::array<char, 16384> part;
    const auto got = ::recv(socket.get(), part.data(), part.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::unexpected(fmt::format("{} hung up (it answers root and its own user alone)", name));
    answer.append(part.data(), static_cast<std::size_t>(got));
    // The tool may be root and the daemon is not: it is not given root's memory.
    if (answer.size() > answer_limit) return std::unexpected(not_understood);
  }
  auto parsed = parse_answer(std::string_view{answer}.substr(0, answer.find('\n')));
  if (!parsed) return std::unexpected(not_understood);
  return std::move(*parsed);
}

}  // namespace common::daemon
