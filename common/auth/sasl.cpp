#include "common/auth/sasl.hpp"

#include <algorithm>

#include "common/auth/cram_md5.hpp"
#include "common/auth/scram_server.hpp"

namespace common::auth {
namespace {

// Long enough for any address, short enough for a log line.
constexpr std::size_t name_most_octets = 512;
constexpr std::size_t password_most_octets = 1024;

Failure malformed(std::string why) {
  return Failure{std::move(why), true};
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

SaslStep need_password(std::string_view account, std::string_view authorize, std::string_view password) {
  if (account.empty() || account.size() > name_most_octets || authorize.size() > name_most_octets)
    return malformed("no account name, or one too long");
  if (password.size() > password_most_octets) return malformed("password too long");
  if (!authorize.empty() && !same_name(account, authorize)) return Failure{"wants to act as another account", false};
  return NeedPassword{std::string{account}, std::string{authorize}, Secret{std::string{password}}};
}

/// RFC 4616: [authzid] NUL authcid NUL passwd.
class Plain final : public Sasl {
 public:
  SaslStep begin(std::optional<std::string_view> initial) override {
    if (!initial) return Challenge{};
    return answer(*initial);
  }

  SaslStep answer(std::string_view octets) override {
    const auto first = octets.find('\0');
    if (first == octets.npos) return malformed("PLAIN without its separators");
    const auto second = octets.find('\0', first + 1);
    if (second == octets.npos) return malformed("PLAIN without its second separator");
    const auto password = octets.substr(second + 1);
    if (password.find('\0') != password.npos) return malformed("PLAIN with a third separator");
    // RFC 4616 2: the server fails an empty password at the latest when it has been prepared.
    if (password.empty()) return malformed("PLAIN without a password");
    return need_password(octets.substr(first + 1, second - first - 1), octets.substr(0, first), password);
  }

  SaslStep give_keys(const StoredKeys&) override { return malformed("PLAIN asks for no keys"); }
};

/// LOGIN was never an RFC; the prompts are those that clients compare with.
class Login final : public Sasl {
 public:
  SaslStep begin(std::optional<std::string_view> initial) override {
    if (!initial) return Challenge{"Username:"};
    return answer(*initial);
  }

  SaslStep answer(std::string_view octets) override {
    if (octets.find('\0') != octets.npos) return malformed("LOGIN with a NUL");
    if (!account_) {
      if (octets.empty()) return malformed("LOGIN without a name");
      account_ = octets.substr(0, name_most_octets + 1);
      return Challenge{"Password:"};
    }
    if (octets.empty()) return malformed("LOGIN without a password");
    return need_password(*account_, {}, octets);
  }

  SaslStep give_keys(const StoredKeys&) override { return malformed("LOGIN asks for no keys"); }

 private:
  std::optional<std::string> account_;
};

bool sends_password(std::string_view mechanism) {
  return mechanism == "PLAIN" || mechanism == "LOGIN";
}

}  // namespace

std::unique_ptr<Sasl> Sasl::start(std::string_view mechanism, const Channel& channel) {
  if (mechanism == "PLAIN") return std::make_unique<Plain>();
  if (mechanism == "LOGIN") return std::make_unique<Login>();
  if (mechanism == "SCRAM-SHA-256") return start_scram(channel, false);
  if (mechanism == "CRAM-MD5") return start_cram_md5(channel);
  const bool bound = channel.secure && !(channel.exporter.empty() && channel.unique.empty());
  if (mechanism == "SCRAM-SHA-256-PLUS" && bound) return start_scram(channel, true);
  return nullptr;
}

std::vector<std::string> offered_mechanisms(const std::vector<std::string>& configured, bool secure, bool require_tls) {
  std::vector<std::string> offered;
  for (const auto& mechanism : configured) {
    if (!secure && mechanism.ends_with("-PLUS")) continue;
    if (!secure && require_tls && sends_password(mechanism)) continue;
    offered.push_back(mechanism);
  }
  return offered;
}

}  // namespace common::auth
