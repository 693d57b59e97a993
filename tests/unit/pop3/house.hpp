#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>

#include "common/net/worker.hpp"
#include "mailstore/store.hpp"
#include "pop3d/session/session.hpp"

namespace pop3d::test {

/// A real store in a folder of its own, and a worker's thread that runs sessions over socket pairs.
class House {
 public:
  House() {
    char name[] = "/tmp/pop3-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    folder_ = name;
    mailstore::Options options;
    options.path = folder_ / "store";
    options.map_size = std::uint64_t{1} << 30U;
    options.reserve = 0;
    REQUIRE(mailstore::Store::init(options));
    auto opened = mailstore::Store::open(options);
    REQUIRE(opened);
    store = std::move(*opened);
    Settings made;
    made.server = "pop3";
    made.rules = Rules{"mail.example.test", {"SCRAM-SHA-256", "PLAIN", "LOGIN"}, false, false, false, 20};
    made.default_domain = "example.test";
    made.login_timeout = std::chrono::seconds{20};
    made.idle_timeout = std::chrono::seconds{20};
    settings = std::make_shared<const Settings>(std::move(made));
    auto table = common::auth::GuardTable::open(folder_ / "guard", "");
    REQUIRE(table);
    common::auth::GuardTerms terms;
    terms.pair = 3;
    terms.known_for = std::chrono::hours{1};
    guard = std::make_unique<common::auth::Guard>(std::move(*table), terms, common::system_clock_source());
    thread_ = std::thread{[this] { worker->run(); }};
  }

  ~House() {
    worker->stop();
    thread_.join();
    work_.reset();  // it refers to the worker
    verifier.reset();
    store.reset();
    worker.reset();
    std::filesystem::remove_all(folder_);
  }

  template <typename Work>
  void run(Work work) {
    asio::io_context context;
    asio::co_spawn(context, std::move(work), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
    context.run();
  }

  void add_domain(mailstore::Domain domain) {
    run([&]() -> asio::awaitable<void> {
      const auto done = co_await store->add_domain(domain);
      REQUIRE(done);
    });
  }

  mailstore::MailboxNumber add_mailbox(const std::string& address, const std::string& hash) {
    mailstore::MailboxNumber number{};
    run([&]() -> asio::awaitable<void> {
      mailstore::NewMailbox mailbox{address, address, 0, 0, {0, hash, ""}};
      const auto done = co_await store->add_mailbox(std::move(mailbox));
      REQUIRE(done);
      number = *done;
    });
    return number;
  }

  mailstore::MessageId deliver(mailstore::MailboxNumber mailbox, const std::string& address, std::string_view stored,
                               std::uint64_t header_octets, std::uint64_t octets) {
    mailstore::MessageId id;
    run([&] { return accept(mailbox, address, std::string{stored}, header_octets, octets, id); });
    return id;
  }

  /// Messages of `header` and one line, "m0", "m1", ...; all in a few commits.
  std::vector<mailstore::MessageId> deliver_many(mailstore::MailboxNumber mailbox, const std::string& address,
                                                 const std::string& header, std::size_t count) {
    std::vector<mailstore::MessageId> ids(count);
    asio::io_context context;
    for (std::size_t i = 0; i < count; ++i) {
      const auto stored = header + "m" + std::to_string(i) + "\r\n";
      asio::co_spawn(context, accept(mailbox, address, stored, header.size(), stored.size(), ids[i]), asio::detached);
    }
    context.run();
    return ids;
  }

  /// What sessions from now on go by.
  template <typename Change>
  void change_rules(Change change) {
    Settings made = *settings;
    change(made.rules);
    settings = std::make_shared<const Settings>(std::move(made));
  }

  /// The client's end of a new session. It is over when the session has closed its own.
  int connect() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    asio::post(worker->context(), [this, fd = ends[0]] {
      common::net::Stream::Socket socket{worker->context(), asio::generic::stream_protocol{AF_UNIX, 0}, fd};
      common::net::Stream stream{*worker, std::move(socket)};
      asio::co_spawn(worker->context(), serve(std::move(stream)), asio::detached);
    });
    return ends[1];
  }

  std::shared_ptr<mailstore::Store> store;
  std::unique_ptr<common::auth::Verifier> verifier = std::make_unique<common::auth::Verifier>(1, 64);
  std::unique_ptr<common::auth::Guard> guard;  ///< refuses the fourth guess, and delays none
  std::shared_ptr<const Settings> settings;
  std::unique_ptr<common::net::Worker> worker = std::make_unique<common::net::Worker>(common::system_clock_source());

 private:
  asio::awaitable<void> accept(mailstore::MailboxNumber mailbox, std::string address, std::string stored,
                               std::uint64_t header_octets, std::uint64_t octets, mailstore::MessageId& id) {
    auto draft = co_await store->begin();
    REQUIRE(draft);
    id = draft->id();
    draft->append(stored);
    mailstore::Envelope envelope;
    envelope.reverse_path = "sender@remote.test";
    envelope.owners.push_back(mailstore::Owner{mailbox, address, "", "", 0});
    const mailstore::BodyFacts facts{octets, header_octets, octets != stored.size()};
    const auto done = co_await store->accept(std::move(*draft), std::move(envelope), facts);
    REQUIRE(done);
  }

  asio::awaitable<void> serve(common::net::Stream stream) {
    Session session{*worker, std::move(stream), settings, PostOffice{*store, *verifier, *guard}};
    co_await session.run(false);
  }

  std::filesystem::path folder_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{worker->context().get_executor()};
  std::thread thread_;
};

/// The client's side, blocking.
class Client {
 public:
  explicit Client(int descriptor) : descriptor_{descriptor} {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { ::close(descriptor_); }

  void send(std::string_view octets) {
    while (!octets.empty()) {
      const auto sent = ::send(descriptor_, octets.data(), octets.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      octets.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// Reads on until `end` is the last that came, or the session ended, or nothing came for ten seconds.
  std::string read_until(std::string_view end) {
    std::string all;
    char buffer[65536];
    while (!all.ends_with(end)) {
      pollfd ready{descriptor_, POLLIN, 0};
      if (::poll(&ready, 1, 10'000) <= 0) break;
      const auto got = ::recv(descriptor_, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
  }
  std::string read_all() { return read_until(std::string_view{"\0never", 6}); }
  void finish() { ::shutdown(descriptor_, SHUT_WR); }
  std::string ask(std::string_view line, std::string_view end = "\r\n") {
    send(std::string{line} + "\r\n");
    return read_until(end);
  }

 private:
  int descriptor_;
};

}  // namespace pop3d::test
