#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "smtpd/outbound/token_bucket.hpp"

namespace smtpd::outbound {

/// How often mail that waits may be asked for. Who asks by ETRN need not be known: nobody's asking may use up what the
/// owner of the mail may ask. Who logs in has a limit of his own. Any thread.
class AskLimits {
 public:
  using Time = TokenBucket::Time;
  struct Run {
    std::string peer;     ///< an address, as far as it is one subscriber's
    std::string node;     ///< what is asked for
    std::string covered;  ///< the domain or pattern of the directory that it is
  };
  /// ETRN, once more now.
  bool may_run(const Run& run, Time at);
  /// ATRN and TURN, once more now.
  bool may_turn(const std::string& account, Time at);

 private:
  using Buckets = std::unordered_map<std::string, TokenBucket>;
  static bool take(Buckets& buckets, std::string key, std::uint64_t count, Time at);

  std::mutex mutex_;
  Buckets strangers_;
  Buckets accounts_;  ///< apart: no stranger makes them forgotten
  TokenBucket all_runs_ = make_all_runs();
  static TokenBucket make_all_runs();
};

}  // namespace smtpd::outbound
