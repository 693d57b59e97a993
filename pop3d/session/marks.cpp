#include "pop3d/session/marks.hpp"

#include <algorithm>
#include <utility>

namespace pop3d {

bool Marks::marked(std::uint64_t number) const {
  const auto page = number / page_bits;
  if (page >= pages_.size() || !pages_[page]) return false;
  const auto bit = number % page_bits;
  return ((*pages_[page])[bit / 64] >> (bit % 64) & 1U) != 0;
}

void Marks::mark(std::uint64_t number, const mailstore::Entry& entry) {
  const auto page = number / page_bits;
  if (page >= pages_.size()) pages_.resize(page + 1);
  if (!pages_[page]) pages_[page] = std::make_unique<Page>();
  const auto bit = number % page_bits;
  (*pages_[page])[bit / 64] |= std::uint64_t{1} << (bit % 64);
  ids_.push_back(entry.id);
  octets_ += entry.octets;
}

void Marks::clear() {
  *this = Marks{};
}

std::vector<mailstore::MessageId> Marks::take() {
  auto ids = std::exchange(ids_, {});
  clear();
  std::ranges::sort(ids);
  return ids;
}

}  // namespace pop3d
