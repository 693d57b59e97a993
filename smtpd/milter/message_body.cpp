#include "smtpd/milter/message_body.hpp"

#include <algorithm>

namespace smtpd::milter {

mailstore::Result<std::string_view> BodyReader::next_stored(std::span<char> into, std::size_t most) {
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(most, place_.stored_octets - at_));
  if (wanted == 0) return std::string_view{};
  auto piece = place_.draft->read(place_.offset + at_, into);
  if (!piece) return piece;
  *piece = piece->substr(0, wanted);
  if (piece->empty()) return mailstore::fail(mailstore::Errc::corrupt, "a draft is shorter than what was put into it");
  at_ += piece->size();
  return piece;
}

mailstore::Result<std::string_view> BodyReader::next_real(std::span<char> into, std::size_t most) {
  if (place_.stored_octets == place_.real_octets) return next_stored(into, most);
  do {
    const auto piece = next_stored(into, most);
    if (!piece || piece->empty()) return piece;
    plain_.clear();
    for (const char c : *piece) {
      if (!line_start_ || c != '.') plain_.push_back(c);
      line_start_ = c == '\n';
    }
  } while (plain_.empty());  // a dot alone
  return std::string_view{plain_};
}

}  // namespace smtpd::milter
