// The journal's files from any octets: no crash, nothing endless; sound entries are read back whatever stands around
// them. The first octet says how the rest is cut into entries and rubbish.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/journal.hpp"

namespace {

using namespace mailstore;

void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};
  const auto each_within = [](std::string_view file, const std::function<void(const JournalEntry&)>& each) {
    std::size_t entries = 0;
    const auto damaged = read_journal(file, [&](const JournalEntry& entry) {
      ++entries;
      expect(entry.payload.data() >= file.data());
      expect(entry.payload.data() + entry.payload.size() <= file.data() + file.size());
      each(entry);
    });
    expect(damaged <= entries + 1);
  };
  each_within(octets, [](const JournalEntry&) {});

  // Entries of our own with the same octets as their payload, the octets themselves as rubbish between and behind.
  const std::size_t cut = octets.empty() ? 0 : data[0] % (octets.size() + 1);
  JournalLines first;
  first.row(JournalKind::mailbox, octets.substr(0, cut), octets.substr(cut));
  JournalLines second;
  second.message(JournalKind::removed, MailboxNumber{data[0]}, MessageId{size});
  std::string file = first.finish(7);
  file += octets;
  file += second.finish(8);
  file += octets.substr(cut);
  bool saw_first = false;
  bool saw_second = false;
  each_within(file, [&](const JournalEntry& entry) {
    if (entry.commit == 7 && entry.kind == JournalKind::mailbox && entry.payload.ends_with(octets.substr(cut)))
      saw_first = true;
    if (entry.commit == 8 && entry.kind == JournalKind::removed) saw_second = true;
  });
  expect(saw_first && saw_second);
  return 0;
}
