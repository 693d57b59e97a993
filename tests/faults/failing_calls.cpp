#include <doctest/doctest.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <set>

#include "tests/faults/disk.hpp"
#include "tests/faults/story.hpp"
#include "tests/support/store_harness.hpp"

using namespace faults;

TEST_CASE("whichever file call fails, nothing acknowledged is lost and service goes on") {
  const char* const seed_text = std::getenv("PENNYPOST_SEED");
  const auto seed = seed_text != nullptr ? std::strtoull(seed_text, nullptr, 10) : 7;
  const char* const stride_text = std::getenv("PENNYPOST_STRIDE");
  const auto stride = stride_text != nullptr ? std::strtoull(stride_text, nullptr, 10) : 2;
  CAPTURE(seed);
  const Story story(seed, 16);
  DiskLog log;
  std::uint64_t calls = 0;
  std::uint64_t ended = 0;
  std::optional<Disk> disk;
  const auto played = [&](const std::filesystem::path& path, const Failing& failing) {
    begin_story(path, story);
    disk.emplace(path);
    log.clear();
    return tests::in_child([&] {
      log.arm(path.string(), failing);
      return play(path, story, log) ? 0 : 7;
    });
  };
  {
    const tests::TempFolder folder(tests::memory_folder());
    REQUIRE(played(folder.path() / "store", {}) == 0);
    calls = log.calls();
    REQUIRE(calls > 100);
  }
  struct Way {
    int error;
    bool after;
  };
  for (const auto way :
       {Way{.error = EIO, .after = false}, Way{.error = ENOSPC, .after = false}, Way{.error = EIO, .after = true}}) {
    for (std::uint64_t call = 1 + seed % stride; call <= calls; call += stride) {
      CAPTURE(call);
      CAPTURE(way.error);
      CAPTURE(way.after);
      const tests::TempFolder folder(tests::memory_folder());
      const auto path = folder.path() / "store";
      const int code = played(path, {.call = call, .error = way.error, .after = way.after});
      // 1: the outcome of a commit was unknown, so the process ended, and the next one looks what is true.
      if (code != 0) CHECK(code == 1);
      if (code == 1) ++ended;
      Ledger ledger(story);
      std::set<std::uint64_t> segments;
      std::set<std::uint64_t> doubtful;
      bool trusted = false;  // a segment whose sync had failed
      log.read([&](const Logged& entry) {
        disk->apply(entry);
        if (entry.kind == Entry::create && entry.octets.ends_with(".seg")) segments.insert(entry.file);
        if (entry.kind == Entry::sync_end && !entry.done) doubtful.insert(entry.file);
        if (entry.kind == Entry::write && segments.contains(entry.file) && doubtful.contains(entry.file))
          trusted = true;
        if (entry.kind == Entry::note) ledger.apply(entry.octets);
      });
      CHECK_FALSE(trusted);
      for (const auto loss : {Loss::everything, Loss::anything}) {
        const tests::TempFolder image(tests::memory_folder());
        disk->after_power_failure(image.path(), loss, call);
        CAPTURE(static_cast<int>(loss));
        CHECK(ledger.compare(image.path()) == "");
      }
      // Without a power failure, as the next process finds it.
      CHECK(ledger.compare(path) == "");
    }
  }
  CHECK(ended > 0);
  MESSAGE("calls that failed, each in turn: " << calls << "; processes that ended themselves: " << ended);
}
