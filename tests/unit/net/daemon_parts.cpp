#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/daemon/control.hpp"
#include "common/daemon/control_client.hpp"
#include "common/daemon/notify.hpp"
#include "common/daemon/run_directory.hpp"
#include "common/daemon/snapshot.hpp"
#include "host.hpp"

using namespace test;
using namespace common::daemon;

TEST_CASE("the run directory: made if missing, one daemon of a name, a pid file while it serves") {
  const Folder folder;
  const auto directory = folder / "run";
  {
    auto place = RunDirectory::take(directory, "smtpd", "");
    REQUIRE(place);
    struct stat mode{};
    REQUIRE(::stat(directory.c_str(), &mode) == 0);
    CHECK((mode.st_mode & 0777) == 0755);
    CHECK(!std::filesystem::exists(directory / "smtpd.pid"));

    const auto second = RunDirectory::take(directory, "smtpd", "");
    REQUIRE(!second);
    CHECK_MESSAGE(second.error().find("another smtpd runs") != std::string::npos, second.error());
    CHECK(RunDirectory::take(directory, "pop3d", ""));

    REQUIRE(place->write_pid());
    std::string pid;
    std::getline(std::ifstream{directory / "smtpd.pid"}, pid);
    CHECK(pid == std::to_string(::getpid()));
    CHECK(place->control() == directory / "smtpd.ctl");
  }
  CHECK(!std::filesystem::exists(directory / "smtpd.pid"));
  CHECK(RunDirectory::take(directory, "smtpd", ""));

  std::ofstream{folder / "file"} << "x";
  const auto impossible = RunDirectory::take(folder / "file", "smtpd", "");
  REQUIRE(!impossible);
  CHECK(impossible.error().find("run.directory") != std::string::npos);
}

TEST_CASE("the control socket: a question a line, an answer a line") {
  const Folder folder;
  const auto path = control_path(folder.path(), "smtpd");
  const auto nobody = ask(path, "status");
  REQUIRE(!nobody);
  CHECK_MESSAGE(nobody.error().starts_with("smtpd is not running"), nobody.error());

  asio::io_context context{1};
  Control control{context, [](std::string_view command) -> nlohmann::json {
                    if (command == "fail") throw std::runtime_error("no");
                    return {{"ok", true}, {"asked", command}, {"odd", "\xff"}};
                  }};
  REQUIRE(control.listen(path));
  struct stat mode{};
  REQUIRE(::stat(path.c_str(), &mode) == 0);
  CHECK((mode.st_mode & 0777) == 0600);
  std::thread thread{[&] { context.run(); }};

  const auto answer = ask(path, "status");
  REQUIRE(answer);
  CHECK(answer->at("asked") == "status");
  CHECK(answer->at("odd") == "\xef\xbf\xbd");
  CHECK(ask(path, "fail").value().at("ok") == false);

  const Descriptor socket{::socket(AF_UNIX, SOCK_STREAM, 0)};
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.string().copy(name.sun_path, sizeof name.sun_path - 1);
  REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  send_all(socket.get(), "nonsense\n[]\n{\"command\":3}\n{\"command\":\"a\"}\n{\"command\":");
  send_all(socket.get(), "\"b\"}\n");
  ::shutdown(socket.get(), SHUT_WR);
  std::vector<nlohmann::json> answers;
  std::istringstream lines{receive(socket.get())};
  for (std::string line; std::getline(lines, line);) answers.push_back(nlohmann::json::parse(line));
  REQUIRE(answers.size() == 5);
  for (const std::size_t refused : {0U, 1U, 2U}) CHECK(answers[refused].at("ok") == false);
  CHECK(answers[3].at("asked") == "a");
  CHECK(answers[4].at("asked") == "b");

  // A line without an end is given up, and so is its sender.
  const Descriptor endless{::socket(AF_UNIX, SOCK_STREAM, 0)};
  REQUIRE(::connect(endless.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  const std::string much(100'000, 'x');
  [[maybe_unused]] const auto sent = ::send(endless.get(), much.data(), much.size(), MSG_NOSIGNAL);
  CHECK(receive(endless.get()).empty());

  context.stop();
  thread.join();
  control.close();
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("an answer without an end does not take the asker's memory") {
  const Folder folder;
  const auto path = control_path(folder.path(), "smtpd");
  const Descriptor listener{::socket(AF_UNIX, SOCK_STREAM, 0)};
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.string().copy(name.sun_path, sizeof name.sun_path - 1);
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  std::size_t taken = 0;
  std::thread daemon{[&] {
    const Descriptor asker{::accept(listener.get(), nullptr, nullptr)};
    const std::string much(64 << 10U, ' ');
    while (taken < (std::size_t{64} << 20U)) {
      const auto sent = ::send(asker.get(), much.data(), much.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      taken += static_cast<std::size_t>(sent);
    }
  }};
  const auto answer = ask(path, "status");
  daemon.join();
  REQUIRE(!answer);
  CHECK_MESSAGE(answer.error().find("not understood") != std::string::npos, answer.error());
  CHECK(taken < std::size_t{8} << 20U);
}

TEST_CASE("the service manager is told by datagram") {
  const Folder folder;
  const Descriptor socket{::socket(AF_UNIX, SOCK_DGRAM, 0)};
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  (folder / "notify").string().copy(name.sun_path, sizeof name.sun_path - 1);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  notify("READY=1");  // to nobody
  ::setenv("NOTIFY_SOCKET", name.sun_path, 1);
  notify("READY=1");
  notify_reloading();
  ::unsetenv("NOTIFY_SOCKET");
  char buffer[256];
  auto got = ::recv(socket.get(), buffer, sizeof buffer, 0);
  CHECK(std::string_view{buffer, static_cast<std::size_t>(got)} == "READY=1");
  got = ::recv(socket.get(), buffer, sizeof buffer, 0);
  CHECK(std::string_view{buffer, static_cast<std::size_t>(got)}.starts_with("RELOADING=1\nMONOTONIC_USEC="));
}

TEST_CASE("a snapshot taken stays what it was") {
  Snapshot<int> snapshot{std::make_shared<const int>(1)};
  const auto taken = snapshot.get();
  snapshot.set(std::make_shared<const int>(2));
  CHECK(*taken == 1);
  CHECK(*snapshot.get() == 2);
}
