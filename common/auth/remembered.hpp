#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

namespace common::auth {

/// Passwords that were right, as keyed digests: (account, version of its credential) -> BLAKE2b of the password under a
/// key that exists in this process only. Sets of eight with a clock each, so that memory is bounded and a look-up is
/// one cache line or two. Any thread.
class Remembered {
 public:
  using Digest = std::array<unsigned char, 16>;
  /// `capacity` 0: remembers nothing.
  explicit Remembered(std::size_t capacity);
  Remembered(const Remembered&) = delete;
  Remembered& operator=(const Remembered&) = delete;
  ~Remembered();

  Digest digest(std::uint64_t account, std::uint64_t version, std::string_view password) const;
  bool contains(std::uint64_t account, std::uint64_t version, const Digest& digest);
  /// Older versions of the account's credential are forgotten.
  void add(std::uint64_t account, std::uint64_t version, const Digest& digest);

 private:
  struct Slot {
    std::uint64_t account = 0;
    std::uint64_t version = 0;  ///< 0: free
    Digest digest{};
    bool used = false;
  };
  static constexpr std::size_t ways = 8;
  struct Set {
    std::array<Slot, ways> slots{};
    std::uint8_t hand = 0;
  };
  std::size_t index(std::uint64_t account) const;

  std::vector<Set> sets_;
  std::array<std::mutex, 16> locks_;
  std::array<unsigned char, 32> key_{};
};

}  // namespace common::auth
