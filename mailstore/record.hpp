#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mailstore/types.hpp"

/// The record of a message in a segment: a fixed header, the envelope, then the octets as stored. It describes itself:
/// with the records alone the index can be made again. ARCHITECTURE.md has the layout as a table.
namespace mailstore {

/// The secret of a store; keys the header's checksum (SipHash-2-4), so that no message can contain a record.
using RecordKey = std::array<unsigned char, 16>;

struct RecordHeader {
  MessageId id;
  std::uint64_t segment = 0;
  std::uint64_t offset = 0;       ///< of this header in the segment
  std::uint64_t body_offset = 0;  ///< of the stored octets in the segment
  std::uint64_t stored_octets = 0;
  std::uint64_t octets = 0;  ///< real octets, BodyFacts::octets
  std::uint64_t header_octets = 0;
  std::uint64_t body_checksum = 0;  ///< XXH3-64 of the stored octets
  std::uint32_t batch = 0;          ///< commits of this segment are counted from 1
  std::uint32_t last_batch = 0;     ///< the newest that was known committed when this was written; 0: none
  std::uint32_t envelope_octets = 0;
  bool stuffed = false;
};

inline constexpr std::size_t record_header_octets = 112;
/// Far above what limits on recipients allow; bounds a damaged length.
inline constexpr std::size_t envelope_limit = std::size_t{16} << 20U;
inline constexpr std::size_t record_alignment = 8;
inline constexpr std::uint64_t aligned(std::uint64_t offset) {
  return (offset + record_alignment - 1) / record_alignment * record_alignment;
}

void encode_envelope(const Envelope& envelope, std::string& out);
/// Throws Failure (corrupt).
Envelope decode_envelope(std::string_view octets);
/// What a reader of one maildrop needs, without decoding the rest: views into `octets`.
struct OwnerLines {
  std::string_view reverse_path, delivered_to, unique_id;
};
OwnerLines owner_lines(std::string_view octets, std::uint16_t ordinal);

/// Appends header and envelope; `header.envelope_octets` is set from `envelope`.
void encode_head(RecordHeader header, std::string_view envelope, const RecordKey& key, std::string& out);
/// The header if magic, version and keyed checksum (over header and envelope) hold; `head` must hold at least header
/// and envelope. nullopt: not a record.
std::optional<RecordHeader> decode_head(std::string_view head, const RecordKey& key);
/// How long header and envelope are together, from the first 112 octets; nullopt: not a record's beginning.
std::optional<std::size_t> head_octets(std::string_view start);

/// The owner's lines in front of the message: Return-Path (RFC 5321 4.4) and Delivered-To.
std::string front_lines(std::string_view reverse_path, std::string_view delivered_to);
std::uint64_t front_octets(std::string_view reverse_path, std::string_view delivered_to);

/// SipHash-2-4: what nobody can make collide who does not know the key.
std::uint64_t keyed(std::string_view octets, const RecordKey& key);

std::uint64_t body_checksum(std::string_view octets);

/// First octets of a segment file.
struct SegmentHeader {
  std::uint64_t number = 0;
  std::uint64_t store = 0;  ///< the store's random name
  bool streamed = false;    ///< one message: its octets first, its record behind them, a footer last
};
inline constexpr std::size_t segment_header_octets = 64;
void encode_segment_header(const SegmentHeader& header, const RecordKey& key, std::string& out);
std::optional<SegmentHeader> decode_segment_header(std::string_view octets, const RecordKey& key);
/// Last octets of a streamed segment: where the record's header begins.
inline constexpr std::size_t segment_footer_octets = 32;
void encode_segment_footer(std::uint64_t record_offset, const RecordKey& key, std::string& out);
std::optional<std::uint64_t> decode_segment_footer(std::string_view octets, const RecordKey& key);

}  // namespace mailstore
