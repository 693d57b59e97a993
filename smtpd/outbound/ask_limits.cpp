#include "smtpd/outbound/ask_limits.hpp"

#include <chrono>
#include <cstdint>
#include <utility>

namespace smtpd::outbound {
namespace {

// All of them each minute. A run costs one connection where nobody answers, so a stranger can cause that many of them,
// to servers that an admin has named. Several together can cause no more than `all_runs`, or `each_covered` to one.
constexpr std::uint64_t each_peer_and_node = 6;
constexpr std::uint64_t each_peer = 60;
constexpr std::uint64_t each_covered = 300;
constexpr std::uint64_t all_runs = 600;
/// Who logs in is known, and brings the connection along.
constexpr std::uint64_t each_account = 60;
constexpr std::chrono::minutes a_minute{1};
/// Beyond this what is known of callers is forgotten; `all_runs` holds all the same.
constexpr std::size_t most_known = 10'000;

}  // namespace

TokenBucket AskLimits::make_all_runs() {
  return {all_runs, a_minute};
}

bool AskLimits::take(Buckets& buckets, std::string key, std::uint64_t count, Time at) {
  if (buckets.size() >= most_known && !buckets.contains(key)) buckets.clear();
  return buckets.try_emplace(std::move(key), count, a_minute).first->second.take(at);
}

bool AskLimits::may_run(const Run& run, Time at) {
  const std::lock_guard guard{mutex_};
  // Who is refused uses up nothing of the others'; and by then is remembered with no further name.
  return take(strangers_, "p" + run.peer, each_peer, at) &&
         take(strangers_, "b" + run.peer + '\n' + run.node, each_peer_and_node, at) &&
         take(strangers_, "c" + run.covered, each_covered, at) && all_runs_.take(at);
}

bool AskLimits::may_turn(const std::string& account, Time at) {
  const std::lock_guard guard{mutex_};
  return take(accounts_, account, each_account, at);
}

}  // namespace smtpd::outbound
