// What cannot be undone is done in a child: it gives back what it found as its exit status.
#include "common/daemon/sandbox.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <thread>

#include "common/daemon/instrumented.hpp"
#include "common/daemon/system_calls.hpp"
#include "host.hpp"

using namespace test;
using namespace common::daemon;

namespace {

constexpr int shut_in_failed = 200;

/// The child's exit status, minus the signal that ended it.
int in_child(const std::function<int()>& what) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    ::_exit(what());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool opens(const std::filesystem::path& path, int flags) {
  const Descriptor file{::open(path.c_str(), flags | O_CLOEXEC, 0600)};
  return file.get() >= 0;
}

void write_file(const std::filesystem::path& path) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream{path} << "text";
}

/// The number of the first line that is not as it should be; 0: all are.
int first_wrong(std::initializer_list<bool> lines) {
  int number = 0;
  for (const bool right : lines) {
    ++number;
    if (!right) return number;
  }
  return 0;
}

config::Config configuration(const Folder& folder) {
  config::Config config;
  config.file = folder / "etc/pennypost.toml";
  config.suite.run.sandbox = "required";
  config.suite.run.directory = folder / "run";
  config.suite.store.path = folder / "store";
  config.suite.log.target = "stderr";
  config::Server server;
  server.file = folder / "etc/servers/mx.toml";
  server.tls.certificate = folder / "live/mail.pem";
  server.tls.key = folder / "live/mail.key";
  config.servers.push_back(std::move(server));
  return config;
}

}  // namespace

TEST_CASE("paths: each folder to read, to write files, to make folders; nothing else, and nothing is executed") {
  if (landlock_version() == 0) {
    MESSAGE("not tried: this kernel has no Landlock");
    return;
  }
  // What older kernels have is a part of what this one has.
  for (int version = 1; version <= landlock_version(); ++version) {
    CAPTURE(version);
    const Folder folder;
    for (const char* const name : {"read/a", "files/a", "folders/a", "elsewhere/a"}) write_file(folder / name);
    const auto outcome = in_child([&] {
      const Allowed allowed[] = {{folder / "read", Access::read},
                                 {folder / "files", Access::files},
                                 {folder / "folders", Access::folders},
                                 {folder / "missing", Access::files}};
      if (!restrict_paths(allowed, version)) return shut_in_failed;
      return first_wrong({
          opens(folder / "read/a", O_RDONLY),
          !opens(folder / "read/a", O_RDWR),
          !opens(folder / "read/b", O_WRONLY | O_CREAT),
          opens(folder / "files/a", O_RDWR | O_TRUNC),
          opens(folder / "files/b", O_WRONLY | O_CREAT),
          ::rename((folder / "files/b").c_str(), (folder / "files/c").c_str()) == 0,
          ::unlink((folder / "files/c").c_str()) == 0,
          ::mkdir((folder / "files/d").c_str(), 0700) != 0,
          ::mkdir((folder / "folders/d").c_str(), 0700) == 0,
          opens(folder / "folders/d/e", O_WRONLY | O_CREAT),
          ::unlink((folder / "folders/d/e").c_str()) == 0,
          ::rmdir((folder / "folders/d").c_str()) == 0,
          !opens(folder / "elsewhere/a", O_RDONLY),
          !opens("/etc/passwd", O_RDONLY),
          // What is replaced is found by its folder.
          ::rename((folder / "folders/a").c_str(), (folder / "folders/new").c_str()) == 0,
          opens(folder / "folders/new", O_RDONLY),
      });
    });
    CHECK(outcome == 0);
  }
}

TEST_CASE("calls: what a daemon does goes on, in the threads that are there and in new ones") {
  const auto outcome = in_child([] {
    std::atomic<bool> go{false};
    std::atomic<bool> refused{false};
    std::thread before{[&] {
      while (!go) std::this_thread::yield();
      refused = ::socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == ENOSYS;
    }};
    const bool closed = restrict_calls().has_value();
    go = true;
    before.join();
    if (!closed) return shut_in_failed;
    bool served = false;
    std::thread{[&] { served = ::socket(AF_INET6, SOCK_STREAM, 0) >= 0; }}.join();
    void* const both = ::mmap(nullptr, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void* const plain = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (instrumented) return served && plain != MAP_FAILED ? 0 : 100;
    return first_wrong({
        refused,
        served,
        both == MAP_FAILED,
        plain != MAP_FAILED,
        ::mprotect(plain, 4096, PROT_READ) == 0,
        ::mprotect(plain, 4096, PROT_READ | PROT_EXEC) != 0,
        ::syscall(SYS_personality, 0xffffffff) < 0 && errno == ENOSYS,
        ::kill(::getppid(), 0) != 0,
        ::syscall(SYS_tgkill, ::getppid(), ::getppid(), 0) != 0,
    });
  });
  CHECK(outcome == 0);
}

TEST_CASE("calls: an intruder's end the process") {
  if (instrumented) return;  // a sanitizer makes some of them itself
  struct Row {
    const char* name;
    std::function<void()> call;
  };
  const Row rows[] = {
      {"execve",
       [] {
         const char* const words[] = {"/bin/true", nullptr};
         ::execv(words[0], const_cast<char* const*>(words));
       }},
      {"ptrace", [] { ::syscall(SYS_ptrace, 16, ::getppid(), 0, 0); }},
      {"mount", [] { ::syscall(SYS_mount, "none", "/nowhere", "tmpfs", 0, nullptr); }},
      {"unshare", [] { ::syscall(SYS_unshare, 0); }},
      {"bpf", [] { ::syscall(SYS_bpf, 0, nullptr, 0); }},
  };
  for (const auto& [name, call] : rows) {
    CAPTURE(name);
    const auto outcome = in_child([&call] {
      if (!restrict_calls()) return shut_in_failed;
      call();
      return 0;
    });
    CHECK(outcome == -SIGSYS);
  }
  const auto forked = in_child([] {
    if (!restrict_calls()) return shut_in_failed;
    return ::fork() < 0 && errno == ENOSYS ? 0 : 1;
  });
  CHECK(forked == 0);
}

TEST_CASE("a certificate that is replaced, as ACME clients do, is within reach; another folder needs a restart") {
  if (landlock_version() == 0) {
    MESSAGE("not tried: this kernel has no Landlock");
    return;
  }
  const Folder folder;
  for (const char* const name : {"etc/pennypost.toml", "etc/servers/mx.toml", "run/a", "store/a", "archive/mail1.pem",
                                 "archive/mail2.pem", "archive/mail1.key", "live/x", "elsewhere/mail.pem"}) {
    write_file(folder / name);
  }
  const auto link = [&](const char* to, const char* name) {
    std::filesystem::create_symlink(std::filesystem::path{"../archive"} / to, folder / "live/new");
    std::filesystem::rename(folder / "live/new", folder / "live" / name);
  };
  link("mail1.pem", "mail.pem");
  link("mail1.key", "mail.key");
  int ready[2], go[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(go) == 0);
  const pid_t acme = ::fork();
  REQUIRE(acme >= 0);
  if (acme == 0) {
    char word = 0;
    if (::read(ready[0], &word, 1) == 1) link("mail2.pem", "mail.pem");
    [[maybe_unused]] const auto told = ::write(go[1], "g", 1);
    ::_exit(0);
  }
  const auto outcome = in_child([&] {
    auto config = configuration(folder);
    const auto sandbox = Sandbox::enter(config, [](config::Kind) { return true; });
    char word = 0;
    if (::write(ready[1], "r", 1) != 1 || ::read(go[0], &word, 1) != 1 || !sandbox) return shut_in_failed;
    auto moved = config;
    moved.servers[0].tls.certificate = folder / "elsewhere/mail.pem";
    const auto outside = sandbox->outside(moved);
    auto logged = config;
    logged.suite.log.target = folder / "archive/log";  // may be read, but not written
    return first_wrong({
        opens(folder / "live/mail.pem", O_RDONLY),
        opens(folder / "store/b", O_RDWR | O_CREAT),
        ::mkdir((folder / "store/c").c_str(), 0700) == 0,
        opens(folder / "run/shared", O_RDWR | O_CREAT),
        !opens(folder / "etc/pennypost.toml", O_RDWR),
        !opens(folder / "elsewhere/mail.pem", O_RDONLY),
        sandbox->outside(config).empty(),
        outside.size() == 1 && outside[0].find("needs a restart") != std::string::npos &&
            outside[0].find("tls.certificate") != std::string::npos,
        !sandbox->outside(logged).empty(),
    });
  });
  ::waitpid(acme, nullptr, 0);
  for (const int end : {ready[0], ready[1], go[0], go[1]}) ::close(end);
  CHECK(outcome == 0);
}

TEST_CASE("the sandbox off: everything is within reach") {
  const Folder folder;
  auto config = configuration(folder);
  config.suite.run.sandbox = "off";
  const auto sandbox = Sandbox::enter(config, [](config::Kind) { return true; });
  REQUIRE(sandbox);
  CHECK(sandbox->outside(config).empty());
  CHECK(opens("/etc/passwd", O_RDONLY));
}

TEST_CASE("a kernel that has neither: auto goes on, required does not") {
  const Folder folder;
  const auto enter = [&](const char* wish, bool want) {
    return in_child([&folder, wish, want] {
      // Once calls are restricted, those of Landlock and seccomp are as on a kernel that lacks them.
      if (!restrict_calls()) return shut_in_failed;
      auto config = configuration(folder);
      config.suite.run.sandbox = wish;
      const auto sandbox = Sandbox::enter(config, [](config::Kind) { return true; });
      if (!sandbox) return want || sandbox.error().find("Landlock") == std::string::npos ? 1 : 0;
      return want && sandbox->outside(config).empty() ? 0 : 2;
    });
  };
  CHECK(enter("auto", true) == 0);
  CHECK(enter("required", false) == 0);
}
