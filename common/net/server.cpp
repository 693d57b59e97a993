#include "common/net/server.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/post.hpp>
#include <atomic>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

#include "common/log.hpp"
#include "common/net/acceptor.hpp"
#include "common/net/admission.hpp"
#include "common/net/crowd.hpp"
#include "common/net/inherited.hpp"
#include "common/net/listening.hpp"

namespace common::net {
namespace {

// Beyond the grace: for sessions to leave the waits they were thrown out of.
constexpr std::chrono::seconds last_call{2};

/// What makes an address the same one after a reload. A port that the kernel chooses has no name of its own: the
/// server's id and the place in its list stand for it.
std::string place_key(const config::Server& server, std::size_t index) {
  const auto& where = server.listen[index];
  if (!where.path.empty()) return "unix:" + where.path;
  if (where.port == 0) return fmt::format("{} {} {}", server.id, index, where.address);
  return fmt::format("{} {}", where.address, where.port);
}

void log_end(const std::exception_ptr& error, const config::Server& server, std::string_view peer) {
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& over) {
    log::info("connection-lost", {{"server", server.id}, {"peer", peer}, {"why", over.what()}});
  } catch (const std::exception& wrong) {
    log::error("session-failed", {{"server", server.id}, {"peer", peer}, {"why", wrong.what()}});
  } catch (...) {
    log::error("session-failed", {{"server", server.id}, {"peer", peer}, {"why", "unknown exception"}});
  }
}

}  // namespace

/// An address, its sockets and who takes their connections.
struct Place {
  std::string key;
  std::string address;
  std::string path;    ///< of a Unix socket, to be removed with it
  bool deals = false;  ///< one acceptor deals its connections out to all workers in turn
  Target target;
  struct Hand {
    std::size_t worker;
    std::shared_ptr<Acceptor> acceptor;
  };
  std::vector<Hand> hands;
};

class Server::Impl {
 public:
  Impl(std::size_t threads, const Clock& clock, Serve serve, Refuse refuse)
      : serve_(std::move(serve)), refuse_(std::move(refuse)) {
    if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
    for (std::size_t i = 0; i < threads; ++i) workers.push_back(std::make_unique<Worker>(clock));
  }
  ~Impl() {
    join();
    places_.clear();  // acceptors go before the contexts that they stand on
  }

  std::expected<void, std::string> apply(const std::vector<config::Server>& servers);
  void start();
  void stop(std::chrono::milliseconds grace);
  std::vector<BoundAddress> addresses() const;
  ServerCounters counters(const std::string_view* only) const;

 private:
  using Places = std::vector<std::shared_ptr<Place>>;
  std::expected<Listening, std::string> open(const config::Listen& where) const;
  void open_hands(Place& place, Listening listening);
  void on_each_worker(const std::function<void(std::size_t)>& what);
  void take(std::size_t worker, Accepted accepted, const Target& target);
  void begin(Worker& worker, Accepted accepted, const Target& target);
  void turn_away(const Accepted& accepted, const Target& target);
  void join();

  Serve serve_;
  Refuse refuse_;
  Crowd crowd_;
  mutable std::mutex mutex_;  // of the next two
  Places places_;
  std::map<std::string, std::shared_ptr<Admissions>, std::less<>> admissions_;
  std::atomic<std::size_t> next_worker_{0};

 public:
  std::vector<std::unique_ptr<Worker>> workers;  // behind what their sessions use

 private:
  std::vector<std::thread> threads_;
};

void Server::Impl::on_each_worker(const std::function<void(std::size_t)>& what) {
  Gate done{workers.size()};
  for (std::size_t i = 0; i < workers.size(); ++i) {
    if (threads_.empty()) {
      what(i);
      done.tell();
    } else {
      asio::post(workers[i]->context(), [&what, &done, i] {
        what(i);
        done.tell();
      });
    }
  }
  done.wait();
}

/// A socket that we were started with, else one of our own.
std::expected<Listening, std::string> Server::Impl::open(const config::Listen& where) const {
  if (auto given = inherited_sockets().find(where, workers.size())) return std::move(*given);
  return open_listening(where, workers.size(), threads_.empty() ? Moment::start : Moment::reload);
}

void Server::Impl::open_hands(Place& place, Listening listening) {
  place.address = std::move(listening.address);
  for (std::size_t i = 0; i < listening.sockets.size(); ++i) {
    auto acceptor = std::make_shared<Acceptor>(
        *workers[i], std::move(listening.sockets[i]), place.target,
        [this, i, deal = place.deals](Accepted accepted, const Target& target) {
          take(deal ? next_worker_.fetch_add(1, std::memory_order_relaxed) % workers.size() : i, std::move(accepted),
               target);
        },
        [address = place.address](int error) {
          log::error("accept-paused", {{"address", address},
                                       {"why", std::strerror(error)},
                                       {"remedy", "raise the limit of open files, or lower connections.limit"}});
        });
    place.hands.push_back({i, std::move(acceptor)});
  }
}

std::expected<void, std::string> Server::Impl::apply(const std::vector<config::Server>& servers) {
  struct Change {
    std::shared_ptr<Place> place;
    Target target;
    std::optional<Listening> fresh;
  };
  std::vector<Change> changes;
  const auto undo = [&changes](std::string why) {
    for (const auto& change : changes) {
      if (change.fresh && !change.place->path.empty()) ::unlink(change.place->path.c_str());
    }
    return std::unexpected(std::move(why));
  };
  auto admissions = admissions_;
  for (std::size_t number = 0; number < servers.size(); ++number) {
    const auto config = std::make_shared<const config::Server>(servers[number]);
    auto& admission = admissions[config->id];
    if (!admission) admission = std::make_shared<Admissions>();
    for (std::size_t i = 0; i < config->listen.size(); ++i) {
      Change change{nullptr, {{number, config->listen[i].tls, config}, admission}, std::nullopt};
      const auto key = place_key(*config, i);
      const auto known =
          std::find_if(places_.begin(), places_.end(), [&](const auto& place) { return place->key == key; });
      if (known != places_.end()) {
        change.place = *known;
      } else {
        change.place = std::make_shared<Place>();
        change.place->key = key;
        auto opened = open(config->listen[i]);
        if (!opened) return undo(std::move(opened.error()));
        change.place->deals = !config->listen[i].path.empty();
        if (!opened->inherited) change.place->path = config->listen[i].path;
        change.fresh = std::move(*opened);
      }
      changes.push_back(std::move(change));
    }
  }

  // From here on nothing fails.
  Places next;
  for (auto& change : changes) {
    next.push_back(change.place);
    if (!change.fresh) continue;
    change.place->target = change.target;
    open_hands(*change.place, std::move(*change.fresh));
  }
  Places gone;
  for (const auto& place : places_) {
    if (std::find(next.begin(), next.end(), place) == next.end()) gone.push_back(place);
  }
  on_each_worker([&](std::size_t worker) {
    for (const auto& place : gone) {
      for (const auto& hand : place->hands) {
        if (hand.worker == worker) hand.acceptor->close();
      }
    }
    for (const auto& change : changes) {
      for (const auto& hand : change.place->hands) {
        if (hand.worker != worker) continue;
        hand.acceptor->set_target(change.target);
        // Before `start` nobody runs the context, and this waits there.
        if (change.fresh) hand.acceptor->start();
      }
    }
  });
  for (const auto& place : gone) {
    if (!place->path.empty()) ::unlink(place->path.c_str());
  }
  const std::lock_guard guard{mutex_};
  for (const auto& change : changes) change.place->target = change.target;
  places_ = std::move(next);
  std::erase_if(admissions, [&](const auto& entry) {
    return entry.second->open() == 0 &&
           std::none_of(servers.begin(), servers.end(), [&](const auto& server) { return server.id == entry.first; });
  });
  admissions_ = std::move(admissions);
  return {};
}

void Server::Impl::start() {
  Gate running{workers.size()};
  for (std::size_t i = 0; i < workers.size(); ++i) {
    asio::post(workers[i]->context(), [&running] { running.tell(); });
    threads_.emplace_back([this, i] {
      // Signals are the main thread's.
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      pthread_setname_np(pthread_self(), fmt::format("io-{}", i).c_str());
      workers[i]->run();
    });
  }
  running.wait();
}

void Server::Impl::take(std::size_t worker, Accepted accepted, const Target& target) {
  if (accepted.peer.ss_family != AF_UNIX) return begin(*workers[worker], std::move(accepted), target);
  asio::post(workers[worker]->context(), [this, worker, accepted = std::move(accepted), target]() mutable {
    begin(*workers[worker], std::move(accepted), target);
  });
}

void Server::Impl::turn_away(const Accepted& accepted, const Target& target) {
  // Behind TLS from the first byte nobody could read it.
  if (!target.door.tls) {
    const auto text = refuse_(*target.door.config);
    [[maybe_unused]] const auto sent =
        ::send(accepted.socket.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  // A line a second tells as much as a line for each of a thousand.
  if (!target.admissions->worth_a_line()) return;
  log::info("connection-refused", {{"server", target.door.config->id},
                                   {"peer", numeric_address(reinterpret_cast<const sockaddr&>(accepted.peer))},
                                   {"why", "connections.limit or connections.per_address"},
                                   {"refused", target.admissions->refused()}});
}

void Server::Impl::begin(Worker& worker, Accepted accepted, const Target& target) {
  if (worker.ending()) return;
  const auto& peer = reinterpret_cast<const sockaddr&>(accepted.peer);
  const auto& limits = target.door.config->connections;
  try {
    auto pass = target.admissions->enter(peer, limits.limit, limits.per_address);
    if (!pass) {
      turn_away(accepted, target);
      return;
    }
    Member member{crowd_};
    Stream::Socket socket{worker.context(), asio::generic::stream_protocol{accepted.peer.ss_family, 0},
                          accepted.socket.get()};
    accepted.socket.release();
    Stream stream{worker, std::move(socket), peer, accepted.peer_length};
    const bool unix_socket = accepted.peer.ss_family == AF_UNIX;
    sockaddr_in6 name{};
    if (!unix_socket) std::memcpy(&name, &accepted.peer, std::min<std::size_t>(sizeof name, accepted.peer_length));
    asio::co_spawn(worker.context(), serve_(worker, std::move(stream), target.door),
                   [pass = std::move(*pass), member = std::move(member), config = target.door.config, name,
                    unix_socket](const std::exception_ptr& error) {
                     if (error) {
                       log_end(error, *config,
                               unix_socket ? "unix" : numeric_address(reinterpret_cast<const sockaddr&>(name)));
                     }
                   });
  } catch (const std::exception& wrong) {
    log::error("session-failed", {{"server", target.door.config->id}, {"why", wrong.what()}});
  }
}

void Server::Impl::stop(std::chrono::milliseconds grace) {
  if (threads_.empty()) return;
  on_each_worker([&](std::size_t worker) {
    for (const auto& place : places_) {
      for (const auto& hand : place->hands) {
        if (hand.worker == worker) hand.acceptor->close();
      }
    }
    workers[worker]->end_sessions(false);
  });
  for (const auto& place : places_) {
    if (!place->path.empty()) ::unlink(place->path.c_str());
  }
  if (!crowd_.wait_empty(grace)) {
    log::warning("sessions-cut-off", {{"open", counters(nullptr).open}, {"why", "the time for work in hand is over"}});
    on_each_worker([&](std::size_t worker) { workers[worker]->end_sessions(true); });
    crowd_.wait_empty(last_call);
  }
  join();
}

void Server::Impl::join() {
  for (const auto& worker : workers) worker->stop();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

std::vector<BoundAddress> Server::Impl::addresses() const {
  const std::lock_guard guard{mutex_};
  std::vector<BoundAddress> result;
  for (const auto& place : places_)
    result.push_back({place->target.door.config->id, place->address, place->target.door.tls,
                      place->target.door.config->role == config::Role::local});
  return result;
}

ServerCounters Server::Impl::counters(const std::string_view* only) const {
  const std::lock_guard guard{mutex_};
  ServerCounters sum;
  for (const auto& [id, admission] : admissions_) {
    if (only != nullptr && id != *only) continue;
    sum.open += admission->open();
    sum.total += admission->total();
    sum.refused += admission->refused();
  }
  return sum;
}

Server::Server(std::size_t threads, const Clock& clock, Serve serve, Refuse refuse)
    : impl_(std::make_unique<Impl>(threads, clock, std::move(serve), std::move(refuse))) {}
Server::~Server() = default;

std::expected<void, std::string> Server::listen(const std::vector<config::Server>& servers) {
  return impl_->apply(servers);
}
std::vector<BoundAddress> Server::addresses() const {
  return impl_->addresses();
}
void Server::start() {
  impl_->start();
}

std::expected<void, std::string> Server::reload(const std::vector<config::Server>& servers) {
  return impl_->apply(servers);
}

void Server::stop(std::chrono::milliseconds grace) {
  impl_->stop(grace);
}
ServerCounters Server::counters() const {
  return impl_->counters(nullptr);
}
ServerCounters Server::counters(std::string_view server) const {
  return impl_->counters(&server);
}
std::vector<std::unique_ptr<Worker>>& Server::workers() {
  return impl_->workers;
}

}  // namespace common::net
