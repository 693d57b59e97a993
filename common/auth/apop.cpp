#include "common/auth/apop.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <memory>
#include <span>

#include "common/hex.hpp"

namespace common::auth {

std::string make_apop_stamp(std::string_view hostname) {
  std::array<unsigned char, 16> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return {};
  std::string stamp = "<";
  stamp += format_hex(random);
  stamp += '@';
  stamp += hostname;
  stamp += '>';
  return stamp;
}

std::string apop_digest(std::string_view stamp, std::string_view secret) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
  std::array<unsigned char, EVP_MAX_MD_SIZE> octets{};
  unsigned size = 0;
  if (!context || EVP_DigestInit_ex(context.get(), EVP_md5(), nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), stamp.data(), stamp.size()) != 1 ||
      EVP_DigestUpdate(context.get(), secret.data(), secret.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), octets.data(), &size) != 1)
    return {};
  return format_hex(std::span{octets}.first(size));
}

bool check_apop(std::string_view stamp, std::string_view secret, std::string_view digest) {
  const auto right = apop_digest(stamp, secret);
  const bool same = right.size() == digest.size() && CRYPTO_memcmp(right.data(), digest.data(), right.size()) == 0;
  return same && !right.empty() && !stamp.empty() && !secret.empty();
}

}  // namespace common::auth
