#include "mailstore/segment_scan.hpp"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <string>

#include "mailstore/failure.hpp"

namespace mailstore {
namespace {

/// A window on the file: heads lie close together, and a scan over damage moves by eight octets.
class Window {
 public:
  explicit Window(const OpenMessage::Source& source) : source_(source) {}
  /// Up to `size` octets from `offset`; fewer where the file ends.
  std::string_view at(std::uint64_t offset, std::size_t size) {
    if (offset < start_ || offset + size > start_ + have_) {
      octets_.resize(std::max<std::size_t>(size, 64 << 10U));
      have_ = source_.read(offset, octets_);
      start_ = offset;
    }
    return std::string_view(octets_).substr(offset - start_, std::min<std::uint64_t>(size, start_ + have_ - offset));
  }

 private:
  const OpenMessage::Source& source_;
  std::string octets_;
  std::uint64_t start_ = 0;
  std::size_t have_ = 0;
};

}  // namespace

SegmentScan scan_segment(const OpenMessage::Source& source, std::uint64_t store, const RecordKey& key,
                         const std::function<void(const ScannedRecord&)>& each) {
  SegmentScan scan;
  struct stat about{};
  if (fstat(source.descriptor(), &about) != 0) throw Failure(from_errno("a segment"));
  scan.octets = static_cast<std::uint64_t>(about.st_size);
  Window window(source);
  const auto header = decode_segment_header(window.at(0, segment_header_octets), key);
  if (!header || header->number != source.number() || header->store != store) return scan;
  scan.ours = true;
  scan.streamed = header->streamed;

  const auto record_at = [&](std::uint64_t offset) -> std::optional<RecordHeader> {
    const auto size = head_octets(window.at(offset, record_header_octets));
    if (!size) return std::nullopt;
    const auto octets = window.at(offset, *size);
    const auto found = decode_head(octets, key);
    if (!found || found->segment != header->number || found->offset != offset) return std::nullopt;
    if (found->body_offset + found->stored_octets > scan.octets) return std::nullopt;  // torn
    each({.header = *found,
          .envelope = octets.substr(record_header_octets, found->envelope_octets),
          .head_octets = static_cast<std::uint32_t>(*size)});
    return found;
  };

  std::uint64_t offset = segment_header_octets;
  if (scan.streamed && scan.octets >= segment_header_octets + segment_footer_octets) {
    const auto footer = window.at(scan.octets - segment_footer_octets, segment_footer_octets);
    const auto record = decode_segment_footer(footer, key);
    if (record && record_at(*record)) return scan;
  }
  bool in_damage = false;
  while (offset + record_header_octets <= scan.octets) {
    if (const auto found = record_at(offset)) {
      // A streamed message's record lies behind its octets.
      offset = aligned(std::max(found->body_offset + found->stored_octets, offset + record_header_octets));
      in_damage = false;
      continue;
    }
    // Of a streamed message the octets are passed over on the way: they are no damage.
    if (!in_damage && !scan.streamed) ++scan.damaged;
    in_damage = true;
    offset += record_alignment;
  }
  return scan;
}

bool body_is_sound(const OpenMessage::Source& source, const RecordHeader& header) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(header.stored_octets, 256 << 10U)), '\0');
  for (std::uint64_t done = 0; done < header.stored_octets;) {
    const auto want = std::min<std::uint64_t>(piece.size(), header.stored_octets - done);
    if (source.read(header.body_offset + done, std::span(piece).first(want)) != want) return false;
    XXH3_64bits_update(state.get(), piece.data(), want);
    done += want;
  }
  return XXH3_64bits_digest(state.get()) == header.body_checksum;
}

}  // namespace mailstore
