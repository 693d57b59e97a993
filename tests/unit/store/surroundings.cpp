// Surroundings that go wrong: a disk without room, no descriptors, a clock that jumps, a peer or a process that is
// gone. Refused for the moment, nothing lost, service again when it is over.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "expect.hpp"
#include "mailstore/core.hpp"
#include "mailstore/store.hpp"
#include "tests/support/failing_files.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::FailingFiles;
using tests::got;
using tests::Letter;
using tests::make_message;

namespace {

constexpr std::uint64_t a_day = std::uint64_t{24} * 3600 * 1'000'000;

/// A store whose file calls can be made to fail.
struct Fragile {
  FailingFiles files;
  tests::TestStore store{1, [this](Options& options) {
                           options.files = &files;
                           options.stream_threshold = 8000;
                         }};
  MailboxNumber box = store.boxes()[0];
};

/// Waits for what another thread does soon; false: it did not.
template <class Condition>
bool soon(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace

TEST_CASE("a disk that is full in the middle of a long message: it is refused as full, and its file goes at once") {
  Fragile fragile;
  auto& store = fragile.store;
  for (std::uint64_t left = 0; left < 40'000; left += 3000) {
    CAPTURE(left);
    fragile.files.writes_left = left;
    CHECK(error_of(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("long", 40'000)})) ==
          Errc::full);
    CHECK(store.segment_files() == 0);
  }
  fragile.files.writes_left = ~std::uint64_t{0};
  got(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("long", 40'000)}));
  CHECK(got(tests::entries(*store, fragile.box)).size() == 1);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a long message does not eat the disk's reserve while it comes in") {
  Fragile fragile;
  auto& store = fragile.store;
  store.options().reserve = 1 << 20U;
  store.reopen();
  got(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("short", 300)}));
  fragile.files.free = 1 << 19U;
  // begin() asked within this second and may let it in; the first piece is refused at the latest.
  CHECK(error_of(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("long", 40'000)})) == Errc::full);
  CHECK(store.segment_files() == 1);
  fragile.files.free = std::int64_t{1} << 40U;
  store.reopen();
  got(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("long", 40'000)}));
}

TEST_CASE("a session that goes away while its message is committed takes nothing with it") {
  for (const std::size_t size : {std::size_t{500}, std::size_t{40'000}}) {
    CAPTURE(size);
    tests::TestStore store(1, [](Options& options) { options.stream_threshold = 8000; });
    const Letter letter{.to = {store.boxes()[0]}, .octets = make_message("left", size)};
    bool more = true;
    for (std::size_t turns = 1; more; ++turns) {
      CAPTURE(turns);
      more = tests::leave_delivery(*store, letter, turns, [&] { store.close(); });
      REQUIRE(error_of(store.open()) == std::nullopt);
      CHECK(tests::problems(*store) == "");
    }
    const auto all = got(tests::entries(*store, store.boxes()[0]));
    CHECK(all.size() >= 1);
    for (const auto& entry : all) {
      CHECK(got(tests::read_message(*store, store.boxes()[0], entry)) ==
            tests::front_of(letter, store.boxes()[0]) + letter.octets);
    }
  }
}

TEST_CASE("without descriptors mail is refused for the moment and what is there stays") {
  Fragile fragile;
  auto& store = fragile.store;
  got(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("before", 300)}));
  store.reopen();  // its segment is sealed: the next message needs a new one
  fragile.files.opens = EMFILE;
  CHECK(error_of(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("m", 300)})) == Errc::unavailable);
  CHECK(error_of(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("m", 30'000)})) ==
        Errc::unavailable);
  const auto entry = got(tests::entries(*store, fragile.box)).front();
  CHECK(error_of(tests::read_message(*store, fragile.box, entry)) == Errc::unavailable);
  fragile.files.opens = 0;
  CHECK(tests::read_message(*store, fragile.box, entry));
  got(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("m", 300)}));
  got(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("m", 30'000)}));
  CHECK(got(tests::entries(*store, fragile.box)).size() == 3);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a process at its limit of open files lives on, and opens no store by halves") {
  tests::TestStore store(2, [](Options& options) { options.stream_threshold = 8000; });
  const auto box = store.boxes()[0];
  got(tests::deliver(*store, {.to = {box}, .octets = make_message("before", 300)}));
  store.close();
  CHECK(tests::in_child([&] {
          const auto limit_to = [](rlim_t many) {
            rlimit limit{};
            getrlimit(RLIMIT_NOFILE, &limit);
            limit.rlim_cur = many;
            return setrlimit(RLIMIT_NOFILE, &limit) == 0;
          };
          const auto lowest = [] {
            const int free = dup(0);
            ::close(free);
            return static_cast<rlim_t>(free);
          }();
          // Whichever of the calls finds none: an error, never an exception or half a store.
          bool opened = false;
          for (rlim_t spare = 0; !opened; ++spare) {
            if (spare > 100 || !limit_to(lowest + spare)) return 1;
            const auto store_now = Store::open(store.options());
            opened = store_now.has_value();
            if (!opened && store_now.error().code != Errc::unavailable) {
              std::fprintf(stderr, "%s\n", store_now.error().detail.c_str());
              return 2;
            }
            if (!opened) continue;
            // Only now and then one is free for a message's segment.
            int accepted = 0;
            for (rlim_t more = 0; accepted < 4; ++more) {
              if (more > 100 || !limit_to(lowest + spare + more)) return 3;
              for (const std::size_t size : {std::size_t{300}, std::size_t{30'000}}) {
                const auto id = tests::deliver(**store_now, {.to = {box}, .octets = make_message("m", size)});
                if (id) ++accepted;
              }
            }
            if (const auto view = (*store_now)->peek(box); !view || view->messages < 5) return 4;
          }
          return 0;
        }) == 0);
  got(store.open());
  CHECK(got(store->peek(box)).messages >= 5);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("ids rise and mail is taken when the clock jumps by days, forward and back, and over restarts") {
  std::atomic<std::uint64_t> clock{std::uint64_t{2500} * a_day};
  tests::TestStore store(1, [&](Options& options) { options.clock = [&clock] { return clock.load(); }; });
  const auto box = store.boxes()[0];
  std::uint64_t last = 0;
  const auto send = [&](int many) {
    for (int i = 0; i < many; ++i) {
      const auto id = got(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 200)}));
      CHECK(id.value > last);
      last = id.value;
      clock += 5;
    }
  };
  send(5);
  for (const auto jump : {std::int64_t{3}, std::int64_t{-10}, std::int64_t{20}, std::int64_t{-1}, std::int64_t{-100}}) {
    CAPTURE(jump);
    clock += static_cast<std::uint64_t>(jump * static_cast<std::int64_t>(a_day));
    send(5);
    store.reopen();
    send(5);
  }
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("when the clock has stepped back the range of ids is raised above those given, not above the clock") {
  constexpr std::uint64_t now = 200'000'000'000'000;
  IdSource ids;
  ids.start(now, 0, now + IdSource::window, 0, 1);
  const auto back = now - a_day;
  // As many as the range has: no clock reaches its end for a day.
  std::uint64_t given = 0;
  for (auto id = ids.next(back); id; id = ids.next(back)) {
    given = id->value;
    if (ids.low(back)) ids.raise_later(ids.wanted_limit(back));
  }
  CHECK(given > 0);
  CHECK(ids.low(back));
  ids.raised();
  const auto next = ids.next(back);
  REQUIRE(next);
  CHECK(next->value > given);
}

TEST_CASE("a process that was killed while it read does not keep the index from using its pages again") {
  tests::TestStore store(1, [](Options& options) { options.care_every = std::chrono::milliseconds(1); });
  const auto box = store.boxes()[0];
  store.close();
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t reader = fork();
  REQUIRE(reader >= 0);
  if (reader == 0) {
    const auto opened = Store::open(store.options());
    const auto look = (*opened)->directory();
    const char told = look->mailbox("u0@example.test") ? 'y' : 'n';
    if (::write(ends[1], &told, 1) == 1) pause();
    _exit(0);
  }
  char told = 0;
  REQUIRE(::read(ends[0], &told, 1) == 1);
  CHECK(told == 'y');
  got(store.open());
  kill(reader, SIGKILL);
  waitpid(reader, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  const auto put = [&] { got(tests::deliver(*store, {.to = {box}, .octets = make_message("m", 200)})); };
  for (int i = 0; i < 50; ++i) put();
  const auto grown = got(store->stat()).index_octets;
  for (int i = 0; i < 200; ++i) put();
  // A held page costs several new ones a commit: 200 commits would have been a megabyte at least.
  CHECK(got(store->stat()).index_octets < grown + (600 << 10U));
}

TEST_CASE("a busy process closes what others unlinked, so that the room comes back" *
          doctest::skip(!tests::child_has_threads)) {
  tests::TestStore store(2, [](Options& options) {
    options.care_every = std::chrono::milliseconds(1);
    options.stream_threshold = 8000;
  });
  const auto box = store.boxes()[0];
  const auto id = got(tests::deliver(*store, {.to = {box}, .octets = make_message("long", 40'000)}));
  CHECK(tests::read_message(*store, box, got(tests::entries(*store, box)).front()));
  const auto held = [] {
    std::size_t many = 0;
    for (const auto& one : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code error;
      const auto to = std::filesystem::read_symlink(one.path(), error).string();
      if (to.find(".seg (deleted)") != std::string::npos) ++many;
    }
    return many;
  };
  CHECK(tests::in_child([&] {
          const auto other = Store::open(store.options());
          return other && tests::remove(**other, box, {id}) ? 0 : 1;
        }) == 0);
  CHECK(soon([&] {
    got(tests::deliver(*store, {.to = {store.boxes()[1]}, .octets = make_message("m", 200)}));
    return held() == 0;
  }));
}

TEST_CASE("a compaction that finds no room leaves nothing behind, and the mail is where it was") {
  Fragile fragile;
  auto& store = fragile.store;
  std::vector<MessageId> ids;
  for (int i = 0; i < 20; ++i)
    ids.push_back(got(tests::deliver(*store, {.to = {fragile.box}, .octets = make_message("m", 3000)})));
  store.reopen();
  got(tests::remove(*store, fragile.box, {ids.begin(), ids.begin() + 12}));
  CHECK(store.segment_files() == 1);
  fragile.files.writes_left = 10'000;
  CHECK(error_of(store->compact({.all = true, .at_once = true, .stop = {}})) == Errc::full);
  CHECK(store.segment_files() == 1);
  fragile.files.writes_left = ~std::uint64_t{0};
  CHECK(got(store->compact({.all = true, .at_once = true, .stop = {}})).moved == 8);
  CHECK(store.segment_files() == 1);
  CHECK(got(tests::entries(*store, fragile.box)).size() == 8);
  CHECK(tests::problems(*store) == "");
}
