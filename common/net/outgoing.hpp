#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "common/net/worker.hpp"

namespace common::net {

/// Pieces on their way to a peer, and how far they have come. Does not own them, until it must.
class Outgoing {
 public:
  explicit Outgoing(std::span<const iovec> pieces) : pieces_(pieces) { skip_empty(); }
  explicit Outgoing(std::string_view octets)
      : own_{const_cast<char*>(octets.data()), octets.size()}, pieces_(&own_, 1) {
    skip_empty();
  }
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;

  bool empty() const { return pieces_.empty(); }
  /// Only one piece is left, so that nothing is gained by gathering.
  bool last() const { return pieces_.size() == 1; }
  /// How many octets have gone.
  std::size_t gone() const { return gone_; }
  /// The rest of the piece it stands in.
  std::string_view next() const {
    if (pieces_.empty()) return {};
    return {static_cast<const char*>(pieces_[0].iov_base) + at_, pieces_[0].iov_len - at_};
  }
  void advance(std::size_t octets);
  /// The next pieces, as many as fit; gives their number.
  std::size_t list(std::span<iovec> into) const;

  /// There is going to be a wait: what lies in the worker's buffers is copied out of them.
  void leave(Worker& worker);
  bool waited() const { return waited_; }

 private:
  void skip_empty() {
    while (!pieces_.empty() && pieces_[0].iov_len == at_) {
      pieces_ = pieces_.subspan(1);
      at_ = 0;
    }
  }

  iovec own_{};
  std::span<const iovec> pieces_;
  std::size_t at_ = 0;
  std::size_t gone_ = 0;
  std::string copy_;
  bool waited_ = false;
};

}  // namespace common::net
