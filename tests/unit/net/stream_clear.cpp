#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/error.hpp>
#include <fstream>
#include <system_error>

#include "host.hpp"

using namespace test;
using namespace std::chrono_literals;

namespace {

asio::awaitable<void> echo(Stream& stream) {
  for (;;) {
    const auto got = co_await stream.read();
    if (!got) break;
    co_await stream.write(*got);  // from the worker's buffer, as short replies come
  }
}

struct Seen {
  std::string peer, local;
  bool ports = false, secure = true, pending = true;
};

Session look_into(Seen& seen) {
  return [&seen](Stream& stream) -> asio::awaitable<void> {
    co_await stream.write("220 hello\r\n");
    seen = {stream.peer_address(), stream.local_address(), stream.peer_port() != 0 && stream.local_port() != 0,
            stream.secure(), stream.pending()};
  };
}

Descriptor file_of(const Folder& folder, std::string_view content) {
  std::ofstream{folder / "file", std::ios::binary} << content;
  return Descriptor{::open((folder / "file").c_str(), O_RDONLY | O_CLOEXEC)};
}

}  // namespace

TEST_CASE("what is read is what was sent, over TCP and over a Unix socket") {
  for (const auto over : {Over::tcp, Over::unix_socket}) {
    Host host;
    auto ends = connect_pair(over);
    auto ended = host.serve(std::move(ends.server), echo);
    for (const std::string line : {"EHLO client.test\r\n", "x"}) {
      send_all(ends.client.get(), line);
      CHECK(receive(ends.client.get(), line.size()) == line);
    }
    ends.client = Descriptor{};
    ended.get();
  }
}

TEST_CASE("what is written from the worker's buffer survives a wait in which others use that buffer") {
  Host host;
  std::vector<Ends> ends;
  std::vector<Ending> ended;
  std::vector<std::string> sent;
  for (std::uint32_t i = 0; i < 8; ++i) {
    ends.push_back(connect_pair(Over::tcp, 2048));
    ended.push_back(host.serve(std::move(ends.back().server), echo));
    sent.push_back(sample(40'000, i));
  }
  std::vector<std::thread> senders;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    senders.emplace_back([&, i] {
      send_all(ends[i].client.get(), sent[i]);
      ::shutdown(ends[i].client.get(), SHUT_WR);
    });
  }
  for (std::size_t i = 0; i < ends.size(); ++i) CHECK(receive(ends[i].client.get()) == sent[i]);
  for (auto& sender : senders) sender.join();
  for (auto& each : ended) each.get();
}

TEST_CASE("pieces are gathered in order, empty ones too, whatever the peer takes at a time") {
  for (const int send_buffer : {0, 2048}) {
    Host host;
    auto ends = connect_pair(Over::tcp, send_buffer);
    std::vector<std::string> texts{"", "one", sample(100'000, 2), "", "two", sample(5, 3), ""};
    std::string all;
    for (int i = 0; i < 50; ++i)
      texts.push_back(sample(static_cast<std::size_t>(i * 37), static_cast<std::uint32_t>(i)));
    for (const auto& text : texts) all += text;
    auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
      std::vector<iovec> pieces;
      for (auto& text : texts) pieces.push_back({text.data(), text.size()});
      co_await stream.write(pieces);
    });
    CHECK(receive(ends.client.get()) == all);
    ended.get();
  }
}

TEST_CASE("a file goes out with what stands before and behind it, from any offset") {
  const Folder folder;
  const auto content = sample(700'000);
  const auto file = file_of(folder, content);
  for (const int send_buffer : {0, 2048}) {
    for (const std::size_t length : {0UL, 1UL, 4096UL, 65536UL, 65537UL, 600'000UL}) {
      for (const std::string front : {"", "+OK\r\n"}) {
        for (const std::string back : {"", ".\r\n"}) {
          Host host;
          auto ends = connect_pair(Over::tcp, send_buffer);
          auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
            co_await stream.write_file(front, file.get(), 17, length, back);
          });
          const bool equal = receive(ends.client.get()) == front + content.substr(17, length) + back;
          CHECK_MESSAGE(equal, length, " octets, send buffer ", send_buffer);
          ended.get();
        }
      }
    }
  }
}

TEST_CASE("a file that is too short ends the connection instead of sending something else") {
  const Folder folder;
  const auto file = file_of(folder, sample(1000));
  for (const std::uint64_t length : {1001ULL, 200'000ULL}) {
    Host host;
    auto ends = connect_pair(Over::tcp);
    auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
      co_await stream.write_file("", file.get(), 0, length, "\r\n.\r\n");
    });
    CHECK_THROWS_AS(ended.get(), std::system_error);
    CHECK(receive(ends.client.get()).find("\r\n.\r\n") == std::string::npos);
  }
}

TEST_CASE("a peer that says nothing is told of as a timeout; each octet gives it the whole time again") {
  HandClock clock;
  Host host{clock};
  auto ends = connect_pair(Over::tcp);
  std::atomic<int> reads = 0;
  std::promise<End> end;
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
    stream.set_timeout(60s);
    for (;;) {
      const auto got = co_await stream.read();
      if (!got) {
        end.set_value(got.error());
        break;
      }
      ++reads;
      co_await stream.write(*got);
    }
  });
  for (int i = 0; i < 3; ++i) {
    host.pass(clock, 59s);
    send_all(ends.client.get(), "x");
    CHECK(receive(ends.client.get(), 1) == "x");
  }
  host.on_thread([] {});  // the session waits again
  host.pass(clock, 59s);
  host.pass(clock, 2s);
  CHECK(end.get_future().get() == End::timeout);
  CHECK(reads == 3);
  ended.get();
}

TEST_CASE("time that the session itself takes does not count") {
  HandClock clock;
  Host host{clock};
  auto ends = connect_pair(Over::tcp);
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
    stream.set_timeout(10s);
    const auto first = co_await stream.read();
    REQUIRE(first);
    clock.turn(1h);
    stream.set_timeout(10s);
    co_await stream.write("go on\r\n");
    const auto second = co_await stream.read();
    REQUIRE(second);
    CHECK(*second == "b");
  });
  send_all(ends.client.get(), "a");
  CHECK(receive(ends.client.get(), 7) == "go on\r\n");
  send_all(ends.client.get(), "b");
  ended.get();
}

TEST_CASE("a peer that takes nothing is a timeout for the writer") {
  HandClock clock;
  Host host{clock};
  auto ends = connect_pair(Over::tcp, 2048);
  std::promise<void> waiting;
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
    stream.set_timeout(30s);
    waiting.set_value();
    const auto much = sample(1'000'000);
    co_await stream.write(much);
  });
  waiting.get_future().wait();
  host.on_thread([] {});
  for (int i = 0; i < 200 && !ended.ready(); ++i) host.pass(clock, 5s);
  try {
    ended.get();
    FAIL("no exception");
  } catch (const std::system_error& error) {
    CHECK(error.code() == asio::error::timed_out);
  }
}

TEST_CASE("a peer that takes a little now and then does not hold the writer for ever") {
  HandClock clock;
  Host host{clock};
  auto ends = connect_pair(Over::tcp, 2048);
  constexpr std::size_t octets = 4'000'000;
  std::promise<void> waiting;
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
    stream.set_timeout(1h);
    waiting.set_value();
    const auto much = sample(octets);
    co_await stream.write(much);
  });
  waiting.get_future().wait();
  host.on_thread([] {});
  // 200 octets a second, so that something moves within each hour.
  std::size_t taken = 0;
  std::string some(20'000, '\0');
  while (!ended.ready() && taken < octets) {
    const auto got = ::recv(ends.client.get(), some.data(), some.size(), 0);
    if (got <= 0) break;
    taken += static_cast<std::size_t>(got);
    host.pass(clock, 100s);
  }
  CHECK(taken < octets);
  try {
    ended.get();
    FAIL("no exception");
  } catch (const std::system_error& error) {
    CHECK(error.code() == asio::error::timed_out);
  }
}

TEST_CASE("a deadline ends the waits before it, however much moves, until it is taken back") {
  HandClock clock;
  Host host{clock};
  auto ends = connect_pair(Over::tcp);
  std::promise<End> end;
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
    stream.set_timeout(60s);
    stream.set_deadline(clock.steady() + 10s);
    const auto first = co_await stream.read();
    REQUIRE(first);
    stream.set_deadline({});
    co_await stream.write("1");
    const auto second = co_await stream.read();
    REQUIRE(second);
    stream.set_deadline(clock.steady() + 10s);
    co_await stream.write("2");
    for (;;) {
      const auto got = co_await stream.read();
      if (!got) {
        end.set_value(got.error());
        break;
      }
      co_await stream.write("3");
    }
  });
  send_all(ends.client.get(), "x");
  CHECK(receive(ends.client.get(), 1) == "1");
  host.on_thread([] {});
  host.pass(clock, 50s);
  send_all(ends.client.get(), "x");
  CHECK(receive(ends.client.get(), 1) == "2");
  host.on_thread([] {});
  host.pass(clock, 6s);
  send_all(ends.client.get(), "x");
  CHECK(receive(ends.client.get(), 1) == "3");
  host.on_thread([] {});
  host.pass(clock, 6s);
  CHECK(end.get_future().get() == End::timeout);
  ended.get();
}

TEST_CASE("a peer that vanishes: reading ends, writing throws") {
  Host host;
  auto ends = connect_pair(Over::tcp);
  auto ended = host.serve(std::move(ends.server), [](Stream& stream) -> asio::awaitable<void> {
    const auto got = co_await stream.read();
    REQUIRE(!got);
    CHECK(got.error() == End::closed);
    const auto much = sample(3'000'000);
    co_await stream.write(much);
    co_await stream.write(much);
  });
  const linger hard{1, 0};
  ::setsockopt(ends.client.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  ends.client = Descriptor{};
  CHECK_THROWS_AS(ended.get(), std::system_error);
}

TEST_CASE("when the daemon stops, idle sessions end and busy ones go on, until their time is over too") {
  Host host;
  auto idle_ends = connect_pair(Over::tcp);
  auto busy_ends = connect_pair(Over::tcp);
  std::promise<End> idle_end, busy_end;
  const auto session = [](std::promise<End>& end, bool idle) -> Session {
    return [&end, idle](Stream& stream) -> asio::awaitable<void> {
      for (;;) {
        stream.set_idle(idle);
        const auto got = co_await stream.read();
        if (!got) {
          end.set_value(got.error());
          break;
        }
        stream.set_idle(false);
        co_await stream.write(*got);
      }
      co_await stream.write("421 4.3.2 bye\r\n");
    };
  };
  auto idle = host.serve(std::move(idle_ends.server), session(idle_end, true));
  auto busy = host.serve(std::move(busy_ends.server), session(busy_end, false));
  send_all(busy_ends.client.get(), "a");
  CHECK(receive(busy_ends.client.get(), 1) == "a");
  host.on_thread([&] { host.worker().end_sessions(false); });
  CHECK(idle_end.get_future().get() == End::shutdown);
  idle.get();
  CHECK(receive(idle_ends.client.get()) == "421 4.3.2 bye\r\n");
  send_all(busy_ends.client.get(), "b");
  CHECK(receive(busy_ends.client.get(), 1) == "b");
  host.on_thread([&] { host.worker().end_sessions(true); });
  CHECK(busy_end.get_future().get() == End::shutdown);
  busy.get();
  CHECK(receive(busy_ends.client.get()) == "421 4.3.2 bye\r\n");
}

TEST_CASE("a pause lasts its time, whatever comes meanwhile, and what came is there afterwards") {
  HandClock clock;
  Host host{clock};
  auto ends = connect_pair(Over::tcp);
  std::promise<void> begun;
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
    begun.set_value();
    const auto over = co_await stream.pause(5s);
    CHECK_FALSE(over);
    const auto got = co_await stream.read();
    REQUIRE(got);
    co_await stream.write(*got);
  });
  begun.get_future().get();
  send_all(ends.client.get(), "NOOP\r\n");
  REQUIRE(::send(ends.client.get(), "!", 1, MSG_OOB) == 1);
  host.on_thread([] {});
  host.pass(clock, 4s);
  CHECK_FALSE(ended.ready());
  host.pass(clock, 2s);
  CHECK(receive(ends.client.get(), 6) == "NOOP\r\n");
  ended.get();
}

TEST_CASE("a pause ends with the daemon") {
  Host host;
  auto ends = connect_pair(Over::tcp);
  std::promise<void> begun;
  std::promise<std::optional<End>> over;
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
    begun.set_value();
    const auto why = co_await stream.pause(1h);
    over.set_value(why);
    const auto again = co_await stream.pause(1h);
    CHECK(again == End::shutdown);
  });
  begun.get_future().get();
  host.on_thread([&] { host.worker().end_sessions(false); });
  CHECK(over.get_future().get() == End::shutdown);
  ended.get();
}

TEST_CASE("the last reply arrives though the peer sent more than was read") {
  for (int i = 0; i < 20; ++i) {
    Host host;
    auto ends = connect_pair(Over::tcp);
    send_all(ends.client.get(), sample(200'000));
    auto ended = host.serve(std::move(ends.server), [](Stream& stream) -> asio::awaitable<void> {
      const auto got = co_await stream.read();
      CHECK(got);
      co_await stream.write("421 4.7.0 too much\r\n");
      stream.close();
      stream.close();
    });
    ended.get();
    CHECK(receive(ends.client.get()) == "421 4.7.0 too much\r\n");
  }
}

TEST_CASE("a stream knows both ends") {
  Host host;
  Seen seen;
  auto ends = connect_pair(Over::tcp);
  host.serve(std::move(ends.server), look_into(seen)).get();
  CHECK(seen.peer == "127.0.0.1");
  CHECK(seen.local == "127.0.0.1");
  CHECK(seen.ports);
  CHECK(!seen.secure);
  CHECK(!seen.pending);
  ends = connect_pair(Over::unix_socket);
  host.serve(std::move(ends.server), look_into(seen)).get();
  CHECK(seen.peer == "unix");
  CHECK(!seen.ports);
}

TEST_CASE("sessions that never end are destroyed with their worker") {
  auto ends = connect_pair(Over::tcp);
  {
    HandClock clock;
    Host host{clock};
    host.serve(std::move(ends.server), [](Stream& stream) -> asio::awaitable<void> {
      stream.set_timeout(1h);
      const auto got = co_await stream.read();
      CHECK(!got);
    });
    host.on_thread([] {});
  }
  CHECK(receive(ends.client.get()).empty());
}
