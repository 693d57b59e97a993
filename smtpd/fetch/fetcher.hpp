#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/host_port.hpp"
#include "common/net/crowd.hpp"
#include "common/net/deadlines.hpp"
#include "common/net/stream.hpp"
#include "common/net/tls_client_context.hpp"
#include "common/net/worker.hpp"

#include "mailstore/store.hpp"

#include "smtpd/outbound/answer.hpp"
#include "smtpd/outbound/client_session.hpp"

#include "smtpd/outbound/name_service.hpp"

namespace smtpd::fetch {

/// Asks the servers that hold mail for domains of ours, at their times (`domain set --fetch-from`): by ETRN (RFC 1985),
/// upon which they send it as they send other mail, or by ATRN (RFC 2645), upon which it comes over the same
/// connection. On one worker's thread.
class Fetcher {
 public:
  struct Means {
    mailstore::Store& store;
    common::net::Worker& worker;
    common::net::Crowd& crowd;  ///< who waits for it waits for what is under way here
    outbound::NameService& names;
    std::shared_ptr<const common::net::TlsClientContext> unchecked, verified;
  };
  /// What we call ourselves; empty: there is nobody to take mail.
  using Hostname = std::function<std::string()>;
  /// The server's side of a connection whose roles were reversed: takes mail for `domain`, to the end.
  using Take = std::function<asio::awaitable<void>(common::net::Stream stream, std::string domain)>;

  Fetcher(Means means, Hostname hostname, Take take);
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;
  /// Before the worker runs, or on it. Ends with the worker's sessions.
  void start();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Task {
    mailstore::FetchSettings settings;
    Time next{};
    bool running = false;
    bool wanted = true;  ///< the directory still says so
  };
  static void on_tick(void* context);
  void tick();
  void look();
  void begin(const std::string& domain, Task& task);
  asio::awaitable<void> fetch(std::string domain, mailstore::FetchSettings settings);
  using Session = std::unique_ptr<outbound::ClientSession>;
  asio::awaitable<Session> connect(const common::HostPort& where, std::string address,
                                   std::shared_ptr<const outbound::ClientTerms> terms, outbound::Attempt attempt,
                                   std::string& trouble);
  asio::awaitable<Session> reach(const mailstore::FetchSettings& settings, std::string& trouble);

  Means means_;
  Hostname hostname_;
  Take take_;
  std::map<std::string, Task> tasks_;
  std::size_t running_ = 0;
  Time next_look_{};
  common::net::Deadline ticking_;
};

}  // namespace smtpd::fetch
