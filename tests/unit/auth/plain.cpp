#include <string>

#include <doctest/doctest.h>

#include "common/auth/sasl.hpp"

using namespace common::auth;

namespace {
std::string nul(std::string_view text) {
  std::string out{text};
  for (auto& c : out)
    if (c == '|') c = '\0';
  return out;
}
}  // namespace

TEST_CASE("PLAIN: messages, among them the examples of RFC 4616 4") {
  struct Row {
    std::string_view message, account, password, why;
    bool malformed;
  };
  const std::string long_name(600, 'a');
  const std::string too_long = "|" + long_name + "|x";
  for (const auto& [message, account, password, why, malformed] : {
           Row{"|tim|tanstaaftanstaaf", "tim", "tanstaaftanstaaf", "RFC 4616 4, first example", false},
           Row{"tim|tim|x", "tim", "x", "acts as itself", false},
           Row{"Tim@Example.test|tim@example.test|x", "tim@example.test", "x", "the same but for case", false},
           Row{"Ursel|Kurt|xipj3plmq", "", "", "RFC 4616 4, second example: acts as another", false},
           Row{"", "", "", "nothing", true},
           Row{"tim", "", "", "no separator", true},
           Row{"|tim", "", "", "no password", true},
           Row{"|tim|", "", "", "empty password", true},
           Row{"||x", "", "", "empty name", true},
           Row{"|tim|x|", "", "", "a third separator", true},
           Row{too_long, "", "", "a name no log line holds", true},
       }) {
    CAPTURE(why);
    const auto sasl = Sasl::start("PLAIN", Channel{});
    REQUIRE(sasl);
    const auto octets = nul(message);
    const auto step = sasl->begin(octets);
    if (account.empty()) {
      const auto* failure = std::get_if<Failure>(&step);
      REQUIRE(failure);
      CHECK(failure->malformed == malformed);
    } else {
      const auto* need = std::get_if<NeedPassword>(&step);
      REQUIRE(need);
      CHECK(need->account == account);
      CHECK(need->password.reveal() == password);
    }
  }
}

TEST_CASE("PLAIN without an initial response starts with an empty challenge") {
  const auto sasl = Sasl::start("PLAIN", Channel{});
  const auto step = sasl->begin(std::nullopt);
  REQUIRE(std::get_if<Challenge>(&step));
  CHECK(std::get<Challenge>(step).octets.empty());
  const auto next = sasl->answer(nul("|tim|secret"));
  REQUIRE(std::get_if<NeedPassword>(&next));
}

TEST_CASE("LOGIN asks for the name, then for the password") {
  auto sasl = Sasl::start("LOGIN", Channel{});
  auto step = sasl->begin(std::nullopt);
  CHECK(std::get<Challenge>(step).octets == "Username:");
  step = sasl->answer("tim");
  CHECK(std::get<Challenge>(step).octets == "Password:");
  step = sasl->answer("secret");
  CHECK(std::get<NeedPassword>(step).account == "tim");
  CHECK(std::get<NeedPassword>(step).password.reveal() == "secret");

  sasl = Sasl::start("LOGIN", Channel{});
  step = sasl->begin("tim");  // some clients send the name at once
  CHECK(std::get<Challenge>(step).octets == "Password:");
  step = sasl->answer("");
  CHECK(std::get<Failure>(step).malformed);

  sasl = Sasl::start("LOGIN", Channel{});
  step = sasl->begin("");
  CHECK(std::get<Failure>(step).malformed);
}

TEST_CASE("what is offered depends on the connection") {
  const std::vector<std::string> all{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"};
  CHECK(offered_mechanisms(all, true, true) == all);
  CHECK(offered_mechanisms(all, false, true) == std::vector<std::string>{"SCRAM-SHA-256"});
  CHECK(offered_mechanisms(all, false, false) == std::vector<std::string>{"SCRAM-SHA-256", "PLAIN", "LOGIN"});
  CHECK(Sasl::start("SCRAM-SHA-256-PLUS", Channel{}) == nullptr);
  CHECK(Sasl::start("plain", Channel{}) == nullptr);
  CHECK(Sasl::start("CRAM-SHA-256", Channel{}) == nullptr);
  CHECK(Sasl::start("", Channel{}) == nullptr);
}
