#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace smtpd::outbound {

/// Connections that rest between two messages, by where they lead. Decides which to use and when to let one go; closing
/// is the owner's. Time is handed in.
template <class Connection>
class IdlePool {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// `most`: so many rest at a time; `keep`: so long each.
  IdlePool(std::size_t most, std::chrono::nanoseconds keep) : most_(most), keep_(keep) {}

  /// Rests from now on. Gives the one that had to make room, the longest at rest; with `most` 0 the same.
  [[nodiscard]] std::optional<Connection> put(std::string key, Connection connection, Time now) {
    if (most_ == 0) return connection;
    std::optional<Connection> out;
    if (all_.size() == most_) out = take_oldest();
    all_.push_back({std::move(key), std::move(connection), now});
    by_key_.emplace(all_.back().key, std::prev(all_.end()));
    return out;
  }

  /// The one that rested shortest, whose peer is the least likely to have closed it.
  std::optional<Connection> take(std::string_view key) {
    const auto [from, to] = by_key_.equal_range(key);
    if (from == to) return std::nullopt;
    auto newest = from;
    for (auto each = from; each != to; ++each) {
      if (each->second->since >= newest->second->since) newest = each;
    }
    return remove(newest);
  }

  bool has(std::string_view key) const { return by_key_.contains(key); }
  std::size_t size() const { return all_.size(); }

  /// One more connection may be wanted than there is room for.
  std::optional<Connection> take_oldest() {
    if (all_.empty()) return std::nullopt;
    return remove(find(all_.begin()));
  }

  /// When the first will have rested long enough; nullopt: none rests.
  std::optional<Time> next_expiry() const {
    if (all_.empty()) return std::nullopt;
    return all_.front().since + std::chrono::duration_cast<Time::duration>(keep_);
  }
  /// Those that have rested long enough.
  std::vector<Connection> take_expired(Time now) {
    std::vector<Connection> out;
    while (!all_.empty() && now - all_.front().since >= keep_) out.push_back(*take_oldest());
    return out;
  }

 private:
  struct Resting {
    std::string key;
    Connection connection;
    Time since;
  };
  using Place = typename std::list<Resting>::iterator;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using ByKey = std::unordered_multimap<std::string_view, Place, Hash, std::equal_to<>>;

  typename ByKey::iterator find(Place place) {
    auto [from, to] = by_key_.equal_range(place->key);
    while (from != to && from->second != place) ++from;
    return from;
  }
  Connection remove(typename ByKey::iterator found) {
    const auto place = found->second;
    Connection connection = std::move(place->connection);
    by_key_.erase(found);
    all_.erase(place);
    return connection;
  }

  std::size_t most_;
  std::chrono::nanoseconds keep_;
  std::list<Resting> all_;  ///< the longest at rest first
  ByKey by_key_;            ///< keys lie in `all_`
};

}  // namespace smtpd::outbound
