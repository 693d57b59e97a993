#include "tools/pennypost/prompt.hpp"

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <initializer_list>

#include <fmt/format.h>

#include "tools/pennypost/failure.hpp"

namespace tools {
namespace {

constexpr std::size_t longest_line = 1024;  // far above what any password scheme looks at
volatile std::sig_atomic_t caught = 0;
int bell[2] = {-1, -1};  // a pipe: the store's threads may be the ones that a signal interrupts

extern "C" void on_signal(int number) {
  const int before = errno;
  caught = number;
  [[maybe_unused]] const auto written = write(bell[1], "!", 1);
  errno = before;
}

/// Standard input without echo; whatever ends the prompt, the terminal is left as it was found.
class Hushed {
 public:
  Hushed() {
    active_ = tcgetattr(STDIN_FILENO, &before_) == 0;
    if (!active_) return;
    if (pipe2(bell, O_CLOEXEC | O_NONBLOCK) != 0) refuse(fmt::format("no pipe can be made: {}", std::strerror(errno)));
    struct sigaction action{};
    action.sa_handler = on_signal;
    for (std::size_t i = 0; i < std::size(signals); ++i) sigaction(signals[i], &action, &actions_[i]);
    auto quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    quiet.c_lflag |= ECHONL;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
  }
  Hushed(const Hushed&) = delete;
  Hushed& operator=(const Hushed&) = delete;
  ~Hushed() {
    if (!active_) return;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
    for (std::size_t i = 0; i < std::size(signals); ++i) sigaction(signals[i], &actions_[i], nullptr);
    for (const int end : bell) close(end);
    if (caught != 0) std::raise(caught);
  }
  /// Until something can be read; refuses when a signal ends it.
  void wait() const {
    if (!active_) return;
    pollfd ends[] = {{STDIN_FILENO, POLLIN, 0}, {bell[0], POLLIN, 0}};
    while (poll(ends, std::size(ends), -1) < 0 && errno == EINTR) continue;
    if (caught != 0) refuse("interrupted; nothing was changed");
  }

 private:
  static constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
  bool active_ = false;
  termios before_{};
  struct sigaction actions_[std::size(signals)]{};
};

/// One line without its end. Octet by octet: what follows belongs to whoever reads on.
common::Secret read_line(const Hushed& hushed) {
  std::string line;
  line.reserve(longest_line + 1);  // never moved, so no copy of a password stays behind
  for (;;) {
    char octet = 0;
    hushed.wait();
    const auto got = read(STDIN_FILENO, &octet, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(fmt::format("standard input cannot be read: {}", std::strerror(errno)));
    if (got == 0 || octet == '\n') break;
    if (line.size() == longest_line) {
      refuse(fmt::format("the password is longer than {} octets; choose a shorter one", longest_line));
    }
    line.push_back(octet);
  }
  if (line.ends_with('\r')) line.pop_back();
  return common::Secret(std::move(line));
}

void ask(const std::string& prompt) {
  if (write(STDERR_FILENO, prompt.data(), prompt.size()) < 0) refuse("there is no terminal to ask on");
}

}  // namespace

common::Secret read_new_password(const std::string& whose, bool from_stdin) {
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (!from_stdin && !terminal) {
    refuse(
        "there is no terminal to ask for a password on; give it with --password-stdin, or see --help for the other "
        "ways");
  }
  common::Secret password;
  {
    const Hushed hushed;
    if (!from_stdin) ask(fmt::format("New password for {}: ", whose));
    password = read_line(hushed);
    if (password.empty()) refuse("an empty password is no password; give one");
    if (!from_stdin) {
      ask("Once more: ");
      const auto again = read_line(hushed);
      if (again.reveal() != password.reveal()) refuse("the two passwords differ; nothing was changed, try again");
    }
  }
  return password;
}

}  // namespace tools
