// What recovery and rebuild read from the disk, from any octets: no crash, nothing but `corrupt`, and what was accepted
// is written back as octets that read the same. The first octet chooses what the rest is taken for.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mailstore/failure.hpp"
#include "mailstore/record.hpp"
#include "mailstore/rows.hpp"

namespace {

using namespace mailstore;

void expect(bool holds) {
  if (!holds) std::abort();
}

constexpr RecordKey key{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/// `read` takes octets and may throw `corrupt`; what it read, written and read again, is written the same.
template <class Read>
void round_trip(std::string_view octets, Read read) {
  try {
    std::string once;
    std::string twice;
    encode(read(octets), once);
    encode(read(std::string_view{once}), twice);
    expect(once == twice);
  } catch (const Failure& failure) {
    expect(failure.error().code == Errc::corrupt && !failure.error().detail.empty());
  }
}

void envelope(std::string_view octets) {
  try {
    std::string once;
    std::string twice;
    const auto read = decode_envelope(octets);
    encode_envelope(read, once);
    encode_envelope(decode_envelope(once), twice);
    expect(once == twice);
    for (std::size_t i = 0; i < read.owners.size() && i < 100; ++i) {
      const auto lines = owner_lines(octets, static_cast<std::uint16_t>(i));
      expect(lines.reverse_path == read.reverse_path && lines.delivered_to == read.owners[i].delivered_to);
      expect(lines.unique_id == read.owners[i].unique_id);
      expect(front_lines(lines.reverse_path, lines.delivered_to).size() ==
             front_octets(lines.reverse_path, lines.delivered_to));
    }
  } catch (const Failure& failure) {
    expect(failure.error().code == Errc::corrupt);
  }
  // Read without the whole having been read first.
  try {
    owner_lines(octets, octets.empty() ? 0 : static_cast<unsigned char>(octets.back()));
  } catch (const Failure& failure) {
    expect(failure.error().code == Errc::corrupt);
  }
}

void head(std::string_view octets) {
  const auto size = head_octets(octets);
  const auto header = decode_head(octets, key);
  expect(!header || size);
  // A sound one around these octets, and the same with one bit turned.
  RecordHeader made{.id = MessageId{octets.size() + 1}, .segment = 1, .offset = 64, .stored_octets = octets.size()};
  std::string sound;
  encode_head(made, octets, key, sound);
  const auto again = decode_head(sound, key);
  expect(again && again->id == made.id && again->envelope_octets == octets.size());
  expect(decode_head(sound + "more", key).has_value());
  const auto turned = octets.empty() ? 0 : static_cast<unsigned char>(octets.front()) * sound.size() / 256;
  // The reserved octets in front of the checksum are covered like all others; the checksum is covered by itself.
  sound[turned] = static_cast<char>(sound[turned] ^ 1);
  expect(!decode_head(sound, key));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};
  switch (data[0] % 11) {
    case 0:
      envelope(octets);
      break;
    case 1:
      head(octets);
      break;
    case 2: {
      const auto header = decode_segment_header(octets, key);
      if (header) {
        std::string once;
        encode_segment_header(*header, key, once);
        expect(octets.starts_with(once));
      }
      break;
    }
    case 3: {
      const auto offset = decode_segment_footer(octets, key);
      if (offset) {
        std::string once;
        encode_segment_footer(*offset, key, once);
        expect(octets.ends_with(once));  // it is the last of its file
      }
      break;
    }
    case 4:
      round_trip(octets, decode_message);
      break;
    case 5:
      round_trip(octets, [](std::string_view value) { return decode_entry(MessageId{7}, value); });
      break;
    case 6:
      round_trip(octets, decode_totals);
      break;
    case 7:
      round_trip(octets, decode_segment);
      break;
    case 8:
      round_trip(octets, [](std::string_view value) { return decode_domain("example.test", value); });
      break;
    case 9:
      round_trip(octets, [](std::string_view value) { return decode_mailbox(address_key("ann@example.test"), value); });
      break;
    default:
      round_trip(octets, [](std::string_view value) { return decode_alias(address_key("all@example.test"), value); });
      break;
  }
  const auto address = address_of(octets);
  if (octets.find('\0') != std::string_view::npos && octets.find('@') == std::string_view::npos)
    expect(address_key(address) == octets);
  if (const auto id = parse_id(octets)) expect(parse_id(format_id(*id)) == id && format_id(*id) == octets);
  return 0;
}
