#include "common/auth/remembered.hpp"

#include <bit>
#include <stdexcept>

#include <sodium.h>

namespace common::auth {

Remembered::Remembered(std::size_t capacity) {
  if (sodium_init() < 0) throw std::runtime_error("the system gives no random numbers");
  if (capacity > 0) sets_.resize(std::bit_ceil((capacity + ways - 1) / ways));
  randombytes_buf(key_.data(), key_.size());
}

Remembered::~Remembered() {
  sodium_memzero(key_.data(), key_.size());
}

Remembered::Digest Remembered::digest(std::uint64_t account, std::uint64_t version, std::string_view password) const {
  const std::array<std::uint64_t, 2> who{account, version};
  crypto_generichash_state state;
  crypto_generichash_init(&state, key_.data(), key_.size(), Digest{}.size());
  crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(who.data()), sizeof who);
  crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(password.data()), password.size());
  Digest out{};
  crypto_generichash_final(&state, out.data(), out.size());
  sodium_memzero(&state, sizeof state);
  return out;
}

std::size_t Remembered::index(std::uint64_t account) const {
  // Mailbox numbers are given in sequence by us: spreading them needs no defence against an adversary.
  return static_cast<std::size_t>(account * 0x9e3779b97f4a7c15ULL >> 32U) & (sets_.size() - 1);
}

bool Remembered::contains(std::uint64_t account, std::uint64_t version, const Digest& digest) {
  if (sets_.empty() || version == 0) return false;
  const auto at = index(account);
  const std::lock_guard lock{locks_[at % locks_.size()]};
  for (auto& slot : sets_[at].slots) {
    if (slot.account != account || slot.version != version) continue;
    if (sodium_memcmp(slot.digest.data(), digest.data(), digest.size()) != 0) return false;
    slot.used = true;
    return true;
  }
  return false;
}

void Remembered::add(std::uint64_t account, std::uint64_t version, const Digest& digest) {
  if (sets_.empty() || version == 0) return;
  const auto at = index(account);
  const std::lock_guard lock{locks_[at % locks_.size()]};
  auto& set = sets_[at];
  Slot* chosen = nullptr;
  for (auto& slot : set.slots)
    if (slot.version != 0 && slot.account == account) chosen = &slot;
  for (auto& slot : set.slots)
    if (chosen == nullptr && slot.version == 0) chosen = &slot;
  while (chosen == nullptr) {
    auto& slot = set.slots[set.hand];
    set.hand = static_cast<std::uint8_t>((set.hand + 1U) % ways);
    if (!slot.used) chosen = &slot;
    slot.used = false;
  }
  *chosen = Slot{account, version, digest, false};
}

}  // namespace common::auth
