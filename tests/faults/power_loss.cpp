#include <doctest/doctest.h>

#include <cstdlib>
#include <vector>

#include "tests/faults/disk.hpp"
#include "tests/faults/story.hpp"
#include "tests/support/store_harness.hpp"

using namespace faults;

namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// The process was killed; another opens what it left, and while that recovers the power goes: now what the first had
/// not synced is at stake too.
std::string interrupted_recovery(const Disk& disk, const Ledger& ledger, DiskLog& log, std::uint64_t seed) {
  const tests::TempFolder image(tests::memory_folder());
  auto left = disk.after_kill(image.path());
  log.clear();
  const auto code = tests::in_child([&] {
    log.arm(image.path().string());
    log.note("opening");
    const auto opened = mailstore::Store::open(story_options(image.path()));
    log.note("opened");
    return opened ? 0 : 1;
  });
  if (code != 0) return "what a killed process left does not open\n";
  std::string wrong;
  log.read([&](const Logged& entry) {
    left.apply(entry);
    if (!wrong.empty() || ((entry.position + seed) % 4 != 0 && entry.kind != Entry::note)) return;
    for (const auto loss : {Loss::everything, Loss::anything}) {
      const tests::TempFolder again(tests::memory_folder());
      left.after_power_failure(again.path(), loss, seed);
      wrong += ledger.compare(again.path());
    }
  });
  return wrong;
}

}  // namespace

TEST_CASE("whenever the power goes, what was acknowledged is there once, and all of it") {
  const auto first = setting("PENNYPOST_SEED", 1);
  const auto stories = setting("PENNYPOST_STORIES", 3);
  // How many of the places in the log are tried; 1: each.
  const auto stride = setting("PENNYPOST_STRIDE", 3);
  DiskLog log;
  DiskLog inner;
  std::uint64_t settled = 0;
  std::uint64_t reported = 0;
  for (auto seed = first; seed < first + stories; ++seed) {
    CAPTURE(seed);
    const tests::TempFolder folder(tests::memory_folder());
    const auto path = folder.path() / "store";
    const Story story(seed, 24);
    begin_story(path, story);
    Disk disk(path);
    log.clear();
    REQUIRE(tests::in_child([&] {
              log.arm(path.string());
              return play(path, story, log) ? 0 : 1;
            }) == 0);
    Ledger ledger(story);
    std::uint64_t tried = 0;
    log.read([&](const Logged& entry) {
      disk.apply(entry);
      if (entry.kind == Entry::note) {
        ledger.apply(entry.octets);
        settled += std::string_view(entry.octets).starts_with("settled") ? 1 : 0;
        reported += std::string_view(entry.octets).starts_with("reported") ? 1 : 0;
      }
      if ((entry.position + seed) % stride != 0) return;
      CAPTURE(entry.position);
      if (++tried % 4 == 0) CHECK(interrupted_recovery(disk, ledger, inner, entry.position) == "");
      for (const auto loss : {Loss::everything, Loss::nothing, Loss::anything}) {
        const tests::TempFolder image(tests::memory_folder());
        disk.after_power_failure(image.path(), loss, seed * 1'000'003 + entry.position);
        CAPTURE(static_cast<int>(loss));
        CHECK(ledger.compare(image.path()) == "");
      }
      if (tried % 4 == 1) {
        // The index is lost as well.
        const tests::TempFolder image(tests::memory_folder());
        disk.after_power_failure(image.path(), Loss::anything, entry.position);
        std::filesystem::remove_all(image.path() / "index");
        CHECK(ledger.compare_rebuilt(image.path()) == "");
      }
    });
    CHECK(tried > 20);
  }
  // Each story has its own mixture; together they say something of the queue.
  if (stories >= 3) {
    CHECK(settled > 0);
    CHECK(reported > 0);
  }
}

TEST_CASE("a store that was made is there after a power failure") {
  DiskLog log;
  const tests::TempFolder folder(tests::memory_folder());
  Disk disk(folder.path());
  const auto path = folder.path() / "a" / "store";
  REQUIRE(tests::in_child([&] {
            log.arm(folder.path().string());
            const auto made = mailstore::Store::init(story_options(path));
            log.note("made");
            return made ? 0 : 1;
          }) == 0);
  bool made = false;
  log.read([&](const Logged& entry) {
    disk.apply(entry);
    if (entry.kind == Entry::note) made = true;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      const tests::TempFolder image(tests::memory_folder());
      disk.after_power_failure(image.path(), seed == 0 ? Loss::everything : Loss::anything, seed);
      CAPTURE(entry.position);
      const bool opens = mailstore::Store::open(story_options(image.path() / "a" / "store")).has_value();
      if (made) CHECK(opens);
      // Half made is no store, or a whole one: never one that opens and is not sound.
      if (opens) {
        auto store = mailstore::Store::open(story_options(image.path() / "a" / "store"));
        CHECK(tests::problems(**store) == "");
      }
    }
  });
  CHECK(made);
}
