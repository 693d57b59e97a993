#include "mailstore/record.hpp"

#include <sodium/crypto_shorthash_siphash24.h>
#include <xxhash.h>

#include <algorithm>

#include "mailstore/codec.hpp"

namespace mailstore {
namespace {

constexpr std::uint32_t record_magic = 0x31525050;   // "PPR1"
constexpr std::uint32_t segment_magic = 0x31535050;  // "PPS1"
constexpr std::uint32_t footer_magic = 0x31465050;   // "PPF1"
constexpr std::uint16_t record_version = 1;
// Version 2 says of each remote recipient who of ours sends it on; without any, an envelope stays as it was.
constexpr std::uint8_t envelope_version = 1, sent_on_envelope_version = 2;
constexpr std::uint8_t flag_looped = 1;
constexpr std::size_t checksum_at = record_header_octets - 8;

constexpr std::uint16_t flag_stuffed = 1;
constexpr std::uint8_t flag_eight_bit = 1, flag_utf8 = 2;

std::uint64_t head_checksum(std::string_view head, const RecordKey& key) {
  // The checksum's own place is left out: header up to it, then the envelope. Two passes would cost two finalisations.
  std::uint64_t parts[2] = {keyed(head.substr(0, checksum_at), key), keyed(head.substr(record_header_octets), key)};
  return keyed({reinterpret_cast<const char*>(parts), sizeof parts}, key);
}

bool is_marked(const Remote& remote) {
  return !remote.sent_on_by.empty() || !remote.returns_to.empty() || remote.looped;
}

}  // namespace

std::uint64_t keyed(std::string_view octets, const RecordKey& key) {
  unsigned char digest[8];
  crypto_shorthash_siphash24(digest, reinterpret_cast<const unsigned char*>(octets.data()), octets.size(), key.data());
  std::uint64_t value;
  std::memcpy(&value, digest, sizeof value);
  return value;
}

void encode_envelope(const Envelope& envelope, std::string& out) {
  Encoder to(out);
  const bool marked = std::ranges::any_of(envelope.remotes, is_marked);
  to.number(marked ? sent_on_envelope_version : envelope_version);
  to.number(static_cast<std::uint8_t>((envelope.eight_bit ? flag_eight_bit : 0) | (envelope.utf8 ? flag_utf8 : 0)));
  to.number(envelope.return_content);
  to.text(envelope.reverse_path).text(envelope.authenticated).text(envelope.server).text(envelope.envelope_id);
  to.number(static_cast<std::uint32_t>(envelope.owners.size()));
  for (const auto& owner : envelope.owners) {
    to.number(std::to_underlying(owner.mailbox)).number(owner.notify);
    to.text(owner.delivered_to).text(owner.original_recipient).text(owner.unique_id);
  }
  to.number(static_cast<std::uint32_t>(envelope.remotes.size()));
  for (const auto& remote : envelope.remotes) {
    to.number(remote.notify).text(remote.address).text(remote.original_recipient);
    if (!marked) continue;
    to.number(static_cast<std::uint8_t>(remote.looped ? flag_looped : 0));
    to.text(remote.sent_on_by).text(remote.returns_to);
  }
}

Envelope decode_envelope(std::string_view octets) {
  Decoder from(octets, "envelope of a record");
  const auto version = from.version(sent_on_envelope_version);
  Envelope envelope;
  const auto flags = from.number<std::uint8_t>();
  envelope.eight_bit = (flags & flag_eight_bit) != 0;
  envelope.utf8 = (flags & flag_utf8) != 0;
  envelope.return_content = from.number<std::uint8_t>();
  envelope.reverse_path = from.text();
  envelope.authenticated = from.text();
  envelope.server = from.text();
  envelope.envelope_id = from.text();
  const auto owners = from.number<std::uint32_t>();
  for (std::uint32_t i = 0; i < owners; ++i) {
    Owner owner;
    owner.mailbox = MailboxNumber{from.number<std::uint32_t>()};
    owner.notify = from.number<std::uint8_t>();
    owner.delivered_to = from.text();
    owner.original_recipient = from.text();
    owner.unique_id = from.text();
    envelope.owners.push_back(std::move(owner));
  }
  const auto remotes = from.number<std::uint32_t>();
  for (std::uint32_t i = 0; i < remotes; ++i) {
    Remote remote;
    remote.notify = from.number<std::uint8_t>();
    remote.address = from.text();
    remote.original_recipient = from.text();
    if (version >= sent_on_envelope_version) {
      remote.looped = (from.number<std::uint8_t>() & flag_looped) != 0;
      remote.sent_on_by = from.text();
      remote.returns_to = from.text();
    }
    envelope.remotes.push_back(std::move(remote));
  }
  from.end();
  return envelope;
}

OwnerLines owner_lines(std::string_view octets, std::uint16_t ordinal) {
  Decoder from(octets, "envelope of a record");
  from.version(sent_on_envelope_version);
  from.number<std::uint16_t>();  // flags and RET
  OwnerLines lines;
  lines.reverse_path = from.text();
  for (int skipped = 0; skipped < 3; ++skipped) from.text();
  const auto owners = from.number<std::uint32_t>();
  if (ordinal >= owners) from.broken("has fewer owners than its entry says");
  for (std::uint32_t i = 0; i <= ordinal; ++i) {
    from.number<std::uint32_t>();
    from.number<std::uint8_t>();
    lines.delivered_to = from.text();
    from.text();
    lines.unique_id = from.text();
  }
  return lines;
}

void encode_head(RecordHeader header, std::string_view envelope, const RecordKey& key, std::string& out) {
  header.envelope_octets = static_cast<std::uint32_t>(envelope.size());
  const auto start = out.size();
  Encoder to(out);
  to.number(record_magic).number(record_version).number(static_cast<std::uint16_t>(header.stuffed ? flag_stuffed : 0));
  to.number(header.id.value).number(header.segment).number(header.offset).number(header.body_offset);
  to.number(header.stored_octets).number(header.octets).number(header.header_octets).number(header.body_checksum);
  to.number(header.batch).number(header.last_batch).number(header.envelope_octets).number(std::uint32_t{0});
  to.number(std::uint64_t{0}).number(std::uint64_t{0});  // room for what later versions keep
  out.append(8, '\0');
  out.append(envelope);
  const auto checksum = head_checksum(std::string_view(out).substr(start), key);
  std::memcpy(out.data() + start + checksum_at, &checksum, sizeof checksum);
}

std::optional<std::size_t> head_octets(std::string_view start) {
  if (start.size() < record_header_octets) return std::nullopt;
  std::uint32_t magic;
  std::uint32_t envelope;
  std::memcpy(&magic, start.data(), sizeof magic);
  std::memcpy(&envelope, start.data() + 80, sizeof envelope);
  if (magic != record_magic || envelope > envelope_limit) return std::nullopt;
  return record_header_octets + envelope;
}

std::optional<RecordHeader> decode_head(std::string_view head, const RecordKey& key) {
  const auto size = head_octets(head);
  if (!size || head.size() < *size) return std::nullopt;
  head = head.substr(0, *size);
  std::uint64_t checksum;
  std::memcpy(&checksum, head.data() + checksum_at, sizeof checksum);
  if (checksum != head_checksum(head, key)) return std::nullopt;
  Decoder from(head, "record");
  RecordHeader header;
  from.number<std::uint32_t>();
  if (from.number<std::uint16_t>() != record_version) return std::nullopt;
  header.stuffed = (from.number<std::uint16_t>() & flag_stuffed) != 0;
  header.id.value = from.number<std::uint64_t>();
  header.segment = from.number<std::uint64_t>();
  header.offset = from.number<std::uint64_t>();
  header.body_offset = from.number<std::uint64_t>();
  header.stored_octets = from.number<std::uint64_t>();
  header.octets = from.number<std::uint64_t>();
  header.header_octets = from.number<std::uint64_t>();
  header.body_checksum = from.number<std::uint64_t>();
  header.batch = from.number<std::uint32_t>();
  header.last_batch = from.number<std::uint32_t>();
  header.envelope_octets = from.number<std::uint32_t>();
  return header;
}

namespace {
constexpr std::string_view return_path_open = "Return-Path: <", return_path_close = ">\r\n";
constexpr std::string_view delivered_open = "Delivered-To: ", delivered_close = "\r\n";
}  // namespace

std::string front_lines(std::string_view reverse_path, std::string_view delivered_to) {
  std::string lines;
  lines.reserve(front_octets(reverse_path, delivered_to));
  lines.append(return_path_open).append(reverse_path).append(return_path_close);
  lines.append(delivered_open).append(delivered_to).append(delivered_close);
  return lines;
}

std::uint64_t front_octets(std::string_view reverse_path, std::string_view delivered_to) {
  return return_path_open.size() + reverse_path.size() + return_path_close.size() + delivered_open.size() +
         delivered_to.size() + delivered_close.size();
}

std::uint64_t body_checksum(std::string_view octets) {
  return XXH3_64bits(octets.data(), octets.size());
}

void encode_segment_header(const SegmentHeader& header, const RecordKey& key, std::string& out) {
  const auto start = out.size();
  Encoder to(out);
  to.number(segment_magic).number(record_version).number(static_cast<std::uint16_t>(header.streamed ? 1 : 0));
  to.number(header.number).number(header.store);
  out.append(segment_header_octets - 8 - (out.size() - start), '\0');
  to.number(keyed(std::string_view(out).substr(start), key));
}

std::optional<SegmentHeader> decode_segment_header(std::string_view octets, const RecordKey& key) {
  if (octets.size() < segment_header_octets) return std::nullopt;
  Decoder sum(octets.substr(segment_header_octets - 8), "segment");
  if (sum.number<std::uint64_t>() != keyed(octets.substr(0, segment_header_octets - 8), key)) return std::nullopt;
  Decoder from(octets, "segment");
  if (from.number<std::uint32_t>() != segment_magic || from.number<std::uint16_t>() != record_version)
    return std::nullopt;
  SegmentHeader header;
  header.streamed = from.number<std::uint16_t>() != 0;
  header.number = from.number<std::uint64_t>();
  header.store = from.number<std::uint64_t>();
  return header;
}

void encode_segment_footer(std::uint64_t record_offset, const RecordKey& key, std::string& out) {
  const auto start = out.size();
  Encoder to(out);
  to.number(footer_magic).number(std::uint32_t{record_version}).number(record_offset).number(std::uint64_t{0});
  to.number(keyed(std::string_view(out).substr(start), key));
}

std::optional<std::uint64_t> decode_segment_footer(std::string_view octets, const RecordKey& key) {
  if (octets.size() < segment_footer_octets) return std::nullopt;
  octets = octets.substr(octets.size() - segment_footer_octets);
  Decoder from(octets, "segment footer");
  if (from.number<std::uint32_t>() != footer_magic) return std::nullopt;
  from.number<std::uint32_t>();
  const auto offset = from.number<std::uint64_t>();
  from.number<std::uint64_t>();
  if (from.number<std::uint64_t>() != keyed(octets.substr(0, segment_footer_octets - 8), key)) return std::nullopt;
  return offset;
}

}  // namespace mailstore
