#include "common/net/ticket_keys.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include <array>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>

namespace common::net {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto key_life = std::chrono::hours{12};

struct TicketKey {
  std::array<unsigned char, 16> name;
  std::array<unsigned char, 32> cipher;
  std::array<unsigned char, 32> digest;
};

class TicketKeys {
 public:
  /// The key to seal with; nullopt: no randomness.
  std::optional<TicketKey> current() {
    const std::lock_guard guard{mutex_};
    const auto now = Clock::now();
    if (made_ && now - *made_ < key_life) return newest_;
    TicketKey fresh;
    if (RAND_bytes(fresh.name.data(), static_cast<int>(fresh.name.size())) != 1 ||
        RAND_priv_bytes(fresh.cipher.data(), static_cast<int>(fresh.cipher.size())) != 1 ||
        RAND_priv_bytes(fresh.digest.data(), static_cast<int>(fresh.digest.size())) != 1) {
      return std::nullopt;
    }
    OPENSSL_cleanse(&former_, sizeof former_);
    has_former_ = made_ && now - *made_ < 2 * key_life;
    if (has_former_) former_ = newest_;
    newest_ = fresh;
    made_ = now;
    return newest_;
  }
  /// The key of that name, and whether it is the newest.
  std::optional<std::pair<TicketKey, bool>> find(const unsigned char* name) {
    const std::lock_guard guard{mutex_};
    const auto now = Clock::now();
    if (!made_ || now - *made_ >= 2 * key_life) return std::nullopt;
    if (std::memcmp(newest_.name.data(), name, newest_.name.size()) == 0) {
      return std::pair{newest_, now - *made_ < key_life};
    }
    if (has_former_ && now - *made_ < key_life && std::memcmp(former_.name.data(), name, former_.name.size()) == 0) {
      return std::pair{former_, false};
    }
    return std::nullopt;
  }

 private:
  std::mutex mutex_;
  TicketKey newest_{}, former_{};
  bool has_former_ = false;
  std::optional<Clock::time_point> made_;
};

TicketKeys& ticket_keys() {
  static TicketKeys keys;
  return keys;
}

bool use_key(TicketKey key, const unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, bool seal) {
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.digest.data(), key.digest.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end(),
  };
  const bool right = EVP_MAC_CTX_set_params(mac, params) == 1 &&
                     EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv, seal ? 1 : 0) == 1;
  OPENSSL_cleanse(&key, sizeof key);
  return right;
}

// What OpenSSL asks for each ticket: -1 error, 0 unknown key, 1 use it, 2 use it and send a new ticket.
int on_ticket(SSL*, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int seal) {
  if (seal == 1) {
    const auto key = ticket_keys().current();
    if (!key || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return -1;
    std::memcpy(name, key->name.data(), key->name.size());
    return use_key(*key, iv, cipher, mac, true) ? 1 : -1;
  }
  const auto found = ticket_keys().find(name);
  if (!found) return 0;
  if (!use_key(found->first, iv, cipher, mac, false)) return -1;
  return found->second ? 1 : 2;
}

}  // namespace

void use_ticket_keys(ssl_ctx_st* context) {
  SSL_CTX_set_tlsext_ticket_key_evp_cb(context, &on_ticket);
}

}  // namespace common::net
