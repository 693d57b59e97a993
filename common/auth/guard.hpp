#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/auth/guard_policy.hpp"
#include "common/auth/guard_table.hpp"
#include "common/clock.hpp"

namespace common::auth {

/// Holds guessing of passwords back: failures are counted by account and address, by address (IPv6: /64; a Unix socket
/// counts for none) and by account, shared by all daemons of a run directory. One per daemon; any thread.
///
/// What comes at the same moment is judged by what was known then, so many connections may get somewhat past a limit
/// together; they pay for it by as much longer a refusal.
class Guard {
 public:
  Guard(GuardTable table, GuardTerms terms, const Clock& clock);
  /// After a reload.
  void set_terms(GuardTerms terms);

  /// One log-in, before its password or proof is checked. Whether the account exists makes no difference.
  class Attempt {
   public:
    /// May be asked again after the delay: others may have failed meanwhile.
    Judgement judge() const;
    /// The credentials were right: the failures of this account from this address are forgotten, others' are not, and
    /// the address is known to the account from now on.
    void on_right() const;
    /// They were wrong, or there is no such account.
    void on_wrong() const;

   private:
    friend class Guard;
    Standing standing() const;

    std::shared_ptr<const GuardTerms> terms_;
    Guard* guard_ = nullptr;  ///< null: not watched
    bool from_address_ = false;
    std::uint64_t pair_ = 0;
    std::uint64_t address_ = 0;
    std::uint64_t account_ = 0;
    std::string who_;  ///< for the log
    std::string peer_;
  };
  /// `account`: its canonical address, or what stands for it if there is none (mailstore::account_key).
  Attempt attempt(const sockaddr& peer, std::string_view peer_text, std::string_view account);

  void count_delayed() { delayed_.fetch_add(1, std::memory_order_relaxed); }
  void count_refused() { refused_.fetch_add(1, std::memory_order_relaxed); }
  struct Counters {
    std::uint64_t failed = 0;
    std::uint64_t delayed = 0;
    std::uint64_t refused = 0;
  };
  Counters counters() const;

 private:
  GuardTable::Ticks now() const;
  std::uint32_t seconds() const;
  void tell(Held held, const Attempt& attempt, std::uint32_t limit);

  GuardTable table_;
  std::mutex mutex_;
  std::shared_ptr<const GuardTerms> terms_;
  const Clock& clock_;
  std::atomic<std::uint64_t> failed_{0}, delayed_{0}, refused_{0};
  std::atomic<std::int64_t> last_line_{-1};
};

}  // namespace common::auth
