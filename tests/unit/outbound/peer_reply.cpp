#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "smtpd/outbound/extensions.hpp"
#include "smtpd/outbound/peer_reply.hpp"

using namespace smtpd::outbound;

namespace {

/// All replies in `octets`, fed in pieces; a fault ends it.
std::vector<std::string> read(std::string_view octets, std::size_t piece) {
  ReplyReader reader;
  std::vector<std::string> found;
  for (std::size_t at = 0; at < octets.size(); at += piece) {
    auto in = octets.substr(at, piece);
    while (const auto reply = reader.next(in)) {
      if (!*reply) {
        found.emplace_back(describe(reply->error()));
        return found;
      }
      found.push_back(std::to_string((*reply)->code) + "|" + std::string{(*reply)->enhanced} + "|" +
                      std::string{(*reply)->text});
    }
  }
  if (!reader.empty()) found.emplace_back("...");
  return found;
}

}  // namespace

TEST_CASE("replies in any cuts: codes, enhanced codes, lines (RFC 5321 4.2, RFC 3463)") {
  struct Row {
    std::string_view octets;
    std::vector<std::string> want;
    std::string_view why;
  };
  const std::string long_line = "250 " + std::string(reply_line_limit, 'x') + "\r\n";
  std::string many_lines;
  for (std::size_t i = 0; i <= reply_lines_limit; ++i) many_lines += "250-a\r\n";
  std::string much;
  for (int i = 0; i < 20; ++i) much += "250-" + std::string(1000, 'x') + "\r\n";
  const Row rows[] = {
      {"250 ok\r\n", {"250||ok"}, "the simplest"},
      {"250\r\n", {"250||"}, "no text (RFC 5321 4.2 lets it be missing)"},
      {"250 \r\n", {"250||"}, "empty text"},
      {"250 2.1.5 ok\r\n", {"250|2.1.5|ok"}, "enhanced"},
      {"250 2.1.5\r\n", {"250|2.1.5|"}, "enhanced alone"},
      {"550 5.1.1 no\r\n", {"550|5.1.1|no"}, "enhanced"},
      {"550 5.123.456 no\r\n", {"550|5.123.456|no"}, "three digits"},
      {"550 5.1234.1 no\r\n", {"550||5.1234.1 no"}, "four digits are no enhanced code"},
      {"550 5.1 no\r\n", {"550||5.1 no"}, "two numbers are none"},
      {"550 4.1.1 no\r\n", {"550||4.1.1 no"}, "of another class: the code decides"},
      {"250 10.0.0.1 ok\r\n", {"250||10.0.0.1 ok"}, "an address"},
      {"250-a\r\n250-b\r\n250 c\r\n", {"250||a\nb\nc"}, "lines"},
      {"550-5.7.1 a\r\n550 5.7.1 b\r\n", {"550|5.7.1|a\nb"}, "a repeated enhanced code (RFC 2034 4)"},
      {"550-5.7.1 a\r\n550 5.7.2 b\r\n", {"550|5.7.1|a\n5.7.2 b"}, "another one stays"},
      {"250 a\r\n354 b\r\n", {"250||a", "354||b"}, "two in one read"},
      {"250 a\r\n25", {"250||a", "..."}, "a beginning"},
      {"250-a\r\n", {"..."}, "a beginning of lines"},
      {"250-a\r\n251 b\r\n", {"a reply whose code changes from line to line"}, "garbage"},
      {"hello\r\n", {"a line that is no reply"}, "garbage"},
      {"\r\n", {"a line that is no reply"}, "an empty line"},
      {"25\r\n", {"a line that is no reply"}, "too short"},
      {"2500 a\r\n", {"a line that is no reply"}, "four digits"},
      {"199 a\r\n", {"a line that is no reply"}, "no such class"},
      {"650 a\r\n", {"a line that is no reply"}, "no such class"},
      {"250 a\n", {"a reply with a lone line feed"}, "only CRLF ends a line"},
      {"\n", {"a reply with a lone line feed"}, "only CRLF ends a line"},
      {long_line, {"a reply line without end"}, "bounded"},
      {many_lines, {"a reply of too many lines"}, "bounded"},
      {much, {"a reply that is too long"}, "bounded"},
  };
  for (const auto& row : rows) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, row.octets.size()}) {
      CAPTURE(row.octets.substr(0, 60));
      CAPTURE(row.why);
      CAPTURE(piece);
      CHECK(read(row.octets, piece) == row.want);
    }
  }
}

TEST_CASE("a line of the longest allowed length passes, one octet more does not") {
  const std::string fits = "250 " + std::string(reply_line_limit - 6, 'x') + "\r\n";
  CHECK(read(fits, fits.size())[0].starts_with("250||xxx"));
  CHECK(read("250 " + std::string(reply_line_limit - 5, 'x') + "\r\n", 100)[0] == "a reply line without end");
}

TEST_CASE("extensions of EHLO (RFC 5321 4.1.1.1)") {
  const auto offered = parse_extensions(
      "mx.test hello\nPIPELINING\nsize 1000\n8BITMIME\nSMTPUTF8\nCHUNKING\nDSN\nSTARTTLS\nENHANCEDSTATUSCODES\n"
      "AUTH PLAIN cram-md5 SCRAM-SHA-256\nAUTH=LOGIN\nLIMITS RCPTMAX=10 MAILMAX=5 RCPTDOMAINMAX=1 OTHER=7");
  CHECK(offered.pipelining);
  CHECK(offered.size);
  CHECK(offered.most == 1000);
  CHECK(offered.eight_bit);
  CHECK(offered.utf8);
  CHECK(offered.chunking);
  CHECK(offered.dsn);
  CHECK(offered.starttls);
  CHECK(offered.auth_plain);
  CHECK(offered.auth_login);
  CHECK(offered.auth_scram);
  CHECK(offered.auth_cram_md5);
  CHECK(!offered.auth_scram_plus);
  CHECK(offered.rcpt_max == 10);
  CHECK(offered.mail_max == 5);
  CHECK(offered.rcpt_domain_max == 1);
}

TEST_CASE("what is no extension is none") {
  CHECK(!parse_extensions("PIPELINING").pipelining);  // the first line greets
  CHECK(!parse_extensions("").pipelining);
  const auto odd = parse_extensions(
      "hi\nPIPELININGS\nSIZE x\nSIZE 99999999999999999999999\nLIMITS RCPTMAX=0 MAILMAX=\n"
      "LIMITS RCPTMAX=1234567\n\n \nAUTH");
  CHECK(!odd.pipelining);
  CHECK(odd.size);
  CHECK(odd.most == 0);
  CHECK(odd.rcpt_max == 0);
  CHECK(odd.mail_max == 0);
}
