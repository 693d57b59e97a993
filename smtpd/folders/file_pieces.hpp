#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace smtpd::folders {

/// What a file holds, piece by piece, in order. Reading blocks; the descriptor stays the caller's.
class FilePieces {
 public:
  explicit FilePieces(int file) : file_(file) {}
  /// Holds until the next call. Empty: the end. nullopt: it cannot be read, errno says why.
  std::optional<std::string_view> next() {
    for (;;) {
      const auto got = ::pread(file_, piece_.data(), piece_.size(), at_);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return std::nullopt;
      at_ += got;
      return std::string_view{piece_}.substr(0, static_cast<std::size_t>(got));
    }
  }
  void go_to(std::size_t offset) { at_ = static_cast<off_t>(offset); }

  static constexpr std::size_t octets = 64 * 1024;  ///< of a piece, at the most

 private:
  int file_;
  off_t at_ = 0;
  std::string piece_ = std::string(octets, '\0');
};

}  // namespace smtpd::folders
