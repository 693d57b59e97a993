#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/auth/verifier.hpp"
#include "common/secret.hpp"

/// The server's side of SASL (RFC 4422), without I/O: octets in (base64 already undone), what to do out. PLAIN and
/// LOGIN end in a password to check; SCRAM-SHA-256 and -PLUS (RFC 5802, 7677) in a proof that libgsasl checks against
/// the stored keys, CRAM-MD5 (RFC 2195) in a digest of the stored secret.
namespace common::auth {

struct Challenge {
  std::string octets;
};  ///< send it, feed the answer
struct NeedPassword {
  std::string account;
  std::string authorize;
  Secret password;
};  ///< check it with Verifier; the exchange is over
struct NeedKeys {
  std::string account;
};  ///< look the account up, call `give_keys`, go on with what it returns
struct Success {
  std::string account;
  std::string authorize;
  std::string last;
};  ///< `last`: data to go with success (SCRAM v=), may be empty
struct Failure {
  std::string why;
  bool malformed;
};  ///< for the log; malformed: 501 5.5.2, else 535 5.7.8
using SaslStep = std::variant<Challenge, NeedPassword, NeedKeys, Success, Failure>;

/// What of the connection matters to mechanisms. Give the binding data only where the -PLUS form is offered: a client
/// that could bind, and says that the server did not offer it, has been lied to in between and is refused (RFC 5802 6).
struct Channel {
  bool secure = false;
  std::string exporter;    ///< tls-exporter data, TLS 1.3
  std::string unique;      ///< tls-unique data, TLS 1.2
  std::string hostname{};  ///< as which we greet: in CRAM-MD5's challenge
};

/// One exchange. An authorization identity other than the authentication identity (letter case apart) is refused here:
/// nobody acts as somebody else. `Success::last` is data of the mechanism that protocols without a place for it beside
/// success send as one more challenge, answered by an empty line (RFC 4954 4, RFC 5034 4).
class Sasl {
 public:
  /// Null for a mechanism that is not known (names in upper case) or needs TLS (-PLUS) and has none.
  static std::unique_ptr<Sasl> start(std::string_view mechanism, const Channel& channel);
  virtual ~Sasl() = default;
  /// `initial`: the initial response, nullopt when the client gave none.
  virtual SaslStep begin(std::optional<std::string_view> initial) = 0;
  virtual SaslStep answer(std::string_view octets) = 0;
  /// For an unknown account pass StoredKeys{}: the exchange goes on and fails at its end, as if the password were
  /// wrong.
  virtual SaslStep give_keys(const StoredKeys& keys) = 0;
};

/// What a session may offer: the configured ones, without -PLUS in the clear and, if `require_tls`, without PLAIN and
/// LOGIN there.
std::vector<std::string> offered_mechanisms(const std::vector<std::string>& configured, bool secure, bool require_tls);

/// RFC 4648 base64, strict: no white space, right padding. nullopt: malformed.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view octets);

}  // namespace common::auth
