// The life of a daemon from outside: daemon_program.cpp as a child process.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/daemon/control_client.hpp"
#include "host.hpp"

using namespace test;
using namespace common::daemon;

namespace {

/// A child process; its standard error goes to a file.
class Child {
 public:
  Child(const Folder& folder, const std::string& arguments)
      : output_(folder / ("output." + std::to_string(++children))) {
    const char* const program = std::getenv("DAEMON_PROGRAM");
    REQUIRE_MESSAGE(program != nullptr, "DAEMON_PROGRAM names the program to start; meson test sets it");
    const auto command = "exec " + std::string{program} + " " + arguments + " >" + output_.string() + " 2>&1";
    const char* const words[] = {"sh", "-c", command.c_str(), nullptr};
    REQUIRE(::posix_spawn(&pid_, "/bin/sh", nullptr, nullptr, const_cast<char* const*>(words), environ) == 0);
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }
  /// The exit status; minus the signal if one ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string output() const {
    std::ostringstream text;
    text << std::ifstream{output_}.rdbuf();
    return text.str();
  }

 private:
  static inline int children = 0;  // two that run at a time have an output each
  std::filesystem::path output_;
  pid_t pid_ = -1;
};

/// A configuration in `folder`; the daemon's user `user`, the hostname `hostname`.
std::string configure(const Folder& folder, const std::string& user, const std::string& hostname) {
  std::filesystem::create_directories(folder / "etc/servers");
  std::ofstream{folder / "etc/pennypost.toml"} << "[store]\npath = \"" << (folder / "store").string()
                                               << "\"\n[run]\nuser = \"" << user << "\"\ndirectory = \""
                                               << (folder / "run").string() << "\"\n";
  std::ofstream{folder / "etc/servers/mx.toml"} << "kind = \"smtp\"\nlisten = [\"127.0.0.1:0\"]\nhostname = \""
                                                << hostname << "\"\ndefault_domain = \"example.test\"\n[messages]\n";
  return "-c " + (folder / "etc/pennypost.toml").string();
}

/// A minute at most: what is waited for is the work of another process.
bool soon(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    ::usleep(10'000);
  }
  return false;
}

Descriptor dial(const nlohmann::json& status) {
  const auto address = status.at("addresses").at(0).at("address").get<std::string>();
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Descriptor socket{::socket(AF_INET, SOCK_STREAM, 0)};
  REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  const timeval patience{10, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return socket;
}

}  // namespace

TEST_CASE("started, asked, reloaded, refused a second time, stopped") {
  const Folder folder;
  const auto options = configure(folder, "", "one.example.test");
  const auto pid_file = folder / "run/greeter.pid";
  const auto control = control_path(folder / "run", "greeter");
  Child daemon{folder, options};
  REQUIRE_MESSAGE(soon([&] { return std::filesystem::exists(pid_file); }), daemon.output());

  const auto status = ask(control, "status");
  REQUIRE(status);
  CHECK(status->at("pid") == daemon.pid());
  CHECK(status->at("name") == "greeter");
  CHECK(status->at("greeter") == true);
  CHECK(status->at("addresses").at(0).at("server") == "mx");
  const auto idle = dial(*status);
  CHECK(receive(idle.get(), 22) == "220 one.example.test\r\n");

  {
    Child second{folder, options};
    CHECK(second.wait() == 2);
    CHECK_MESSAGE(second.output().find("another greeter runs") != std::string::npos, second.output());
    CHECK(std::filesystem::exists(pid_file));
  }

  configure(folder, "", "two.example.test");
  const auto reloaded = ask(control, "reload");
  REQUIRE(reloaded);
  CHECK(reloaded->at("ok") == true);
  CHECK(reloaded->at("notes") == nlohmann::json{"a note"});
  CHECK(receive(dial(*status).get(), 22) == "220 two.example.test\r\n");

  std::ofstream{folder / "etc/servers/mx.toml", std::ios::app} << "no_such_key = 1\n";
  const auto refused = ask(control, "reload");
  REQUIRE(refused);
  CHECK(refused->at("ok") == false);
  CHECK_MESSAGE(refused->at("error").get<std::string>().find("no_such_key") != std::string::npos, refused->dump());
  CHECK(receive(dial(*status).get(), 22) == "220 two.example.test\r\n");

  configure(folder, "", "six.example.test");
  REQUIRE(::kill(daemon.pid(), SIGHUP) == 0);
  CHECK(soon([&] { return receive(dial(*status).get(), 22) == "220 six.example.test\r\n"; }));

  REQUIRE(::kill(daemon.pid(), SIGTERM) == 0);
  CHECK(receive(idle.get()) == "421 4.3.2 bye\r\n");
  CHECK(daemon.wait() == 0);
  CHECK(!std::filesystem::exists(pid_file));
  CHECK(!std::filesystem::exists(control));
}

TEST_CASE("wrong usage, wrong configuration, a busy port: status 2 and a sentence") {
  const Folder folder;
  const auto options = configure(folder, "", "one.example.test");
  {
    Child child{folder, "--nonsense"};
    CHECK(child.wait() == 2);
  }
  {
    Child child{folder, "--help"};
    CHECK(child.wait() == 0);
    CHECK(child.output().find("--config") != std::string::npos);
  }
  {
    Child child{folder, "--version"};
    CHECK(child.wait() == 0);
    CHECK(child.output() == std::string{"greeter (Pennypost) "} + PENNYPOST_VERSION + "\n");
  }
  std::ofstream{folder / "etc/servers/mx.toml", std::ios::app} << "no_such_key = 1\n";
  {
    Child child{folder, options};
    CHECK(child.wait() == 2);
    CHECK_MESSAGE(child.output().find("mx.toml:6: ") != std::string::npos, child.output());
  }
}

TEST_CASE("started as root it becomes the user of its configuration, for good") {
  if (::geteuid() != 0) return;
  const passwd* const nobody = ::getpwnam("nobody");
  if (nobody == nullptr) return;
  const Folder folder;
  REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
  Child daemon{folder, configure(folder, "nobody", "one.example.test")};
  REQUIRE_MESSAGE(soon([&] { return std::filesystem::exists(folder / "run/greeter.pid"); }), daemon.output());
  const auto status = ask(control_path(folder / "run", "greeter"), "status");
  REQUIRE(status);
  CHECK(status->at("user") == "nobody");
  std::ifstream proc{"/proc/" + std::to_string(daemon.pid()) + "/status"};
  const auto id = std::to_string(nobody->pw_uid);
  bool ids = false, no_new = false;
  for (std::string line; std::getline(proc, line);) {
    if (line == "Uid:\t" + id + "\t" + id + "\t" + id + "\t" + id) ids = true;
    if (line == "NoNewPrivs:\t1") no_new = true;
  }
  CHECK(ids);
  CHECK(no_new);
  struct stat mode{};
  REQUIRE(::stat((folder / "run/greeter.ctl").c_str(), &mode) == 0);
  CHECK(mode.st_uid == nobody->pw_uid);
  REQUIRE(::kill(daemon.pid(), SIGINT) == 0);
  CHECK(daemon.wait() == 0);
}
