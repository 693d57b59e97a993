#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "mailstore/store.hpp"

namespace smtpd::milter {

/// Where the body of a message lies: in a draft, behind a header section. In stored form, dots stuffed.
struct BodyPlace {
  const mailstore::Draft* draft = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t stored_octets = 0;
  std::uint64_t real_octets = 0;
};

/// Reads a body from front to back.
class BodyReader {
 public:
  explicit BodyReader(const BodyPlace& place) : place_(place) {}
  /// The next octets as stored, `most` at most; empty: that was all. As Draft::read.
  mailstore::Result<std::string_view> next_stored(std::span<char> into, std::size_t most);
  /// The same as they were sent, stuffed dots taken off. May lie in here.
  mailstore::Result<std::string_view> next_real(std::span<char> into, std::size_t most);

 private:
  BodyPlace place_;
  std::uint64_t at_ = 0;
  bool line_start_ = true;
  std::string plain_;
};

}  // namespace smtpd::milter
