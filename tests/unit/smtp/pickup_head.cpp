#include "smtpd/folders/pickup_head.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace smtpd::folders;

namespace {

/// The envelope in one line, or what is wrong.
std::string seen(std::string_view text) {
  const auto head = parse_pickup_head(text, "example.test");
  if (!head) return std::string{name_of(head.error().cause)} + ": " + head.error().why;
  std::string line = head->reverse_path + " >";
  for (const auto& address : head->recipients) line += ' ' + common::format_address(address);
  return line;
}

std::string header(std::string_view text) {
  const auto head = parse_pickup_head(text, "example.test");
  REQUIRE(head);
  return head->header + '|' + std::string{text.substr(head->octets)};
}

bool stuffed(std::string_view text) {
  DotScan whole;
  whole.feed(text);
  DotScan pieces;
  for (const char octet : text) pieces.feed({&octet, 1});
  CHECK(whole.stuffed() == pieces.stuffed());
  return whole.stuffed();
}

std::string with_crlf(std::string_view text) {
  std::string whole;
  CrlfEnds{}.feed(text, whole);
  std::string pieces;
  CrlfEnds ends;
  for (const char octet : text) ends.feed({&octet, 1}, pieces);
  CHECK(whole == pieces);
  return whole;
}

}  // namespace

TEST_CASE("the envelope of a pickup file (LEGACY S12)") {
  struct Row {
    const char* text;
    const char* want;
    const char* why;
  };
  for (const auto& [text, want, why] : std::vector<Row>{
           {"x-sender: a@b.c\r\nx-receiver: d@e.f\r\n\r\nSubject: x\r\n\r\nbody", "a@b.c > d@e.f", "divided by a line"},
           {"x-sender: a@b.c\nx-receiver: d@e.f\nTo: g@h.i\n\n", "a@b.c > d@e.f", "LF; the field does not count"},
           {"X-Receiver: <d@e.f>\r\nX-SENDER:<>\r\n", " > d@e.f", "any order and case; the null one"},
           {"x-sender:\r\nx-receiver: d@e.f\r\n", " > d@e.f", "nobody is the null one"},
           {"x-sender: a\r\nx-receiver: d\r\n", "a@example.test > d@example.test", "completed"},
           {"x-receiver: d@e.f\r\nx-receiver: D@e.f\r\nFrom: A <a@b.c>\r\n", "a@b.c > d@e.f", "once"},
           {"x-sender: a@b.c\r\nTo: d@e.f, G: <g@h.i>, j@k.l;\r\nCc: m@n.o\r\nBcc:\r\n p@q.r\r\n",
            "a@b.c > d@e.f g@h.i j@k.l m@n.o p@q.r", "of the fields"},
           {"From: a@b.c, z@z.z\r\nSender: s@t.u\r\nTo: d@e.f\r\n", "s@t.u > d@e.f", "Sender before From"},
           {"From: a@b.c\r\nTo: d@e.f\r\n\r\nCc: g@h.i\r\n", "a@b.c > d@e.f", "the body is no header"},
           {"From: a@b.c\r\nX: y\r\nx-receiver: d@e.f\r\nTo: g@h.i\r\n", "a@b.c > g@h.i", "not in front: a field"},
           {"To: d@e.f\r\n\r\n",
            "bad-pickup-file: it names no sender: neither an x-sender line nor a field Sender or From", ""},
           {"From: a@b.c\r\n\r\n",
            "no-recipients: it names no recipient: neither an x-receiver line nor a field To, Cc or Bcc", ""},
           {"x-sender: a@b.c\r\nx-sender: a@b.c\r\n", "bad-pickup-file: it has two x-sender lines", ""},
           {"x-sender: a@b.c\nx-receiver: d@e.f\nno field\n",
            "bad-pickup-file: malformed: a line of its header section is no field", "no empty line in front"},
           {"From a@b.c Mon Jan 1\nFrom: a@b.c\nTo: d@e.f\n\n",
            "bad-pickup-file: malformed: a line of its header section is no field", "of a mailbox"},
           {"From: a@b.c\nTo: d@e.f\nno field\nBcc: g@h.i\n\n",
            "bad-pickup-file: malformed: a line of its header section is no field", "a Bcc behind it"},
           {" x\nFrom: a@b.c\nTo: d@e.f\n\n", "bad-pickup-file: malformed: a line of its header section is no field",
            "continues nothing"},
           {"From: a@b.c\nTo: d@e.f\n\nno field\n", "a@b.c > d@e.f", "in the body"},
           {"x-dot-stuffed: perhaps\r\n", "bad-pickup-file: x-dot-stuffed: neither yes nor no", ""},
       }) {
    CAPTURE(text);
    CAPTURE(why);
    CHECK(seen(text) == want);
  }
  for (const char* text : {"x-sender: a b@c\r\n", "x-receiver: @\r\n", "From: <a@b.c\r\nTo: d@e.f\r\n",
                           "From: a@b.c\r\nTo: \"d@e.f\r\n", "From: a@b.c\r\nTo: two words\r\n"}) {
    CAPTURE(text);
    CHECK(seen(text).starts_with("bad-pickup-file: "));
  }
}

TEST_CASE("the header section of a pickup file goes on without envelope and Bcc") {
  CHECK(header(
            "x-sender: a@b.c\r\nx-receiver: d@e.f\r\n\r\nSubject: x\r\nBCC: e@f.g,\r\n\th@i.j\r\nTo: k@l.m\r\n\r\nBcc: "
            "body\r\n") == "Subject: x\r\nTo: k@l.m\r\n|\r\nBcc: body\r\n");
  CHECK(header("x-sender: a@b.c\nx-receiver: d@e.f\nResent-Bcc: e@f.g\nresent-to: h@i.j\n\n") ==
        "resent-to: h@i.j\n|\n");
  CHECK(header("x-sender: a@b.c\r\nx-receiver: d@e.f\r\nSubject: x\r\n\r\nbody") == "Subject: x\r\n|\r\nbody");
  CHECK(header("x-sender: a@b.c\nx-receiver: d@e.f\n\nno field\n") == "|\nno field\n");
  CHECK(parse_pickup_head("x-dot-stuffed: yes\r\nx-sender: a@b.c\r\nx-receiver: d@e.f\r\n", "")->dots ==
        DotStuffed::yes);
  CHECK(parse_pickup_head("x-sender: a@b.c\r\nx-receiver: d@e.f\r\n", "")->dots == DotStuffed::unknown);
  CHECK_FALSE(parse_pickup_head("x-sender: a\r\nx-receiver: d@e.f\r\n", ""));
}

TEST_CASE("where a head ends") {
  CHECK(has_whole_head("From: a\r\n\r\n"));
  CHECK(has_whole_head("From: a\n\n"));
  CHECK(has_whole_head("x-sender: a\n\nTo: x\n\n"));
  CHECK(has_whole_head("x-sender: a\n\nbody\n"));
  CHECK_FALSE(has_whole_head("x-sender: a\n\nTo: x\n"));
  CHECK_FALSE(has_whole_head("x-sender: a\n\n"));
  CHECK_FALSE(has_whole_head("x-sender: a\n\nTo"));
  CHECK_FALSE(has_whole_head("From: a\r\n\r"));
  CHECK_FALSE(has_whole_head(""));
}

TEST_CASE("whether dots are stuffed (LEGACY S13)") {
  CHECK(stuffed("a\r\n..b\r\n"));
  CHECK(stuffed("a\r\n.\r\n"));
  CHECK(stuffed("a\n..b\n.\n"));
  CHECK(stuffed("..\n"));
  CHECK_FALSE(stuffed("a\r\n.b\r\n..c\r\n"));
  CHECK_FALSE(stuffed("a\r\n..b\r\n.\r\nc\r\n"));
  CHECK_FALSE(stuffed("a\r\n..b\r\n.\r \r\n"));
  CHECK_FALSE(stuffed("a . b ..\r\n"));
  CHECK_FALSE(stuffed(""));
}

TEST_CASE("line ends become CRLF") {
  CHECK(with_crlf("a\nb\r\n\nc\r\r\n\r") == "a\r\nb\r\n\r\nc\r\r\n\r");
  CHECK(with_crlf("\n\n") == "\r\n\r\n");
  CHECK(with_crlf("").empty());
}
