#include "common/auth/scram_server.hpp"

#include <array>
#include <stdexcept>

#include <gsasl.h>
#include <sodium.h>

#include "common/auth/scram.hpp"

namespace common::auth {
namespace {

constexpr std::size_t message_most_octets = 4096;

/// The library's own state; made once, only read afterwards, so all threads share it.
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

/// Keys that no password has, the same for the same name while the process lives, with the salt's and the count's usual
/// looks: an unknown name answers like a known one (RFC 5802 9: do not tell who exists).
ScramKeys fake_keys(std::string_view account) {
  static const auto key = [] {
    if (sodium_init() < 0) throw std::runtime_error("the system gives no random numbers");
    std::array<unsigned char, crypto_generichash_KEYBYTES> made{};
    randombytes_buf(made.data(), made.size());
    return made;
  }();
  std::array<unsigned char, 64> digest{};
  crypto_generichash(digest.data(), digest.size(), reinterpret_cast<const unsigned char*>(account.data()),
                     account.size(), key.data(), key.size());
  const auto* text = reinterpret_cast<const char*>(digest.data());
  ScramKeys keys{scram_iterations, std::string(text, scram_salt_octets), {}, {}};
  // Fresh at every attempt: even who learned the process's key could not prove anything against it.
  keys.stored_key.resize(scram_key_octets);
  keys.server_key.resize(scram_key_octets);
  randombytes_buf(keys.stored_key.data(), keys.stored_key.size());
  randombytes_buf(keys.server_key.data(), keys.server_key.size());
  return keys;
}

/// RFC 5802 5.1: "=2C" is a comma, "=3D" an equals sign, any other "=" an error.
std::optional<std::string> unescape_name(std::string_view text) {
  std::string name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '=') {
      name += text[i];
    } else if (text.substr(i, 3) == "=2C") {
      name += ',';
      i += 2;
    } else if (text.substr(i, 3) == "=3D") {
      name += '=';
      i += 2;
    } else {
      return std::nullopt;
    }
  }
  return name;
}

/// The name in a client-first message: gs2-cbind-flag "," [authzid] "," "n=" name "," ... (RFC 5802 7). Only as much as
/// it takes to look the account up; the library reads the message in earnest.
std::optional<std::string> name_in(std::string_view message) {
  for (int i = 0; i < 2; ++i) {
    const auto comma = message.find(',');
    if (comma == message.npos) return std::nullopt;
    message.remove_prefix(comma + 1);
  }
  if (!message.starts_with("n=")) return std::nullopt;
  return unescape_name(message.substr(2, message.find(',') - 2));
}

class Scram final : public Sasl {
 public:
  Scram(Session session, const Channel& channel, bool plus) : session_{std::move(session)}, plus_{plus} {
    if (!channel.exporter.empty()) set(GSASL_CB_TLS_EXPORTER, encode_base64(channel.exporter));
    if (!channel.unique.empty()) set(GSASL_CB_TLS_UNIQUE, encode_base64(channel.unique));
  }

  SaslStep begin(std::optional<std::string_view> initial) override {
    if (!initial) return Challenge{};
    return answer(*initial);
  }

  SaslStep answer(std::string_view octets) override {
    if (octets.empty() || octets.size() > message_most_octets || octets.find('\0') != octets.npos)
      return Failure{"SCRAM message empty, too long or with a NUL", true};
    if (have_keys_) return step(octets);
    // RFC 5802 6: binding is used exactly when the mechanism's name says so.
    if (octets.starts_with('p') != plus_) return Failure{"SCRAM channel binding of the wrong mechanism", true};
    auto account = name_in(octets);
    if (!account || account->empty()) return Failure{"SCRAM without a name", true};
    account_ = std::move(*account);
    first_ = octets;
    return NeedKeys{account_};
  }

  SaslStep give_keys(const StoredKeys& stored) override {
    auto keys = parse_scram(stored.scram_sha256);
    known_ = stored.version != 0 && keys.has_value();
    if (!known_) keys = fake_keys(account_);
    set(GSASL_SCRAM_ITER, std::to_string(keys->iterations));
    set(GSASL_SCRAM_SALT, encode_base64(keys->salt));
    set(GSASL_SCRAM_STOREDKEY, encode_base64(keys->stored_key));
    set(GSASL_SCRAM_SERVERKEY, encode_base64(keys->server_key));
    have_keys_ = true;
    return step(std::exchange(first_, {}));
  }

 private:
  void set(Gsasl_property property, const std::string& value) {
    if (gsasl_property_set(session_.get(), property, value.c_str()) != GSASL_OK) throw std::bad_alloc{};
  }

  std::string get(Gsasl_property property) const {
    const char* value = gsasl_property_fast(session_.get(), property);
    return value == nullptr ? std::string{} : std::string{value};
  }

  SaslStep step(std::string_view octets) {
    char* raw = nullptr;
    std::size_t length = 0;
    const int result = gsasl_step(session_.get(), octets.data(), octets.size(), &raw, &length);
    std::string out;
    if (raw != nullptr) out.assign(raw, length);
    gsasl_free(raw);
    if (result == GSASL_NEEDS_MORE) return Challenge{std::move(out)};
    if (result == GSASL_OK) return finish(std::move(out));
    const bool syntax = result == GSASL_MECHANISM_PARSE_ERROR || result == GSASL_BASE64_ERROR;
    return Failure{gsasl_strerror(result), syntax};
  }

  SaslStep finish(std::string last) {
    // Two readers of one message must have read the same name, or we would have checked the proof of another.
    if (!known_ || get(GSASL_AUTHID) != account_) return Failure{"SCRAM proof without an account", false};
    auto authorize = get(GSASL_AUTHZID);
    if (!authorize.empty() && authorize != account_) return Failure{"wants to act as another account", false};
    return Success{account_, std::move(authorize), std::move(last)};
  }

  Session session_;
  bool plus_;
  std::string account_;
  std::string first_;
  bool have_keys_ = false;
  bool known_ = false;
};

}  // namespace

std::unique_ptr<Sasl> start_scram(const Channel& channel, bool plus) {
  Gsasl_session* session = nullptr;
  if (gsasl_server_start(library(), plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256", &session) != GSASL_OK)
    return nullptr;
  return std::make_unique<Scram>(Session{session}, channel, plus);
}

}  // namespace common::auth
