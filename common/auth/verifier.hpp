#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <asio/awaitable.hpp>

#include "common/secret.hpp"

namespace common::auth {

/// What a log-in is checked against. The store's Credential, without knowing the store.
struct StoredKeys {
  std::uint64_t version = 0;
  std::string password_hash;
  std::string scram_sha256;
  std::string shared_secret{};  ///< for APOP and CRAM-MD5, in the clear; empty: none
};

/// Checks passwords on a small pool of threads, so that no I/O thread hashes, and remembers what was right: keyed by
/// account and the version of its credential, as a keyed digest, bounded, so a changed password is out of it at once.
/// One per daemon; any thread.
enum class Verdict : std::uint8_t {
  right,
  wrong,
  busy,  ///< too many checks wait already; nothing was checked, and the peer should come back later
};

class Verifier {
 public:
  /// Checks that may wait for a thread; beyond it `busy` is the answer at once. At 25 ms a check and two threads the
  /// last of them waits some three seconds, well within a log-in's deadline.
  static constexpr std::size_t most_waiting = 256;

  Verifier(std::size_t threads, std::size_t remembered);
  /// Checks that still wait end as `busy`. The executors of all callers must still exist.
  ~Verifier();
  /// The same as `check`, telling an overloaded pool from a wrong password. A remembered password is answered without
  /// leaving the caller's thread.
  asio::awaitable<Verdict> verify(std::uint64_t account, const StoredKeys& keys, const Secret& password);
  /// Resumes the caller on its own executor. An account that does not exist is checked against a dummy hash, so that
  /// the time does not tell: pass `keys` with version 0. False as well when the pool is overloaded (logged once a
  /// minute).
  asio::awaitable<bool> check(std::uint64_t account, const StoredKeys& keys, const Secret& password);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace common::auth
