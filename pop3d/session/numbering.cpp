#include "pop3d/session/numbering.hpp"

#include <algorithm>
#include <array>

namespace pop3d {

using mailstore::Entry;
using mailstore::MessageId;

Numbering::Place Numbering::nearest_before(std::uint64_t number) const {
  Place place;
  const auto anchor = std::min<std::uint64_t>((number - 1) / stride, anchors_.size());
  if (anchor > 0) place = {anchor * stride, anchors_[anchor - 1]};
  const auto window_last = window_first_ + window_.size() - 1;
  if (!window_.empty() && window_last < number && window_last > place.number) place = {window_last, window_.back().id};
  return place;
}

void Numbering::passed(std::uint64_t number, MessageId id) {
  if (number % stride == 0 && number / stride == anchors_.size() + 1) anchors_.push_back(id);
}

void Numbering::passed(Place& place, std::span<const Entry> entries) {
  for (const auto& entry : entries) {
    place = {place.number + 1, entry.id};
    passed(place.number, entry.id);
  }
}

mailstore::Result<Numbering::Found> Numbering::find(Entries& entries, std::uint64_t number) {
  if (number == 0) return Found{Answer::missing, {}};
  if (number >= window_first_ && number - window_first_ < window_.size())
    return Found{Answer::found, window_[number - window_first_]};

  auto place = nearest_before(number);
  const auto begun_at = place.number;
  std::array<Entry, 256> chunk;
  while (place.number + 1 < number) {
    if (place.number - begun_at >= budget) return Found{Answer::unfinished, {}};
    const auto want = std::min<std::uint64_t>(chunk.size(), number - 1 - place.number);
    const auto got = entries.list(place.id, std::span{chunk}.first(want));
    if (!got) return std::unexpected(got.error());
    passed(place, std::span{chunk}.first(*got));
    if (*got < want) return Found{Answer::missing, {}};
  }

  window_.resize(window_size);
  const auto got = entries.list(place.id, window_);
  window_.resize(got ? *got : 0);
  if (!got) return std::unexpected(got.error());
  window_first_ = number;
  passed(place, window_);
  if (window_.empty()) return Found{Answer::missing, {}};
  return Found{Answer::found, window_.front()};
}

}  // namespace pop3d
