#include "mailstore/journal.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "expect.hpp"
#include "mailstore/codec.hpp"
#include "tests/support/failing_files.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;

namespace {

struct Kept {
  std::uint64_t commit;
  JournalKind kind;
  std::string payload;
  friend bool operator==(const Kept&, const Kept&) = default;
};

std::vector<Kept> read_all(std::string_view octets, std::uint64_t* damaged = nullptr) {
  std::vector<Kept> all;
  const auto found = read_journal(octets, [&](const JournalEntry& entry) {
    all.push_back({entry.commit, entry.kind, std::string(entry.payload)});
  });
  if (damaged != nullptr) *damaged = found;
  return all;
}

std::string three_entries() {
  JournalLines lines;
  lines.message(JournalKind::removed, MailboxNumber{3}, MessageId{44});
  lines.row(JournalKind::mailbox, "a key", "a value");
  lines.row(JournalKind::alias, "gone", "");
  return lines.finish(17);
}

std::string contents(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(folder)) files.push_back(file.path());
  std::ranges::sort(files);
  std::string all;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    all.append(std::istreambuf_iterator<char>(in), {});
  }
  return all;
}

std::string one(std::uint64_t commit) {
  JournalLines lines;
  lines.message(JournalKind::removed, MailboxNumber{1}, MessageId{commit});
  return lines.finish(commit);
}

std::vector<std::uint64_t> commits(const std::filesystem::path& folder) {
  std::vector<std::uint64_t> all;
  for (const auto& entry : read_all(contents(folder))) all.push_back(entry.commit);
  return all;
}

}  // namespace

TEST_CASE("journal entries come back with the number of their commit") {
  std::uint64_t damaged = 9;
  const auto entries = read_all(three_entries(), &damaged);
  REQUIRE(entries.size() == 3);
  CHECK(damaged == 0);
  for (const auto& entry : entries) CHECK(entry.commit == 17);
  CHECK(entries[0].kind == JournalKind::removed);
  Decoder message(entries[0].payload, "test");
  CHECK(message.number<std::uint32_t>() == 3);
  CHECK(message.number<std::uint64_t>() == 44);
  CHECK(message.at_end());
  CHECK(entries[1].kind == JournalKind::mailbox);
  Decoder row(entries[1].payload, "test");
  CHECK(row.text() == "a key");
  CHECK(row.text() == "a value");
  CHECK(entries[2].kind == JournalKind::alias);
}

TEST_CASE("lines of a nested change are appended to the outer one's") {
  JournalLines outer;
  CHECK(outer.empty());
  outer.row(JournalKind::domain, "a", "1");
  JournalLines inner;
  inner.row(JournalKind::domain, "b", "2");
  outer.append(inner);
  CHECK(read_all(outer.finish(1)).size() == 2);
}

TEST_CASE("a journal cut anywhere gives the whole entries before the cut") {
  const auto octets = three_entries();
  const auto whole = read_all(octets);
  std::size_t before = 0;
  for (std::size_t size = 0; size <= octets.size(); ++size) {
    CAPTURE(size);
    const auto found = read_all(octets.substr(0, size));
    CHECK(found.size() >= before);
    CHECK(std::equal(found.begin(), found.end(), whole.begin()));
    before = found.size();
  }
  CHECK(before == 3);
}

TEST_CASE("damage loses the entry it is in and no other") {
  const auto octets = three_entries();
  const auto whole = read_all(octets);
  for (std::size_t at = 0; at < octets.size(); ++at) {
    CAPTURE(at);
    auto changed = octets;
    changed[at] = static_cast<char>(changed[at] ^ 0x20);
    const auto found = read_all(changed);
    CHECK(found.size() == 2);
    for (const auto& entry : found) CHECK(std::ranges::find(whole, entry) != whole.end());
  }
  std::uint64_t damaged = 0;
  CHECK(read_all("rubbish" + octets + "more rubbish, longer than an entry's frame" + octets, &damaged).size() == 6);
  CHECK(damaged == 2);
}

TEST_CASE("a journal is appended to and found again") {
  const tests::TempFolder folder;
  const auto warn = [](std::string_view what) { FAIL(what); };
  for (std::uint64_t commit = 1; commit <= 3; ++commit) {
    Journal journal(system_files(), folder.path().string());
    CHECK_FALSE(journal.dirty());
    journal.append(one(commit), warn);
    CHECK(journal.dirty());
    journal.sync(warn);
    CHECK_FALSE(journal.dirty());
  }
  CHECK(commits(folder.path()) == std::vector<std::uint64_t>{1, 2, 3});
}

TEST_CASE("what could not be written to the journal is written with what follows") {
  const tests::TempFolder folder;
  tests::FailingFiles files;
  int warned = 0;
  const auto warn = [&](std::string_view) { ++warned; };
  Journal journal(files, folder.path().string());
  files.half = true;
  journal.append(one(1), warn);
  journal.append(one(2), warn);
  CHECK(warned == 1);
  files.writes = 0;
  journal.append(one(3), warn);
  const auto found = commits(folder.path());
  CHECK(found == std::vector<std::uint64_t>{1, 2, 3});
}

TEST_CASE("a full journal file is followed by the next, as soon as that can be opened") {
  const tests::TempFolder folder;
  tests::FailingFiles files;
  const auto warn = [](std::string_view) {};
  Journal journal(files, folder.path().string());
  JournalLines lines;
  const std::string value(std::size_t{1} << 20U, 'x');
  for (int i = 0; i < 64; ++i) lines.row(JournalKind::mailbox, "key", value);
  files.opens = EMFILE;
  journal.append(lines.finish(1), warn);
  journal.append(one(2), warn);
  files.opens = 0;
  journal.append(one(3), warn);
  journal.append(one(4), warn);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
  const auto found = commits(folder.path());
  CHECK(std::vector(found.end() - 3, found.end()) == std::vector<std::uint64_t>{2, 3, 4});
  CHECK(found.size() == 67);
}

TEST_CASE("what could not be written to the journal waits for nobody: the next sync tries again") {
  const tests::TempFolder folder;
  tests::FailingFiles files;
  const auto warn = [](std::string_view) {};
  Journal journal(files, folder.path().string());
  files.writes = ENOSPC;
  journal.append(one(1), warn);
  journal.sync(warn);
  CHECK(journal.dirty());
  CHECK(commits(folder.path()).empty());
  files.writes = 0;
  journal.sync(warn);
  CHECK_FALSE(journal.dirty());
  CHECK(commits(folder.path()) == std::vector<std::uint64_t>{1});
}

TEST_CASE("an entry that was half written is written whole behind what another process wrote meanwhile") {
  const tests::TempFolder folder;
  tests::FailingFiles files;
  const auto warn = [](std::string_view) {};
  Journal journal(files, folder.path().string());
  Journal other(system_files(), folder.path().string());
  files.half = true;
  journal.append(one(1), warn);
  other.append(one(2), warn);
  files.writes = 0;
  journal.sync(warn);
  CHECK(commits(folder.path()) == std::vector<std::uint64_t>{2, 1});
}
