#include "common/daemon/control.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/read_until.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/daemon/control_line.hpp"
#include "common/log.hpp"

namespace common::daemon {
namespace {

constexpr std::size_t most_at_once = 32;
constexpr std::chrono::seconds patience{30};

/// Counts itself while it lives.
class Talking {
 public:
  explicit Talking(std::shared_ptr<std::size_t> count) : count_(std::move(count)) { ++*count_; }
  Talking(const Talking&) = delete;
  Talking& operator=(const Talking&) = delete;
  ~Talking() { --*count_; }

 private:
  std::shared_ptr<std::size_t> count_;
};

/// Root or our own user. The file's mode says so too; this also holds where a folder's rights were widened.
bool trusted(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace

Control::Control(asio::io_context& context, Answer answer)
    : context_(context), answer_(std::move(answer)), acceptor_(context) {}
Control::~Control() {
  close();
}

std::expected<void, std::string> Control::listen(const std::filesystem::path& path) {
  const auto fail = [&](const asio::error_code& error) {
    return std::unexpected(
        fmt::format("{}: {}; run.directory must be writable for the user of run.user", path.string(), error.message()));
  };
  if (path.string().size() >= sizeof(sockaddr_un::sun_path)) {
    return std::unexpected(fmt::format("{}: too long for a socket; choose a shorter run.directory", path.string()));
  }
  ::unlink(path.c_str());
  asio::error_code error;
  acceptor_.open(asio::local::stream_protocol{}, error);
  if (error) return fail(error);
  const auto before = ::umask(0177);
  acceptor_.bind(asio::local::stream_protocol::endpoint{path.string()}, error);
  ::umask(before);
  if (error) return fail(error);
  path_ = path;
  acceptor_.listen(64, error);
  if (error) return fail(error);
  asio::co_spawn(context_, accept(), asio::detached);
  return {};
}

void Control::close() {
  asio::error_code ignored;
  acceptor_.close(ignored);
  if (!path_.empty()) ::unlink(path_.c_str());
  path_.clear();
}

asio::awaitable<void> Control::accept() {
  asio::steady_timer rest{context_};
  for (;;) {
    asio::error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    Socket socket = co_await acceptor_.async_accept(token);
    if (!acceptor_.is_open()) co_return;
    if (error) {
      // No descriptors left, most likely: not the moment to spin.
      rest.expires_after(std::chrono::milliseconds{100});
      asio::error_code ignored;
      auto rested = asio::redirect_error(asio::use_awaitable, ignored);
      co_await rest.async_wait(rested);
      continue;
    }
    if (*talking_ >= most_at_once || !trusted(socket.native_handle())) continue;
    auto shared = std::make_shared<Socket>(std::move(socket));
    asio::co_spawn(context_, talk(std::move(shared)), asio::detached);
  }
}

asio::awaitable<void> Control::talk(std::shared_ptr<Socket> socket) {
  const Talking counted{talking_};
  asio::steady_timer limit{context_};
  std::string held;
  for (;;) {
    limit.expires_after(patience);
    limit.async_wait([socket](const asio::error_code& cancelled) {
      asio::error_code ignored;
      if (!cancelled) socket->cancel(ignored);
    });
    asio::error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    auto buffer = asio::dynamic_buffer(held, question_limit);
    const std::size_t length = co_await asio::async_read_until(*socket, buffer, '\n', token);
    if (error) co_return;
    const auto answer = format_answer(reply(std::string_view{held}.substr(0, length - 1)));
    held.erase(0, length);
    const auto octets = asio::buffer(answer);
    co_await asio::async_write(*socket, octets, token);
    if (error) co_return;
  }
}

nlohmann::json Control::reply(std::string_view line) const {
  const auto refuse = [](std::string why) { return nlohmann::json{{"ok", false}, {"error", std::move(why)}}; };
  const auto command = parse_question(line);
  if (!command) return refuse(command.error());
  try {
    return answer_(*command);
  } catch (const std::exception& wrong) {
    log::error("control-failed", {{"why", wrong.what()}});
    return refuse("failed; the log says why");
  }
}

}  // namespace common::daemon
