#include "tools/pennypost/readable.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>

#include <fmt/format.h>

#include "common/net/tls_context.hpp"
#include "tools/pennypost/failure.hpp"
#include "tools/pennypost/owner.hpp"

namespace tools {
namespace {

using common::config::Config;
using common::config::Mistake;

struct Finding {
  std::size_t server = 0;
  std::string why;
};

std::vector<Finding> find_unreadable(const Config& config) {
  std::vector<Finding> findings;
  for (std::size_t i = 0; i < config.servers.size(); ++i) {
    const auto context = common::net::TlsContext::load(config.servers[i].tls);
    if (!context) findings.push_back({i, context.error()});
  }
  return findings;
}

/// In a child of our own, which becomes `user`; lines "server why" come back through a pipe.
std::vector<Finding> find_unreadable_as(const User& user, const Config& config) {
  int ends[2];
  if (pipe(ends) != 0) fail(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  const pid_t child = fork();
  if (child < 0) fail(fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (child == 0) {
    close(ends[0]);
    std::string text;
    try {
      become(user);
      for (const auto& finding : find_unreadable(config)) text += fmt::format("{} {}\n", finding.server, finding.why);
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
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    const auto blank = text.find(' ', at);
    findings.push_back({std::stoul(text.substr(at, blank - at)), text.substr(blank + 1, end - blank - 1)});
    at = end + 1;
  }
  return findings;
}

Mistake mistake_at(const Config& config, const Finding& finding, bool warning) {
  return {.file = config.servers[finding.server].file, .key = "tls", .what = finding.why, .warning = warning};
}

}  // namespace

std::vector<Mistake> check_surroundings(const Config& config) {
  std::vector<Mistake> mistakes;
  const auto findings = find_unreadable(config);
  mistakes.reserve(findings.size());
  for (const auto& finding : findings) mistakes.push_back(mistake_at(config, finding, false));

  std::error_code error;
  if (!std::filesystem::exists(config.suite.store.path, error)) {
    mistakes.push_back({.file = config.file,
                        .key = "store.path",
                        .what = fmt::format("there is no store at {}", config.suite.store.path.string()),
                        .remedy = "mount its disk, or make it with 'pennypost store init'",
                        .warning = true});
  }
  const auto& name = config.suite.run.user;
  if (geteuid() != 0 || name.empty()) return mistakes;
  const auto user = find_user(name);
  if (!user) {
    mistakes.push_back({.file = config.file,
                        .key = "run.user",
                        .what = fmt::format("there is no user \"{}\" on this system", name),
                        .remedy = fmt::format("make it with 'useradd --system {}', or set user = \"\"", name)});
    return mistakes;
  }
  if (user->uid == 0 || !findings.empty()) return mistakes;
  for (const auto& finding : find_unreadable_as(*user, config)) {
    auto mistake = mistake_at(config, finding, true);
    mistake.what = fmt::format("user {} ([run] user) cannot read what root can, so a reload will fail: {}", user->name,
                               finding.why);
    mistakes.push_back(std::move(mistake));
  }
  return mistakes;
}

}  // namespace tools
