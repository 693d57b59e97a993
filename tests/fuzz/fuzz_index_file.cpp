// The look at data.mdb before LMDB maps it, on an index of our own in which octets were changed or which was cut off:
// no crash and no endless walk, and what the whole look lets pass LMDB reads from end to end. The input is a list of
// changes of six octets: page, place in it (2), how many (1), what (1), and what else.

#include <fcntl.h>
#include <lmdb.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "mailstore/index.hpp"
#include "mailstore/index_file.hpp"

namespace {

using namespace mailstore;

constexpr std::size_t page = 4096;
constexpr std::uint64_t map_size = std::uint64_t{1} << 24U;

void expect(bool holds) {
  if (!holds) std::abort();
}

/// A folder of this process, gone at its end.
class Folder {
 public:
  Folder() {
    auto name = (std::filesystem::temp_directory_path() / "pennypost-fuzz.XXXXXX").string();
    expect(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path() const { return path_.string(); }
  std::string file() const { return (path_ / "data.mdb").string(); }

 private:
  std::filesystem::path path_;
};
const Folder& folder() {
  static const Folder made;
  return made;
}

/// An index with a few rows, a page of branches, a large value and free pages.
std::string make_index() {
  {
    Index index;
    index.open(folder().path(), map_size, true);
    const auto fill = [&index](int from, int to) {
      lmdb::Txn txn(index.env(), 0);
      for (int i = from; i < to; ++i)
        lmdb::put(txn.get(), index.tables().mailboxes, "example.test" + std::to_string(i), std::string(100, 'm'));
      lmdb::put(txn.get(), index.tables().aliases, "example.test", std::string(3000, 'a'));
      index.set_number(txn.get(), "commits", static_cast<std::uint64_t>(to));
      txn.commit();
    };
    fill(0, 60);
    fill(40, 90);
    lmdb::Txn txn(index.env(), 0);
    for (int i = 0; i < 30; ++i) lmdb::erase(txn.get(), index.tables().mailboxes, "example.test" + std::to_string(i));
    txn.commit();
  }
  std::ifstream in(folder().file(), std::ios::binary);
  return {std::istreambuf_iterator<char>{in}, {}};
}

std::string damaged(std::string octets, std::string_view changes) {
  for (; changes.size() >= 6; changes.remove_prefix(6)) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(changes[i]); };
    // The list of pointers and the meta pages are where most depends on an octet.
    const std::size_t place = at(0) % (octets.size() / page) * page + (at(1) | std::size_t{at(2)} << 8U) % page;
    if (at(3) == 0xFF) {
      octets.resize(std::max<std::size_t>(place, 1));
      return octets;
    }
    for (std::size_t i = 0; i <= at(3) % 8U && place + i < octets.size(); ++i)
      octets[place + i] = static_cast<char>(i == 0 ? at(4) : at(5));
  }
  return octets;
}

void write_file(std::string_view octets) {
  // Anew each time: a mapping of the one before may still be in use by a sanitizer's report.
  std::ofstream(folder().file(), std::ios::binary | std::ios::trunc) << octets;
}

/// Reads everything; errors are answers, a crash is not.
void read_all() {
  try {
    Index index;
    index.open(folder().path(), map_size, false);
    const ReadTxn txn(index);
    const auto& tables = index.tables();
    for (const auto table : {tables.meta, tables.domains, tables.mailboxes, tables.mailbox_numbers, tables.aliases,
                             tables.messages, tables.maildrop, tables.segments}) {
      lmdb::Cursor cursor(txn, table);
      std::size_t rows = 0;
      std::size_t sum = 0;
      for (auto row = cursor.first(); row; row = cursor.next()) {
        expect(++rows < 100'000);
        for (const char c : row->key) sum += static_cast<unsigned char>(c);
        for (const char c : row->value) sum += static_cast<unsigned char>(c);
      }
      // What was read is used, or it would not be read.
      volatile std::size_t used = sum;
      static_cast<void>(used);
    }
  } catch (const Failure& failure) {
    expect(!failure.error().detail.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string sound = make_index();
  write_file(damaged(sound, {reinterpret_cast<const char*>(data), size}));
  const auto quick = check_index_file(folder().file(), IndexCheck::quick);
  const auto whole = check_index_file(folder().file(), IndexCheck::whole);
  if (size < 6) expect(quick && whole);
  if (!whole) {
    expect(whole.error().code == Errc::corrupt && !whole.error().detail.empty());
    return 0;
  }
  expect(quick.has_value());
  read_all();
  return 0;
}
