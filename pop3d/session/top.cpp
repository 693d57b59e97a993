#include "pop3d/session/top.hpp"

#include <algorithm>
#include <utility>

#include "pop3d/protocol/reply.hpp"

namespace pop3d {

TopReader::TopReader(mailstore::OpenMessage message, std::uint64_t header_octets, std::uint64_t lines)
    : message_{std::move(message)}, header_left_{std::min(header_octets, message_.stored_octets)}, lines_left_{lines} {}

std::size_t TopReader::next_piece(std::uint64_t header_left, std::uint64_t lines_left) {
  constexpr std::uint64_t usual_line = 72, least = 512;
  if (header_left >= piece || lines_left >= piece / usual_line) return piece;
  const auto lines = lines_left == 0 ? 0 : std::max(least, lines_left * usual_line);
  return static_cast<std::size_t>(std::min<std::uint64_t>(header_left + lines, piece));
}

std::size_t TopReader::take_lines(std::string_view octets) {
  std::size_t taken = 0;
  while (lines_left_ > 0 && taken < octets.size()) {
    const auto at = octets.find('\n', taken);
    if (at == octets.npos) {
      taken = octets.size();
      break;
    }
    // Only CRLF ends a line; a lone LF is an octet like any other.
    if (at == 0 ? after_cr_ : octets[at - 1] == '\r') --lines_left_;
    taken = at + 1;
  }
  if (taken > 0) after_cr_ = octets[taken - 1] == '\r';
  return taken;
}

mailstore::Result<bool> TopReader::append(std::string& out, std::span<char> scratch) {
  std::string_view octets;
  if (position_ == 0) {
    out += message_.front;
    octets = message_.prefix;
  }
  const bool more = position_ < message_.stored_octets && (header_left_ > 0 || lines_left_ > 0);
  if (more && octets.empty()) {
    std::uint64_t want = next_piece(header_left_, lines_left_);
    // Lines that are longer than usual are not read in ever so many small pieces.
    if (lines_left_ > 0) want = std::max(want, std::min<std::uint64_t>(piece, position_ / 4));
    want = std::min<std::uint64_t>({want, message_.stored_octets - position_, scratch.size()});
    const auto got = message_.read(position_, scratch.first(want));
    if (!got) return std::unexpected(got.error());
    if (*got == 0) return mailstore::fail(mailstore::Errc::corrupt, "the message ends before its length");
    octets = {scratch.data(), *got};
  }

  const auto of_header = static_cast<std::size_t>(std::min<std::uint64_t>(header_left_, octets.size()));
  header_left_ -= of_header;
  const auto of_body = take_lines(octets.substr(of_header));
  out += octets.substr(0, of_header + of_body);
  position_ += of_header + of_body;

  if (position_ < message_.stored_octets && (header_left_ > 0 || lines_left_ > 0)) return false;
  append_end(out);
  return true;
}

}  // namespace pop3d
