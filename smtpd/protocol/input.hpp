#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "smtpd/protocol/lines.hpp"

namespace smtpd {

/// What a session has read and not yet taken. Looks at the thread's buffer as long as that may be looked at, and keeps
/// a copy of what is left only when the session has to wait in the middle of it.
class Input {
 public:
  /// `octets` follow what was given before, all of which is taken.
  void give(std::string_view octets) { fresh_ = octets; }
  bool empty() const { return fresh_.empty() && kept_at_ == kept_.size(); }

  /// A line has begun and is not whole. While nothing else is here.
  bool in_line() const { return !lines_.empty(); }

  /// The next line; nullopt: not all of it is here. Its text holds until the next call of anything here.
  std::optional<Line> next_line() {
    std::string_view in = octets();
    const std::size_t before = in.size();
    auto line = lines_.next(in);
    take(before - in.size());
    return line;
  }
  /// All that is here, for the data reader.
  std::string_view octets() const {
    return kept_at_ < kept_.size() ? std::string_view{kept_}.substr(kept_at_) : fresh_;
  }
  void take(std::size_t count) {
    if (kept_at_ < kept_.size()) {
      kept_at_ += count;
    } else {
      fresh_.remove_prefix(count);
    }
  }

  /// The thread's buffer is about to be somebody else's: copies what is left in it.
  void keep() {
    if (fresh_.empty()) return;
    kept_.assign(fresh_);
    kept_at_ = 0;
    fresh_ = {};
  }
  /// The session begins to wait for its peer, all was taken: gives memory back.
  void release() {
    if (!kept_.empty()) std::string{}.swap(kept_);
    kept_at_ = 0;
    lines_.release();
  }
  /// Throws away what was pipelined (STARTTLS).
  void discard() {
    fresh_ = {};
    std::string{}.swap(kept_);
    kept_at_ = 0;
    lines_.clear();
  }

 private:
  std::string_view fresh_;  ///< in the thread's buffer
  std::string kept_;
  std::size_t kept_at_ = 0;
  LineSplitter lines_;
};

}  // namespace smtpd
