#include "common/auth/scram.hpp"

#include <array>
#include <charconv>
#include <span>
#include <stdexcept>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <sodium.h>

#include "common/auth/sasl.hpp"

namespace common::auth {
namespace {

constexpr std::string_view scheme = "SCRAM-SHA-256$";

const unsigned char* octets(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string hmac(std::span<const unsigned char> key, std::string_view message) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> out{};
  unsigned int length = out.size();
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), octets(message), message.size(), out.data(),
           &length) == nullptr)
    throw std::runtime_error("HMAC-SHA-256 failed");
  return {reinterpret_cast<const char*>(out.data()), length};
}

}  // namespace

ScramKeys derive_scram(std::string_view prepared, std::string_view salt, std::uint32_t iterations) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> salted{};
  if (PKCS5_PBKDF2_HMAC(prepared.data(), static_cast<int>(prepared.size()), octets(salt), static_cast<int>(salt.size()),
                        static_cast<int>(iterations), EVP_sha256(), static_cast<int>(salted.size()),
                        salted.data()) != 1)
    throw std::runtime_error("PBKDF2 failed");
  ScramKeys keys{iterations, std::string{salt}, {}, hmac(salted, "Server Key")};
  auto client_key = hmac(salted, "Client Key");
  std::array<unsigned char, SHA256_DIGEST_LENGTH> stored{};
  SHA256(octets(client_key), client_key.size(), stored.data());
  keys.stored_key.assign(reinterpret_cast<const char*>(stored.data()), stored.size());
  sodium_memzero(client_key.data(), client_key.size());
  sodium_memzero(salted.data(), salted.size());
  return keys;
}

std::string format_scram(const ScramKeys& keys) {
  std::string text{scheme};
  text += std::to_string(keys.iterations);
  text += ':';
  text += encode_base64(keys.salt);
  text += '$';
  text += encode_base64(keys.stored_key);
  text += ':';
  text += encode_base64(keys.server_key);
  return text;
}

std::optional<ScramKeys> parse_scram(std::string_view text) {
  if (!text.starts_with(scheme)) return std::nullopt;
  text.remove_prefix(scheme.size());
  const auto colon = text.find(':');
  const auto dollar = text.find('$');
  if (colon == text.npos || dollar == text.npos || dollar < colon) return std::nullopt;
  const auto second = text.find(':', dollar);
  if (second == text.npos) return std::nullopt;

  ScramKeys keys;
  const auto [end, error] = std::from_chars(text.data(), text.data() + colon, keys.iterations);
  if (error != std::errc{} || end != text.data() + colon) return std::nullopt;
  if (keys.iterations < scram_least_iterations || keys.iterations > scram_most_iterations) return std::nullopt;

  auto salt = decode_base64(text.substr(colon + 1, dollar - colon - 1));
  auto stored = decode_base64(text.substr(dollar + 1, second - dollar - 1));
  auto server = decode_base64(text.substr(second + 1));
  if (!salt || salt->empty() || !stored || stored->size() != scram_key_octets) return std::nullopt;
  if (!server || server->size() != scram_key_octets) return std::nullopt;
  keys.salt = std::move(*salt);
  keys.stored_key = std::move(*stored);
  keys.server_key = std::move(*server);
  return keys;
}

}  // namespace common::auth
