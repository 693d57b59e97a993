#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The keys that SCRAM-SHA-256 (RFC 7677) leaves on the server instead of a password, and their text (RFC 5803).
namespace common::auth {

struct ScramKeys {
  std::uint32_t iterations = 0;
  std::string salt;        ///< octets
  std::string stored_key;  ///< octets: H(ClientKey)
  std::string server_key;  ///< octets
};

/// The least that RFC 7677 4 asks for, and the most that a client is sent to do.
constexpr std::uint32_t scram_least_iterations = 4096;
constexpr std::uint32_t scram_most_iterations = 1'000'000;
/// What new passwords get: three times the least costs a phone some 5 ms.
constexpr std::uint32_t scram_iterations = 10'000;
constexpr std::size_t scram_salt_octets = 16;
constexpr std::size_t scram_key_octets = 32;

/// RFC 5802 3: StoredKey and ServerKey of a password already prepared with SASLprep.
ScramKeys derive_scram(std::string_view prepared, std::string_view salt, std::uint32_t iterations);
std::string format_scram(const ScramKeys& keys);
/// nullopt: not SCRAM-SHA-256 keys, or out of the bounds above.
std::optional<ScramKeys> parse_scram(std::string_view text);

}  // namespace common::auth
