#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "mailstore/types.hpp"

namespace pop3d {

/// Messages that a session marked as deleted. Costs nothing before the first, then 8 octets each and a bit map in pages
/// of 4096 messages, made where one is marked.
class Marks {
 public:
  bool marked(std::uint64_t number) const;
  /// A message is marked once.
  void mark(std::uint64_t number, const mailstore::Entry& entry);
  /// RSET
  void clear();

  std::uint64_t messages() const { return ids_.size(); }
  std::uint64_t octets() const { return octets_; }
  /// Their ids in order, neighbours beside each other as the store likes it; the marks are gone.
  std::vector<mailstore::MessageId> take();

 private:
  static constexpr std::uint64_t page_bits = 4096;
  using Page = std::array<std::uint64_t, page_bits / 64>;
  std::vector<std::unique_ptr<Page>> pages_;
  std::vector<mailstore::MessageId> ids_;
  std::uint64_t octets_ = 0;
};

}  // namespace pop3d
