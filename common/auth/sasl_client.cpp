#include "common/auth/sasl_client.hpp"

#include <gsasl.h>

#include <charconv>
#include <new>
#include <stdexcept>
#include <utility>

#include "common/auth/cram_md5.hpp"

namespace common::auth {
namespace {

class PlainClient final : public SaslClient {
 public:
  PlainClient(std::string_view account, const Secret& password) {
    octets_ += '\0';
    octets_ += account;
    octets_ += '\0';
    octets_ += password.reveal();
  }
  std::optional<std::string> first() override { return octets_; }
  std::expected<std::string, std::string> answer(std::string_view) override {
    return std::unexpected("PLAIN was asked for more than there is");
  }
  bool complete() const override { return true; }

 private:
  std::string octets_;
};

class LoginClient final : public SaslClient {
 public:
  LoginClient(std::string_view account, const Secret& password) : account_(account), password_(password.reveal()) {}
  std::optional<std::string> first() override { return std::nullopt; }
  std::expected<std::string, std::string> answer(std::string_view) override {
    // Never specified, and servers word their prompts as they like: the order is what all agree on.
    switch (asked_++) {
      case 0:
        return account_;
      case 1:
        return password_;
      default:
        return std::unexpected("LOGIN was asked for more than name and password");
    }
  }
  bool complete() const override { return asked_ == 2; }

 private:
  std::string account_, password_;
  int asked_ = 0;
};

/// RFC 2195.
class CramMd5Client final : public SaslClient {
 public:
  CramMd5Client(std::string_view account, const Secret& password) : account_(account), password_(password.reveal()) {}
  std::optional<std::string> first() override { return std::nullopt; }
  std::expected<std::string, std::string> answer(std::string_view challenge) override {
    if (complete_) return std::unexpected("CRAM-MD5 was asked for more than there is");
    const auto digest = cram_md5_digest(challenge, password_);
    if (digest.empty()) return std::unexpected("this system's policy has no MD5");
    complete_ = true;
    return account_ + ' ' + digest;
  }
  bool complete() const override { return complete_; }

 private:
  std::string account_, password_;
  bool complete_ = false;
};

/// Made once, only read afterwards, so that all threads share it.
Gsasl* library() {
  static Gsasl* const handle = [] {
    Gsasl* made = nullptr;
    if (gsasl_init(&made) != GSASL_OK) throw std::runtime_error("libgsasl does not start");
    return made;
  }();
  return handle;
}

struct Finish {
  void operator()(Gsasl_session* session) const { gsasl_finish(session); }
};
using Session = std::unique_ptr<Gsasl_session, Finish>;

/// The count of a server-first message (RFC 5802 5.1: i=), 0: none there.
std::uint64_t iterations_in(std::string_view message) {
  const auto at = message.find(",i=");
  if (at == message.npos) return 0;
  std::uint64_t count = 0;
  const auto digits = message.substr(at + 3);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  return error == std::errc{} ? count : UINT64_MAX;
}

class ScramClient final : public SaslClient {
 public:
  ScramClient(Session session, std::string_view account, const Secret& password, const Channel& channel)
      : session_(std::move(session)) {
    set(GSASL_AUTHID, std::string{account});
    set(GSASL_PASSWORD, std::string{password.reveal()});
    if (!channel.exporter.empty()) set(GSASL_CB_TLS_EXPORTER, encode_base64(channel.exporter));
    if (!channel.unique.empty()) set(GSASL_CB_TLS_UNIQUE, encode_base64(channel.unique));
  }

  std::optional<std::string> first() override {
    auto opening = step({});
    return opening ? std::optional{std::move(*opening)} : std::nullopt;
  }

  std::expected<std::string, std::string> answer(std::string_view challenge) override {
    if (complete_) return std::unexpected("SCRAM was asked for more than there is");
    if (!counted_) {
      counted_ = true;
      if (iterations_in(challenge) > scram_client_most_iterations)
        return std::unexpected("SCRAM asks for too many iterations");
    }
    return step(challenge);
  }

  bool complete() const override { return complete_; }

 private:
  void set(Gsasl_property property, const std::string& value) {
    if (gsasl_property_set(session_.get(), property, value.c_str()) != GSASL_OK) throw std::bad_alloc{};
  }

  std::expected<std::string, std::string> step(std::string_view octets) {
    char* raw = nullptr;
    std::size_t length = 0;
    const int result = gsasl_step(session_.get(), octets.data(), octets.size(), &raw, &length);
    std::string out;
    if (raw != nullptr) out.assign(raw, length);
    gsasl_free(raw);
    if (result != GSASL_OK && result != GSASL_NEEDS_MORE) return std::unexpected(gsasl_strerror(result));
    // GSASL_OK comes when the server's signature has been checked.
    complete_ = result == GSASL_OK;
    return out;
  }

  Session session_;
  bool counted_ = false;
  bool complete_ = false;
};

}  // namespace

std::unique_ptr<SaslClient> SaslClient::start(std::string_view mechanism, std::string_view account,
                                              const Secret& password, const Channel& channel) {
  if (mechanism == "PLAIN") return std::make_unique<PlainClient>(account, password);
  if (mechanism == "LOGIN") return std::make_unique<LoginClient>(account, password);
  if (mechanism == "CRAM-MD5") return std::make_unique<CramMd5Client>(account, password);
  const bool plus = mechanism == "SCRAM-SHA-256-PLUS";
  if (!plus && mechanism != "SCRAM-SHA-256") return nullptr;
  if (plus && channel.exporter.empty() && channel.unique.empty()) return nullptr;
  Gsasl_session* session = nullptr;
  const auto* name = plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256";
  if (gsasl_client_start(library(), name, &session) != GSASL_OK) return nullptr;
  // RFC 5802 6: binding data without the -PLUS form would tell the server "you did not offer it", which may be a lie.
  return std::make_unique<ScramClient>(Session{session}, account, password, plus ? channel : Channel{});
}

}  // namespace common::auth
