#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace common::auth {

/// What is remembered of log-ins: a file of a fixed size in the run directory, mapped by every daemon, so that a
/// failure at one counts at the other. Each entry is one word that changes by compare-and-swap: there is no lock, and a
/// process that is killed at any moment leaves whole entries. Names stand in it as SipHash under a key of the file's
/// own, so that nobody can choose ones that collide. Where a set of entries is full, the one that matters least makes
/// room. Any thread.
///
/// Failures are kept as the time at which they are all forgotten: each one moves it on by what one costs (the generic
/// cell rate algorithm of ATM), so that a word is enough for a count that runs off evenly.
class GuardTable {
 public:
  /// A tenth of a second of wall time, of which differences count alone.
  using Ticks = std::uint32_t;
  enum class Count : std::uint8_t { pair, address, account };

  /// Maps the file, made if there is none; one that is damaged, or another version's, is made anew. As root it is given
  /// to `owner`. Error: a sentence with the remedy.
  static std::expected<GuardTable, std::string> open(const std::filesystem::path& path, const std::string& owner);
  GuardTable(GuardTable&& other) noexcept;
  GuardTable& operator=(GuardTable&&) = delete;
  ~GuardTable();

  /// What a name is called in the table.
  std::uint64_t hash(std::string_view octets) const;

  /// How long it takes from `now` until all is forgotten; what is beyond `most` comes from a clock that jumped: 0.
  Ticks left(Count count, std::uint64_t hash, Ticks now, Ticks most) const;
  /// One failure of `cost` more, up to `most` in all; gives back what is left then.
  Ticks add(Count count, std::uint64_t hash, Ticks cost, Ticks now, Ticks most);
  void forget(Count count, std::uint64_t hash);
  /// All failures.
  void forget_all();

  /// The last log-in of an account from an address (`pair`), in seconds since 1970; 0: none is remembered. An account
  /// keeps its last eight addresses or so, whatever happens to others.
  std::uint32_t last_log_in(std::uint64_t account, std::uint64_t pair) const;
  void remember(std::uint64_t account, std::uint64_t pair, std::uint32_t now);

 private:
  static constexpr std::size_t ways = 8;  // a cache line
  using Set = std::array<std::uint64_t, ways>;
  struct Layout;

  explicit GuardTable(Layout* layout) : layout_(layout) {}
  Set& failures(Count count, std::uint64_t hash) const;
  Set& log_ins(std::uint64_t account) const;

  Layout* layout_;
};

}  // namespace common::auth
