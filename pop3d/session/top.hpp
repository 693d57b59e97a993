#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "mailstore/store.hpp"

namespace pop3d {

/// TOP on its way (RFC 1939 7): the owner's lines, the header section and so many lines of the body, read piece by
/// piece and no further than what is sent.
class TopReader {
 public:
  /// The most that is read in one go.
  static constexpr std::size_t piece = 8 * 1024;
  /// What is worth reading next: the rest of the header section and what so many lines usually are.
  static std::size_t next_piece(std::uint64_t header_left, std::uint64_t lines_left);

  TopReader(mailstore::OpenMessage message, std::uint64_t header_octets, std::uint64_t lines);
  /// Appends the next piece, in the end the closing line. True: that was all. The message's prefix is used by the first
  /// call, which must come before the scratch that it was opened with is used again.
  mailstore::Result<bool> append(std::string& out, std::span<char> scratch);

 private:
  /// How much of `octets`, the next of the body, belongs to the lines asked for.
  std::size_t take_lines(std::string_view octets);

  mailstore::OpenMessage message_;
  std::uint64_t position_ = 0;
  std::uint64_t header_left_;
  std::uint64_t lines_left_;
  bool after_cr_ = false;
};

}  // namespace pop3d
