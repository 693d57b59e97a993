#include "tools/sendmail/header.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace tools::sendmail;

namespace {

const Author author{"ann@example.org", "Ann Other", "Wed, 25 Nov 2026 22:41:26 +0100", "1.2@example.org"};
const std::string added =
    "From: Ann Other <ann@example.org>\r\nDate: Wed, 25 Nov 2026 22:41:26 +0100\r\n"
    "Message-ID: <1.2@example.org>\r\n";
const std::string said = "From: a@b.c\r\nDate: today\r\nMessage-Id: <x@y>\r\n";

struct Split {
  std::vector<std::string> fields;
  std::string body;
};
Split split(std::string_view text, std::size_t cut) {
  HeaderReader reader;
  std::size_t at = 0;
  bool done = false;
  for (; at < text.size() && !done; at += cut) done = reader.feed(text.substr(at, cut));
  if (!done) reader.finish();
  std::string body{reader.body()};
  if (at < text.size()) body += text.substr(at);
  return {reader.take_fields(), body};
}

std::string prepared(const std::string& fields, Recipients recipients = Recipients::given) {
  const auto header = prepare_header(split(fields, 1000).fields, recipients, author);
  if (!header) return "!" + header.error().why;
  std::string text = header->text;
  for (const auto& address : header->recipients) text += ">" + common::format_address(address);
  return text;
}

}  // namespace

TEST_CASE("where the header section ends, wherever the input is cut") {
  struct {
    std::string_view text;
    std::size_t fields;
    std::string_view body, why;
  } const rows[] = {
      {"A: 1\r\nB: 2\r\n\r\nbody\r\n", 2, "body\r\n", "an empty line"},
      {"A: 1\r\n more\r\n\tand more\r\n\r\n\r\nbody\r\n", 1, "\r\nbody\r\n", "folded"},
      {"hello\r\nworld\r\n", 0, "hello\r\nworld\r\n", "no header at all"},
      {"\r\nA: 1\r\n", 0, "A: 1\r\n", "an empty one"},
      {"A: 1\r\nhello there\r\n", 1, "hello there\r\n", "a line that is no field begins the body"},
      {"A : 1\r\nB:\r\n\r\n", 2, "", "blanks before the colon; an empty field"},
      {"From ann Wed Nov 25\r\nA: 1\r\n\r\nx\r\n", 1, "x\r\n", "the line of a mailbox file"},
      {" A: 1\r\n\r\n", 0, " A: 1\r\n\r\n", "nothing to go on with"},
      {"A: 1\r\n", 1, "", "no body"},
      {"", 0, "", "nothing"},
      {"http://x y\r\n", 1, "", "what looks like a field is one"},
      {"two words: x\r\n", 0, "two words: x\r\n", "a name has no blanks"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    for (std::size_t cut = 1; cut <= row.text.size() + 1; ++cut) {
      const auto got = split(row.text, cut);
      CHECK(got.fields.size() == row.fields);
      CHECK(got.body == row.body);
    }
  }
  HeaderReader endless;
  CHECK(endless.feed("A: 1\r\n" + std::string(2000, 'x')));
  CHECK(endless.body().size() == 2000);
  HeaderReader reader;
  CHECK(reader.feed("A: " + std::string(header_limit, 'x')));
  CHECK(reader.too_long());
}

TEST_CASE("what is missing is added, what is there stays as it is") {
  CHECK(prepared("Subject: x\r\n") == "Subject: x\r\n" + added + "\r\n");
  CHECK(prepared("") == added + "\r\n");
  CHECK(prepared(said + "Bcc: z@y.x\r\n") == said + "Bcc: z@y.x\r\n\r\n");
  CHECK(prepared("FROM: a@b.c\r\n") ==
        "FROM: a@b.c\r\nDate: Wed, 25 Nov 2026 22:41:26 +0100\r\nMessage-ID: <1.2@example.org>\r\n\r\n");
}

TEST_CASE("recipients of the header; Bcc goes") {
  const auto from = Recipients::from_header;
  CHECK(prepared(said + "To: a@b.c,\r\n Dan <d@e.f>\r\nCc: some: g@h.i;\r\nBCC: j@k.l\r\n and: m@n.o;\r\n", from)
            .starts_with("!"));
  CHECK(prepared(said + "To: a@b.c,\r\n Dan <d@e.f>\r\nCc: some: g@h.i;\r\nBCC: j@k.l,\r\n m@n.o\r\n", from) ==
        said + "To: a@b.c,\r\n Dan <d@e.f>\r\nCc: some: g@h.i;\r\n\r\n>a@b.c>d@e.f>g@h.i>j@k.l>m@n.o");
  CHECK(prepared(said + "To: \"folded\r\n  name\" <a@b.c>\r\n", from).ends_with(">a@b.c"));
  CHECK(prepared(said + "To: one\r\nTo: two\r\n", from).ends_with(">one>two"));
  CHECK(prepared(said + "Subject: x\r\n", from) == said + "Subject: x\r\n\r\n");
  CHECK(prepared(said + "To: a b\r\n", from).starts_with("!the field To: "));
}

TEST_CASE("of a message that is sent again only the new recipients count") {
  CHECK(prepared(said + "To: a@b.c\r\nBcc: d@e.f\r\nResent-To: g@h.i\r\nResent-Bcc: j@k.l\r\n",
                 Recipients::from_header) == said + "To: a@b.c\r\nResent-To: g@h.i\r\n\r\n>g@h.i>j@k.l");
}

TEST_CASE("names in front of addresses") {
  CHECK(format_display_name("Ann Other") == "Ann Other");
  CHECK(format_display_name("O. \"Z\"") == "\"O. \\\"Z\\\"\"");
  CHECK(format_display_name("=?x") == "\"=?x\"");
  CHECK(format_display_name("J\xC3\xBCrgen") == "=?utf-8?B?SsO8cmdlbg==?=");
  CHECK(format_display_name("bad\xFF") == "");
  CHECK(format_display_name("two\nlines") == "");
  std::string umlauts;
  for (int i = 0; i < 60; ++i) umlauts += "\xC3\xBC";
  const auto words = format_display_name(umlauts);
  for (std::size_t at = 0; at < words.size();) {
    const auto end = std::min(words.find("\r\n", at), words.size());
    CHECK(end - at <= 76);
    at = end + 2;
  }
}
