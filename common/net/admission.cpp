#include "common/net/admission.hpp"

#include <chrono>
#include <cstring>
#include <random>

namespace common::net {
namespace {

// Secret, so that nobody can choose addresses that collide.
std::uint64_t hash_seed() {
  static const std::uint64_t seed = [] {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) | device();
  }();
  return seed;
}

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  return x ^ (x >> 32);
}

}  // namespace

std::optional<PeerKey> peer_key(const sockaddr& name) {
  if (name.sa_family == AF_INET) {
    // the low half of an IPv6 key is zero: the two kinds never meet
    return PeerKey{0, 0xffff00000000ULL | reinterpret_cast<const sockaddr_in&>(name).sin_addr.s_addr};
  }
  if (name.sa_family == AF_INET6) {
    PeerKey key;
    std::memcpy(&key.high, &reinterpret_cast<const sockaddr_in6&>(name).sin6_addr, sizeof key.high);
    return key;
  }
  return std::nullopt;
}

std::size_t Admissions::Hash::operator()(const PeerKey& key) const {
  return static_cast<std::size_t>(mix(mix(key.high ^ hash_seed()) ^ key.low));
}

std::optional<Admissions::Pass> Admissions::enter(const sockaddr& peer, std::int64_t limit, std::int64_t per_address) {
  total_.fetch_add(1, std::memory_order_relaxed);
  const auto before = open_.fetch_add(1, std::memory_order_relaxed);
  const auto refuse = [&]() -> std::optional<Pass> {
    open_.fetch_sub(1, std::memory_order_relaxed);
    refused_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  };
  if (limit > 0 && before >= static_cast<std::uint64_t>(limit)) return refuse();
  std::optional<PeerKey> counted;
  if (per_address > 0) counted = peer_key(peer);
  if (counted) {
    auto& part = shard(*counted);
    const std::lock_guard guard{part.mutex};
    auto& count = part.counts[*counted];
    if (static_cast<std::int64_t>(count) >= per_address) return refuse();
    ++count;
  }
  return std::optional<Pass>{std::in_place, shared_from_this(), counted};
}

bool Admissions::worth_a_line() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const auto second = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  return last_line_.exchange(second, std::memory_order_relaxed) != second;
}

void Admissions::leave(const std::optional<PeerKey>& counted) {
  if (counted) {
    auto& part = shard(*counted);
    const std::lock_guard guard{part.mutex};
    const auto found = part.counts.find(*counted);
    if (found != part.counts.end() && --found->second == 0) part.counts.erase(found);
  }
  open_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace common::net
