#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "mailstore/record.hpp"
#include "mailstore/segment.hpp"

namespace mailstore {

struct ScannedRecord {
  RecordHeader header;
  std::string_view envelope;  ///< encoded; valid during the call
  std::uint32_t head_octets = 0;
};

struct SegmentScan {
  bool ours = false;      ///< its first octets say that it is this segment of this store
  bool streamed = false;  ///< one message, its record behind the octets
  std::uint64_t octets = 0;
  std::uint64_t damaged = 0;  ///< stretches that are no record
};

/// Reads a segment from its file alone, without the index: calls `each` for every record whose header and envelope
/// check out, in the order of the file, and goes on behind damage. Bodies are not read: `body_is_sound` does that.
/// Throws Failure when the disk does not answer.
SegmentScan scan_segment(const OpenMessage::Source& source, std::uint64_t store, const RecordKey& key,
                         const std::function<void(const ScannedRecord&)>& each);

/// Reads a record's octets and compares them with their checksum.
bool body_is_sound(const OpenMessage::Source& source, const RecordHeader& header);

}  // namespace mailstore
