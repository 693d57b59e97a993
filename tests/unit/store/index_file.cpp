#include "mailstore/index_file.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "expect.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;
using tests::make_message;

namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_file(const std::filesystem::path& path, const std::string& octets) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << octets;
}
template <class T>
T at(const std::string& octets, std::size_t offset) {
  T value;
  std::memcpy(&value, octets.data() + offset, sizeof value);
  return value;
}

enum class Outcome { served = 0, refused = 10, told = 11, other = 12 };

// Every octet, each in a process of its own; under the thread sanitizer a process costs thirty times as much, and
// learns nothing here.
#if defined(__SANITIZE_THREAD__)
constexpr std::size_t step = 29;
#else
constexpr std::size_t step = 1;
#endif

/// Opens the store in a child process and looks at everything. A signal is 1000 and more.
int try_store(const tests::TestStore& store) {
  return tests::in_child([&] {
    auto options = store.options();
    options.warn = {};
    const auto opened = Store::open(options);
    if (!opened) {
      return static_cast<int>(opened.error().code == Errc::unusable ? Outcome::refused : Outcome::other);
    }
    const auto report = (*opened)->check();
    if (!report || !report->problems.empty()) return static_cast<int>(Outcome::told);
    if (!(*opened)->stat()) return static_cast<int>(Outcome::told);
    return static_cast<int>(Outcome::served);
  });
}

struct Filled {
  Filled() : store(30) {
    std::vector<tests::Letter> letters;
    for (std::size_t i = 0; i < 200; ++i) {
      letters.push_back(
          {.to = {store.boxes()[i % 30], store.boxes()[(i * 7 + 1) % 30]}, .octets = make_message("m", 150)});
    }
    for (const auto& result : tests::deliver_together(*store, letters)) got(result);
    store.close();
    octets = read_file(path());
  }
  std::filesystem::path path() const { return store.path() / "index" / "data.mdb"; }
  /// The meta page that counts.
  std::size_t newest_meta() const {
    return at<std::uint64_t>(octets, 16 + 128) > at<std::uint64_t>(octets, 4096 + 16 + 128) ? 0 : 4096;
  }
  tests::TestStore store;
  std::string octets;
};

constexpr std::size_t meta_roots = 16 + 24;  // two tables of 48 octets, the root is their last field

}  // namespace

TEST_CASE("a sound index passes, quickly looked at and wholly") {
  Filled filled;
  for (const auto how : {IndexCheck::quick, IndexCheck::whole}) {
    const auto checked = check_index_file(filled.path().string(), how);
    CHECK_MESSAGE(checked.has_value(), (checked ? "" : checked.error().detail));
  }
  CHECK(try_store(filled.store) == static_cast<int>(Outcome::served));
}

TEST_CASE("an index that is missing or no index is refused") {
  Filled filled;
  const auto path = filled.path();
  CHECK_FALSE(check_index_file((path.parent_path() / "none.mdb").string(), IndexCheck::quick));
  for (const auto& octets : {std::string(), std::string("x"), std::string(4096, '\0'), std::string(100000, 'x')}) {
    write_file(path, octets);
    CHECK(error_of(check_index_file(path.string(), IndexCheck::quick)) == Errc::corrupt);
    CHECK(try_store(filled.store) == static_cast<int>(Outcome::refused));
  }
  std::filesystem::remove(path);
  CHECK(try_store(filled.store) == static_cast<int>(Outcome::refused));
}

TEST_CASE("a truncated index is refused wherever it ends, never served and never a crash") {
  Filled filled;
  std::set<std::size_t> sizes{1, 15, 16, 100, 151, 152, 4095, 4096, 4097, 4096 + 152, 8191, 8192, 8193};
  for (std::size_t pages = 2; pages * 4096 < filled.octets.size(); ++pages) sizes.insert(pages * 4096);
  sizes.insert(filled.octets.size() - 1);
  sizes.insert(filled.octets.size() - 2000);
  std::size_t refused = 0;
  for (const auto size : sizes) {
    if (size >= filled.octets.size()) continue;
    CAPTURE(size);
    write_file(filled.path(), filled.octets.substr(0, size));
    const auto outcome = try_store(filled.store);
    // What is behind the last page that is used may be missing.
    const bool refusal = outcome == static_cast<int>(Outcome::refused);
    const bool nothing_lost = outcome == static_cast<int>(Outcome::served);
    CHECK((refusal || nothing_lost));
    refused += refusal ? 1 : 0;
  }
  CHECK(refused * 10 >= sizes.size() * 9);
}

TEST_CASE("an index whose end is zeros, as after a bad copy, is no crash") {
  Filled filled;
  for (std::size_t from = 8192; from < filled.octets.size(); from += 4096 * 3 * step) {
    CAPTURE(from);
    auto octets = filled.octets;
    std::fill(octets.begin() + static_cast<std::ptrdiff_t>(from), octets.end(), '\0');
    write_file(filled.path(), octets);
    const auto whole = check_index_file(filled.path().string(), IndexCheck::whole);
    if (whole) continue;  // only pages that nobody needs
    CHECK(try_store(filled.store) < 1000);
  }
}

TEST_CASE("meta pages with any octet changed are refused or served, never a crash") {
  Filled filled;
  std::size_t refused = 0, tried = 0;
  for (const std::size_t page : {std::size_t{0}, std::size_t{4096}}) {
    for (std::size_t offset = 0; offset < 16 + 136; offset += step) {
      if (offset >= 2 && offset < 8 && offset % 2 == 0) continue;
      for (const int flip : {1, 0x80}) {
        CAPTURE(page);
        CAPTURE(offset);
        CAPTURE(flip);
        auto octets = filled.octets;
        octets[page + offset] = static_cast<char>(octets[page + offset] ^ flip);
        write_file(filled.path(), octets);
        const auto outcome = try_store(filled.store);
        CHECK(outcome < 1000);
        CHECK(outcome != static_cast<int>(Outcome::other));
        refused += outcome == static_cast<int>(Outcome::refused) ? 1 : 0;
        ++tried;
      }
    }
  }
  MESSAGE(refused, " of ", tried, " refused at open");
  CHECK(refused > 0);
}

TEST_CASE("the page of tables with any octet changed is refused or told, never a crash") {
  Filled filled;
  const auto root = at<std::uint64_t>(filled.octets, filled.newest_meta() + meta_roots + 48 + 40) * 4096;
  REQUIRE(root + 4096 <= filled.octets.size());
  const std::size_t lower = at<std::uint16_t>(filled.octets, root + 12);
  const std::size_t upper = at<std::uint16_t>(filled.octets, root + 14);
  for (std::size_t offset = 0; offset < 4096; offset += step) {
    if (offset >= lower && offset < upper) continue;  // nothing there
    for (const int flip : {1, 0x10, 0x80}) {
      CAPTURE(offset);
      CAPTURE(flip);
      auto octets = filled.octets;
      octets[root + offset] = static_cast<char>(octets[root + offset] ^ flip);
      write_file(filled.path(), octets);
      const auto outcome = try_store(filled.store);
      CHECK(outcome < 1000);
      CHECK(outcome != static_cast<int>(Outcome::other));
    }
  }
}

TEST_CASE("a whole look finds a page that is gone") {
  Filled filled;
  std::size_t found = 0;
  for (std::size_t page = 2 * 4096; page + 4096 <= filled.octets.size(); page += 4096) {
    auto octets = filled.octets;
    std::fill_n(octets.begin() + static_cast<std::ptrdiff_t>(page), 4096, '\0');
    write_file(filled.path(), octets);
    found += check_index_file(filled.path().string(), IndexCheck::whole) ? 0 : 1;
  }
  CHECK(found > 10);
}

TEST_CASE("the index is looked at while another process changes it") {
  tests::TestStore store(2);
  store.close();
  const auto path = (store.path() / "index" / "data.mdb").string();
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t writer = fork();
  REQUIRE(writer >= 0);
  if (writer == 0) {
    const auto opened = Store::open(store.options());
    if (!opened) _exit(1);
    for (;;) {
      std::vector<tests::Letter> letters(20, {.to = store.boxes(), .octets = make_message("m", 120)});
      std::vector<MessageId> ids;
      for (const auto& id : tests::deliver_together(**opened, letters)) {
        if (id) ids.push_back(*id);
      }
      for (const auto box : store.boxes()) {
        if (!tests::remove(**opened, box, ids)) _exit(2);
      }
      char word = 'x';
      if (write(ends[1], &word, 1) != 1) _exit(3);
    }
  }
  char word = 0;
  REQUIRE(read(ends[0], &word, 1) == 1);
  int bad = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto checked = check_index_file(path, IndexCheck::quick);
    if (!checked && ++bad < 5) MESSAGE(checked.error().detail);
  }
  CHECK(bad == 0);
  kill(writer, SIGKILL);
  int status = 0;
  waitpid(writer, &status, 0);
  CHECK(WIFSIGNALED(status));
  ::close(ends[0]);
  ::close(ends[1]);
}
