#include "common/auth/guard_table.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "guard_folder.hpp"

using namespace common::auth;
using Count = GuardTable::Count;

namespace {

constexpr GuardTable::Ticks cost = 900;
constexpr GuardTable::Ticks most = 90'000;

GuardTable open(const GuardFolder& folder) {
  auto table = GuardTable::open(folder.file(), "");
  REQUIRE_MESSAGE(table, table.error());
  return std::move(*table);
}

}  // namespace

TEST_CASE("failures add up, run off evenly, and are forgotten when told") {
  const GuardFolder folder;
  auto table = open(folder);
  const auto ann = table.hash("ann");
  for (const GuardTable::Ticks now : {0U, 1'000'000U, 0xffff'ff00U}) {  // the count of ticks comes round
    CAPTURE(now);
    CHECK(table.left(Count::pair, ann, now, most) == 0);
    CHECK(table.add(Count::pair, ann, cost, now, most) == cost);
    CHECK(table.add(Count::pair, ann, cost, now + 100, most) == 2 * cost - 100);
    CHECK(table.left(Count::pair, ann, now + 500, most) == 2 * cost - 500);
    CHECK(table.left(Count::address, ann, now + 500, most) == 0);
    CHECK(table.left(Count::pair, table.hash("bob"), now + 500, most) == 0);
    CHECK(table.left(Count::pair, ann, now + 2 * cost, most) == 0);
    CHECK(table.add(Count::pair, ann, cost, now + 3 * cost, most) == cost);
    table.forget(Count::pair, ann);
    CHECK(table.left(Count::pair, ann, now + 3 * cost, most) == 0);
  }
  for (int i = 0; i < 1000; ++i) table.add(Count::pair, ann, cost, 7, most);
  CHECK(table.left(Count::pair, ann, 7, most) == most);
  table.add(Count::account, ann, cost, 7, most);
  table.forget_all();
  CHECK(table.left(Count::pair, ann, 7, most) == 0);
  CHECK(table.left(Count::account, ann, 7, most) == 0);
}

TEST_CASE("a clock that stepped back far forgets rather than locking out for years") {
  const GuardFolder folder;
  auto table = open(folder);
  const auto ann = table.hash("ann");
  table.add(Count::pair, ann, cost, 10'000'000, most);
  CHECK(table.left(Count::pair, ann, 1000, most) == 0);
  CHECK(table.add(Count::pair, ann, cost, 1000, most) == cost);
}

TEST_CASE("an account keeps where it logged in from") {
  const GuardFolder folder;
  auto table = open(folder);
  const auto ann = table.hash("ann");
  CHECK(table.last_log_in(ann, table.hash("ann at 0")) == 0);
  for (std::uint32_t i = 0; i < 8; ++i) table.remember(ann, table.hash("ann at " + std::to_string(i)), 1000 + 100 * i);
  for (std::uint32_t i = 0; i < 8; ++i)
    CHECK(table.last_log_in(ann, table.hash("ann at " + std::to_string(i))) == 1000 + 100 * i);
  table.remember(ann, table.hash("ann at 0"), 2000);
  table.remember(ann, table.hash("ann at 8"), 2100);
  CHECK(table.last_log_in(ann, table.hash("ann at 1")) == 0);  // the oldest made room
  CHECK(table.last_log_in(ann, table.hash("ann at 0")) == 2000);
  // Whoever floods with an account of his own reaches nobody else's, but for those few that share its set by chance.
  const auto evil = table.hash("evil");
  for (std::uint32_t i = 0; i < 100'000; ++i)
    table.remember(evil, table.hash("evil at " + std::to_string(i)), 3000 + i);
  CHECK(table.last_log_in(ann, table.hash("ann at 0")) == 2000);
}

TEST_CASE("a flood of single failures does not wash away who failed often") {
  const GuardFolder folder;
  auto table = open(folder);
  const auto target = table.hash("target");
  for (int i = 0; i < 10; ++i) table.add(Count::account, target, cost, 0, most);
  for (int i = 0; i < 300'000; ++i) table.add(Count::account, table.hash("n" + std::to_string(i)), cost, 1, most);
  CHECK(table.left(Count::account, target, 1, most) == 10 * cost - 1);
}

TEST_CASE("what one process counts another sees, and a kill at any moment leaves it sound") {
  const GuardFolder folder;
  auto table = open(folder);
  const auto shared = table.hash("shared");
  const auto noise = table.hash("noise");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto own = GuardTable::open(folder.file(), "");
    if (!own) ::_exit(1);
    own->add(Count::pair, own->hash("shared"), cost, 0, most);
    for (std::uint32_t i = 0;; ++i) {
      own->add(Count::pair, own->hash("noise"), 1, i, most);
      own->remember(own->hash("noise"), own->hash(std::to_string(i)), i);
    }
  }
  while (table.left(Count::pair, shared, 0, most) == 0) std::this_thread::yield();
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(table.left(Count::pair, shared, 0, most) == cost);
  table.forget(Count::pair, noise);
  CHECK(table.add(Count::pair, noise, cost, 0, most) == cost);
  CHECK(open(folder).hash("shared") == shared);  // still the same file
}

TEST_CASE("threads that count together lose nothing") {
  const GuardFolder folder;
  auto table = open(folder);
  const auto ann = table.hash("ann");
  std::vector<std::thread> threads;
  table.add(Count::pair, ann, 1, 0, most);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5000; ++n) table.add(Count::pair, ann, 1, 0, most);
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(table.left(Count::pair, ann, 0, most) == 20'001);
}

TEST_CASE("a file that is damaged, cut, or another version's is made anew; one of ours is kept") {
  const GuardFolder folder;
  struct stat there{};
  std::uint64_t ann = 0;
  {
    auto table = open(folder);
    ann = table.hash("ann");
    table.add(Count::pair, ann, cost, 0, most);
    REQUIRE(::stat(folder.file().c_str(), &there) == 0);
    CHECK((there.st_mode & 0777) == 0600);
    CHECK(there.st_size < 2'000'000);
    CHECK(there.st_blocks * 512 >= there.st_size);
  }
  const auto kept = open(folder);
  CHECK(kept.left(Count::pair, ann, 0, most) == cost);
  const auto size = there.st_size;
  const auto damage = [&](const char* how) {
    std::fstream file{folder.file(), std::ios::in | std::ios::out | std::ios::binary};
    if (std::string_view{how} == "magic") file.put('X');
    if (std::string_view{how} == "key") file.seekp(20), file.put('X'), file.put('Y'), file.put('Z');
    file.close();
    if (std::string_view{how} == "short") std::filesystem::resize_file(folder.file(), 100);
    if (std::string_view{how} == "empty") std::filesystem::resize_file(folder.file(), 0);
    if (std::string_view{how} == "long")
      std::filesystem::resize_file(folder.file(), static_cast<std::uintmax_t>(size) + 1);
  };
  for (const char* how : {"magic", "key", "short", "empty", "long"}) {
    CAPTURE(how);
    const auto before = open(folder).hash("ann");
    damage(how);
    const auto table = open(folder);
    CHECK(table.hash("ann") != before);
    CHECK(table.left(Count::pair, table.hash("ann"), 0, most) == 0);
    REQUIRE(::stat(folder.file().c_str(), &there) == 0);
    CHECK(there.st_size == size);
  }
  std::filesystem::remove(folder.file());
  std::filesystem::create_symlink("/etc/passwd", folder.file());
  const auto link = GuardTable::open(folder.file(), "");
  REQUIRE_FALSE(link);
  CHECK(link.error().find("run.directory") != std::string::npos);
}
