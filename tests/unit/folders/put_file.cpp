#include "smtpd/folders/put_file.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <fstream>
#include <iterator>
#include <random>

#include "smtpd/folders/drop_file.hpp"
#include "smtpd/folders/placed_in.hpp"
#include "smtpd/folders/unstuff.hpp"
#include "tests/support/store_harness.hpp"

using namespace smtpd::folders;
using std::filesystem::path;
using tests::TestStore;

namespace {

/// What RFC 5321 4.5.2 says, octet by octet.
std::string unstuff_slowly(std::string_view stored) {
  std::string plain;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const bool begins = i == 0 || (i >= 2 && stored[i - 1] == '\n' && stored[i - 2] == '\r');
    if (stored[i] != '.' || !begins) plain += stored[i];
  }
  return plain;
}

std::string read_file(const path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

path hidden(const path& file) {
  return file.parent_path() / placing_name(file.filename().native());
}

/// Messages of a store, a folder to put them into, and the names that they get there.
struct Post {
  explicit Post(std::size_t size, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      stored.push_back(tests::make_message("m" + std::to_string(i), size, i + 1));
      REQUIRE(tests::deliver(*store, {.to = {store.boxes()[0]}, .octets = stored.back()}));
      files.push_back({folder.path() / (std::to_string(i) + ".eml"), {}});
    }
    entries = *tests::entries(*store, store.boxes()[0]);
  }
  /// `want`: octets of the message that are there before it is written.
  std::expected<std::uint64_t, std::string> write(HiddenFiles& hidden, std::size_t which, std::size_t want = 0) {
    std::vector<char> scratch(4096 + want);
    const auto opened = store->open_message(store.boxes()[0], entries[which], scratch, want);
    REQUIRE(opened);
    return hidden.write(files[which].file, "front\r\n", *opened);
  }
  std::string wanted(std::size_t which) const { return "front\r\n" + unstuff_slowly(stored[which]); }
  std::size_t there() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
  }

  TestStore store{1};
  tests::TempFolder folder;
  std::vector<std::string> stored;
  std::vector<mailstore::Entry> entries;
  std::vector<PlacedFile> files;
};

}  // namespace

TEST_CASE("stuffed dots are taken away, whatever the cuts") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random{seed};
  for (int round = 0; round < 2000; ++round) {
    std::string stored;
    for (auto octets = random() % 40; octets > 0; --octets) stored += "\r\n.x"[random() % 4];
    CAPTURE(stored);
    Unstuff unstuff;
    std::string plain;
    for (std::size_t at = 0; at < stored.size();) {
      const auto cut = random() % 5;
      unstuff.feed(std::string_view{stored}.substr(at, cut), plain);
      at += cut;
    }
    REQUIRE(plain == unstuff_slowly(stored));
  }
}

TEST_CASE("a message goes into a file whole, under a hidden name first (LEGACY S14)") {
  // Shorter and longer than what is read at a time, one by one and many together.
  for (const std::size_t size : {200U, 150'000U}) {
    for (const std::size_t count : {1U, 20U}) {
      for (const std::size_t want : {0U, 100U, 64U * 1024}) {
        CAPTURE(size);
        CAPTURE(count);
        CAPTURE(want);
        Post post{size, count};
        HiddenFiles writing{count};
        for (std::size_t i = 0; i < count; ++i) CHECK(post.write(writing, i, want) == post.wanted(i).size());
        REQUIRE(writing.sync());
        for (std::size_t i = 0; i < count; ++i) {
          CHECK_FALSE(exists(post.files[i].file));
          CHECK(read_file(hidden(post.files[i].file)) == post.wanted(i));
        }
        REQUIRE(uncover(post.files));
        for (std::size_t i = 0; i < count; ++i) CHECK(read_file(post.files[i].file) == post.wanted(i));
        CHECK(post.there() == count);
      }
    }
  }
}

TEST_CASE("more files than may be open at a time, where each is synced by itself") {
  Post post{100, 300};
  HiddenFiles writing{1};
  for (std::size_t i = 0; i < 300; ++i) REQUIRE(post.write(writing, i));
  const auto open = std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  CHECK(open < 200);
  REQUIRE(writing.sync());
  REQUIRE(uncover(post.files));
  CHECK(read_file(post.files[299].file) == post.wanted(299));
  CHECK(post.there() == 300);
}

TEST_CASE("what was not synced goes, and what an earlier try left is written anew") {
  Post post{100, 2};
  {
    HiddenFiles writing{2};
    REQUIRE(post.write(writing, 0));
    CHECK(post.there() == 1);
  }
  CHECK(post.there() == 0);
  std::ofstream(hidden(post.files[1].file))
      << "half, and longer than the message that comes in its place: " << std::string(999, 'x');
  HiddenFiles writing{2};
  REQUIRE(post.write(writing, 1));
  REQUIRE(writing.sync());
  CHECK(read_file(hidden(post.files[1].file)) == post.wanted(1));
}

TEST_CASE("a file whose hidden name is gone was put, if its folder is there to be seen") {
  Post post{100, 2};
  HiddenFiles writing{2};
  REQUIRE(post.write(writing, 0));
  REQUIRE(post.write(writing, 1));
  REQUIRE(writing.sync());
  REQUIRE(uncover(std::span{post.files}.first(1)));
  remove(post.files[0].file);  // a program took it
  REQUIRE(uncover(post.files));
  CHECK_FALSE(exists(post.files[0].file));
  CHECK(read_file(post.files[1].file) == post.wanted(1));
  const auto aside = path{post.folder.path()} += ".aside";
  rename(post.folder.path(), aside);
  const auto unseen = uncover(post.files);
  rename(aside, post.folder.path());
  REQUIRE_FALSE(unseen);
  CHECK(unseen.error() == post.folder.path().string() + ": No such file or directory");
}

TEST_CASE("a name that is there already keeps what it holds: ids are given once") {
  Post post{100, 1};
  std::ofstream(post.files[0].file) << "put before the index was rebuilt";
  HiddenFiles writing{1};
  REQUIRE(post.write(writing, 0));
  REQUIRE(writing.sync());
  REQUIRE(uncover(post.files));
  CHECK(read_file(post.files[0].file) == "put before the index was rebuilt");
  CHECK(post.there() == 1);
}

TEST_CASE("a folder that is not there is an error") {
  Post post{100, 1};
  post.files[0].file = post.folder.path() / "missing" / "0.eml";
  HiddenFiles writing{1};
  const auto written = post.write(writing, 0);
  REQUIRE_FALSE(written);
  CHECK(written.error() == (post.folder.path() / "missing").string() + ": No such file or directory");
}

TEST_CASE("few files are synced by themselves, and so are many where a file system is not known") {
  const tests::TempFolder folder;
  OpenFolders folders;
  CHECK(choose_sync(*folders.get(folder.path()), 1) == SyncBy::file);
  CHECK(choose_sync(*folders.get("/proc"), 1000) == SyncBy::file);
}

TEST_CASE("a hidden name that is gone says that the file was put, in its own folder alone") {
  const tests::TestStore store(1);
  const auto drop = store.path().parent_path() / "drop";
  std::filesystem::create_directory(drop);
  PlacedFile file;
  file.file = drop / "a.eml";
  file.folder_mark = folder_mark(drop);
  const auto put = [&] { return uncover(std::span{&file, 1}); };

  std::ofstream(drop / placing_name("a.eml")) << "x";
  CHECK(put());
  CHECK(std::filesystem::exists(file.file));
  std::filesystem::remove(file.file);  // a program took it
  CHECK(put());

  // The disk with the folder is not mounted, and somebody has made another one.
  const auto aside = drop.parent_path() / "aside";
  std::filesystem::rename(drop, aside);
  REQUIRE_FALSE(put());
  std::filesystem::create_directory(drop);
  const auto other = put();
  REQUIRE_FALSE(other);
  CHECK(other.error().contains("not the folder"));
  file.folder_mark.assign(1, '?');  // nobody knows which it was
  CHECK_FALSE(put());
  file.folder_mark = folder_mark(aside);
  std::filesystem::remove(drop);
  std::filesystem::rename(aside, drop);
  CHECK(put());

  // What lies there hidden is what was being put there, wherever it was copied to.
  std::filesystem::rename(drop, aside);
  std::filesystem::create_directory(drop);
  std::ofstream(drop / placing_name("a.eml")) << "x";
  CHECK(put());
  CHECK(std::filesystem::exists(file.file));
}

TEST_CASE("what the queue remembers of a placing is mark and path") {
  const auto text = format_placing({"12 34.5", "/home of/drop/a.eml"});
  CHECK(parse_placing(text).folder_mark == "12 34.5");
  CHECK(parse_placing(text).file == "/home of/drop/a.eml");
  CHECK(parse_placing("/drop/a.eml").folder_mark.empty());
  CHECK(parse_placing("/drop/a.eml").file == "/drop/a.eml");
}
