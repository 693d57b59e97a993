#include "smtpd/milter/filter_conversation.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "smtpd/milter/edits.hpp"

using namespace smtpd::milter;
using namespace std::string_view_literals;

namespace {

struct Talk {
  FilterConversation conversation;
  Facts facts;

  explicit Talk(std::uint32_t actions = action::all, std::uint32_t habits = 0, std::uint32_t version = 6,
                std::string_view macros = {}) {
    facts.hostname = "us.test";
    facts.client_address = "192.0.2.7";
    facts.client_port = 258;
    facts.mail_address = "x@y.test";
    facts.id = "theid";
    conversation.negotiate();
    CHECK(take() == "O");
    const auto agreed = negotiated(actions, habits, version, macros);
    REQUIRE(agreed);
  }
  std::expected<void, std::string> negotiated(std::uint32_t actions, std::uint32_t habits, std::uint32_t version,
                                              std::string_view macros) {
    std::string data;
    append_number(data, version);
    append_number(data, actions);
    append_number(data, habits);
    data += macros;
    return conversation.on_negotiated({'O', data});
  }
  /// The commands of what is to be sent.
  std::string take() {
    std::string commands;
    last.clear();
    PacketReader reader;
    reader.feed(std::exchange(conversation.output(), {}));
    while (true) {
      const auto packet = reader.next();
      REQUIRE(packet);
      if (!*packet) break;
      commands += (*packet)->command;
      last = (*packet)->data;
      if ((*packet)->command == 'D') told_macros = (*packet)->data;
    }
    return commands;
  }
  /// Its answer; '!': it broke the protocol.
  char answer(char command, std::string_view data = {}) {
    const auto answer = conversation.on_packet({command, data});
    return answer ? command : '!';
  }
  std::string begin_message() {
    conversation.on_mail("<x@y.test>", " SIZE=1  BODY=8BITMIME", facts);
    const auto sent = take();
    if (sent.ends_with('M')) answer('c');
    return sent;
  }
  std::string last, told_macros;
};

}  // namespace

TEST_CASE("steps that a filter wants are told with their macros (S97)") {
  Talk talk;
  CHECK(talk.conversation.on_connect(talk.facts) == Expects::answer);
  CHECK(talk.take() == "DC");
  CHECK(talk.last == "[192.0.2.7]\0004\1\2192.0.2.7\0"sv);
  CHECK(talk.told_macros.starts_with("Cj\0us.test\0_\0[192.0.2.7]\0"sv));
  CHECK(talk.answer('c') == 'c');
  CHECK(talk.conversation.on_helo("client.test", talk.facts) == Expects::answer);
  CHECK(talk.take() == "H");
  CHECK(talk.answer('c') == 'c');
  CHECK(talk.begin_message() == "DM");
  CHECK(talk.last == "<x@y.test>\0SIZE=1\0BODY=8BITMIME\0"sv);
  CHECK(talk.conversation.on_body(10) == Expects::answer);
  CHECK(talk.conversation.output() == "\0\0\0\013B"sv);
}

TEST_CASE("a client by IPv6, with a name, by a Unix socket") {
  Talk talk;
  talk.facts.client_address = "2001:db8::1";
  talk.facts.client_name = "client.test";
  talk.conversation.on_connect(talk.facts);
  talk.take();
  CHECK(talk.last == "client.test\0006\1\0022001:db8::1\0"sv);
  talk.answer('c');
  talk.facts = {};
  talk.facts.client_address = "unix";
  talk.conversation.on_connect(talk.facts);
  talk.take();
  CHECK(talk.last == "localhost\0U"sv);
}

TEST_CASE("what was declined is not told, what is silent is not waited for") {
  Talk talk{action::all, habit::no_helo | habit::silent_mail | habit::no_body | habit::silent_header};
  CHECK(talk.conversation.on_helo("a", talk.facts) == Expects::nothing);
  CHECK(talk.take().empty());
  CHECK(talk.conversation.on_mail("<>", "", talk.facts) == Expects::nothing);
  CHECK(talk.take() == "DM");
  CHECK(talk.conversation.wants_headers());
  CHECK(talk.conversation.on_header({"A: b\r\n", 1}) == Expects::nothing);
  CHECK(talk.conversation.on_header({"no field\r\n", 0}) == Expects::nothing);
  CHECK(talk.take() == "L");
  CHECK_FALSE(talk.conversation.wants_body());
  CHECK(talk.answer('c') == '!');
}

TEST_CASE("older versions do not know every command") {
  Talk two{0x3f, 0, 2};
  CHECK(two.conversation.on_unknown("NONSENSE") == Expects::nothing);
  two.begin_message();
  CHECK(two.conversation.on_data(two.facts) == Expects::nothing);
  Talk three{0x3f, 0, 3};
  CHECK(three.conversation.on_unknown("NONSENSE") == Expects::answer);
  three.answer('c');
  three.begin_message();
  CHECK(three.conversation.on_data(three.facts) == Expects::nothing);
}

TEST_CASE("negotiations that are none") {
  Talk talk;
  CHECK_FALSE(talk.negotiated(0, 0, 1, {}));
  CHECK_FALSE(talk.negotiated(0, 0, 7, {}));
  CHECK_FALSE(talk.negotiated(0x200, 0, 6, {}));
  CHECK_FALSE(talk.negotiated(0, habit::refused_recipients, 6, {}));
  CHECK_FALSE(talk.negotiated(0, 0, 6, "\0\0\0\7j\0"sv));
  CHECK_FALSE(talk.negotiated(0, 0, 6, "\0\0\0\1j"sv));
  CHECK_FALSE(talk.conversation.on_negotiated({'c', {}}));
  CHECK_FALSE(talk.conversation.on_negotiated({'O', "\0\0\0\6\0\0\0\0"sv}));
}

TEST_CASE("a filter chooses its macros") {
  Talk talk{action::all, 0, 6, "\0\0\0\2{client_addr}, j {unheard_of}\0\0\0\0\5\0"sv};
  talk.begin_message();
  CHECK(talk.told_macros == "M{client_addr}\000192.0.2.7\0j\0us.test\0"sv);
  // None at the end, where it named none.
  CHECK(talk.conversation.on_end_of_message(talk.facts) == Expects::answer);
  CHECK(talk.take() == "E");
}

TEST_CASE("a filter that lets something pass hears no more of it") {
  Talk talk;
  talk.begin_message();
  talk.conversation.on_rcpt("<a@b>", "", talk.facts);
  CHECK(talk.answer('a') == 'a');
  CHECK_FALSE(talk.conversation.takes_part());
  CHECK(talk.conversation.on_end_of_message(talk.facts) == Expects::nothing);
  talk.take();
  CHECK(talk.begin_message() == "DM");
  CHECK(talk.conversation.takes_part());
  talk.conversation.on_helo("a", talk.facts);
  CHECK(talk.answer('a') == 'a');
  CHECK(talk.conversation.leaves());
  talk.take();
  CHECK(talk.begin_message().empty());
}

TEST_CASE("changes are for the end of a message, and for those who asked for them") {
  struct Row {
    Packet change;
    std::uint32_t actions;  ///< any of these allows it
  };
  for (const auto& [change, actions] : {
           Row{{'h', "X\0a\0"sv}, action::add_headers},
           Row{{'i', "\0\0\0\1X\0a\0"sv}, action::add_headers},
           Row{{'m', "\0\0\0\1X\0a\0"sv}, action::change_headers},
           Row{{'b', "x"sv}, action::change_body},
           Row{{'e', "a@b\0"sv}, action::change_sender},
           Row{{'+', "a@b\0"sv}, action::add_recipients},
           Row{{'2', "a@b\0A=B\0"sv}, action::add_recipients_with_arguments},
           Row{{'-', "a@b\0"sv}, action::remove_recipients},
           Row{{'q', "why\0"sv}, action::quarantine},
       }) {
    CAPTURE(change.command);
    Talk without{action::all & ~(actions | action::add_recipients_with_arguments)};
    without.begin_message();
    without.conversation.on_end_of_message(without.facts);
    CHECK(without.answer(change.command, change.data) == '!');
    Talk with{actions};
    with.begin_message();
    with.conversation.on_data(with.facts);
    CHECK(with.answer(change.command, change.data) == '!');
    CHECK(with.answer('c') == 'c');
    with.conversation.on_end_of_message(with.facts);
    CHECK(with.answer(change.command, change.data) == change.command);
    CHECK(with.answer('p') == 'p');
    CHECK(with.answer('c') == 'c');
    CHECK(with.answer('c') == '!');
  }
}

TEST_CASE("what may be answered to what") {
  for (const char command : {'d', 's'}) {
    Talk begun;
    begun.conversation.on_connect(begun.facts);
    CHECK(begun.answer(command) == '!');
  }
  Talk talk{action::all, habit::skip};
  talk.begin_message();
  talk.conversation.on_body(1);
  CHECK(talk.conversation.wants_body());
  CHECK(talk.answer('s') == 's');
  CHECK_FALSE(talk.conversation.wants_body());
  talk.conversation.on_end_of_message(talk.facts);
  CHECK(talk.answer('d') == 'd');
  Talk plain;
  plain.begin_message();
  plain.conversation.on_body(1);
  CHECK(plain.answer('s') == 's');
}

TEST_CASE("answers belong to events in their order") {
  Talk talk;
  talk.begin_message();
  const HeaderField field{"A: b\r\n", 1};
  talk.conversation.on_header(field);
  talk.conversation.on_end_of_header(talk.facts);
  talk.conversation.on_end_of_message(talk.facts);
  CHECK(talk.answer('h', "X\0a\0"sv) == '!');
  CHECK(talk.answer('c') == 'c');
  CHECK(talk.answer('c') == 'c');
  CHECK(talk.conversation.expects_answer());
  CHECK(talk.answer('h', "X\0a\0"sv) == 'h');
  CHECK(talk.answer('a') == 'a');
  CHECK_FALSE(talk.conversation.expects_answer());
}

TEST_CASE("a message that comes to nothing is called off, one that is settled is not") {
  Talk talk;
  talk.conversation.on_abort();
  CHECK(talk.take().empty());
  talk.begin_message();
  talk.conversation.on_abort();
  CHECK(talk.take() == "A");
  talk.begin_message();
  talk.conversation.on_end_of_message(talk.facts);
  talk.answer('c');
  talk.take();
  talk.conversation.on_abort();
  CHECK(talk.take().empty());
  talk.begin_message();
  talk.conversation.on_settled();
  talk.conversation.on_abort();
  CHECK(talk.take().empty());
  talk.conversation.on_quit();
  CHECK(talk.take() == "Q");
}

TEST_CASE("edits are gathered, and not without end") {
  Edits edits;
  edits.header = HeaderSection{"Received: x\r\n\r\n"};
  const auto apply = [&](const Answer& answer) { return edits.apply(answer, LeadingSpace::separate).has_value(); };
  CHECK(apply(AddHeader{"A", "b"}));
  CHECK(apply(ChangeSender{"<>"}));
  CHECK(apply(AddRecipient{"<a@b>", "A=B"}));
  CHECK(apply(RemoveRecipient{"c@d"}));
  CHECK(apply(Quarantine{"one\ntwo"}));
  CHECK(edits.sender == "");
  REQUIRE(edits.recipients.size() == 2);
  CHECK(edits.recipients[0].address == "a@b");
  CHECK(edits.recipients[0].arguments == "A=B");
  CHECK(edits.recipients[1].kind == RecipientEdit::Kind::remove);
  CHECK(edits.quarantine == "one two");
  CHECK(edits.changes_envelope());
  const std::string big(1'000'000, 'x');
  CHECK(apply(AddHeader{"B", big}));
  CHECK(apply(AddHeader{"B", big}));
  CHECK_FALSE(apply(AddHeader{"B", big}));
  Edits many;
  bool fine = true;
  for (int i = 0; i < 10'001; ++i) fine = many.apply(RemoveRecipient{"a"}, LeadingSpace::separate).has_value();
  CHECK_FALSE(fine);
}
