#include "smtpd/folders/badmail.hpp"

#include <doctest/doctest.h>

#include "smtpd/folders/drop_file.hpp"
#include "smtpd/folders/drop_folder.hpp"
#include "smtpd/folders/unstuff.hpp"

#include <array>

using namespace smtpd::folders;

TEST_CASE("the reason of badmail in the queue names its cause (LEGACY S17)") {
  for (std::size_t i = 0; i < badmail_causes; ++i) {
    const auto cause = static_cast<BadmailCause>(i);
    CHECK(parse_badmail_cause(name_of(cause)) == cause);
    const auto reason = format_badmail_reason(cause, "why: so");
    const auto back = parse_badmail_reason(reason);
    REQUIRE(back);
    CHECK(back->cause == cause);
    CHECK(back->why == "why: so");
  }
  CHECK_FALSE(parse_badmail_cause("hunger"));
  CHECK_FALSE(parse_badmail_reason("root: looked at"));
  // Of an earlier version.
  CHECK(parse_badmail_reason("badmail: it failed")->cause == BadmailCause::general_failure);
  CHECK(parse_badmail_reason("badmail: it failed")->why == "it failed");
}

TEST_CASE("the note beside a bad file has one line for each thing, whatever the file was called") {
  const BadmailNote note{BadmailCause::no_recipients, "why\nnot", "name: x\nCause: by-event", "mx"};
  const auto text = format_badmail_note(note);
  CHECK(text == "Cause: no-recipients\nReason: why\\nnot\nFile: name: x\\nCause: by-event\nServer: mx\n");
  const auto back = parse_badmail_note(text);
  CHECK(back.cause == BadmailCause::no_recipients);
  CHECK(back.why == "why\\nnot");
  CHECK(back.file == "name: x\\nCause: by-event");
  CHECK(back.server == "mx");
  CHECK(parse_badmail_note("rubbish").why.empty());
}

TEST_CASE("names and beginnings of drop files (LEGACY S14)") {
  CHECK(drop_file_name("abc", 0) == "abc.eml");
  CHECK(drop_file_name("abc", 12) == "abc-12.eml");
  CHECK(placing_name("abc.eml") == ".abc.eml.placing");
  const std::array<std::string, 2> two = {"a@b.c", "d@e.f"};
  CHECK(format_drop_envelope("s@t.u", two, Dots::none) ==
        "x-sender: s@t.u\r\nx-receiver: a@b.c\r\nx-receiver: d@e.f\r\n");
  CHECK(format_drop_envelope("", std::span{two}.first(1), Dots::some) ==
        "x-sender: <>\r\nx-receiver: a@b.c\r\nx-dot-stuffed: no\r\n");
  std::string plain;
  Unstuff unstuff;
  for (const char octet : std::string_view{"..a\r\n.\n.b\r\n..\r\nc..\r\n"}) unstuff.feed({&octet, 1}, plain);
  CHECK(plain == ".a\r\n\n.b\r\n.\r\nc..\r\n");
}

TEST_CASE("a drop folder has room for what is there and on its way (LEGACY S15)") {
  DropFolder folder{"/nowhere", 100};
  CHECK(folder.has_room(0));
  CHECK(folder.has_room(100));
  CHECK_FALSE(folder.has_room(101));
  folder.expect(60);
  CHECK(folder.has_room(40));
  CHECK_FALSE(folder.has_room(41));
  folder.on_put(60, 70);
  CHECK(folder.used() == 70);
  folder.on_put(60, 30);  // queued by another process
  CHECK(folder.used() == 100);
  CHECK_FALSE(folder.has_room(0));
  folder.set_quota(0);
  CHECK(folder.has_room(1'000'000));
  folder.expect(5);
  folder.correct(4, 0);
  CHECK(folder.waiting() == 5);
  folder.correct(5, 0);
  CHECK(folder.waiting() == 0);
}
