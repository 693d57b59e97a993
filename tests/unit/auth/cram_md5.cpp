#include "common/auth/cram_md5.hpp"

#include <set>
#include <string>

#include <doctest/doctest.h>

#include "common/auth/sasl_client.hpp"

using namespace common::auth;

namespace {

struct Begun {
  std::unique_ptr<Sasl> sasl;
  std::string challenge;
};

Begun begin() {
  Channel channel;
  channel.hostname = "mail.example.test";
  auto sasl = Sasl::start("CRAM-MD5", channel);
  REQUIRE(sasl);
  const auto step = sasl->begin(std::nullopt);
  REQUIRE(std::holds_alternative<Challenge>(step));
  return {std::move(sasl), std::get<Challenge>(step).octets};
}

StoredKeys with_secret(std::string secret) {
  return {7, "", "", std::move(secret)};
}

/// How it ends for `ann` who answers with `digest`.
SaslStep end(Begun& begun, const std::string& digest, const StoredKeys& keys) {
  const auto step = begun.sasl->answer("ann " + digest);
  REQUIRE(std::holds_alternative<NeedKeys>(step));
  CHECK(std::get<NeedKeys>(step).account == "ann");
  return begun.sasl->give_keys(keys);
}

}  // namespace

TEST_CASE("CRAM-MD5: the example of RFC 2195 2") {
  CHECK(cram_md5_digest("<1896.697170952@postoffice.reston.mci.net>", "tanstaaftanstaaf") ==
        "b913a602c7eda7a495b4e6e7334d3890");
  const auto client = SaslClient::start("CRAM-MD5", "tim", common::Secret{"tanstaaftanstaaf"}, {});
  REQUIRE(client);
  CHECK_FALSE(client->first());
  CHECK_FALSE(client->complete());
  CHECK(client->answer("<1896.697170952@postoffice.reston.mci.net>") == "tim b913a602c7eda7a495b4e6e7334d3890");
  CHECK(client->complete());
  CHECK_FALSE(client->answer("<again>"));
}

TEST_CASE("CRAM-MD5: a right digest, and each one that is wrong") {
  for (const std::string secret : {"tanstaaf", "with spaces", "\xc3\xa4"}) {
    auto begun = begin();
    const auto step = end(begun, cram_md5_digest(begun.challenge, secret), with_secret(secret));
    REQUIRE(std::holds_alternative<Success>(step));
    CHECK(std::get<Success>(step).account == "ann");
    CHECK(std::get<Success>(step).last.empty());
  }
  const auto wrong = [](const std::string& secret, const StoredKeys& keys, int broken = -1) {
    auto begun = begin();
    auto digest = cram_md5_digest(begun.challenge, secret);
    if (broken >= 0) {
      auto& digit = digest[static_cast<std::size_t>(broken)];
      digit = digit == '0' ? '1' : '0';
    }
    const auto step = end(begun, digest, keys);
    REQUIRE(std::holds_alternative<Failure>(step));
    CHECK_FALSE(std::get<Failure>(step).malformed);
    return std::get<Failure>(step).why;
  };
  const auto why = wrong("tanstaaf", with_secret("other"));
  for (int at = 0; at < 32; ++at) CHECK(wrong("tanstaaf", with_secret("tanstaaf"), at) == why);
  // Nobody, and somebody without a secret, look like a wrong one; the digest of no secret lets nobody in.
  CHECK(wrong("tanstaaf", StoredKeys{}) == why);
  CHECK(wrong("", StoredKeys{}) == why);
  CHECK(wrong("", with_secret("")) == why);
  CHECK(wrong("", with_secret("tanstaaf")) == why);
  for (const std::string digest : {"", "b913a602", "B913A602C7EDA7A495B4E6E7334D3890"}) {
    auto begun = begin();
    CHECK(std::holds_alternative<Failure>(end(begun, digest, with_secret("tanstaaf"))));
  }
}

TEST_CASE("CRAM-MD5: what is no answer") {
  const std::string digest(32, '0');
  for (const std::string& answer : {std::string{}, std::string{"ann"}, digest, " " + digest,
                                    std::string(513, 'a') + " " + digest, std::string("a\0b ", 4) + digest}) {
    auto begun = begin();
    const auto step = begun.sasl->answer(answer);
    REQUIRE(std::holds_alternative<Failure>(step));
    CHECK(std::get<Failure>(step).malformed);
  }
  // The server speaks first (RFC 4954 4).
  for (const std::string& initial : {std::string{}, "ann " + digest}) {
    const auto sasl = Sasl::start("CRAM-MD5", {});
    const auto step = sasl->begin(initial);
    REQUIRE(std::holds_alternative<Failure>(step));
    CHECK(std::get<Failure>(step).malformed);
  }
  auto begun = begin();
  const auto step = begun.sasl->answer("a name with spaces " + digest);
  REQUIRE(std::holds_alternative<NeedKeys>(step));
  CHECK(std::get<NeedKeys>(step).account == "a name with spaces");
}

TEST_CASE("CRAM-MD5: each challenge is another one, and a digest is worth nothing for the next") {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(begin().challenge);
  CHECK(seen.size() == 100);
  CHECK(seen.begin()->ends_with("@mail.example.test>"));
  auto first = begin();
  auto second = begin();
  const auto digest = cram_md5_digest(first.challenge, "tanstaaf");
  CHECK(std::holds_alternative<Failure>(end(second, digest, with_secret("tanstaaf"))));
  CHECK(std::holds_alternative<Success>(end(first, digest, with_secret("tanstaaf"))));
}

TEST_CASE("CRAM-MD5 sends no password: it may go in the clear") {
  const std::vector<std::string> configured{"CRAM-MD5", "PLAIN"};
  CHECK(offered_mechanisms(configured, false, true) == std::vector<std::string>{"CRAM-MD5"});
  CHECK(offered_mechanisms(configured, true, true) == configured);
}
