#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "smtpd/outbound/pace.hpp"
#include "smtpd/outbound/token_bucket.hpp"

namespace smtpd::outbound {

/// How many messages may be under way, in all and to each destination (S60, S62, `--connections`, `--rate`). Counts and
/// decides; whoever carries the messages tells. One thread.
class Lanes {
 public:
  using Time = TokenBucket::Time;
  /// What holds for a destination and for whoever sends there.
  struct Limits {
    std::uint32_t connections = 100;  ///< 0: no limit
    std::uint64_t rate = 0;           ///< messages a `period`; 0: no limit
    std::chrono::seconds period{60};
    std::string_view owner{};  ///< the virtual server whose mail it is
    std::uint32_t total = 0;   ///< connections of the owner in all; 0: no limit
  };
  enum class Hold : std::uint8_t {
    none,         ///< go
    total,        ///< S60: somebody else must be done first
    destination,  ///< S62
    pace,         ///< the peer wants no more at a time
    rate,         ///< at `at`
  };
  struct Verdict {
    Hold hold = Hold::none;
    Time at{};
  };
  /// May one more message go to `destination` now? If so it is counted as under way until `end`.
  Verdict begin(std::string_view destination, const Limits& limits, Time now);
  void end(std::string_view destination, std::string_view owner, Pace::Sign sign);

  std::uint32_t running() const { return running_; }
  std::uint32_t running(std::string_view destination) const;
  std::uint32_t window(std::string_view destination) const;
  /// How many more may begin there as far as the destination goes.
  std::uint32_t room(std::string_view destination) const;
  std::size_t destinations() const { return destinations_.size(); }
  /// Forgets destinations at which nothing is under way and whose bucket is full again; called now and then.
  void forget_idle(Time now);

 private:
  struct Destination {
    Pace pace;
    TokenBucket bucket;
    std::uint32_t connections = 0;
    std::uint64_t rate = 0;
    std::uint32_t running = 0;
    Time last{};
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::uint32_t running_ = 0;
  std::unordered_map<std::string, Destination, Hash, std::equal_to<>> destinations_;
  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> owners_;  ///< under way
};

std::string_view describe(Lanes::Hold hold);

}  // namespace smtpd::outbound
