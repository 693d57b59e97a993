#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "common/secret.hpp"

/// Passwords at rest: Argon2id for PLAIN, LOGIN and USER/PASS, SCRAM keys for SCRAM-SHA-256. Slow on purpose (tens of
/// milliseconds, 19 MiB): never on an I/O thread; see common/auth/verifier.hpp.
namespace common::auth {

struct Hashes {
  std::string password_hash;  ///< Argon2id in its usual text form
  std::string scram_sha256;   ///< RFC 5803: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey
};
/// Both forms of a new password, prepared with SASLprep (RFC 4013). Error: why the password cannot be used.
std::expected<Hashes, std::string> make_hashes(const Secret& password);
/// An imported crypt(3) hash or Argon2id text taken as it is; error: a form this system cannot check.
std::expected<std::string, std::string> accept_hash(std::string_view hash);
/// Constant time with respect to the password. False for an empty or unknown hash form.
bool check_password(std::string_view password_hash, const Secret& password);

}  // namespace common::auth
