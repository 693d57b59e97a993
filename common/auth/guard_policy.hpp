#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/config/config.hpp"
#include "common/network.hpp"

/// What becomes of a log-in attempt, from what is remembered of failed ones. No I/O, no clock.
namespace common::auth {

/// [auth] of pennypost.toml. A count of 0: no limit.
struct GuardTerms {
  std::uint32_t pair = 10;                    ///< failures of one account from one address
  std::uint32_t address = 100;                ///< failures from one address
  std::uint32_t account = 100;                ///< failures of one account from addresses strange to it
  std::chrono::milliseconds window{900'000};  ///< so many are forgotten, evenly, in this time
  std::chrono::milliseconds longest_delay{};
  std::chrono::milliseconds known_for{};  ///< 0: no address is remembered
  std::vector<Network> trusted;           ///< neither counted nor slowed
};
GuardTerms make_guard_terms(const config::Guessing& guessing);

/// Failures that are not forgotten yet.
struct Failures {
  std::uint32_t pair = 0;
  std::uint32_t address = 0;
  std::uint32_t account = 0;
};
/// How an account and an address stand to each other: known, if the account has logged in from there before.
enum class Standing : std::uint8_t { stranger, known };
/// By whose failures an attempt is held back.
enum class Held : std::uint8_t { pair, address, account };

struct Judgement {
  std::optional<Held> refused;  ///< at once, with nothing checked
  std::chrono::milliseconds delay{};
};

/// The first third of a limit is free, then each failure makes the next answer later, up to the longest delay at the
/// last one before the limit; from there on: refused. Whoever is known is judged by the failures of this account from
/// this address alone, so that no stranger, and no neighbour behind the same address, can lock an owner out.
Judgement judge(const GuardTerms& terms, const Failures& failures, Standing standing);

}  // namespace common::auth
