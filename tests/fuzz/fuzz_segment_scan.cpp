// A segment as a rebuild reads it: records of our own making with whatever lies between them and whatever became of
// them. Every record that nothing happened to is found, in order, and nothing else is. The input is a list of steps: an
// octet that says what, one that says how long.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/record.hpp"
#include "mailstore/segment.hpp"
#include "mailstore/segment_scan.hpp"

namespace {

using namespace mailstore;

constexpr RecordKey key{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr std::uint64_t store = 77, number = 5;

void expect(bool holds) {
  if (!holds) std::abort();
}

const OpenMessage::Source& file() {
  static const OpenMessage::Source made{Descriptor{system_files(), ::memfd_create("segment", MFD_CLOEXEC)}, number};
  return made;
}

struct Placed {
  std::uint64_t at = 0;
  RecordHeader header;
  std::string envelope;
  std::size_t head = 0;
};

/// What the steps make of the file.
class Segment {
 public:
  Segment() { encode_segment_header({.number = number, .store = store, .streamed = false}, key, octets); }

  void add_record(std::string_view envelope, std::string_view body) {
    octets.resize(aligned(octets.size()));
    Placed placed{.at = octets.size(), .header = {}, .envelope = std::string{envelope}};
    const auto body_at = octets.size() + record_header_octets + envelope.size();
    placed.header = {.id = MessageId{records.size() + 1},
                     .segment = number,
                     .offset = octets.size(),
                     .body_offset = body_at,
                     .stored_octets = body.size(),
                     .body_checksum = body_checksum(body)};
    encode_head(placed.header, envelope, key, octets);
    placed.head = octets.size() - placed.at;
    octets += body;
    records.push_back(std::move(placed));
  }

  /// A record of ours, sound in itself, in a place that is not its own: as a message could hold one that its author
  /// saw.
  void add_copy() {
    if (records.empty()) return;
    octets += octets.substr(records.back().at, records.back().head);
  }

  std::string octets;
  std::vector<Placed> records;
};

Segment make(std::string_view steps) {
  Segment segment;
  const auto take = [&steps](std::size_t count) {
    const auto taken = steps.substr(0, count);
    steps.remove_prefix(taken.size());
    return taken;
  };
  while (steps.size() >= 2) {
    const auto what = static_cast<unsigned char>(take(1)[0]);
    const std::size_t count = static_cast<unsigned char>(take(1)[0]);
    switch (what % 5) {
      case 0:
        segment.add_record(take(count), take(what / 5));
        break;
      case 1:
        segment.octets += take(count);
        break;
      case 2:
        segment.add_copy();
        break;
      case 3: {  // one octet is another one, somewhere behind the file's header
        const auto span = segment.octets.size() - segment_header_octets;
        if (span == 0) break;
        const auto back = (std::size_t{what} / 5 * 256 + count) % span;
        segment.octets[segment.octets.size() - 1 - back] ^= 1;
        break;
      }
      default:
        // The tail was never written, and nothing is appended to such a file.
        segment.octets.resize(
            std::max(segment_header_octets, segment.octets.size() - std::min(count, segment.octets.size())));
        return segment;
    }
  }
  return segment;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Segment segment = make({reinterpret_cast<const char*>(data), size});
  const auto& octets = segment.octets;
  expect(::ftruncate(file().descriptor(), 0) == 0);
  expect(::pwrite(file().descriptor(), octets.data(), octets.size(), 0) == static_cast<ssize_t>(octets.size()));

  std::vector<ScannedRecord> found;
  std::vector<std::string> envelopes;
  const auto scan = scan_segment(file(), store, key, [&](const ScannedRecord& record) {
    found.push_back(record);
    envelopes.emplace_back(record.envelope);
  });
  expect(scan.ours && !scan.streamed && scan.octets == octets.size());

  // By the simple way: a record is found where one was put and its head is there as it was made.
  std::size_t next = 0;
  std::uint64_t end = segment_header_octets;
  for (const auto& placed : segment.records) {
    std::string head;
    encode_head(placed.header, placed.envelope, key, head);
    const bool whole = placed.at + head.size() + placed.header.stored_octets <= octets.size() &&
                       octets.compare(placed.at, head.size(), head) == 0;
    if (!whole) continue;
    expect(next < found.size());
    expect(found[next].header.offset == placed.at && found[next].header.id == placed.header.id);
    expect(envelopes[next] == placed.envelope);
    const bool sound = body_checksum(std::string_view{octets}.substr(
                           placed.header.body_offset, placed.header.stored_octets)) == placed.header.body_checksum;
    expect(body_is_sound(file(), found[next].header) == sound);
    expect(placed.at >= end);
    end = placed.header.body_offset + placed.header.stored_octets;
    ++next;
  }
  expect(next == found.size());
  // Damage is told where there is any, at most once before each record and once behind the last.
  expect(scan.damaged <= found.size() + 1);
  if (next != segment.records.size() && aligned(end) + record_header_octets <= octets.size()) expect(scan.damaged > 0);

  // The same file under another name, or of another store, is nothing of ours.
  const auto none = [](const ScannedRecord&) { std::abort(); };
  expect(!scan_segment(file(), store + 1, key, none).ours);
  return 0;
}
