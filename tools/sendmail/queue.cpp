#include "tools/sendmail/queue.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "tools/sendmail/mailq.hpp"

namespace tools::sendmail {
namespace {

/// The tool stands beside this program, in the build as where it is installed.
std::string tool() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "pennypost" : (self.parent_path() / "pennypost").string();
}

/// Starts the tool; `out`: what its standard output becomes, -1: ours.
pid_t start(std::vector<std::string> words, const std::string& config, int out) {
  words.insert(words.begin(), "pennypost");
  if (!config.empty()) words.insert(words.end(), {"--config", config});
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (out >= 0) ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  pid_t child = -1;
  const int failed = ::posix_spawnp(&child, tool().c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  return failed == 0 ? child : -1;
}

/// The tool has said on standard error what was wrong.
Status end(pid_t child) {
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return Status::system;
  if (WEXITSTATUS(status) == 0) return Status::done;
  return ::geteuid() == 0 ? Status::try_again : Status::not_allowed;
}

}  // namespace

Status show_queue(const std::string& config) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return Status::system;
  const pid_t child = start({"queue", "list", "--json"}, config, pipe[1]);
  ::close(pipe[1]);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> rows{::fdopen(pipe[0], "r"), std::fclose};
  MailQueue queue;
  std::string held;
  std::string piece(65536, '\0');
  for (std::size_t got = 0; (got = std::fread(piece.data(), 1, piece.size(), rows.get())) != 0;) {
    held.append(piece, 0, got);
    std::size_t at = 0;
    for (auto newline = held.find('\n'); newline != std::string::npos; newline = held.find('\n', at)) {
      const auto text = queue.add(std::string_view{held}.substr(at, newline - at));
      std::fwrite(text.data(), 1, text.size(), stdout);
      at = newline + 1;
    }
    held.erase(0, at);
  }
  const auto status = end(child);
  if (status != Status::done) return status;
  const auto text = queue.finish();
  std::fwrite(text.data(), 1, text.size(), stdout);
  return status;
}

Status flush_queue(const std::string& config, const std::string& domain) {
  std::vector<std::string> words{"queue", "flush"};
  if (!domain.empty()) words.push_back(domain);
  int nowhere[2];
  // What it did is said to people and not to cron.
  if (::pipe2(nowhere, O_CLOEXEC) != 0) return Status::system;
  const pid_t child = start(std::move(words), config, nowhere[1]);
  ::close(nowhere[1]);
  std::string said(4096, '\0');
  while (::read(nowhere[0], said.data(), said.size()) > 0) {
  }
  ::close(nowhere[0]);
  return end(child);
}

}  // namespace tools::sendmail
