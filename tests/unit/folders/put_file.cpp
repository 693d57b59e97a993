#include "smtpd/folders/put_file.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "smtpd/folders/drop_file.hpp"
#include "smtpd/folders/placed_in.hpp"
#include "tests/support/store_harness.hpp"

using namespace smtpd::folders;
namespace fs = std::filesystem;

TEST_CASE("a hidden name that is gone says that the file was put, in its own folder alone") {
  const tests::TestStore store(1);
  const auto drop = store.path().parent_path() / "drop";
  fs::create_directory(drop);
  FileToPut file;
  file.file = drop / "a.eml";
  file.folder_mark = folder_mark(drop);
  const auto put = [&] { return uncover({file}); };

  std::ofstream(drop / placing_name("a.eml")) << "x";
  CHECK(put());
  CHECK(fs::exists(file.file));
  fs::remove(file.file);  // a program took it
  CHECK(put());

  // The disk with the folder is not mounted, and somebody has made another one.
  const auto aside = drop.parent_path() / "aside";
  fs::rename(drop, aside);
  REQUIRE_FALSE(put());
  fs::create_directory(drop);
  const auto other = put();
  REQUIRE_FALSE(other);
  CHECK(other.error().contains("not the folder"));
  file.folder_mark.assign(1, '?');  // nobody knows which it was
  CHECK_FALSE(put());
  file.folder_mark = folder_mark(aside);
  fs::remove(drop);
  fs::rename(aside, drop);
  CHECK(put());

  // What lies there hidden is what was being put there, wherever it was copied to.
  fs::rename(drop, aside);
  fs::create_directory(drop);
  std::ofstream(drop / placing_name("a.eml")) << "x";
  CHECK(put());
  CHECK(fs::exists(file.file));
}

TEST_CASE("what the queue remembers of a placing is mark and path") {
  const auto text = format_placing({"12 34.5", "/home of/drop/a.eml"});
  CHECK(parse_placing(text).folder_mark == "12 34.5");
  CHECK(parse_placing(text).file == "/home of/drop/a.eml");
  CHECK(parse_placing("/drop/a.eml").folder_mark.empty());
  CHECK(parse_placing("/drop/a.eml").file == "/drop/a.eml");
}
