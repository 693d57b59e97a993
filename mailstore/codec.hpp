#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "mailstore/failure.hpp"

/// Numbers and strings to octets and back, for records, rows and the journal. Values are little-endian; keys are
/// big-endian, so that octet order is number order.
namespace mailstore {

static_assert(std::endian::native == std::endian::little, "values are stored little-endian");

template <std::unsigned_integral T>
std::string_view big_endian_into(T value, char (&out)[sizeof(T)]) {
  const T swapped = sizeof(T) == 1 ? value : std::byteswap(value);
  std::memcpy(out, &swapped, sizeof(T));
  return {out, sizeof(T)};
}
template <std::unsigned_integral T>
T from_big_endian(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return std::byteswap(value);
}

class Encoder {
 public:
  explicit Encoder(std::string& out) : out_(out) {}
  template <std::unsigned_integral T>
  Encoder& number(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    out_.append(raw, sizeof(T));
    return *this;
  }
  Encoder& text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    out_.append(value);
    return *this;
  }

 private:
  std::string& out_;
};

/// Reads what Encoder wrote. A value that is too short or of an unknown version is `corrupt`, never a crash.
class Decoder {
 public:
  Decoder(std::string_view in, const char* what) : in_(in), what_(what) {}
  template <std::unsigned_integral T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view text() {
    const auto size = number<std::uint32_t>();
    return take(size);
  }
  std::string_view octets(std::size_t size) { return take(size); }
  bool at_end() const { return in_.empty(); }
  /// Nothing may follow what was read.
  void end() const {
    if (!in_.empty()) broken("is too long");
  }
  /// Which of the versions up to `newest` it is.
  std::uint8_t version(std::uint8_t newest) {
    const auto found = number<std::uint8_t>();
    if (found == 0 || found > newest) broken("is of an unknown version");
    return found;
  }
  [[noreturn]] void broken(const char* how) const { throw Failure(Errc::corrupt, std::string(what_) + " " + how); }

 private:
  std::string_view take(std::size_t size) {
    if (size > in_.size()) broken("is too short");
    const auto piece = in_.substr(0, size);
    in_.remove_prefix(size);
    return piece;
  }
  std::string_view in_;
  const char* what_;
};

}  // namespace mailstore
