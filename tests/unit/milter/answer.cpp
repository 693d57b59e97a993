#include "smtpd/milter/answer.hpp"

#include <doctest/doctest.h>

#include <string>
#include <variant>

using namespace smtpd::milter;
using namespace std::string_view_literals;

TEST_CASE("what each answer means (S97)") {
  struct Row {
    char command;
    Ruling want;
  };
  for (const auto& [command, want] :
       {Row{'c', Ruling::go_on}, Row{'a', Ruling::accept}, Row{'r', Ruling::reject}, Row{'t', Ruling::tempfail},
        Row{'f', Ruling::tempfail}, Row{'d', Ruling::discard}, Row{'4', Ruling::close}, Row{'s', Ruling::skip}}) {
    const auto answer = parse_answer({command, {}});
    REQUIRE(answer);
    CHECK(std::get<Ruled>(*answer).ruling == want);
  }
  CHECK(std::holds_alternative<Progress>(*parse_answer({'p', {}})));
  const auto said = std::get<Ruled>(*parse_answer({'y', "554 5.7.1 no\0"sv}));
  CHECK(said.ruling == Ruling::say);
  CHECK(said.words == "554 5.7.1 no");
  CHECK(std::get<Ruled>(*parse_answer({'y', "421 4.7.0 later\0"sv})).ruling == Ruling::close);

  const auto inserted = std::get<InsertHeader>(*parse_answer({'i', "\0\0\0\2X-A\0b\0"sv}));
  CHECK(inserted.index == 2);
  CHECK(inserted.name == "X-A");
  CHECK(inserted.value == "b");
  CHECK(std::get<AddHeader>(*parse_answer({'h', "X-A\0\0"sv})).value.empty());
  CHECK(std::get<ChangeHeader>(*parse_answer({'m', "\0\0\0\1X-A\0\0"sv})).value.empty());
  CHECK(std::get<ReplaceBody>(*parse_answer({'b', "a\0b"sv})).octets == "a\0b"sv);
  CHECK(std::get<AddRecipient>(*parse_answer({'2', "<a@b>\0A=B C=D\0"sv})).arguments == "A=B C=D");
  CHECK(std::get<AddRecipient>(*parse_answer({'+', "<a@b>\0"sv})).address == "<a@b>");
  CHECK(std::get<RemoveRecipient>(*parse_answer({'-', "<a@b>\0"sv})).address == "<a@b>");
  CHECK(std::get<ChangeSender>(*parse_answer({'e', "<>\0"sv})).address == "<>");
  CHECK(std::get<Quarantine>(*parse_answer({'q', "why\0"sv})).reason == "why");
}

TEST_CASE("answers that are none") {
  for (const Packet& packet :
       {Packet{'Z', {}}, Packet{'\0', {}}, Packet{'h', "X-A"sv}, Packet{'h', "X-A\0b"sv}, Packet{'h', "X A\0b\0"sv},
        Packet{'h', "\0b\0"sv}, Packet{'h', "X:\0b\0"sv}, Packet{'i', "\0\0\1"sv}, Packet{'m', "\0\0\0\1X-A\0"sv},
        Packet{'+', "\0"sv}, Packet{'-', "a@b"sv}, Packet{'q', "why"sv}, Packet{'y', {}}, Packet{'y', "hello\0"sv}}) {
    CAPTURE(packet.command);
    CHECK_FALSE(parse_answer(packet));
  }
}

TEST_CASE("a filter's own reply is checked before it is anybody's") {
  struct Row {
    std::string_view text;
    std::string want;  ///< empty: refused
    std::string_view why;
  };
  for (const auto& [text, want, why] : {
           Row{"550 5.7.1 no", "550 5.7.1 no", "as it is"},
           Row{"550", "550 ", "a code alone"},
           Row{"550-a\r\n550 b", "550 a\n550 b", "lines"},
           Row{"550 a\n550 b\r\n", "550 a\n550 b", "however they end"},
           Row{"451 100%% of 5%", "451 100% of 5%", "percent signs are doubled on the way"},
           Row{"550 a\x01\xc3\xa9", "550 a???", "no controls, ASCII alone"},
           Row{"", "", "nothing"},
           Row{"250 fine", "", "no success"},
           Row{"354 go", "", "no go-ahead"},
           Row{"55a no", "", "no number"},
           Row{"5500 no", "", "no such code"},
           Row{"550 a\r\n451 b", "", "two codes"},
           Row{"550 a\r\n\r\n", "", "an empty line"},
       }) {
    CAPTURE(why);
    const auto words = parse_reply(text);
    CHECK(words.value_or("") == want);
  }
  std::string many;
  for (int i = 0; i < 33; ++i) many += "550 a\r\n";
  CHECK_FALSE(parse_reply(many));
  CHECK(parse_reply("550 " + std::string(5000, 'x'))->size() < 1000);
}
