#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/net/deadlines.hpp"
#include "common/net/tls_client_context.hpp"
#include "common/net/worker.hpp"

#include "common/host_port.hpp"
#include "smtpd/outbound/answer.hpp"
#include "smtpd/outbound/client_session.hpp"
#include "smtpd/outbound/client_terms.hpp"
#include "smtpd/outbound/doors.hpp"
#include "smtpd/outbound/idle_pool.hpp"
#include "smtpd/outbound/name_service.hpp"
#include "smtpd/outbound/pace.hpp"

namespace smtpd::outbound {

/// Where a message goes; worked out anew for each attempt.
struct Route {
  std::string domain;                        //  asked for its exchangers, unless `via` says where to go
  std::optional<common::HostPort> via;       ///< a smart host, or the server that a remote domain names (S67, S92)
  std::optional<common::HostPort> fallback;  ///< when DNS knows no way (S68): not when the way is closed
  std::uint16_t port = 25;                   ///< of exchangers (S63)
  std::vector<std::string> bind;             ///< source addresses; empty: the system's choice
  std::shared_ptr<const ClientTerms> terms;
  std::shared_ptr<const ClientTerms> fallback_terms;  ///< at the fallback: what we are there is nobody else's business
  std::uint32_t most_here = 0;                        ///< connections to one host (S62); 0: no limit
  std::uint32_t most_in_all = 0;                      ///< S60
};

/// What became of a message on a route.
struct Delivery {
  std::vector<Answer> answers;  ///< one for each recipient, none untried
  // The last server that was spoken to, for the log and `queue why`.
  std::string host, address;
  std::uint16_t port = 0;
  std::string tls;                ///< "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty: in the clear
  std::string tls_trouble;        ///< why opportunistic TLS was given up
  std::uint32_t connections = 0;  ///< made for it; 0: one that rested was used
  Pace::Sign sign = Pace::Sign::good;
};

/// Brings messages to their next servers: names to addresses, one address after the other, connections kept and used
/// again. How many at a time is the caller's to decide (Lanes). Everything on one worker's thread; outlives its calls.
/// While the daemon stops no new connections are made.
class Carrier {
 public:
  struct Setup {
    std::vector<std::string> own_names;                                ///< lower case; see choose_exchangers
    std::vector<std::pair<std::string, std::uint16_t>> own_listeners;  ///< numeric address and port
    std::shared_ptr<const common::net::TlsClientContext> unchecked;    ///< for opportunistic and tls
    std::shared_ptr<const common::net::TlsClientContext> verified;     ///< for verify
    std::size_t most_idle = 100;
    std::chrono::milliseconds keep_idle = std::chrono::seconds{5};
    Dice dice;
  };
  Carrier(common::net::Worker& worker, NameService& names, Setup setup);
  ~Carrier();
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;

  /// One attempt for all recipients of `message`. Does not throw for anything that peers, DNS or the network do.
  /// `route`, `message` and what `body` points to stay until it is done.
  asio::awaitable<Delivery> carry(const Route& route, const Message& message, const Body& body);
  /// Connections that rest.
  std::size_t idle() const { return pool_.size(); }

 private:
  /// A connection, which counts until it is closed.
  struct Session {
    Doors::Ticket ticket;
    std::unique_ptr<ClientSession> session;
    ClientSession* operator->() const { return session.get(); }
    ClientSession& operator*() const { return *session; }
    explicit operator bool() const { return session != nullptr; }
  };
  struct Work;
  struct Place;
  asio::awaitable<void> try_route(Work& work);
  asio::awaitable<void> try_host(Work& work, std::string host, std::uint16_t port);
  asio::awaitable<void> try_resting(Work& work, const std::string& key);
  asio::awaitable<void> try_address(Work& work, const Place& place);
  asio::awaitable<void> make_room(const Route& route, const std::string& key);
  asio::awaitable<Session> connect(Work& work, const Place& place, Attempt attempt);
  asio::awaitable<void> use(Work& work, ClientSession& session);
  void release(std::string key, Session session);
  void say_goodbye(Session session);
  void watch();
  static void tidy(void* context);
  std::string source_for(const Route& route, const std::string& address);

  common::net::Worker& worker_;
  NameService& names_;
  Setup setup_;
  std::shared_ptr<Doors> doors_;
  IdlePool<Session> pool_;
  common::net::Deadline tidying_;
};

}  // namespace smtpd::outbound
