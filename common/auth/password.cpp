#include "common/auth/password.hpp"

#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

#include <crypt.h>
#include <sodium.h>

#include "common/auth/saslprep.hpp"
#include "common/auth/scram.hpp"

namespace common::auth {
namespace {

// OWASP's first choice for Argon2id: 19 MiB, two passes; some 20 ms.
constexpr unsigned long long argon2_passes = 2;
constexpr std::size_t argon2_memory = std::size_t{19} << 20U;
// What an imported hash may cost at most: a check must not hold a thread for seconds or take the machine's memory.
constexpr std::uint64_t most_kib = std::uint64_t{256} << 10U;
constexpr std::uint64_t argon2_most_passes = 16;
constexpr std::uint64_t sha_most_rounds = 5'000'000;
constexpr std::uint64_t bcrypt_most_cost = 15;
// A PASS line must hold it, and so must crypt(3).
constexpr std::size_t password_most_octets = 256;

constexpr std::string_view argon2id = "$argon2id$";

struct Wiped {
  void operator()(crypt_data* data) const {
    sodium_memzero(data, sizeof *data);
    delete data;
  }
};

/// crypt(3) of the password with the setting in `hash`; empty when the system does not know the form.
std::string crypt_text(std::string_view hash, std::string_view password) {
  if (password.size() >= CRYPT_MAX_PASSPHRASE_SIZE || password.find('\0') != password.npos) return {};
  // 32 KiB: too much for a pool thread's stack to be trusted with.
  const std::unique_ptr<crypt_data, Wiped> data{new crypt_data{}};
  const std::string setting{hash};
  const Secret phrase{std::string{password}};
  const char* text = crypt_r(phrase.reveal().data(), setting.c_str(), data.get());
  if (text == nullptr || text[0] == '*') return {};
  return text;
}

std::uint64_t number_behind(std::string_view text, std::string_view key) {
  const auto at = text.find(key);
  if (at == text.npos) return 0;
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data() + at + key.size(), text.data() + text.size(), value);
  return parsed.ec == std::errc::result_out_of_range ? ~std::uint64_t{0} : value;
}

/// What a check of a yescrypt hash takes in KiB, from its "j9T$...": flags, then the logarithm of N and r, each a
/// letter of crypt's own alphabet as crypt_gensalt(3) writes them. Other forms: more than there is.
std::uint64_t yescrypt_kib(std::string_view setting) {
  constexpr std::string_view letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr std::size_t one_letter = 48;  // those behind it begin a longer number
  if (setting.find('$') != 3 || setting.front() != 'j') return ~std::uint64_t{0};
  const auto cost = letters.find(setting[1]);
  const auto block = letters.find(setting[2]);
  if (cost >= one_letter || block >= one_letter) return ~std::uint64_t{0};
  return (block + 1) << (cost + 1) >> 3U;  // 128 r N octets
}

bool too_dear(std::string_view hash) {
  if (hash.starts_with(argon2id))
    return number_behind(hash, "m=") > most_kib || number_behind(hash, "t=") > argon2_most_passes;
  if (hash.starts_with("$2")) return number_behind(hash.substr(3), "$") > bcrypt_most_cost;
  if (hash.starts_with("$y$")) return yescrypt_kib(hash.substr(3)) > most_kib;
  if (hash.starts_with("$5$") || hash.starts_with("$6$")) return number_behind(hash, "rounds=") > sha_most_rounds;
  return false;
}

bool known_crypt(std::string_view hash) {
  for (const std::string_view prefix : {"$1$", "$5$", "$6$", "$y$", "$2a$", "$2b$", "$2y$"})
    if (hash.starts_with(prefix)) return true;
  return false;
}

bool check_one(std::string_view hash, std::string_view password) {
  if (hash.starts_with(argon2id)) {
    const std::string terminated{hash};
    return crypto_pwhash_str_verify(terminated.c_str(), password.data(), password.size()) == 0;
  }
  const auto text = crypt_text(hash, password);
  return text.size() == hash.size() && sodium_memcmp(text.data(), hash.data(), hash.size()) == 0;
}

}  // namespace

std::expected<Hashes, std::string> make_hashes(const Secret& password) {
  if (sodium_init() < 0) return std::unexpected("the system gives no random numbers");
  if (password.empty()) return std::unexpected("the password is empty");
  if (password.reveal().size() > password_most_octets)
    return std::unexpected("the password is longer than " + std::to_string(password_most_octets) + " octets");
  const auto prepared = saslprep(password.reveal(), Prepare::stored);
  if (!prepared || prepared->empty())
    return std::unexpected(
        "the password has a character that mail programs cannot send (RFC 4013): a control character, "
        "mixed writing directions, or text that is not UTF-8");

  Hashes hashes;
  std::array<char, crypto_pwhash_STRBYTES> text{};
  if (crypto_pwhash_str_alg(text.data(), prepared->reveal().data(), prepared->reveal().size(), argon2_passes,
                            argon2_memory, crypto_pwhash_ALG_ARGON2ID13) != 0)
    return std::unexpected("not enough memory to hash the password (19 MiB are needed)");
  hashes.password_hash = text.data();

  std::string salt(scram_salt_octets, '\0');
  randombytes_buf(salt.data(), salt.size());
  hashes.scram_sha256 = format_scram(derive_scram(prepared->reveal(), salt, scram_iterations));
  return hashes;
}

std::expected<std::string, std::string> accept_hash(std::string_view hash) {
  constexpr std::string_view forms =
      "give one of $argon2id$, $y$, $6$, $5$, $2b$, $1$ (as `openssl passwd -6` or `mkpasswd` print it)";
  if (hash.size() >= CRYPT_OUTPUT_SIZE || hash.find('\0') != hash.npos)
    return std::unexpected("not a password hash: " + std::string{forms});
  if (!hash.starts_with(argon2id) && !known_crypt(hash))
    return std::unexpected("a hash of a form that this system does not check: " + std::string{forms});
  if (too_dear(hash))
    return std::unexpected("checking this hash would take seconds or too much memory: choose a lower cost");

  if (hash.starts_with(argon2id)) {
    if (hash.size() >= crypto_pwhash_STRBYTES) return std::unexpected("the Argon2id hash is too long");
    std::string terminated{hash};
    if (crypto_pwhash_str_needs_rehash(terminated.c_str(), argon2_passes, argon2_memory) < 0)
      return std::unexpected("the Argon2id hash is incomplete or damaged");
    return terminated;
  }
  // crypt(3) itself says how long a whole one is; a truncated hash would let nobody in.
  if (crypt_text(hash, "probe").size() != hash.size()) return std::unexpected("the hash is incomplete or damaged");
  return std::string{hash};
}

bool check_password(std::string_view password_hash, const Secret& password) {
  if (password_hash.empty() || password.empty()) return false;
  if (!password_hash.starts_with(argon2id) && !known_crypt(password_hash)) return false;
  if (sodium_init() < 0) return false;
  const auto prepared = saslprep(password.reveal(), Prepare::query);
  if (prepared && check_one(password_hash, prepared->reveal())) return true;
  // An imported hash may have been made of the octets as they were typed.
  const bool same = prepared && prepared->reveal() == password.reveal();
  return !same && check_one(password_hash, password.reveal());
}

}  // namespace common::auth
