#include "mailstore/recovery.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <charconv>
#include <filesystem>
#include <memory>

#include "mailstore/change.hpp"

namespace mailstore {
namespace {

struct KnownSegment {
  std::uint64_t number;
  SegmentRow row;
};

void unusable(const Core& core, std::uint64_t number, const std::string& how) {
  if (core.options.past_damage) return core.warn(fmt::format("segment {:016x} {}", number, how));
  throw Failure(
      Errc::unusable,
      fmt::format("segment {:016x} {}; 'pennypost store check' tells what is lost: bring the file back from a "
                  "backup, or run 'pennypost store check --repair' to go on without it",
                  number, how));
}

std::uint64_t size_of(int descriptor) {
  struct stat about{};
  if (fstat(descriptor, &about) != 0) throw Failure(from_errno("a segment"));
  return static_cast<std::uint64_t>(about.st_size);
}

std::vector<KnownSegment> known_segments(Core& core) {
  std::vector<KnownSegment> all;
  const ReadTxn txn(core.index);
  lmdb::Cursor cursor(txn, core.index.tables().segments);
  for (auto row = cursor.first(); row; row = cursor.next()) {
    if (row->key.size() != 8) throw Failure(Errc::corrupt, "the table of segments has a key that is no number");
    all.push_back({from_big_endian<std::uint64_t>(row->key.data()), decode_segment(row->value)});
  }
  return all;
}

void check_sealed(Core& core, const KnownSegment& segment) {
  struct stat about{};
  if (::stat(segment_path(core.layout.segments, segment.number).c_str(), &about) != 0) {
    if (errno != ENOENT) throw Failure(from_errno("a segment"));
    // Another process may have emptied and unlinked it since the rows were read.
    const ReadTxn txn(core.index);
    const auto row = core.index.segment(txn, segment.number);
    if (row && row->live_records > 0) unusable(core, segment.number, "is missing");
    return;
  }
  if (static_cast<std::uint64_t>(about.st_size) < segment.row.durable) unusable(core, segment.number, "is cut off");
}

void unlink_segment(Core& core, std::uint64_t number) {
  if (core.files.unlink(segment_path(core.layout.segments, number)) != 0 && errno != ENOENT) {
    core.warn(from_errno("unlinking a segment").detail);
  }
}

/// The process that had it open is dead: what it left is proven or taken out, and nobody appends to it again.
void seal_orphan(Core& core, std::uint64_t number) {
  Descriptor file(core.files, core.files.open(segment_path(core.layout.segments, number), O_RDWR | O_NOFOLLOW, 0));
  if (!file && errno != ENOENT) throw Failure(from_errno("opening a segment"));
  if (file && !try_lock(file.get(), 0, 0)) return;  // alive after all

  // First synced, then judged: what is judged good must not be lost by the next power failure. Nobody else writes to
  // it, its lock is ours; nor does anybody wait for this sync with the index in his hands.
  if (file && core.files.sync(file.get()) != 0) throw Failure(from_errno("syncing a segment after an unclean stop"));
  std::vector<std::uint64_t> emptied;
  {
    std::optional<Turnstile::Pass> pass(std::in_place, core.turnstile);
    lmdb::Txn txn(core.index.env(), 0);
    pass.reset();
    auto row = core.index.segment(txn.get(), number);
    if (!row || row->state != SegmentState::open) return;
    if (!file && row->live_records > 0) unusable(core, number, "is missing");
    std::uint64_t size = 0;
    if (file) {
      size = size_of(file.get());
      if (row->live_records > 0 && size < row->durable) unusable(core, number, "is cut off");
    }
    Change change(core.index, txn.get());
    for (const auto& one : row->unproven) {
      const auto message = core.index.message(txn.get(), one.id);
      if (!message || record_is_sound(core, one.id, *message)) continue;
      core.warn(fmt::format("message {} was not complete when the machine stopped; its sender was never told 250",
                            format_id(one.id)));
      for (const auto owner : one.owners) change.remove_entry(owner, one.id);
    }
    row->state = SegmentState::sealed;
    row->durable = std::max(row->durable, size);
    row->unproven.clear();
    core.index.put_segment(txn.get(), number, *row);
    change.look_at_segment(number);
    change.settle_segments();
    txn.commit();
    emptied = change.emptied();
  }
  for (const auto gone : emptied) {
    core.segments.forget(gone);
    unlink_segment(core, gone);
  }
}

/// A file without a row: made for a message that was never committed, or emptied and not unlinked any more. Its maker,
/// if it lives, holds its lock until the row is there; it makes and locks it behind the turnstile.
void drop_unknown_file(Core& core, std::uint64_t number) {
  const Turnstile::Pass pass(core.turnstile);
  Descriptor file(core.files, core.files.open(segment_path(core.layout.segments, number), O_RDWR | O_NOFOLLOW, 0));
  if (!file || !try_lock(file.get(), 0, 0)) return;
  const ReadTxn txn(core.index);
  // A number above the counter was never handed out by this index: an index older than its segments. Not ours to
  // remove.
  if (core.index.segment(txn, number) || number > core.index.number(txn, meta::next_segment)) return;
  unlink_segment(core, number);
}

void drop_unknown_files(Core& core) {
  std::vector<std::uint64_t> numbers;
  for (const auto& file : std::filesystem::directory_iterator(core.layout.segments)) {
    const auto stem = file.path().stem().string();
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number, 16);
    if (error != std::errc{} || end != stem.data() + stem.size() || file.path().extension() != ".seg") continue;
    numbers.push_back(number);
  }
  for (const auto number : numbers) {
    bool known = false;
    {
      const ReadTxn txn(core.index);
      known = core.index.segment(txn, number).has_value();
    }
    if (!known) drop_unknown_file(core, number);
  }
}

}  // namespace

bool record_is_sound(Core& core, MessageId id, const MessageRow& row) {
  const auto source = core.segments.get(row.segment);
  if (!source || row.head_octets < record_header_octets || row.head_octets > record_header_octets + envelope_limit)
    return false;
  std::string head(row.head_octets, '\0');
  if (source->read(row.head_offset, head) != head.size()) return false;
  const auto header = decode_head(head, core.identity.key);
  if (!header || header->id != id || header->segment != row.segment || header->offset != row.head_offset ||
      header->body_offset != row.body_offset || header->stored_octets != row.stored_octets) {
    return false;
  }
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  std::string piece(std::size_t{256} << 10U, '\0');
  for (std::uint64_t done = 0; done < row.stored_octets;) {
    const auto want = std::min<std::uint64_t>(piece.size(), row.stored_octets - done);
    if (source->read(row.body_offset + done, std::span(piece).first(want)) != want) return false;
    XXH3_64bits_update(state.get(), piece.data(), want);
    done += want;
  }
  return XXH3_64bits_digest(state.get()) == header->body_checksum;
}

void recover(Core& core) {
  for (const auto& segment : known_segments(core)) {
    if (segment.row.state == SegmentState::sealed) {
      check_sealed(core, segment);
    } else {
      seal_orphan(core, segment.number);
    }
  }
  drop_unknown_files(core);
}

}  // namespace mailstore
