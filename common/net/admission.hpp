#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

namespace common::net {

/// Who connects, as far as limits go: an IPv4 address, or the /64 of an IPv6 one (a single subscriber has that many).
struct PeerKey {
  std::uint64_t high = 0, low = 0;
  friend bool operator==(const PeerKey&, const PeerKey&) = default;
};
/// nullopt for a Unix socket.
std::optional<PeerKey> peer_key(const sockaddr& name);

/// How many connections a virtual server has, in all and from each address. Any thread.
class Admissions : public std::enable_shared_from_this<Admissions> {
 public:
  /// A connection that counts, for as long as this lives.
  class Pass {
   public:
    Pass(std::shared_ptr<Admissions> of, std::optional<PeerKey> counted) : of_(std::move(of)), counted_(counted) {}
    Pass(Pass&& other) noexcept = default;
    Pass(const Pass&) = delete;
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (of_) of_->leave(counted_);
    }

   private:
    std::shared_ptr<Admissions> of_;
    std::optional<PeerKey> counted_;
  };

  /// nullopt: over a limit (0: there is none).
  std::optional<Pass> enter(const sockaddr& peer, std::int64_t limit, std::int64_t per_address);

  /// True at most once a second: the log need not name each refusal.
  bool worth_a_line();

  std::uint64_t open() const { return open_.load(std::memory_order_relaxed); }
  std::uint64_t total() const { return total_.load(std::memory_order_relaxed); }
  std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Hash {
    std::size_t operator()(const PeerKey& key) const;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<PeerKey, std::uint32_t, Hash> counts;
  };
  Shard& shard(const PeerKey& key) { return shards_[Hash{}(key) % shards_.size()]; }
  void leave(const std::optional<PeerKey>& counted);

  std::atomic<std::uint64_t> open_{0}, total_{0}, refused_{0};
  std::atomic<std::int64_t> last_line_{-1};
  std::array<Shard, 8> shards_;
};

}  // namespace common::net
