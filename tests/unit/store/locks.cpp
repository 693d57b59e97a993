#include "mailstore/locks.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <optional>
#include <set>

#include "expect.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;

namespace {

/// A child process that has done `work` and stays until it is killed.
class Holder {
 public:
  explicit Holder(const std::function<bool()>& work) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    child_ = fork();
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      const char word = work() ? 'y' : 'n';
      if (write(ends[1], &word, 1) != 1) _exit(1);
      for (;;) pause();
    }
    char word = 0;
    ready_ = read(ends[0], &word, 1) == 1 && word == 'y';
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Holder() { end(); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  bool ready() const { return ready_; }
  void end() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  pid_t child_ = -1;
  bool ready_ = false;
};

}  // namespace

TEST_CASE("one maildrop has one holder in a process") {
  const tests::TempFolder folder;
  MaildropLocks locks(folder.path().string());
  for (const std::uint32_t number : {0U, 1U, 255U, 256U, 257U, 512U, 0xFFFFFFFFU}) {
    CAPTURE(number);
    CHECK(locks.take(MailboxNumber{number}));
    CHECK_FALSE(locks.take(MailboxNumber{number}));
  }
  locks.release(MailboxNumber{256});
  CHECK(locks.take(MailboxNumber{256}));
  CHECK_FALSE(locks.take(MailboxNumber{512}));
  locks.release(MailboxNumber{7});  // not held: nothing happens
}

TEST_CASE("two openings of one folder exclude each other, as two processes do") {
  const tests::TempFolder folder;
  MaildropLocks first(folder.path().string());
  MaildropLocks second(folder.path().string());
  CHECK(first.take(MailboxNumber{5}));
  CHECK_FALSE(second.take(MailboxNumber{5}));
  CHECK(second.take(MailboxNumber{5 + 256}));
  CHECK(second.take(MailboxNumber{6}));
  first.release(MailboxNumber{5});
  CHECK(second.take(MailboxNumber{5}));
}

TEST_CASE("a dead process's maildrop is free") {
  tests::TestStore store(2);
  const auto box = store.boxes()[0];
  store.close();
  Holder holder([&] {
    static auto opened = Store::open(store.options());
    if (!opened) return false;
    static auto lock = (*opened)->lock_maildrop(box);
    return lock.has_value();
  });
  REQUIRE(holder.ready());
  store.reopen();
  CHECK(error_of(store->lock_maildrop(box)) == Errc::in_use);
  CHECK(error_of(tests::remove(*store, box, {MessageId{1}})) == Errc::in_use);
  CHECK(store->lock_maildrop(store.boxes()[1]));
  holder.end();
  CHECK(store->lock_maildrop(box));
}

TEST_CASE("a maildrop lock goes with its owner and can be handed on") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  {
    auto lock = got(store->lock_maildrop(box));
    CHECK(lock.mailbox() == box);
    CHECK(error_of(store->lock_maildrop(box)) == Errc::in_use);
    const auto moved = std::move(lock);
    CHECK(moved.mailbox() == box);
    CHECK(error_of(store->lock_maildrop(box)) == Errc::in_use);
  }
  CHECK(store->lock_maildrop(box));
}

TEST_CASE("a mailbox that is being read cannot be purged") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  got(tests::deliver(*store, {.to = {box}, .octets = tests::make_message("kept", 200)}));
  {
    const auto lock = got(store->lock_maildrop(box));
    CHECK(error_of(tests::remove_mailbox(*store, "u0@example.test", true)) == Errc::in_use);
    CHECK(got(store->view(lock)).messages == 1);
  }
  CHECK(tests::remove_mailbox(*store, "u0@example.test", true));
  CHECK(got(store->peek(box)).messages == 0);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("every process has a writer's number of its own, and sixteen are the limit") {
  const tests::TempFolder folder;
  std::vector<std::unique_ptr<WriterSlot>> slots;
  std::set<unsigned> numbers;
  for (unsigned i = 0; i < WriterSlot::count; ++i) {
    slots.push_back(std::make_unique<WriterSlot>(folder.path().string()));
    const auto number = slots.back()->take();
    CHECK(slots.back()->take() == number);
    CHECK(numbers.insert(number).second);
  }
  WriterSlot late(folder.path().string());
  CHECK(tests::failure_of([&] { late.take(); }) == Errc::unavailable);
  slots.pop_back();
  CHECK(late.take() == 15);
}

TEST_CASE("the turnstile lets one through at a time and is free when its holder is dead") {
  const tests::TempFolder folder;
  const auto path = (folder.path() / "turnstile").string();
  Holder holder([&] {
    static Turnstile turnstile(path);
    static const Turnstile::Pass pass(turnstile);
    return true;
  });
  REQUIRE(holder.ready());
  CHECK(tests::in_child([&] {
          const Descriptor file(system_files(), system_files().open(path, 2 /* O_RDWR */, 0));
          return try_lock(file.get(), 0, 1) ? 1 : 0;
        }) == 0);
  holder.end();
  Turnstile turnstile(path);
  const Turnstile::Pass pass(turnstile);
}

TEST_CASE("a lock and a draft outlive the store that gave them") {
  // As when a daemon ends while a session still waits: the store goes first, the sessions with what they hold later.
  tests::TestStore store(1, [](Options& options) { options.stream_threshold = 1000; });
  std::optional<MaildropLock> lock = tests::got(store->lock_maildrop(store.boxes()[0]));
  std::optional<Draft> held;
  std::optional<Draft> streamed;
  asio::io_context io(1);
  auto open_both = [](Store& from, std::optional<Draft>& one, std::optional<Draft>& other) -> asio::awaitable<void> {
    auto first = from.begin();
    one = tests::got(co_await std::move(first));
    one->append("held in memory");
    auto second = from.begin();
    other = tests::got(co_await std::move(second));
    other->append(std::string(5000, 'x'));
    auto spilling = other->spill();
    tests::got(co_await std::move(spilling));
  };
  asio::co_spawn(io, open_both(*store, held, streamed), asio::detached);
  io.run();
  CHECK(store.segment_files() == 1);
  store.close();
  held.reset();
  streamed.reset();
  CHECK(store.segment_files() == 0);
  lock.reset();
  tests::got(store.open());
  CHECK(store->lock_maildrop(store.boxes()[0]));
}
