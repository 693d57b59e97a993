// Gives back the room of removed messages: what is alive in a sealed segment that is mostly dead is copied into a new
// one, the index is told, and the old file goes. Readers keep the file that they have open.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "mailstore/segment_scan.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {

constexpr std::uint64_t sync_octets = std::uint64_t{4} << 20U;
constexpr std::size_t commit_records = 250;  // four rows each at the most

struct Move {
  MessageId id;
  std::uint64_t old_segment, old_offset;
  MessageRow to;  // owners: as the index says when it is told
};

class Compactor {
 public:
  Compactor(Store::Impl& store, const CompactOptions& options, CompactReport& report)
      : store_(store), core_(store.core), options_(options), report_(report) {}

  Compactor(const Compactor&) = delete;
  Compactor& operator=(const Compactor&) = delete;
  ~Compactor() {
    // Given up before any row named it: its room is wanted now, not at the next start.
    if (writer_ && !told_) core_.files.unlink(segment_path(core_.layout.segments, writer_->number()));
  }

  void run() {
    for (const auto& [number, row] : candidates()) {
      if (options_.stop && options_.stop()) break;
      copy(number);
    }
    finish();
  }

 private:
  std::vector<std::pair<std::uint64_t, SegmentRow>> candidates() {
    std::vector<std::pair<std::uint64_t, SegmentRow>> found;
    const ReadTxn txn(core_.index);
    lmdb::Cursor cursor(txn, core_.index.tables().segments);
    for (auto row = cursor.first(); row; row = cursor.next()) {
      const auto number = from_big_endian<std::uint64_t>(row->key.data());
      auto segment = decode_segment(row->value);
      // A streamed segment has one message: it is alive, or the file is gone.
      if (segment.state != SegmentState::sealed || segment.streamed || segment.live_records == 0) continue;
      struct stat about{};
      if (::stat(segment_path(core_.layout.segments, number).c_str(), &about) != 0) continue;
      const auto size = static_cast<std::uint64_t>(about.st_size) - segment_header_octets;
      const auto dead = size - std::min(size, segment.live_octets + segment.live_records * (record_alignment - 1));
      const auto least = options_.all ? std::uint64_t{1} : size / 2;
      if (dead >= std::max<std::uint64_t>(least, 1)) found.emplace_back(number, std::move(segment));
    }
    return found;
  }

  /// Every living record of a segment into the new one.
  void copy(std::uint64_t number) {
    const auto source = core_.segments.get(number);
    if (!source) return;  // emptied meanwhile
    std::vector<std::pair<RecordHeader, std::string>> living;
    scan_segment(*source, core_.identity.name, core_.identity.key, [&](const ScannedRecord& record) {
      const ReadTxn txn(core_.index);
      const auto row = core_.index.message(txn, record.header.id);
      if (row && row->segment == number && row->head_offset == record.header.offset)
        living.emplace_back(record.header, record.envelope);
    });
    struct stat about{};
    if (fstat(source->descriptor(), &about) == 0) report_.read_octets += static_cast<std::uint64_t>(about.st_size);
    ++report_.segments;
    for (const auto& [header, envelope] : living) {
      std::string body(header.stored_octets, '\0');
      if (source->read(header.body_offset, body) != body.size() || body_checksum(body) != header.body_checksum) {
        // It stays where it is, and so does its segment: a copy would hide the damage.
        report_.problems.push_back(
            fmt::format("message {}: its record in segment {:016x} is damaged; run 'pennypost "
                        "store check'",
                        format_id(header.id), number));
        continue;
      }
      append(number, header, envelope, body);
    }
  }

  void append(std::uint64_t from, const RecordHeader& given, const std::string& envelope, std::string& body) {
    const auto size = aligned(record_header_octets + envelope.size() + body.size());
    if (writer_ && writer_->end() + size > core_.options.segment_size) finish();
    if (!writer_) {
      const auto number = new_segment_number(store_);
      if (!number) throw Failure(number.error());
      writer_ = std::make_unique<SegmentWriter>(core_.files, core_.turnstile, core_.layout.segments,
                                                SegmentHeader{.number = *number, .store = core_.identity.name},
                                                core_.identity.key);
    }
    auto header = given;
    header.segment = writer_->number();
    header.offset = writer_->end();
    header.body_offset = header.offset + record_header_octets + envelope.size();
    header.batch = 1;
    header.last_batch = 0;
    std::string octets;
    octets.reserve(size);
    encode_head(header, envelope, core_.identity.key, octets);
    const auto head = static_cast<std::uint32_t>(octets.size());
    octets.append(body);
    octets.resize(size, '\0');
    iovec piece{octets.data(), octets.size()};
    writer_->append({&piece, 1}, octets.size());
    moves_.push_back({.id = header.id,
                      .old_segment = from,
                      .old_offset = given.offset,
                      .to = {.segment = header.segment,
                             .head_offset = header.offset,
                             .body_offset = header.body_offset,
                             .stored_octets = header.stored_octets,
                             .head_octets = head,
                             .owners = 0,
                             .stuffed = header.stuffed}});
    unsynced_ += size;
    if (unsynced_ >= sync_octets) sync();
  }

  /// Half of the time is the mail's: the disk's, and a processor's.
  void rest() {
    if (!options_.at_once) std::this_thread::sleep_for(std::chrono::steady_clock::now() - begun_);
    begun_ = std::chrono::steady_clock::now();
  }

  void sync() {
    writer_->sync();
    unsynced_ = 0;
    rest();
  }

  /// The new segment is whole: the index is told, in pieces that hold nobody up.
  void finish() {
    if (!writer_) return;
    sync();
    for (std::size_t at = 0; at < moves_.size(); at += commit_records) {
      const auto count = std::min(commit_records, moves_.size() - at);
      const bool last = at + count == moves_.size();
      auto apply = [this, at, count, last](Change& change) -> Result<void> {
        move(change, std::span(moves_).subspan(at, count), last);
        return {};
      };
      const auto told =
          store_.committer->run(Work{.rows = 4 * count, .nested = true, .apply = std::move(apply), .done = nullptr});
      if (!told) throw Failure(told.error());
      told_ = true;
      rest();
    }
    moves_.clear();
    writer_.reset();
    told_ = false;
  }

  void move(Change& change, std::span<const Move> moves, bool last) {
    const auto& index = core_.index;
    const auto number = writer_->number();
    // Open until all is told: a sealed segment without a living record would go.
    auto segment = index.segment(change.txn(), number).value_or(SegmentRow{.unproven = {}});
    segment.durable = writer_->end();
    segment.last_batch = 1;
    if (last) segment.state = SegmentState::sealed;
    index.put_segment(change.txn(), number, segment);
    change.look_at_segment(number);
    for (const auto& one : moves) {
      const auto now = index.message(change.txn(), one.id);
      if (!now || now->segment != one.old_segment || now->head_offset != one.old_offset) continue;  // removed meanwhile
      auto row = one.to;
      row.owners = now->owners;
      std::string value;
      encode(row, value);
      lmdb::put(change.txn(), index.tables().messages, NumberKey(one.id.value), value);
      change.segment_lost(one.old_segment, record_octets(*now));
      change.segment_gained(number, record_octets(row));
      ++report_.moved;
      report_.moved_octets += record_octets(row);
    }
  }

  Store::Impl& store_;
  Core& core_;
  const CompactOptions& options_;
  CompactReport& report_;
  std::unique_ptr<SegmentWriter> writer_;
  std::vector<Move> moves_;
  std::uint64_t unsynced_ = 0;
  bool told_ = false;                                                               // a row names the new segment
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();  // since the last rest
};

}  // namespace

Result<CompactReport> Store::compact(const CompactOptions& options) {
  return guarded([&]() -> Result<CompactReport> {
    const CareLock alone(impl_->core.layout.locks);
    CompactReport report;
    Compactor(*impl_, options, report).run();
    return report;
  });
}

}  // namespace mailstore
