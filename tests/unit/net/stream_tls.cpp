#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/use_future.hpp>
#include <fstream>
#include <optional>
#include <system_error>

#include "common/net/tls_context.hpp"
#include "host.hpp"
#include "tls_client.hpp"

using namespace test;
using namespace std::chrono_literals;

namespace {

struct Fixture {
  Folder folder;
  Certificate certificate = make_certificate(folder, "server", "mail.example.test");
  std::shared_ptr<const TlsContext> context = TlsContext::load(settings(certificate)).value();
};

constexpr int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

asio::awaitable<void> secure_echo(Stream& stream, const TlsContext& context) {
  const auto secured = co_await stream.accept_tls(context);
  if (!secured) throw std::runtime_error(secured.error());
  for (;;) {
    const auto got = co_await stream.read();
    if (!got) break;
    co_await stream.write(*got);
  }
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "TLS 1.2 and 1.3: octets both ways, facts, the same channel binding at both ends") {
  for (const int version : versions) {
    Host host;
    auto ends = connect_pair(Over::tcp);
    TlsFacts facts;
    std::string exporter, unique;
    auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
      const auto secured = co_await stream.accept_tls(*context);
      REQUIRE(secured);
      CHECK(stream.secure());
      facts = stream.tls_facts();
      exporter = stream.channel_binding("tls-exporter");
      unique = stream.channel_binding("tls-unique");
      const auto got = co_await stream.read();
      REQUIRE(got);
      co_await stream.write(*got);
    });
    TlsClient client{ends.client.get(), {.version = version, .server_name = "mail.example.test"}};
    REQUIRE(client.connect());
    client.send("NOOP\r\n");
    CHECK(client.receive() == "NOOP\r\n");
    CHECK(client.closed_properly());
    ended.get();
    CHECK(facts.protocol == (version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2"));
    CHECK(facts.cipher.starts_with("TLS_"));
    CHECK(facts.bits >= 128);
    CHECK(!facts.resumed);
    CHECK(facts.server_name == "mail.example.test");
    if (version == TLS1_3_VERSION) {
      CHECK(exporter == client.exporter());
      CHECK(exporter.size() == 32);
      CHECK(unique.empty());
    } else {
      CHECK(unique == client.unique());
      CHECK(unique.size() == 12);
      CHECK(exporter.empty());
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "a connection is handed from one worker to another, in the middle of what is said") {
  for (const bool secure : {false, true}) {
    CAPTURE(secure);
    Host first, second;
    auto ends = connect_pair(Over::tcp);
    std::optional<Stream::Loose> loose;
    std::string peer;
    auto ended = first.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
      if (secure) {
        const auto secured = co_await stream.accept_tls(*context);
        REQUIRE(secured);
      }
      const auto got = co_await stream.read();
      REQUIRE(got);
      co_await stream.write(*got);
      peer = stream.peer_address() + ":" + std::to_string(stream.peer_port());
      loose.emplace(stream.let_go());
    });
    std::optional<TlsClient> client;
    const auto say = [&](std::string_view text) { client ? client->send(text) : send_all(ends.client.get(), text); };
    const auto hear = [&](std::size_t count) {
      return client ? client->receive(count) : receive(ends.client.get(), count);
    };
    if (secure) {
      client.emplace(ends.client.get(),
                     TlsClient::Wishes{.version = TLS1_3_VERSION, .server_name = "mail.example.test"});
      REQUIRE(client->connect());
    }
    say("ATRN");
    CHECK(hear(4) == "ATRN");
    ended.get();
    std::string same;
    bool still_secure = false;
    auto serving = [&]() -> asio::awaitable<void> {
      Stream stream{second.worker(), std::move(*loose)};
      stream.set_timeout(std::chrono::seconds{10});
      same = stream.peer_address() + ":" + std::to_string(stream.peer_port());
      still_secure = stream.secure();
      co_await stream.write("EHLO");
      const auto got = co_await stream.read();
      REQUIRE(got);
      co_await stream.write(*got);
    };
    auto done = asio::co_spawn(second.worker().context(), serving(), asio::use_future);
    CHECK(hear(4) == "EHLO");
    say("250 me");
    CHECK(hear(6) == "250 me");
    done.get();
    CHECK(hear(SIZE_MAX).empty());
    CHECK(same == peer);
    CHECK(still_secure == secure);
    if (client) CHECK(client->closed_properly());
  }
}

TEST_CASE("a connection that nobody takes is closed") {
  Host host;
  auto ends = connect_pair(Over::tcp);
  auto ended = host.serve(std::move(ends.server), [](Stream& stream) -> asio::awaitable<void> {
    const auto loose = stream.let_go();
    const auto got = co_await stream.read();
    CHECK(!got);
  });
  ended.get();
  CHECK(receive(ends.client.get()).empty());
}

TEST_CASE_FIXTURE(Fixture,
                  "a second connection resumes the session of the first, also after a reload of the certificates") {
  for (const int version : versions) {
    Host host;
    std::unique_ptr<TlsClient> first;
    Ends first_ends = connect_pair(Over::tcp);
    auto first_ended =
        host.serve(std::move(first_ends.server), [&](Stream& stream) { return secure_echo(stream, *context); });
    first = std::make_unique<TlsClient>(first_ends.client.get(), TlsClient::Wishes{.version = version});
    REQUIRE(first->connect());
    first->send("x");
    CHECK(first->receive(1) == "x");  // TLS 1.3 brings its tickets with the first octets
    REQUIRE(first->session() != nullptr);

    const auto reloaded = TlsContext::load(settings(certificate)).value();
    auto ends = connect_pair(Over::tcp);
    std::string unique, exporter;
    bool resumed = false;
    auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
      const auto secured = co_await stream.accept_tls(*reloaded);
      REQUIRE(secured);
      resumed = stream.tls_facts().resumed;
      unique = stream.channel_binding("tls-unique");
      exporter = stream.channel_binding("tls-exporter");
      co_await stream.write("220 hello\r\n");
    });
    TlsClient second{ends.client.get(), {.version = version, .session = first->session()}};
    REQUIRE(second.connect());
    CHECK(second.receive() == "220 hello\r\n");
    ended.get();
    CHECK(resumed);
    if (version == TLS1_3_VERSION) {
      CHECK(exporter == second.exporter());
    } else {
      CHECK(unique == second.unique());
    }
    ::shutdown(first_ends.client.get(), SHUT_RDWR);
    first_ended.get();
  }
}

TEST_CASE_FIXTURE(Fixture, "large and small pieces, large files, both ways, with buffers of any size") {
  const auto content = sample(400'000, 7);
  std::ofstream{folder / "file", std::ios::binary} << content;
  const Descriptor file{::open((folder / "file").c_str(), O_RDONLY | O_CLOEXEC)};
  for (const int version : versions) {
    for (const int send_buffer : {0, 2048}) {
      Host host;
      auto ends = connect_pair(Over::tcp, send_buffer);
      std::vector<std::string> texts{"",  "+OK\r\n",        sample(100'000, 2), "a",
                                     "b", sample(16384, 3), sample(16385, 4),   ""};
      std::string all;
      for (const auto& text : texts) all += text;
      auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
        const auto secured = co_await stream.accept_tls(*context);
        REQUIRE(secured);
        const auto upload = co_await read_exactly(stream, content.size());
        CHECK(upload == content);
        std::vector<iovec> pieces;
        for (auto& text : texts) pieces.push_back({text.data(), text.size()});
        co_await stream.write(pieces);
        for (const std::size_t length : {0UL, 4096UL, 65536UL, 399'000UL}) {
          co_await stream.write_file("+OK\r\n", file.get(), 5, length, ".\r\n");
        }
        co_await stream.write_file("", file.get(), 0, 100, "");
      });
      TlsClient client{ends.client.get(), {.version = version}};
      REQUIRE(client.connect());
      client.send(content);
      for (const std::size_t length : {0UL, 4096UL, 65536UL, 399'000UL})
        all += "+OK\r\n" + content.substr(5, length) + ".\r\n";
      all += content.substr(0, 100);
      const bool equal = client.receive() == all;
      CHECK(equal);
      // What finds no room in a small buffer at the end is not waited for.
      if (send_buffer == 0) CHECK(client.closed_properly());
      ended.get();
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "many sessions share the worker's buffers and never see each other's octets") {
  Host host;
  std::vector<std::thread> clients;
  std::vector<Ending> ended;
  std::atomic<int> wrong = 0;
  for (std::uint32_t i = 0; i < 8; ++i) {
    auto ends = connect_pair(Over::tcp, 2048);
    ended.push_back(host.serve(std::move(ends.server), [&](Stream& stream) { return secure_echo(stream, *context); }));
    clients.emplace_back([&wrong, i, socket = std::move(ends.client)] {
      TlsClient client{socket.get(), {.version = i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION}};
      if (!client.connect()) {
        ++wrong;
        return;
      }
      for (std::uint32_t round = 0; round < 20; ++round) {
        const auto octets = sample(1 + (round * 1777) % 20'000, i * 100 + round);
        client.send(octets);
        if (client.receive(octets.size()) != octets) ++wrong;
      }
    });
  }
  for (auto& client : clients) client.join();
  for (auto& each : ended) each.get();
  CHECK(wrong == 0);
}

TEST_CASE_FIXTURE(Fixture, "records cut anywhere: one octet at a time") {
  Host host;
  auto ends = connect_pair(Over::tcp);
  auto relay = connect_pair(Over::unix_socket);
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) { return secure_echo(stream, *context); });
  // Between the client and the server stands one who passes single octets on.
  std::thread forward{[&] {
    char octet;
    while (::recv(relay.server.get(), &octet, 1, 0) == 1 && ::send(ends.client.get(), &octet, 1, MSG_NOSIGNAL) == 1) {
    }
    ::shutdown(ends.client.get(), SHUT_WR);
  }};
  std::thread backward{[&] {
    char octet;
    while (::recv(ends.client.get(), &octet, 1, 0) == 1 && ::send(relay.server.get(), &octet, 1, MSG_NOSIGNAL) == 1) {
    }
    ::shutdown(relay.server.get(), SHUT_WR);
  }};
  {
    TlsClient client{relay.client.get(), {}};
    REQUIRE(client.connect());
    for (const std::string line : {"NOOP\r\n", "QUIT\r\n"}) {
      client.send(line);
      CHECK(client.receive(line.size()) == line);
    }
    SSL_shutdown(client.native());
  }
  ended.get();
  ::shutdown(relay.client.get(), SHUT_RDWR);
  forward.join();
  backward.join();
}

TEST_CASE_FIXTURE(Fixture, "what comes in one segment with the end of the handshake is not lost") {
  // The client's Finished and its first command leave together when the socket is corked by a relay.
  Host host;
  auto ends = connect_pair(Over::tcp);
  BIO* inner = nullptr;
  BIO* outer = nullptr;
  REQUIRE(BIO_new_bio_pair(&inner, 1 << 18, &outer, 1 << 18) == 1);
  TlsClient client{ends.client.get(), {}};
  SSL_set_bio(client.native(), inner, inner);
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) { return secure_echo(stream, *context); });
  char buffer[65536];
  const auto drain = [&] {
    std::string out;
    for (int got; (got = BIO_read(outer, buffer, sizeof buffer)) > 0;)
      out.append(buffer, static_cast<std::size_t>(got));
    return out;
  };
  std::string held;
  while (SSL_connect(client.native()) != 1) {
    send_all(ends.client.get(), drain());
    const auto got = ::recv(ends.client.get(), buffer, sizeof buffer, 0);
    REQUIRE(got > 0);
    BIO_write(outer, buffer, static_cast<int>(got));
  }
  client.send("EHLO one.test\r\n");
  client.send("NOOP\r\n");
  send_all(ends.client.get(), drain());
  std::string answer;
  while (answer.size() < 21) {
    std::size_t count = 0;
    if (SSL_read_ex(client.native(), buffer, sizeof buffer, &count) == 1) {
      answer.append(buffer, count);
      continue;
    }
    const auto got = ::recv(ends.client.get(), buffer, sizeof buffer, 0);
    REQUIRE(got > 0);
    BIO_write(outer, buffer, static_cast<int>(got));
  }
  CHECK(answer == "EHLO one.test\r\nNOOP\r\n");
  ends.client = Descriptor{};
  ended.get();
  BIO_free(outer);
}

TEST_CASE_FIXTURE(Fixture, "a handshake that does not come to its end is told in a sentence") {
  const auto attempt = [&](Host& host, Descriptor server) {
    auto why = std::make_shared<std::promise<std::string>>();
    host.serve(std::move(server), [this, why](Stream& stream) -> asio::awaitable<void> {
      stream.set_timeout(20s);
      const auto secured = co_await stream.accept_tls(*context);
      why->set_value(secured ? "" : secured.error());
      CHECK(!stream.secure());
    });
    return why->get_future();
  };
  SUBCASE("clear text instead") {
    Host host;
    auto ends = connect_pair(Over::tcp);
    auto why = attempt(host, std::move(ends.server));
    send_all(ends.client.get(), "EHLO client.test\r\n");
    CHECK(why.get() == "wrong version number");
  }
  SUBCASE("the peer goes after half of its hello") {
    Host host;
    auto ends = connect_pair(Over::tcp);
    auto why = attempt(host, std::move(ends.server));
    send_all(ends.client.get(), std::string{"\x16\x03\x01\x02\x00\x01", 6});
    ends.client = Descriptor{};
    CHECK(why.get() == "the peer closed the connection");
  }
  SUBCASE("an old version") {
    Host host;
    auto ends = connect_pair(Over::tcp);
    auto why = attempt(host, std::move(ends.server));
    TlsClient client{ends.client.get(), {.version = TLS1_1_VERSION}};
    SSL_set_security_level(client.native(), 0);
    CHECK(!client.connect());
    CHECK(why.get() == "unsupported protocol");
  }
  SUBCASE("too slow, octet by octet") {
    HandClock clock;
    Host host{clock};
    auto ends = connect_pair(Over::tcp);
    auto why = attempt(host, std::move(ends.server));
    host.on_thread([] {});
    const std::string hello{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", 10};
    for (int i = 0; i < 5 && why.wait_for(0ms) == std::future_status::timeout; ++i) {
      send_all(ends.client.get(), hello.substr(static_cast<std::size_t>(i), 1));
      std::this_thread::yield();
      host.pass(clock, 5s);
    }
    CHECK(why.get() == "the peer took too long");
  }
}

TEST_CASE_FIXTURE(Fixture, "a record that was tampered with ends the connection") {
  Host host;
  auto ends = connect_pair(Over::tcp);
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) { return secure_echo(stream, *context); });
  TlsClient client{ends.client.get(), {}};
  REQUIRE(client.connect());
  client.send("x");
  CHECK(client.receive(1) == "x");
  send_all(ends.client.get(), std::string{"\x17\x03\x03\x00\x13", 5} + std::string(19, 'z'));
  CHECK_THROWS_AS(ended.get(), std::system_error);
}

TEST_CASE_FIXTURE(Fixture, "a peer that vanishes without a word is a closed connection") {
  Host host;
  auto ends = connect_pair(Over::tcp);
  auto ended = host.serve(std::move(ends.server), [&](Stream& stream) { return secure_echo(stream, *context); });
  TlsClient client{ends.client.get(), {}};
  REQUIRE(client.connect());
  client.send("x");
  CHECK(client.receive(1) == "x");
  ends.client = Descriptor{};
  ended.get();
}
