#include "host.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/post.hpp>
#include <cstdlib>
#include <random>
#include <stdexcept>

namespace test {

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "net-test-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Ends connect_pair(Over over, int send_buffer) {
  Ends ends;
  if (over == Over::unix_socket) {
    int both[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
    ends.client = Descriptor{both[0]};
    ends.server = Descriptor{both[1]};
  } else {
    const Descriptor listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof name;
    auto* const generic = reinterpret_cast<sockaddr*>(&name);
    REQUIRE(::bind(listener.get(), generic, length) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE(::getsockname(listener.get(), generic, &length) == 0);
    ends.client = Descriptor{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (send_buffer > 0) ::setsockopt(ends.client.get(), SOL_SOCKET, SO_RCVBUF, &send_buffer, sizeof send_buffer);
    REQUIRE(::connect(ends.client.get(), generic, length) == 0);
    ends.server = Descriptor{::accept(listener.get(), nullptr, nullptr)};
    const int on = 1;
    ::setsockopt(ends.server.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(ends.client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (send_buffer > 0) ::setsockopt(ends.server.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
  const timeval patience{10, 0};
  ::setsockopt(ends.client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(ends.client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  return ends;
}

Host::Host(const Clock& clock) : worker_(std::make_unique<Worker>(clock)), thread_([this] { worker_->run(); }) {}

Host::~Host() {
  worker_->stop();
  thread_.join();
}

namespace {

// The session lives in this frame: its lambda must outlast the coroutine made by it.
asio::awaitable<void> run_session(Session session, Stream stream) {
  co_await session(stream);
}

Ending::Outcome outcome_of(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& thrown) {
    return {true, thrown.code(), thrown.what()};
  } catch (const std::exception& thrown) {
    return {true, {}, thrown.what()};
  }
}

}  // namespace

Ending Host::serve(Descriptor socket, Session session) {
  auto ended = std::make_shared<std::promise<Ending::Outcome>>();
  Ending ending{ended->get_future()};
  asio::post(worker_->context(), [this, raw = socket.release(), session = std::move(session), ended]() mutable {
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    ::getsockname(raw, reinterpret_cast<sockaddr*>(&name), &length);
    Stream stream{*worker_, Stream::Socket{worker_->context(), asio::generic::stream_protocol{name.ss_family, 0}, raw}};
    asio::co_spawn(worker_->context(), run_session(std::move(session), std::move(stream)),
                   [ended](const std::exception_ptr& error) { ended->set_value(outcome_of(error)); });
  });
  return ending;
}

void Ending::get() {
  const auto outcome = outcome_.get();
  if (outcome.code) throw std::system_error(outcome.code, outcome.what);
  if (outcome.threw) throw std::runtime_error(outcome.what);
}

void Host::on_thread(const std::function<void()>& what) {
  std::promise<void> done;
  asio::post(worker_->context(), [&] {
    what();
    done.set_value();
  });
  done.get_future().wait();
}

void Host::pass(HandClock& clock, std::chrono::milliseconds time) {
  clock.turn(time);
  on_thread([&] { worker_->deadlines().tick(clock.steady()); });
}

std::string receive(int socket, std::size_t count) {
  std::string all;
  char part[16384];
  while (all.size() < count) {
    const auto got = ::recv(socket, part, std::min(sizeof part, count - all.size()), 0);
    if (got <= 0) break;
    all.append(part, static_cast<std::size_t>(got));
  }
  return all;
}

void send_all(int socket, std::string_view octets) {
  while (!octets.empty()) {
    const auto sent = ::send(socket, octets.data(), octets.size(), MSG_NOSIGNAL);
    REQUIRE(sent > 0);
    octets.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string sample(std::size_t size, std::uint32_t seed) {
  std::mt19937 random{seed};
  std::string octets(size, '\0');
  for (auto& octet : octets) octet = static_cast<char>(random());
  return octets;
}

asio::awaitable<std::string> read_exactly(Stream& stream, std::size_t count) {
  std::string all;
  while (all.size() < count) {
    const auto got = co_await stream.read();
    if (!got) break;
    all += *got;
  }
  co_return all;
}

}  // namespace test
