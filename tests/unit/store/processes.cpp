#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "expect.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::got;
using tests::Letter;
using tests::make_message;

namespace {

/// What a child tells on its pipe.
struct Told {
  std::uint64_t what, id;
};

class Child {
 public:
  explicit Child(const std::function<int(const std::function<void(Told)>&)>& work) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    pid_ = fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::close(ends[0]);
      _exit(work([&](Told told) {
        if (write(ends[1], &told, sizeof told) != sizeof told) _exit(99);
      }));
    }
    ::close(ends[1]);
    end_ = ends[0];
  }
  std::optional<Told> next() {
    Told told{};
    return read(end_, &told, sizeof told) == sizeof told ? std::optional(told) : std::nullopt;
  }
  void kill() { ::kill(pid_, SIGKILL); }
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    ::close(end_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  int end_ = -1;
};

}  // namespace

TEST_CASE("two processes deliver into and remove from one store at the same time") {
  tests::TestStore store(4, [](Options& options) {
    options.segment_size = 128 << 10U;
    options.stream_threshold = 8000;
  });
  store.close();
  std::map<std::uint64_t, std::uint64_t> there;
  const auto work = [&](std::uint64_t who) {
    return [&store, who](const std::function<void(Told)>& tell) {
      auto options = store.options();
      options.warn = [](std::string_view what) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(what.size()), what.data());
      };
      const auto opened = Store::open(options);
      if (!opened) return 1;
      for (int round = 0; round < 25; ++round) {
        std::vector<Letter> letters;
        for (std::size_t i = 0; i < 12; ++i)
          letters.push_back({.to = {store.boxes()[who * 2 + i % 2], store.boxes()[(who * 2 + 2) % 4]},
                             .octets = make_message("m", 100 + 900 * i, i)});
        std::vector<MessageId> ids;
        for (const auto& id : tests::deliver_together(**opened, letters)) {
          if (!id) return 2;
          tell({1, id->value});
          ids.push_back(*id);
        }
        const auto box = store.boxes()[who * 2];
        std::vector<MessageId> some;
        for (std::size_t i = 0; i < ids.size(); i += 2) some.push_back(ids[i]);
        const auto removed = tests::remove(**opened, box, some);
        if (!removed) return 3;
        for (const auto id : some) tell({2, id.value});
      }
      return 0;
    };
  };
  Child first(work(0));
  Child second(work(1));
  std::uint64_t accepted = 0, removed = 0;
  for (auto* child : {&first, &second}) {
    while (const auto told = child->next()) {
      (told->what == 1 ? accepted : removed) += 1;
      there[told->id] += told->what == 1 ? 1 : 0;
    }
    CHECK(child->wait() == 0);
  }
  CHECK(accepted == 600);
  CHECK(removed == 300);
  CHECK(there.size() == 600);
  for (const auto& [id, times] : there) CHECK(times == 1);
  got(store.open());
  CHECK(tests::problems(*store) == "");
  std::uint64_t found = 0;
  for (const auto box : store.boxes()) {
    for (const auto& entry : got(tests::entries(*store, box))) {
      CHECK(there.contains(entry.id.value));
      CHECK(tests::read_message(*store, box, entry));
      ++found;
    }
  }
  CHECK(found == 600 * 2 - 300);
  CHECK(store.warnings().empty());
}

TEST_CASE("a process killed at any moment costs nothing that was acknowledged, and the other goes on") {
  tests::TestStore store(2, [](Options& options) { options.stream_threshold = 8000; });
  std::uint64_t acknowledged = 0;
  std::vector<std::uint64_t> ids;
  for (int round = 0; round < 12; ++round) {
    store.close();
    Child child([&](const std::function<void(Told)>& tell) {
      const auto opened = Store::open(store.options());
      if (!opened) return 1;
      for (std::size_t i = 0;; ++i) {
        std::vector<Letter> letters(1 + i % 6,
                                    {.to = store.boxes(), .octets = make_message("m", 500 + (i % 3) * 6000, i)});
        tests::deliver_together(**opened, letters, [&](std::size_t, const Result<MessageId>& id) {
          if (id) tell({1, id->value});
        });
      }
    });
    const auto beginning = child.next();
    REQUIRE(beginning);
    ids.push_back(beginning->id);
    got(store.open());
    for (int i = 0; i < 10 + round; ++i) {
      if (i == 5) child.kill();
      ids.push_back(got(tests::deliver(*store, {.to = store.boxes(), .octets = make_message("mine", 700)})).value);
    }
    while (const auto told = child.next()) ids.push_back(told->id);
    CHECK(child.wait() == 1000 + SIGKILL);
    acknowledged = ids.size();
    if (round % 2 == 1) store.reopen();
    for (const auto box : store.boxes()) {
      const auto view = got(store->peek(box));
      CHECK(view.messages >= acknowledged);
      for (const auto id : ids) CHECK(got(store->find(view, MessageId{id})));
    }
  }
  store.reopen();
  CHECK(tests::problems(*store) == "");
  for (const auto& entry : got(tests::entries(*store, store.boxes()[1])))
    CHECK(tests::read_message(*store, store.boxes()[1], entry));
  CHECK(got(store->stat()).open_segments == 0);
}

TEST_CASE("opening a store does not disturb those who work in it") {
  tests::TestStore store(2, [](Options& options) {
    options.segment_size = 40 << 10U;
    options.stream_threshold = 6000;
  });
  store.close();
  Child child([&](const std::function<void(Told)>& tell) {
    const auto opened = Store::open(store.options());
    if (!opened) return 1;
    tell({0, 0});
    for (int i = 0; i < 150; ++i) {
      std::vector<Letter> letters(6, {.to = store.boxes(), .octets = make_message("m", i % 2 == 0 ? 4000 : 9000)});
      std::vector<MessageId> ids;
      for (const auto& id : tests::deliver_together(**opened, letters)) {
        if (!id) return std::fprintf(stderr, "deliver: %s\n", id.error().detail.c_str()), 2;
        ids.push_back(*id);
      }
      for (const auto box : store.boxes()) {
        const auto removed = tests::remove(**opened, box, ids);
        if (!removed) return std::fprintf(stderr, "remove: %s\n", removed.error().detail.c_str()), 3;
      }
    }
    tell({9, 0});
    return 0;
  });
  REQUIRE(child.next());
  // Each opening and each check meets segments that come and go.
  int opened = 0;
  int ends = 0;
  for (; opened < 150; ++opened) {
    const auto code = tests::in_child([&] {
      auto options = store.options();
      options.warn = {};
      const auto other = Store::open(options);
      if (!other) return std::fprintf(stderr, "open: %s\n", other.error().detail.c_str()), 1;
      const auto found = tests::problems(**other);
      if (!found.empty()) return std::fprintf(stderr, "check: %s\n", found.c_str()), 2;
      return 0;
    });
    CHECK(code == 0);
    if (code != 0 && ++ends == 3) break;
  }
  const auto last = child.next();
  CHECK((last && last->what == 9));
  CHECK(child.wait() == 0);
  got(store.open());
  CHECK(tests::problems(*store) == "");
  CHECK(store.segment_files() == 0);
}
