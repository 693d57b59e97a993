#include "tools/pennypost/readable.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <sstream>
#include <tuple>

#include <fmt/format.h>

#include "common/local_disk.hpp"
#include "common/net/tls_context.hpp"
#include "tools/pennypost/failure.hpp"
#include "tools/pennypost/owner.hpp"

namespace tools {
namespace {

using common::config::Config;
using common::config::Mistake;

struct Finding {
  std::size_t server = 0;  ///< its place in the list; their number: the suite
  std::string key;
  std::string why;
  bool warning = false;  ///< the daemons start all the same, as root
};

std::vector<Finding> find_unreadable(const Config& config) {
  std::vector<Finding> findings;
  for (std::size_t i = 0; i < config.servers.size(); ++i) {
    const auto context = common::net::TlsContext::load(config.servers[i].tls);
    if (!context) findings.push_back({i, "tls", context.error()});
  }
  return findings;
}

/// Empty if whoever runs this may do it.
std::string why_not(const std::filesystem::path& path, int wish) {
  return access(path.c_str(), wish) == 0 ? std::string{} : std::strerror(errno);
}

/// What a daemon's user must be able to do with the paths of the configuration, tried as whoever runs this.
std::vector<Finding> find_unreachable(const Config& config) {
  std::vector<Finding> findings;
  const auto suite = config.servers.size();
  const auto try_path = [&](Finding finding, const std::filesystem::path& path, int wish) {
    finding.why = why_not(path, wish);
    if (!finding.why.empty()) {
      finding.why = fmt::format("cannot {} {}: {}", wish == R_OK ? "read" : "write to", path.string(), finding.why);
      findings.push_back(std::move(finding));
    }
  };
  std::error_code error;
  const auto& [store, run, log] =
      std::tie(config.suite.store.path, config.suite.run.directory, config.suite.log.target);
  if (std::filesystem::exists(store, error) || error) try_path({suite, "store.path"}, store, R_OK | W_OK | X_OK);
  // One that is missing is made by the daemon, before it gives up root.
  if (std::filesystem::exists(run, error) || error) try_path({suite, "run.directory"}, run, W_OK | X_OK);
  if (log.starts_with('/')) {
    const std::filesystem::path file{log};
    if (std::filesystem::exists(file, error)) {
      try_path({suite, "log.target"}, file, W_OK);
    } else {
      try_path({suite, "log.target"}, file.parent_path(), W_OK | X_OK);
    }
  }
  try_path({suite, "", "", true}, config.file, R_OK);
  for (std::size_t i = 0; i < suite; ++i) {
    const auto& server = config.servers[i];
    try_path({i, "", "", true}, server.file, R_OK);
    // One that is missing is made by the daemon, before it gives up root.
    if (!server.home.empty() && std::filesystem::exists(server.home, error)) try_path({i, "home"}, server.home, X_OK);
    for (const char* const folder : {"pickup", "drop", "badmail"}) {
      const auto place = server.home / folder;
      if (!server.home.empty() && std::filesystem::exists(place, error))
        try_path({i, "home"}, place, R_OK | W_OK | X_OK);
    }
    // Read when smtpd has become its user already.
    const auto& password_file = server.outbound.password_file;
    if (!password_file.empty()) try_path({i, "outbound.password_file"}, password_file, R_OK);
    for (const auto& listen : server.listen) {
      if (!listen.path.empty())
        try_path({i, "listen", "", true}, std::filesystem::path{listen.path}.parent_path(), W_OK | X_OK);
    }
  }
  return findings;
}

std::string format_finding(const Finding& finding) {
  return fmt::format("{} {} {} {}\n", finding.server, finding.warning ? 1 : 0, finding.key.empty() ? "-" : finding.key,
                     finding.why);
}

Finding parse_finding(const std::string& line) {
  Finding finding;
  int warning = 0;
  std::istringstream words{line};
  words >> finding.server >> warning >> finding.key >> std::ws;
  std::getline(words, finding.why);
  finding.warning = warning != 0;
  if (finding.key == "-") finding.key.clear();
  return finding;
}

/// All of it in a child of our own, which becomes `user`; lines "server warning key why" come back through a pipe.
std::vector<Finding> find_as(const User& user, const Config& config) {
  int ends[2];
  if (pipe(ends) != 0) fail(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  const pid_t child = fork();
  if (child < 0) fail(fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (child == 0) {
    close(ends[0]);
    std::string text;
    try {
      become(user);
      for (auto& finding : find_unreadable(config)) {
        finding.warning = true;
        text += format_finding(finding);
      }
      for (const auto& finding : find_unreachable(config)) text += format_finding(finding);
    } catch (...) {
      _exit(1);
    }
    const bool written = write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (;;) {
    const auto got = read(ends[0], buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail(fmt::format("cannot become user {} to try its rights", user.name));

  std::vector<Finding> findings;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) findings.push_back(parse_finding(line));
  return findings;
}

Mistake mistake_at(const Config& config, const Finding& finding) {
  const auto& file = finding.server < config.servers.size() ? config.servers[finding.server].file : config.file;
  return {.file = file, .key = finding.key, .what = finding.why, .warning = finding.warning};
}

/// Whether a daemon would be what we are.
bool is_run_user(const std::string& name) {
  if (name.empty()) return true;
  const auto user = find_user(name);
  return user && user->uid == geteuid();
}

}  // namespace

std::vector<Mistake> check_surroundings(const Config& config) {
  std::vector<Mistake> mistakes;
  const auto findings = find_unreadable(config);
  mistakes.reserve(findings.size());
  for (const auto& finding : findings) mistakes.push_back(mistake_at(config, finding));

  for (const auto& server : config.servers) {
    if (server.home.empty()) continue;
    if (auto local = common::check_local_disk(server.home); !local)
      mistakes.push_back({.file = server.file, .key = "home", .what = std::move(local.error())});
  }
  std::error_code error;
  if (!std::filesystem::exists(config.suite.store.path, error)) {
    mistakes.push_back({.file = config.file,
                        .key = "store.path",
                        .what = fmt::format("there is no store at {}", config.suite.store.path.string()),
                        .remedy = "mount its disk, or make it with 'pennypost store init'",
                        .warning = true});
  }
  const auto& name = config.suite.run.user;
  if (geteuid() != 0 || name.empty()) {
    if (is_run_user(name)) {
      for (const auto& finding : find_unreachable(config)) mistakes.push_back(mistake_at(config, finding));
    }
    return mistakes;
  }
  const auto user = find_user(name);
  if (!user) {
    mistakes.push_back({.file = config.file,
                        .key = "run.user",
                        .what = fmt::format("there is no user \"{}\" on this system", name),
                        .remedy = fmt::format("make it with 'useradd --system {}', or set user = \"\"", name)});
    return mistakes;
  }
  if (user->uid == 0 || !findings.empty()) return mistakes;
  for (const auto& finding : find_as(*user, config)) {
    auto mistake = mistake_at(config, finding);
    mistake.what =
        fmt::format("user {} ([run] user) {}{}", user->name,
                    finding.key == "tls" ? "cannot read what root can, so a reload will fail: " : "", finding.why);
    if (finding.key != "tls") {
      mistake.remedy = finding.warning ? "give it that right, or a reload will fail"
                                       : "give it that right, or the daemons do not start";
    }
    mistakes.push_back(std::move(mistake));
  }
  return mistakes;
}

}  // namespace tools
