#include "common/auth/cram_md5.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <span>
#include <utility>

#include "common/auth/apop.hpp"
#include "common/hex.hpp"

namespace common::auth {
namespace {

// Long enough for any address, short enough for a log line.
constexpr std::size_t name_most_octets = 512;

class CramMd5 final : public Sasl {
 public:
  explicit CramMd5(std::string challenge) : challenge_{std::move(challenge)} {}

  SaslStep begin(std::optional<std::string_view> initial) override {
    // RFC 4954 4, RFC 5034 4: where the server speaks first, an initial response is an error.
    if (initial) return Failure{"CRAM-MD5 with an initial response", true};
    return Challenge{challenge_};
  }

  SaslStep answer(std::string_view octets) override {
    // A name may have spaces, a digest none.
    const auto space = octets.rfind(' ');
    if (space == octets.npos) return Failure{"CRAM-MD5 without a digest", true};
    const auto account = octets.substr(0, space);
    if (account.empty() || account.size() > name_most_octets || account.find('\0') != account.npos)
      return Failure{"CRAM-MD5 without a name, or with one too long or with a NUL", true};
    account_ = account;
    digest_ = octets.substr(space + 1);
    return NeedKeys{account_};
  }

  SaslStep give_keys(const StoredKeys& keys) override {
    // Reckoned for those without a secret too: the time tells nothing.
    const auto right = cram_md5_digest(challenge_, keys.shared_secret);
    const bool same = right.size() == digest_.size() && CRYPTO_memcmp(right.data(), digest_.data(), right.size()) == 0;
    if (!same || right.empty() || keys.shared_secret.empty()) return Failure{"CRAM-MD5 digest wrong", false};
    return Success{account_, {}, {}};
  }

 private:
  std::string challenge_;
  std::string account_;
  std::string digest_;
};

}  // namespace

std::string cram_md5_digest(std::string_view challenge, std::string_view secret) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> octets{};
  unsigned size = 0;
  const auto* text = reinterpret_cast<const unsigned char*>(challenge.data());
  if (HMAC(EVP_md5(), secret.data(), static_cast<int>(secret.size()), text, challenge.size(), octets.data(), &size) ==
      nullptr)
    return {};
  return format_hex(std::span{octets}.first(size));
}

std::unique_ptr<Sasl> start_cram_md5(const Channel& channel) {
  auto challenge = make_apop_stamp(channel.hostname);
  if (challenge.empty()) return nullptr;
  return std::make_unique<CramMd5>(std::move(challenge));
}

}  // namespace common::auth
