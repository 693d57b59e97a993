#include "smtpd/outbound/seven_bit.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace smtpd::outbound;

namespace {

using Content = Examination::Content;

std::string crlf(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') out += '\r';
    out += c;
  }
  return out;
}

struct Converted {
  Examination found;
  std::string octets;
};

Converted convert(std::string_view stored, std::size_t piece) {
  MessageExaminer examiner;
  for (std::size_t at = 0; at < stored.size(); at += piece) examiner.feed(stored.substr(at, piece));
  Converted result{examiner.finish(), {}};
  SevenBitConverter converter{examiner.plans()};
  for (std::size_t at = 0; at < stored.size(); at += piece) converter.feed(stored.substr(at, piece), result.octets);
  converter.finish(result.octets);
  return result;
}

void check_wire(std::string_view octets) {
  CHECK(std::ranges::none_of(octets, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }));
  CHECK(octets.find("\r\n.\r\n") == octets.npos);
}

}  // namespace

TEST_CASE("conversion for 7-bit peers, by content and part (RFC 2045 6, RFC 6152 3)") {
  struct Row {
    std::string_view stored, want, why;
  };
  const Row rows[] = {
      {"Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
       "Gr\xc3\xbc\xc3\x9f"
       "e aus dem S\xc3\xbc"
       "den, mit viel anderem Text drumherum.\n",
       "Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
       "Content-Transfer-Encoding: quoted-printable\n\n"
       "Gr=C3=BC=C3=9Fe aus dem S=C3=BCden, mit viel anderem Text drumherum.\n",
       "mostly ASCII: quoted-printable; the old field goes, the new one stands last"},
      {"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n\xd0\x94\xd0\x9e\n",
       "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n0JTQng0K\n",
       "hardly any ASCII: base64, the line's end included"},
      {"Subject: a\n\nplain enough, but for one \xc3\xa4\n",
       "Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
       "Content-Transfer-Encoding: quoted-printable\n\nplain enough, but for one =C3=A4\n",
       "no MIME: says what it was (RFC 1428)"},
      {"Subject: a\n\nplain enough, but for one \xe4 that is not UTF-8\n",
       "Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n"
       "Content-Transfer-Encoding: quoted-printable\n\nplain enough, but for one =E4 that is not UTF-8\n",
       "no MIME, and not UTF-8"},
      {"Content-Type: application/x-a\n\nmuch ASCII and one \xc3\xa4\n",
       "Content-Type: application/x-a\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n"
       "bXVjaCBBU0NJSSBhbmQgb25lIMOkDQo=\n",
       "what is not text is never quoted-printable"},
      {"Subject: a\n\n..\n..dot \xc3\xa4 and enough other text here\n trailing \nx=y\t\n",
       "Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
       "Content-Transfer-Encoding: quoted-printable\n\n=2E\n=2Edot =C3=A4 and enough other text here\n"
       " trailing=20\nx=3Dy=09\n",
       "dots unstuffed and quoted, blanks at the end kept, equals signs"},
      {"Content-Type: multipart/mixed; boundary=\"b 1\"\nContent-Transfer-Encoding: 8bit\n\nprea\xc3\xa4mble\n"
       "--b 1\nContent-Type: text/plain; charset=utf-8\n\n..is kept\n"
       "--b 1\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>some text \xc3\xa4</p>\n"
       "--b 1\nContent-Type: image/x\nContent-Transfer-Encoding: base64\n\nAAAA\n"
       "--b 1\nContent-Type: application/x\n\n\xff\xfe\n"
       "--b 1--  \nepilogue\n",
       "Content-Type: multipart/mixed; boundary=\"b 1\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: "
       "7bit\n\nprea??mble\n"
       "--b 1\nContent-Type: text/plain; charset=utf-8\n\n..is kept\n"
       "--b 1\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
       "<p>some text =C3=A4</p>\n"
       "--b 1\nContent-Type: image/x\nContent-Transfer-Encoding: base64\n\nAAAA\n"
       "--b 1\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\n//4=\n"
       "--b 1--  \nepilogue\n",
       "each part by itself; the line end before a delimiter is not content"},
      {"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n"
       "Subject: inner\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\nplain text with \xc3\xa4 in "
       "it\n--i--\n"
       "--o--\n",
       "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n"
       "Subject: inner\nContent-Type: multipart/alternative; boundary=i\n\n--i\n"
       "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
       "plain text with =C3=A4 in it\n--i--\n--o--\n",
       "messages within messages"},
      {"Content-Type: multipart/digest; boundary=o\n\n--o\n\nSubject: inner\n\nsome text with \xc3\xa4 in it\n--o--\n",
       "Content-Type: multipart/digest; boundary=o\n\n--o\n\nSubject: inner\nMIME-Version: 1.0\n"
       "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
       "some text with =C3=A4 in it\n--o--\n",
       "parts of a digest are messages (RFC 2046 5.1.5)"},
      {"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\n"
       "some text with \xc3\xa4 in it\n--o--\n\xc3\xa4\n",
       "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n"
       "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
       "some text with =C3=A4 in it\n--o--\n??\n",
       "an outer delimiter ends inner multiparts"},
      {"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/signed; "
       "boundary=s\n\n--s\n\nseven\n--s--\n"
       "--o\n\nsome text with \xc3\xa4 in it\n--o--\n",
       "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/signed; "
       "boundary=s\n\n--s\n\nseven\n--s--\n"
       "--o\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
       "some text with =C3=A4 in it\n--o--\n",
       "what is signed stays as it is"},
  };
  for (const auto& row : rows) {
    const auto stored = crlf(row.stored);
    for (const std::size_t piece : {stored.size(), std::size_t{1}, std::size_t{13}}) {
      CAPTURE(row.why);
      CAPTURE(piece);
      const auto got = convert(stored, piece);
      CHECK(got.found.content == Content::convertible);
      CHECK(got.found.header_ascii);
      CHECK(got.octets == crlf(row.want));
      check_wire(got.octets);
    }
  }
}

TEST_CASE("what needs no conversion, and what may not be converted") {
  struct Row {
    std::string_view stored;
    Content content;
    std::string_view why;
  };
  const Row rows[] = {
      {"Subject: a\n\nplain\n", Content::seven_bit, ""},
      {"", Content::seven_bit, ""},
      {"\n", Content::seven_bit, ""},
      {"Content-Type: multipart/signed; boundary=s\n\n--s\n\nabc\n--s--\n", Content::seven_bit, ""},
      {"Content-Type: multipart/signed; boundary=s\n\n--s\n\n\xc3\xa4\n--s--\n", Content::fixed,
       "it is signed, encrypted or otherwise not to be changed"},
      {"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/encrypted; "
       "boundary=s\n\n\xc3\xa4\n--o--\n",
       Content::fixed, "it is signed, encrypted or otherwise not to be changed"},
      {"Content-Type: message/partial\n\n\xc3\xa4\n", Content::fixed,
       "it is signed, encrypted or otherwise not to be changed"},
      {"Content-Type: multipart/mixed\n\n\xc3\xa4\n", Content::fixed, "its structure is not clear"},
      {"Content-Type: multipart/mixed; boundary=a; boundary=b\n\n\xc3\xa4\n", Content::fixed,
       "its structure is not clear"},
      {"Content-Type: text/plain\nContent-Type: text/html\n\n\xc3\xa4\n", Content::fixed, "its structure is not clear"},
      {"Content-Type: nonsense\n\n\xc3\xa4\n", Content::fixed, "its structure is not clear"},
      {"Content-Transfer-Encoding: base64\n\n\xc3\xa4\n", Content::fixed,
       "a part has 8-bit octets where it says that it has none"},
      {"Content-Transfer-Encoding: uuencode\n\n\xc3\xa4\n", Content::fixed,
       "a part has 8-bit octets where it says that it has none"},
      {"Subject: \xc3\xa4\n\nplain\n", Content::fixed, "its header is not ASCII"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.stored);
    const auto got = convert(crlf(row.stored), 5);
    CHECK(got.found.content == row.content);
    CHECK(got.found.why == row.why);
  }
  CHECK(!convert(crlf("Subject: \xc3\xa4\n\nplain\n"), 5).found.header_ascii);
}

TEST_CASE("a nest without end, and parts without number, are refused and not followed") {
  std::string nest, parts = "Content-Type: multipart/mixed; boundary=o\r\n\r\n";
  for (int i = 0; i < 100; ++i) {
    const auto name = "b" + std::to_string(i);
    nest += "Content-Type: multipart/mixed; boundary=" + name + "\r\n\r\n--" + name + "\r\n";
  }
  nest += "\r\n\xc3\xa4\r\n";
  CHECK(convert(nest, 1000).found.content == Content::fixed);
  std::string messages;
  for (int i = 0; i < 100; ++i) messages += "Content-Type: message/rfc822\r\n\r\n";
  CHECK(convert(messages + "\xc3\xa4\r\n", 1000).found.content == Content::fixed);
  for (int i = 0; i < 20'000; ++i) parts += "--o\r\n\r\n\xc3\xa4\r\n";
  const auto got = convert(parts, 10'000);
  CHECK(got.found.content == Content::fixed);
  CHECK(got.found.why == "it has too many parts");
}

TEST_CASE("long lines are folded softly, and no line that is made looks like a delimiter (RFC 2045 6.7)") {
  std::string body;
  for (int i = 0; i < 200; ++i) body += "0123456789--b";
  const auto stored = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\n") + body +
                      "\xc3\xa4 .....\r\n--b--\r\n";
  for (const std::size_t piece : {stored.size(), std::size_t{1}, std::size_t{1000}}) {
    const auto got = convert(stored, piece);
    std::size_t delimiters = 0;
    std::string_view rest = got.octets;
    while (!rest.empty()) {
      const auto end = rest.find("\r\n");
      REQUIRE(end != rest.npos);
      const auto line = rest.substr(0, end);
      CHECK(line.size() <= 76);
      CHECK(!line.starts_with('.'));
      if (line.starts_with("--b")) ++delimiters;
      rest.remove_prefix(end + 2);
    }
    CHECK(delimiters == 2);
    check_wire(got.octets);
  }
}

TEST_CASE("Content-Type and Content-Transfer-Encoding as they are found in the wild") {
  struct Row {
    std::string_view value;
    Nature nature;
    std::string_view boundary;
  };
  const Row rows[] = {
      {" text/plain", Nature::text, ""},
      {" TEXT/HTML; charset=\"utf-8\"", Nature::text, ""},
      {" multipart/mixed; boundary=abc", Nature::multipart, "abc"},
      {"multipart/mixed;boundary=\"a b\\\"c\"", Nature::multipart, "a b\"c"},
      {" multipart/mixed; charset=x;\r\n\tboundary=\"a\" (comment) ", Nature::multipart, "a"},
      {" (x) multipart / mixed ; boundary = abc ;", Nature::multipart, "abc"},
      {" multipart/mixed; boundary=a=b/c", Nature::multipart, "a=b/c"},
      {" multipart/digest; boundary=x", Nature::digest, "x"},
      {" multipart/mixed; boundary", Nature::unclear, ""},
      {" multipart/mixed; boundary=\"open", Nature::unclear, ""},
      {" multipart/mixed; boundary*0=a; boundary*1=b", Nature::unclear, ""},
      {" multipart/mixed; boundary=\"\"", Nature::unclear, ""},
      {" multipart", Nature::unclear, ""},
      {"", Nature::unclear, ""},
      {" message/rfc822", Nature::message, ""},
      {" message/delivery-status", Nature::sealed, ""},
      {" multipart/signed; boundary=x", Nature::sealed, ""},
      {" image/png", Nature::other, ""},
  };
  for (const auto& row : rows) {
    CAPTURE(row.value);
    const auto got = parse_content_type(row.value);
    CHECK(got.nature == row.nature);
    CHECK(got.boundary == row.boundary);
  }
  CHECK(parse_content_type(" multipart/mixed; boundary=" + std::string(201, 'x')).nature == Nature::unclear);
  CHECK(parse_transfer_encoding(" 8BIT (yes) ") == Encoding::eight_bit);
  CHECK(parse_transfer_encoding(" 7bit") == Encoding::seven_bit);
  CHECK(parse_transfer_encoding("Base64") == Encoding::base64);
  CHECK(parse_transfer_encoding(" quoted-printable\r\n") == Encoding::quoted_printable);
  CHECK(parse_transfer_encoding(" 8bit; x") == Encoding::unknown);
  CHECK(parse_transfer_encoding("") == Encoding::unknown);
}
