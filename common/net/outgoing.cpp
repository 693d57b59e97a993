#include "common/net/outgoing.hpp"

#include <algorithm>
#include <functional>

namespace common::net {
namespace {

bool within(std::span<const char> area, const void* place) {
  const std::less_equal<const void*> not_after;
  const std::less<const void*> before;
  return not_after(area.data(), place) && before(place, area.data() + area.size());
}

}  // namespace

void Outgoing::advance(std::size_t octets) {
  gone_ += octets;
  while (octets > 0) {
    const auto step = std::min(octets, pieces_[0].iov_len - at_);
    octets -= step;
    at_ += step;
    skip_empty();
  }
}

std::size_t Outgoing::list(std::span<iovec> into) const {
  const auto count = std::min(into.size(), pieces_.size());
  std::copy_n(pieces_.begin(), count, into.begin());
  if (count > 0) {
    into[0].iov_base = static_cast<char*>(into[0].iov_base) + at_;
    into[0].iov_len -= at_;
  }
  return count;
}

void Outgoing::leave(Worker& worker) {
  waited_ = true;
  const bool shared = std::any_of(pieces_.begin(), pieces_.end(), [&](const iovec& piece) {
    return within(worker.buffer(), piece.iov_base) || within(worker.scratch(), piece.iov_base);
  });
  if (!shared) return;
  std::string copy;
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const auto from = i == 0 ? at_ : 0;
    copy.append(static_cast<const char*>(pieces_[i].iov_base) + from, pieces_[i].iov_len - from);
  }
  copy_ = std::move(copy);
  own_ = {copy_.data(), copy_.size()};
  pieces_ = {&own_, 1};
  at_ = 0;
}

}  // namespace common::net
