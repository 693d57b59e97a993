#include "smtpd/folders/taker.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <fstream>
#include <set>

#include "smtpd/folders/entrance.hpp"
#include "smtpd/folders/spool_reader.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

using namespace smtpd;
using namespace std::chrono_literals;
using folders::OpenedFile;
using folders::Taker;
using tests::TestStore;

namespace {

std::shared_ptr<const VirtualServer> local_server() {
  auto server = std::make_shared<VirtualServer>();
  auto& terms = server->terms;
  terms.server = "mx";
  terms.hostname = "mx.example.test";
  terms.default_domain = "example.test";
  terms.local = true;
  terms.message_octets = 1'000'000;
  routing::Srs::Terms srs;
  srs.keys = {"a key of sixteen"};
  server->reporting.srs = std::make_shared<const routing::Srs>(std::move(srs));
  server->reporting.server = "mx";
  server->reporting.hostname = terms.hostname;
  server->reporting.default_domain = terms.default_domain;
  return server;
}

/// Spool files for u0@example.test, and a taker of them that works until there is nothing to do.
class Spool {
 public:
  explicit Spool(const std::filesystem::path& folder) : folder_(folder) { std::filesystem::create_directory(folder_); }
  const std::filesystem::path& folder() const { return folder_; }
  std::function<void(Taker::Setup&)> adjust;  ///< of what `work` has

  void put(const std::string& name, const std::string& text) {
    const auto hidden = folder_ / ("." + name);
    std::ofstream(hidden, std::ios::binary) << "MAIL FROM:<u1>\r\nRCPT TO:<u0>\r\nDATA\r\n" << text;
    std::filesystem::rename(hidden, folder_ / name);
  }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator{}));
  }

  /// `until`: asked between turns, with the taker. Error: it could not begin.
  std::expected<void, std::string> work(
      mailstore::Store& store, const std::function<bool(const Taker&)>& until,
      const std::function<void(Taker::Moment)>& passed = [](Taker::Moment) {}) {
    const auto worker = std::make_unique<common::net::Worker>(common::system_clock_source());
    auto& context = worker->context();
    common::dns::Resolver resolver;
    folders::SpoolReader reader{store, common::system_clock_source(), [] { return local_server(); }};
    folders::Entrance entrance{{store, *worker, resolver}, "spool", folders::Entrance::Refused::message};
    Taker::Setup setup;
    setup.folder = folder_;
    setup.source = "spool";
    setup.read = [&](const OpenedFile& file) { return reader.read(file); };
    setup.accept = [&](const OpenedFile& file, folders::Message message, std::string origin) {
      CHECK(file.owner() == ::geteuid());
      CHECK(message.transaction.envelope.reverse_path == "u1@example.test");
      return entrance.accept(file, std::move(message), std::move(origin));
    };
    setup.passed = passed;
    if (adjust) adjust(setup);
    Taker taker{context, store, std::move(setup)};
    if (auto started = taker.start(); !started) return started;
    const auto end = [&]() -> asio::awaitable<void> {
      asio::steady_timer timer{context};
      while (!(until(taker) && (taker.idle() || hurry))) {
        timer.expires_after(1ms);
        co_await timer.async_wait(asio::use_awaitable);
      }
      taker.stop();
    };
    asio::co_spawn(context, end, asio::detached);
    context.run();
    return {};
  }
  bool hurry = false;  ///< the end of work() is not the end of all files

  std::string origin(const std::string& name) const {
    const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const auto file = OpenedFile::open(folder, name);
    ::close(folder);
    REQUIRE(file);
    return "spool " + file->identity();
  }

 private:
  std::filesystem::path folder_;
};

/// The file of this origin was taken, and what it held is no mailbox's.
asio::awaitable<mailstore::Result<void>> take_once(mailstore::Store& store, std::string origin) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  draft->append("\r\n");
  mailstore::BodyFacts facts;
  facts.octets = facts.header_octets = 2;
  mailstore::Envelope nobody;
  auto accepting = store.accept_once(std::move(*draft), std::move(nobody), facts, std::move(origin));
  co_return co_await std::move(accepting);
}

std::size_t messages_in(TestStore& store) {
  return tests::entries(*store, store.boxes()[0])->size();
}
std::size_t remembered(TestStore& store) {
  return store->taken_origins("spool ")->size();
}
bool at_once(const Taker&) {
  return true;
}

}  // namespace

TEST_CASE("what lies in the spool is taken, unlinked and forgotten") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  for (int i = 0; i < 100; ++i) spool.put("file" + std::to_string(i), "Subject: x\r\n\r\n.dot\r\n");
  spool.put("long", "Subject: long\r\n\r\n" + std::string(700'000, 'x') + "\r\n");
  std::ofstream(spool.folder() / ".half") << "MAIL FROM";
  REQUIRE(spool.work(*store, at_once));
  CHECK(messages_in(store) == 101);
  CHECK(spool.files() == 1);
  CHECK(remembered(store) == 0);
  CHECK(tests::problems(*store) == "");
  std::size_t short_ones = 0;
  const auto entries = *tests::entries(*store, store.boxes()[0]);
  for (const auto& entry : entries) {
    const auto text = *tests::read_message(*store, store.boxes()[0], entry);
    CHECK(text.contains("Received: from localhost (local, userid " + std::to_string(::geteuid()) +
                        ")\r\n\tby mx.example.test id "));
    CHECK(text.contains("\r\nMessage-ID: <"));
    if (text.ends_with("\r\n\r\n..dot\r\n")) ++short_ones;
  }
  CHECK(short_ones == 100);
}

TEST_CASE("what comes later is taken as it comes, and once, under whatever name it is seen") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  int step = 0;
  REQUIRE(spool.work(*store, [&](const Taker& taker) {
    if (step == 0 && ++step == 1) spool.put("one", "\r\nx\r\n");
    if (step == 1 && taker.taken() == 1 && ++step == 2) {
      spool.put("two", "\r\nx\r\n");
      std::filesystem::rename(spool.folder() / "two", spool.folder() / "three");
    }
    return step == 2 && taker.taken() == 2;
  }));
  CHECK(messages_in(store) == 2);
  CHECK(spool.files() == 0);
}

TEST_CASE("what is made before our eyes is taken when it is closed, in whatever pieces it came") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  spool.adjust = [](Taker::Setup& setup) { setup.look_again = 1ms; };
  const std::string_view text = "MAIL FROM:<u1>\r\nRCPT TO:<u0>\r\nDATA\r\nSubject: slow\r\n\r\nhalf and half\r\n";
  int file = -1, looks = 0;
  REQUIRE(spool.work(*store, [&](const Taker& taker) {
    if (file < 0) {
      file = ::open((spool.folder() / "slow").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
      CHECK(::write(file, text.data(), 60) == 60);
    }
    if (++looks == 50) {
      CHECK(messages_in(store) == 0);
      CHECK(::write(file, text.data() + 60, text.size() - 60) == static_cast<ssize_t>(text.size() - 60));
      ::close(file);
    }
    return looks > 50 && taker.taken() == 1;
  }));
  CHECK(messages_in(store) == 1);
  CHECK(spool.files() == 0);
}

TEST_CASE("two do not take from one folder") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  bool asked = false;
  const auto ask = [&](const Taker&) {
    if (!asked) {
      const auto second = spool.work(*store, at_once);
      REQUIRE_FALSE(second);
      CHECK(second.error().contains("another smtpd"));
    }
    asked = true;
    return true;
  };
  REQUIRE(spool.work(*store, ask));
  CHECK(spool.work(*store, at_once).has_value());
}

TEST_CASE("what is no message stays, the rest goes on") {
  TestStore store(2);
  const auto place = store.path().parent_path();
  Spool spool{place / "spool"};
  spool.put("good", "\r\nx\r\n");
  spool.put("too big", std::string(1'500'000, 'x'));
  std::ofstream(place / "outside") << "MAIL FROM:<u1>\r\nRCPT TO:<u0>\r\nDATA\r\nx\r\n";
  std::filesystem::create_symlink(place / "outside", spool.folder() / "link");
  std::filesystem::create_hard_link(place / "outside", spool.folder() / "hard");
  std::filesystem::create_directory(spool.folder() / "folder");
  REQUIRE(::mkfifo((spool.folder() / "pipe").c_str(), 0666) == 0);
  std::ofstream(spool.folder() / "empty");
  std::ofstream(spool.folder() / "text") << "hello\n";
  REQUIRE(spool.work(*store, at_once));
  CHECK(messages_in(store) == 1);
  CHECK(spool.files() == 7);
  CHECK(remembered(store) == 0);
  // A second name that goes makes a file of it that is its owner's alone.
  std::filesystem::remove(place / "outside");
  REQUIRE(spool.work(*store, at_once));
  CHECK(messages_in(store) == 2);
}

TEST_CASE("killed behind any step, every file is taken once") {
  if (!tests::child_has_threads) return;
  using enum Taker::Moment;
  for (const auto last : {opened, read, committed, unlinked, synced, forgotten}) {
    for (const int which : {1, 3}) {
      CAPTURE(static_cast<int>(last));
      CAPTURE(which);
      TestStore store(2);
      Spool spool{store.path().parent_path() / "spool"};
      for (int i = 0; i < 4; ++i) spool.put("file" + std::to_string(i), "\r\n" + std::to_string(i) + "\r\n");
      store.close();
      const auto died = tests::in_child([&] {
        auto options = store.options();
        options.warn = {};
        const auto opened_store = mailstore::Store::open(options);
        if (!opened_store) return 1;
        int seen = 0;
        // One sync and one forgetting serve all four.
        const int wanted = last == synced || last == forgotten ? 1 : which;
        (void)spool.work(
            **opened_store, [](const Taker&) { return false; },
            [&](Taker::Moment moment) {
              if (moment == last && ++seen == wanted) ::_exit(42);
            });
        return 2;
      });
      CHECK(died == 42);
      REQUIRE(store.open());
      REQUIRE(spool.work(*store, at_once));
      CHECK(messages_in(store) == 4);
      CHECK(spool.files() == 0);
      CHECK(remembered(store) == 0);
      CHECK(tests::problems(*store) == "");
    }
  }
}

TEST_CASE("a look that is broken off forgets no file that it has not seen") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  constexpr std::size_t count = 40;
  for (std::size_t i = 0; i < count; ++i) {
    const auto name = "file" + std::to_string(i);
    spool.put(name, "\r\nx\r\n");
    REQUIRE(tests::wait_for(take_once(*store, spool.origin(name))));
  }
  REQUIRE(remembered(store) == count);
  // Many more than are looked at side by side stand in front of them.
  for (std::size_t i = 0; i < 10 * count; ++i) std::ofstream(spool.folder() / ("none" + std::to_string(i))) << "x";
  spool.hurry = true;
  REQUIRE(spool.work(*store, at_once));
  spool.hurry = false;
  for (std::size_t i = 0; i < 10 * count; ++i) std::filesystem::remove(spool.folder() / ("none" + std::to_string(i)));
  REQUIRE(spool.work(*store, at_once));
  CHECK(messages_in(store) == 0);  // taken before
  CHECK(spool.files() == 0);
  CHECK(remembered(store) == 0);
}

TEST_CASE("a number that is given again is another file") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  const auto identity = [&](const char* name) {
    const int folder = ::open(spool.folder().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const auto file = OpenedFile::open(folder, name);
    ::close(folder);
    REQUIRE(file);
    return file->identity();
  };
  std::set<std::string> seen;
  for (int i = 0; i < 20; ++i) {
    spool.put("file", "\r\nx\r\n");
    CHECK(seen.insert(identity("file")).second);
    std::filesystem::rename(spool.folder() / "file", spool.folder() / "other");
    CHECK(seen.contains(identity("other")));
    std::filesystem::remove(spool.folder() / "other");
  }
}

TEST_CASE("the number of a file is its own until nobody remembers it") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  spool.put("one", "\r\nx\r\n");
  struct stat about{};
  REQUIRE(::stat((spool.folder() / "one").c_str(), &about) == 0);
  const auto is_open = [&] {
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
      struct stat open{};
      if (::stat(each.path().c_str(), &open) == 0 && open.st_ino == about.st_ino && open.st_dev == about.st_dev)
        return true;
    }
    return false;
  };
  int looked = 0;
  REQUIRE(spool.work(*store, at_once, [&](Taker::Moment moment) {
    if (moment != Taker::Moment::unlinked && moment != Taker::Moment::synced) return;
    ++looked;
    CHECK(is_open());
  }));
  CHECK(looked == 2);
  CHECK_FALSE(is_open());
}

TEST_CASE("a file that got a second name while it was taken is not taken again under that") {
  TestStore store(2);
  const auto outside = store.path().parent_path() / "outside";
  Spool spool{store.path().parent_path() / "spool"};
  spool.put("one", "\r\nx\r\n");
  REQUIRE(spool.work(*store, at_once, [&](Taker::Moment moment) {
    if (moment == Taker::Moment::committed) std::filesystem::create_hard_link(spool.folder() / "one", outside);
  }));
  CHECK(messages_in(store) == 1);
  CHECK(spool.files() == 1);
  CHECK(remembered(store) == 1);
  // Both names, then the second one alone.
  REQUIRE(spool.work(*store, at_once));
  CHECK(remembered(store) == 1);
  const auto hidden = std::filesystem::directory_iterator(spool.folder())->path();
  CHECK(hidden.filename().native().starts_with(".taken "));
  std::filesystem::remove(hidden);
  std::filesystem::rename(outside, spool.folder() / "again");
  REQUIRE(spool.work(*store, at_once));
  CHECK(messages_in(store) == 1);
  CHECK(spool.files() == 0);
  CHECK(remembered(store) == 0);
}

TEST_CASE("a file that was moved away while it was taken stays known") {
  TestStore store(2);
  const auto outside = store.path().parent_path() / "outside";
  Spool spool{store.path().parent_path() / "spool"};
  spool.put("one", "\r\nx\r\n");
  REQUIRE(spool.work(*store, at_once, [&](Taker::Moment moment) {
    if (moment == Taker::Moment::committed) std::filesystem::rename(spool.folder() / "one", outside);
  }));
  CHECK(remembered(store) == 1);
  std::filesystem::rename(outside, spool.folder() / "back");
  REQUIRE(spool.work(*store, at_once));
  CHECK(messages_in(store) == 1);
  CHECK(spool.files() == 0);
  CHECK(remembered(store) == 0);
}

TEST_CASE("what was left hidden and has a second name stays remembered at the start") {
  if (!tests::child_has_threads) return;
  TestStore store(2);
  const auto outside = store.path().parent_path() / "outside";
  Spool spool{store.path().parent_path() / "spool"};
  spool.put("one", "\r\nx\r\n");
  store.close();
  const auto died = tests::in_child([&] {
    auto options = store.options();
    options.warn = {};
    const auto opened_store = mailstore::Store::open(options);
    if (!opened_store) return 1;
    (void)spool.work(
        **opened_store, [](const Taker&) { return false; },
        [&](Taker::Moment moment) {
          if (moment == Taker::Moment::hidden) ::_exit(42);
        });
    return 2;
  });
  CHECK(died == 42);
  REQUIRE(store.open());
  const auto hidden = std::filesystem::directory_iterator(spool.folder())->path();
  std::filesystem::create_hard_link(hidden, outside);
  REQUIRE(spool.work(*store, at_once));
  CHECK(remembered(store) == 1);
  std::filesystem::remove(outside);
  REQUIRE(spool.work(*store, at_once));
  CHECK(messages_in(store) == 1);
  CHECK(spool.files() == 0);
  CHECK(remembered(store) == 0);
}

TEST_CASE("who has stopped leaves the folder to the next one") {
  TestStore store(2);
  const auto folder = store.path().parent_path() / "spool";
  std::filesystem::create_directory(folder);
  asio::io_context context{1};
  Taker::Setup setup;
  setup.folder = folder;
  setup.source = "spool";
  setup.read = [](const OpenedFile&) -> asio::awaitable<folders::Reading> { co_return folders::Unread{}; };
  Taker first{context, *store, setup};
  Taker second{context, *store, setup};
  REQUIRE(first.start());
  CHECK_FALSE(second.start());
  first.stop();
  CHECK_FALSE(first.ended());  // its coroutines still have to see that
  Taker third{context, *store, setup};
  REQUIRE(third.start());
  third.stop();
  context.run();
  CHECK(first.ended());
  CHECK(third.ended());
}

TEST_CASE("a folder that was moved and made anew is taken from") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  bool fit = false;
  int asked = 0;
  spool.adjust = [&](Taker::Setup& setup) {
    setup.look_again = 2ms;
    setup.check = [&]() -> std::expected<void, std::string> {
      ++asked;
      if (fit) return {};
      return std::unexpected("not yet");
    };
  };
  int step = 0;
  REQUIRE(spool.work(*store, [&](const Taker& taker) {
    if (step == 0 && ++step == 1) {
      std::filesystem::rename(spool.folder(), store.path().parent_path() / "aside");
      std::filesystem::create_directory(spool.folder());
      spool.put("one", "\r\nx\r\n");
    }
    if (step == 1 && asked > 1 && ++step == 2) {
      CHECK(taker.taken() == 0);
      fit = true;
    }
    // By the event of the new one, too.
    if (step == 2 && taker.taken() == 1 && ++step == 3) spool.put("two", "\r\nx\r\n");
    return taker.taken() == 2;
  }));
  CHECK(messages_in(store) == 2);
  CHECK(spool.files() == 0);
}

TEST_CASE("what could not be put elsewhere is tried again at a pace, without being read again") {
  TestStore store(2);
  Spool spool{store.path().parent_path() / "spool"};
  std::ofstream(spool.folder() / "text") << "hello\n";
  const auto place = store.path().parent_path();
  std::ofstream(place / "outside") << "hello\n";
  std::filesystem::create_hard_link(place / "outside", spool.folder() / "hard");
  std::vector<Taker::Try> tries;
  int hard = 0;
  int hard_by_then = 0;
  int reads = 0;
  spool.adjust = [&](Taker::Setup& setup) {
    setup.look_again = 3ms;
    setup.refused_again = 20ms;
    setup.read = [&, read = setup.read](const OpenedFile& file) {
      ++reads;
      return read(file);
    };
    setup.refused = [&](int folder, const std::string& name, const folders::Unread&, Taker::Try which) {
      if (name == "hard") ++hard;
      if (name == "hard") return false;
      tries.push_back(which);
      if (tries.size() < 3) return false;
      hard_by_then = hard;
      return ::unlinkat(folder, name.c_str(), 0) == 0;
    };
  };
  REQUIRE(spool.work(*store, [&](const Taker&) { return tries.size() == 3; }));
  using enum Taker::Try;
  CHECK(tries == std::vector{first, again, again});
  CHECK(reads == 1);
  CHECK(hard_by_then >= 2);  // at the same pace
  CHECK(hard_by_then <= 4);
}
