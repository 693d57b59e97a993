#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

/// What a file in the drop folder is called and how it begins (LEGACY S14). No I/O.
namespace smtpd::folders {

/// "ID.eml". A message for several drop domains has a file for each: the others are called by their first recipient's
/// place in the envelope.
std::string drop_file_name(std::string_view id, std::uint16_t first_ordinal);
/// Where the octets lie until they are on stable storage, in the same folder: hidden from programs.
std::string placing_name(std::string_view file_name);
/// The file's name; empty: `name` is not one that placing_name gives.
std::string_view placed_name(std::string_view name);

/// What the queue remembers of a file that is being placed: the mark of its folder (placed_in.hpp), then its absolute
/// path.
struct PlacingText {
  std::string_view folder_mark, file;
};
std::string format_placing(const PlacingText& text);
PlacingText parse_placing(std::string_view text);

/// Whether a line of the message itself begins with a dot: what picks the file up must not take it for a stuffed one.
enum class Dots : std::uint8_t { none, some };
/// The envelope in front of the message, as the pickup folder understands it.
std::string format_drop_envelope(std::string_view reverse_path, std::span<const std::string> recipients, Dots dots);

}  // namespace smtpd::folders
