#pragma once

#include <chrono>
#include <expected>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/config.hpp"
#include "common/net/server.hpp"

/// What both daemons' main shares: command line, configuration, log, run directory, privileges, signals, control
/// socket.
namespace common::daemon {

/// A daemon, as `run` drives it. All calls come from the main thread, in this order: prepare, start, then reload and
/// status any number of times, stop. After an error from prepare or start the object is destroyed.
class Service {
 public:
  virtual ~Service() = default;
  /// Whether virtual servers of this kind are its own: it is to reach their files and no others'.
  virtual bool serves(config::Kind kind) const = 0;
  /// Still with the rights the program was started with: binds (net::Server::listen), reads keys. Touches no store:
  /// files made now would be root's. Error: a sentence with the remedy; exit status 2.
  virtual std::expected<void, std::string> prepare(const config::Config& config) = 0;
  /// As the user of [run]: opens the store, starts to accept; every listener accepts when it returns. Errors as above.
  virtual std::expected<void, std::string> start() = 0;
  /// A new configuration, already found right. Takes all of it or (error) nothing. Gives back what a person should
  /// know, such as "run.threads: needs a restart" (run.*, store.* and log are looked after by `run`).
  virtual std::expected<std::vector<std::string>, std::string> reload(const config::Config& config) = 0;
  /// No new connections; work in hand finishes within `grace`; the store is closed when it returns.
  virtual void stop(std::chrono::milliseconds grace) = 0;
  /// Its listeners: their addresses and counts go into the status. Not called before prepare has succeeded.
  virtual net::Server& listeners() = 0;
  /// Puts more into the answer to "status".
  virtual void add_status(nlohmann::json& status) = 0;
};

/// The whole life of a daemon: `main` returns what this returns. `name`: smtpd, pop3d; names its files in the run
/// directory. 0: stopped by SIGTERM or SIGINT, or --help; 1: failed while running; 2: wrong usage or configuration, or
/// it could not start.
///
/// - Run directory DIR = [run] directory, made if it is missing: DIR/NAME.lock (locked while it lives: a second
///   daemon is refused), DIR/NAME.pid (there once every listener accepts, gone at exit), DIR/NAME.ctl (control.hpp).
/// - Started as root with a [run] user: becomes that user between `prepare` and `start`, for good. Then it shuts itself
/// in
///   (sandbox.hpp).
/// - SIGTERM, SIGINT: stop, with 30 s for work in hand. SIGHUP: configuration and log are read again, then `reload`.
/// - Tells systemd what happens when $NOTIFY_SOCKET is set (READY, RELOADING, STOPPING), and with $WATCHDOG_USEC that
/// its
///   loops turn; takes the listening sockets that it was started with ($LISTEN_FDS).
int run(int argc, const char* const* argv, std::string_view name, std::string_view summary, Service& service);

}  // namespace common::daemon
