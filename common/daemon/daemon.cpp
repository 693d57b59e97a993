#include "common/daemon/daemon.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/daemon/control.hpp"
#include "common/daemon/notify.hpp"
#include "common/daemon/privileges.hpp"
#include "common/daemon/run_directory.hpp"
#include "common/daemon/sandbox.hpp"
#include "common/daemon/watchdog.hpp"
#include "common/log.hpp"
#include "common/net/inherited.hpp"

namespace common::daemon {
namespace {

constexpr std::chrono::seconds grace{30};
constexpr int failed = 1;
constexpr int wrong = 2;

using Notes = std::expected<std::vector<std::string>, std::string>;

std::string join_mistakes(const std::vector<config::Mistake>& mistakes) {
  std::string text;
  for (const auto& mistake : mistakes) {
    if (!text.empty()) text += '\n';
    text += config::format_mistake(mistake);
  }
  return text;
}

std::string in_one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

std::string user_name() {
  const passwd* const entry = ::getpwuid(::geteuid());
  return entry == nullptr ? std::to_string(::geteuid()) : entry->pw_name;
}

/// What a running daemon keeps as it is. `next` gets the old values back, so that it says what is in force.
std::vector<std::string> keep_until_restart(const config::Suite& now, config::Suite& next) {
  std::vector<std::string> notes;
  const auto keep = [&](const char* key, const auto& old, auto& fresh) {
    if (old == fresh) return;
    notes.push_back(fmt::format("{}: needs a restart", key));
    fresh = old;
  };
  keep("store.path", now.store.path, next.store.path);
  keep("store.map_size", now.store.map_size, next.store.map_size);
  keep("store.reserve", now.store.reserve, next.store.reserve);
  keep("run.user", now.run.user, next.run.user);
  keep("run.directory", now.run.directory, next.run.directory);
  keep("run.threads", now.run.threads, next.run.threads);
  keep("local.socket", now.local.socket, next.local.socket);
  keep("local.spool", now.local.spool, next.local.spool);
  keep("run.sandbox", now.run.sandbox, next.run.sandbox);
  return notes;
}

void log_warnings(const std::vector<config::Mistake>& warnings) {
  for (const auto& warning : warnings) log::warning("configuration", {{"mistake", config::format_mistake(warning)}});
}

/// A daemon that serves.
class Running {
 public:
  Running(std::string_view name, config::Config config, Service& service, const Sandbox& sandbox, std::string user)
      : name_(name),
        config_(std::move(config)),
        service_(service),
        sandbox_(sandbox),
        user_(std::move(user)),
        started_(std::time(nullptr)) {}

  Notes reload();
  nlohmann::json answer(std::string_view command);
  nlohmann::json status();
  /// What the service manager is told when all is well.
  std::string ready();

 private:
  Notes try_reload();

  std::string_view name_;
  config::Config config_;
  Service& service_;
  const Sandbox& sandbox_;
  std::string user_;
  std::time_t started_;
};

Notes Running::try_reload() {
  auto loaded = config::load(config_.file);
  if (!loaded) return std::unexpected(join_mistakes(loaded.error()));
  auto next = std::move(loaded->config);
  auto notes = keep_until_restart(config_.suite, next.suite);
  if (const auto outside = sandbox_.outside(next); !outside.empty()) {
    return std::unexpected(fmt::format("{}", fmt::join(outside, "\n")));
  }
  if (auto opened = log::start(next.suite.log, name_); !opened) return std::unexpected(std::move(opened.error()));
  auto taken = service_.reload(next);
  if (!taken) {
    if (auto back = log::start(config_.suite.log, name_); !back) log::error("log-failed", {{"why", back.error()}});
    return std::unexpected(std::move(taken.error()));
  }
  config_ = std::move(next);
  log_warnings(loaded->warnings);
  notes.insert(notes.end(), taken->begin(), taken->end());
  return notes;
}

Notes Running::reload() {
  notify_reloading();
  auto notes = try_reload();
  if (notes) {
    log::info("reloaded", {});
    for (const auto& note : *notes) log::warning("reload-note", {{"note", note}});
  } else {
    log::error("reload-refused", {{"why", notes.error()}});
  }
  notify(notes ? ready()
               : "READY=1\nSTATUS=serving as before, the new configuration was refused: " + in_one_line(notes.error()));
  return notes;
}

nlohmann::json Running::status() {
  nlohmann::json status{{"ok", true},
                        {"name", name_},
                        {"pid", ::getpid()},
                        {"version", PENNYPOST_VERSION},
                        {"started", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(started_))},
                        {"user", user_},
                        {"addresses", nlohmann::json::array()}};
  auto& listeners = service_.listeners();
  for (const auto& bound : listeners.addresses()) {
    // Beside the addresses of servers: who looks for those finds what stands in the files.
    if (bound.local) {
      status["local"] = bound.address;
      continue;
    }
    status["addresses"].push_back({{"server", bound.server}, {"address", bound.address}, {"tls", bound.tls}});
  }
  const auto counters = listeners.counters();
  status["connections"] = {{"open", counters.open}, {"total", counters.total}, {"refused", counters.refused}};
  service_.add_status(status);
  return status;
}

std::string Running::ready() {
  const auto bound = service_.listeners().addresses();
  const auto addresses = std::ranges::count(bound, false, &net::BoundAddress::local);
  return fmt::format("READY=1\nSTATUS=serving at {} address{}", addresses, addresses == 1 ? "" : "es");
}

nlohmann::json Running::answer(std::string_view command) {
  if (command == "status") return status();
  if (command != "reload") return {{"ok", false}, {"error", "unknown command; there are status and reload"}};
  const auto notes = reload();
  if (!notes) return {{"ok", false}, {"error", notes.error()}};
  return {{"ok", true}, {"notes", *notes}};
}

std::optional<Watchdog> make_watchdog(asio::io_context& context, Service& service) {
  const auto interval = watchdog_interval();
  if (!interval) return std::nullopt;
  std::vector<asio::io_context*> loops;
  for (const auto& worker : service.listeners().workers()) loops.push_back(&worker->context());
  return std::optional<Watchdog>{std::in_place, context, std::move(loops), *interval, [] { notify("WATCHDOG=1"); }};
}

/// From here until the signal to stop. Gives the exit status.
int serve(std::string_view name, config::Loaded loaded, Service& service) {
  const auto refuse = [name](std::string_view why) {
    fmt::print(stderr, "{}: {}\n", name, why);
    return wrong;
  };
  asio::io_context context{1};
  // Caught from the first moment: what comes while the daemon starts is done once it has.
  asio::signal_set ends{context, SIGTERM, SIGINT};
  asio::signal_set hangups{context, SIGHUP};
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(027);
  raise_open_files();
  auto& given = net::inherited_sockets();

  const auto& suite = loaded.config.suite;
  auto place = RunDirectory::take(suite.run.directory, name, suite.run.user);
  if (!place) return refuse(place.error());
  if (auto ready = service.prepare(loaded.config); !ready) return refuse(ready.error());
  if (auto dropped = drop_privileges(suite.run.user); !dropped) return refuse(dropped.error());
  // Its name is looked up while every name service can still be asked.
  const auto user = user_name();
  auto sandbox = Sandbox::enter(loaded.config, [&service](config::Kind kind) { return service.serves(kind); });
  if (!sandbox) return refuse(sandbox.error());
  // Opened as the user that will open it again at each reload.
  if (auto opened = log::start(suite.log, name); !opened) return refuse(opened.error());
  struct LogEnd {
    ~LogEnd() { log::stop(); }
  } const log_end;
  log_warnings(loaded.warnings);
  sandbox->tell();
  for (const auto& socket : given.unclaimed()) {
    log::warning("socket-unused", {{"socket", socket}, {"why", "no `listen` of the configuration names its address"}});
  }
  if (auto started = service.start(); !started) return refuse(started.error());

  Running running{name, std::move(loaded.config), service, *sandbox, user};
  Control control{context, [&](std::string_view command) { return running.answer(command); }};
  auto answering = control.listen(place->control());
  if (answering) answering = place->write_pid();
  auto watchdog = make_watchdog(context, service);
  int result = 0;
  if (answering) {
    for (const auto& bound : service.listeners().addresses()) {
      log::info("listening", {{"server", bound.server}, {"address", bound.address}, {"tls", bound.tls}});
    }
    log::info("started", {{"version", PENNYPOST_VERSION}, {"pid", static_cast<std::int64_t>(::getpid())}});
    notify(running.ready());
    if (watchdog) watchdog->start();

    ends.async_wait([&](const asio::error_code& error, int) {
      if (!error) context.stop();
    });
    const std::function<void()> await_hangup = [&] {
      hangups.async_wait([&](const asio::error_code& error, int) {
        if (error) return;
        (void)running.reload();  // it has told the log
        await_hangup();
      });
    };
    await_hangup();
    try {
      context.run();
    } catch (const std::exception& trouble) {
      log::error("failed", {{"why", trouble.what()}});
      result = failed;
    }
    log::info("stopping", {});
  }
  notify("STOPPING=1\nSTATUS=finishing what is in hand");
  control.close();
  service.stop(grace);
  if (!answering) return refuse(answering.error());
  log::info("stopped", {});
  return result;
}

}  // namespace

int run(int argc, const char* const* argv, std::string_view name, std::string_view summary, Service& service) {
  CLI::App app{std::string{summary}, std::string{name}};
  std::string file;
  app.add_option("-c,--config", file, "Configuration file (else $PENNYPOST_CONFIG, else /etc/pennypost/pennypost.toml)")
      ->type_name("FILE");
  app.set_version_flag("--version", fmt::format("{} (Pennypost) {}", name, PENNYPOST_VERSION));
  app.footer("SIGTERM ends it when work in hand is done; SIGHUP reads the configuration again.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : wrong;
  }
  auto loaded = config::load(config::config_path(file));
  if (!loaded) {
    fmt::print(stderr, "{}\n", join_mistakes(loaded.error()));
    return wrong;
  }
  try {
    return serve(name, std::move(*loaded), service);
  } catch (const std::exception& trouble) {
    fmt::print(stderr, "{}: {}\n", name, trouble.what());
    return failed;
  }
}

}  // namespace common::daemon
