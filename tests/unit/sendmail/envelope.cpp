#include "tools/sendmail/envelope.hpp"

#include <doctest/doctest.h>

using namespace tools::sendmail;

TEST_CASE("the envelope says what the server offers to hear") {
  Envelope envelope;
  envelope.sender = "ann@example.org";
  envelope.octets = 17;
  envelope.eight_bit = true;
  envelope.utf8 = true;
  envelope.notify = "NEVER";
  envelope.return_content = "HDRS";
  envelope.envelope_id = "a+b=c d";
  const common::Address bob{"bob", "example.org"};
  CHECK(mail_command(envelope, {}) == "MAIL FROM:<ann@example.org>");
  CHECK(rcpt_command(envelope, bob, {}) == "RCPT TO:<bob@example.org>");
  const auto offer = parse_offer("250-mx.test\n250-SIZE 100\n250-8BITMIME\n250-SMTPUTF8\n250 DSN\n");
  CHECK(mail_command(envelope, offer) ==
        "MAIL FROM:<ann@example.org> SIZE=17 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc+20d");
  CHECK(rcpt_command(envelope, bob, offer) == "RCPT TO:<bob@example.org> NOTIFY=NEVER");
  CHECK(mail_command({}, offer) == "MAIL FROM:<> SIZE=0");
  const auto none = parse_offer("250-SIZE.example\n250-DSNX\n250\n");
  CHECK_FALSE((none.size || none.dsn || none.eight_bit || none.utf8));
}

TEST_CASE("refusals in the words of sysexits") {
  struct {
    const char* reply;
    Status want;
  } const rows[] = {
      {"550 5.1.1 no such user", Status::no_user},
      {"550 5.1.2 no such domain", Status::no_host},
      {"550 5.7.1 relaying denied", Status::not_allowed},
      {"552 5.3.4 too big", Status::unavailable},
      {"554 5.6.0 bare newline", Status::bad_data},
      {"553 5.1.3 bad address", Status::bad_data},
      {"500", Status::unavailable},
  };
  for (const auto& row : rows) {
    CAPTURE(row.reply);
    CHECK(status_of(row.reply) == row.want);
  }
}
