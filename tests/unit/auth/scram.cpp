#include "common/auth/scram.hpp"

#include <array>
#include <functional>
#include <string>

#include <doctest/doctest.h>
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/auth/sasl.hpp"

using namespace common::auth;

namespace {

std::string hmac(std::string_view key, std::string_view message) {
  std::array<unsigned char, 32> out{};
  unsigned int length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(message.data()),
       message.size(), out.data(), &length);
  return {reinterpret_cast<const char*>(out.data()), length};
}

std::string sha256(std::string_view text) {
  std::array<unsigned char, 32> out{};
  unsigned int length = 0;
  EVP_Digest(text.data(), text.size(), out.data(), &length, EVP_sha256(), nullptr);
  return {reinterpret_cast<const char*>(out.data()), length};
}

struct Library {
  Gsasl* handle = nullptr;
  Library() { REQUIRE(gsasl_init(&handle) == GSASL_OK); }
  ~Library() { gsasl_done(handle); }
};

struct Client {
  std::string mechanism = "SCRAM-SHA-256";
  std::string name = "user", password = "pencil", authorize;
  std::string exporter, unique;
};

/// One exchange of libgsasl's client with our server; `tamper` may change what the client says in its nth message.
SaslStep talk(const Client& client, const Channel& channel, const StoredKeys& keys,
              const std::function<void(int, std::string&)>& tamper = {}, std::string* server_first = nullptr) {
  const Library library;
  Gsasl_session* session = nullptr;
  REQUIRE(gsasl_client_start(library.handle, client.mechanism.c_str(), &session) == GSASL_OK);
  gsasl_property_set(session, GSASL_AUTHID, client.name.c_str());
  gsasl_property_set(session, GSASL_PASSWORD, client.password.c_str());
  if (!client.authorize.empty()) gsasl_property_set(session, GSASL_AUTHZID, client.authorize.c_str());
  if (!client.exporter.empty())
    gsasl_property_set(session, GSASL_CB_TLS_EXPORTER, encode_base64(client.exporter).c_str());
  if (!client.unique.empty()) gsasl_property_set(session, GSASL_CB_TLS_UNIQUE, encode_base64(client.unique).c_str());

  const auto server = Sasl::start(client.mechanism, channel);
  REQUIRE(server);
  SaslStep step = server->begin(std::nullopt);
  for (int round = 0; round < 4; ++round) {
    const auto* challenge = std::get_if<Challenge>(&step);
    if (challenge == nullptr) break;
    if (round == 1 && server_first != nullptr) *server_first = challenge->octets;
    char* raw = nullptr;
    std::size_t length = 0;
    const int result = gsasl_step(session, challenge->octets.data(), challenge->octets.size(), &raw, &length);
    REQUIRE((result == GSASL_NEEDS_MORE || result == GSASL_OK));
    std::string said(raw, length);
    gsasl_free(raw);
    if (tamper) tamper(round, said);
    step = server->answer(said);
    if (const auto* need = std::get_if<NeedKeys>(&step)) {
      CHECK(need->account == client.name);
      step = server->give_keys(keys);
    }
  }
  if (const auto* success = std::get_if<Success>(&step)) {
    // The client in turn checks our signature.
    char* raw = nullptr;
    std::size_t length = 0;
    CHECK(gsasl_step(session, success->last.data(), success->last.size(), &raw, &length) == GSASL_OK);
    gsasl_free(raw);
  }
  gsasl_finish(session);
  return step;
}

StoredKeys stored(std::string_view password) {
  return {7, "", format_scram(derive_scram(password, "sixteen octets!!", 4096))};
}

bool succeeded(const SaslStep& step) {
  return std::holds_alternative<Success>(step);
}

}  // namespace

TEST_CASE("SCRAM-SHA-256: the example of RFC 7677 3, message by message") {
  const auto salt = decode_base64("W22ZaJ0SNY7soEsUEjb6gQ==");
  REQUIRE(salt);
  const auto keys = derive_scram("pencil", *salt, 4096);
  const std::string messages =
      "n=user,r=rOprNGfwEbeRWgbNEkqO,"
      "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
      "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
  const auto proof = decode_base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  REQUIRE(proof);
  // RFC 5802 3: the client's key is its proof less the signature, and hashes to the stored key.
  auto client_key = hmac(keys.stored_key, messages);
  for (std::size_t i = 0; i < client_key.size(); ++i) client_key[i] = static_cast<char>(client_key[i] ^ (*proof)[i]);
  CHECK(sha256(client_key) == keys.stored_key);
  CHECK(encode_base64(hmac(keys.server_key, messages)) == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

TEST_CASE("RFC 5803 text, both ways, and what is not") {
  const auto keys = derive_scram("pencil", "0123456789abcdef", 4096);
  const auto text = format_scram(keys);
  CHECK(text.starts_with("SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"));
  const auto again = parse_scram(text);
  REQUIRE(again);
  CHECK(format_scram(*again) == text);
  for (std::size_t cut = 0; cut < text.size(); ++cut) CHECK_FALSE(parse_scram(text.substr(0, cut)));
  CHECK_FALSE(parse_scram("SCRAM-SHA-1" + text.substr(13)));
  CHECK_FALSE(parse_scram("SCRAM-SHA-256$1:" + text.substr(text.find(':') + 1)));
  CHECK_FALSE(parse_scram("SCRAM-SHA-256$-4096:" + text.substr(text.find(':') + 1)));
}

TEST_CASE("SCRAM-SHA-256: right and wrong passwords") {
  const Channel clear;
  CHECK(succeeded(talk({}, clear, stored("pencil"))));
  const auto wrong = talk({.password = "pencils"}, clear, stored("pencil"));
  REQUIRE(std::holds_alternative<Failure>(wrong));
  CHECK_FALSE(std::get<Failure>(wrong).malformed);
  CHECK(succeeded(talk({.name = "a=b,c@example.test"}, clear, stored("pencil"))));
}

TEST_CASE("SCRAM-SHA-256: an unknown account looks like a wrong password, with a salt that stays") {
  std::string first, second, other, known;
  const auto wrong = talk({.password = "pencils"}, {}, stored("pencil"), {}, &known);
  const auto unknown = talk({}, {}, StoredKeys{}, {}, &first);
  REQUIRE(std::holds_alternative<Failure>(unknown));
  CHECK(std::get<Failure>(unknown).why == std::get<Failure>(wrong).why);
  CHECK(std::get<Failure>(unknown).malformed == std::get<Failure>(wrong).malformed);
  talk({}, {}, StoredKeys{}, {}, &second);
  talk({.name = "other"}, {}, StoredKeys{}, {}, &other);
  const auto salt = [](const std::string& message) { return message.substr(message.find(",s=")); };
  CHECK(salt(first) == salt(second));
  CHECK(salt(first) != salt(other));
  CHECK(salt(first).size() == salt(known).size() + 1);  // i=10000 for i=4096
  // An account without SCRAM keys (an imported hash) looks the same too.
  CHECK(std::holds_alternative<Failure>(talk({}, {}, StoredKeys{3, "$6$x", ""})));
}

TEST_CASE("SCRAM-SHA-256: acting as another account is refused, as oneself is not") {
  CHECK(std::holds_alternative<Failure>(talk({.authorize = "root"}, {}, stored("pencil"))));
  CHECK(succeeded(talk({.authorize = "user"}, {}, stored("pencil"))));
}

TEST_CASE("SCRAM-SHA-256: tampered messages") {
  const auto flip = [](int which, std::string_view piece, std::string_view by) {
    return [=](int round, std::string& said) {
      if (round != which) return;
      const auto at = said.find(piece);
      REQUIRE(at != std::string::npos);
      said.replace(at, piece.size(), by);
    };
  };
  CHECK(std::holds_alternative<Failure>(talk({}, {}, stored("pencil"), flip(1, ",r=", ",r=x"))));       // another nonce
  CHECK(std::holds_alternative<Failure>(talk({}, {}, stored("pencil"), flip(1, "c=biws", "c=eSws"))));  // "y,,"
  CHECK(std::holds_alternative<Failure>(talk({}, {}, stored("pencil"), flip(1, ",p=", ",p=AAAA"))));
  CHECK(std::holds_alternative<Failure>(talk({}, {}, stored("pencil"), [](int round, std::string& said) {
    if (round == 1) said.clear();
  })));
  for (const std::string_view first :
       {"", "n", "n,", "n,,", "n,,n=", "n,,n=,r=abc", "n,,r=abc", "n,,n=a=b,r=abc", "n,,n=a=2,r=x", "x,,n=user,r=abc",
        "p=tls-exporter,,n=user,r=abc", "n,,n=user", "n,,m=x,n=user,r=abc"}) {
    CAPTURE(first);
    const auto server = Sasl::start("SCRAM-SHA-256", Channel{});
    auto step = server->begin(first);
    if (std::holds_alternative<NeedKeys>(step)) step = server->give_keys(stored("pencil"));
    CHECK(std::holds_alternative<Failure>(step));
  }
}

TEST_CASE("SCRAM-SHA-256-PLUS binds to the TLS channel, both types") {
  const std::string exporter(32, 'e'), unique(12, 'u');
  const Client by_exporter{.mechanism = "SCRAM-SHA-256-PLUS", .exporter = exporter};
  CHECK(succeeded(talk(by_exporter, Channel{true, exporter, ""}, stored("pencil"))));
  CHECK_FALSE(succeeded(talk(by_exporter, Channel{true, std::string(32, 'x'), ""}, stored("pencil"))));
  CHECK_FALSE(succeeded(talk(by_exporter, Channel{true, "", unique}, stored("pencil"))));
  const Client by_unique{.mechanism = "SCRAM-SHA-256-PLUS", .unique = unique};
  CHECK(succeeded(talk(by_unique, Channel{true, "", unique}, stored("pencil"))));
  CHECK_FALSE(succeeded(talk(by_unique, Channel{true, "", "somebody else"}, stored("pencil"))));
  CHECK_FALSE(succeeded(talk(by_unique, Channel{true, "", unique}, stored("pencils"))));
  // Without -PLUS on a TLS connection that offers none.
  CHECK(succeeded(talk({}, Channel{true, "", ""}, stored("pencil"))));
}

TEST_CASE("SCRAM: a client that could bind and was told that we cannot is refused (RFC 5802 6)") {
  const auto server = Sasl::start("SCRAM-SHA-256", Channel{true, std::string(32, 'e'), ""});
  auto step = server->begin("y,,n=user,r=rOprNGfwEbeRWgbNEkqO");
  if (std::holds_alternative<NeedKeys>(step)) step = server->give_keys(stored("pencil"));
  CHECK(std::holds_alternative<Failure>(step));
  const auto plain = Sasl::start("SCRAM-SHA-256", Channel{});
  step = plain->begin("y,,n=user,r=rOprNGfwEbeRWgbNEkqO");
  REQUIRE(std::holds_alternative<NeedKeys>(step));
  step = plain->give_keys(stored("pencil"));
  CHECK(std::holds_alternative<Challenge>(step));
}
