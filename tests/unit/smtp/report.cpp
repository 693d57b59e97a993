#include "smtpd/report/report.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

using namespace smtpd::report;

namespace {

constexpr std::chrono::sys_seconds noon{std::chrono::seconds{1'700'000'000}};

Subject some_subject() {
  Subject subject;
  subject.id = "brqwhqwtw4hs4";
  subject.reverse_path = "ann@example.org";
  subject.arrived = noon;
  return subject;
}

Recipient failed_recipient() {
  Recipient recipient;
  recipient.address = "bob@example.net";
  recipient.status = "5.1.1";
  recipient.peer = "mx.example.net";
  recipient.answer = "550 5.1.1 nobody of that name";
  recipient.tried = noon;
  return recipient;
}

Stamp some_stamp() {
  Stamp stamp;
  stamp.id = "brqwhqwtw4hs5";
  stamp.hostname = "mx.example.test";
  stamp.sender = "postmaster@example.test";
  stamp.chance = 0xabcd;
  stamp.time = noon;
  return stamp;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

}  // namespace

TEST_CASE("who is told (RFC 3461 4.1)") {
  using enum Action;
  struct Row {
    Action action;
    std::uint8_t notify;
    bool wanted;
    const char* why;
  };
  const Row rows[] = {
      {failed, 0, true, "without NOTIFY failures are told"},
      {delayed, 0, true, "and delays"},
      {delivered, 0, false, "but no success"},
      {relayed, 0, false, "of any kind"},
      {failed, mailstore::notify_never, false, "NEVER"},
      {failed, mailstore::notify_success, false, "SUCCESS alone"},
      {failed, mailstore::notify_success | mailstore::notify_failure, true, "both"},
      {delayed, mailstore::notify_failure, false, "a delay was not asked for"},
      {delayed, mailstore::notify_delay, true, "DELAY"},
      {delivered, mailstore::notify_success, true, "SUCCESS"},
      {relayed, mailstore::notify_success, true, "SUCCESS"},
      {expanded, mailstore::notify_success, true, "SUCCESS"},
      {expanded, mailstore::notify_failure, false, "FAILURE alone"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(is_wanted(row.action, row.notify) == row.wanted);
  }
}

TEST_CASE("how much goes back (RFC 3461 4.3)") {
  CHECK(choose_returned(0, true, 100, 100) == Returned::whole);
  CHECK(choose_returned(1, true, 100, 100) == Returned::whole);
  CHECK(choose_returned(2, true, 1, 100) == Returned::header);
  CHECK(choose_returned(1, true, 101, 100) == Returned::header);
  CHECK(choose_returned(1, false, 1, 100) == Returned::header);
}

TEST_CASE("a report of a failure, whole") {
  const std::vector recipients{failed_recipient()};
  const auto report = format_report(some_subject(), recipients, some_stamp(), Returned::whole);
  const std::string want =
      "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
      "From: Mail server mx.example.test <postmaster@example.test>\r\n"
      "To: <ann@example.org>\r\n"
      "Subject: Undelivered mail returned to sender\r\n"
      "Message-ID: <brqwhqwtw4hs5@mx.example.test>\r\n"
      "Auto-Submitted: auto-replied\r\n"
      "MIME-Version: 1.0\r\n"
      "Content-Type: multipart/report; report-type=delivery-status;\r\n"
      " boundary=\"=brqwhqwtw4hs5.000000000000abcd=\"\r\n"
      "Content-Transfer-Encoding: 7bit\r\n"
      "\r\n"
      "--=brqwhqwtw4hs5.000000000000abcd=\r\n"
      "Content-Type: text/plain; charset=us-ascii\r\n"
      "Content-Transfer-Encoding: 7bit\r\n"
      "\r\n"
      "This is the mail server mx.example.test.\r\n"
      "\r\n"
      "Your message could not be delivered to the recipients below.\r\n"
      "\r\n"
      "<bob@example.net>\r\n"
      "    mx.example.net said: 550 5.1.1 nobody of that name\r\n"
      "\r\n"
      "The message had the id brqwhqwtw4hs4 here.\r\n"
      "\r\n"
      "--=brqwhqwtw4hs5.000000000000abcd=\r\n"
      "Content-Type: message/delivery-status\r\n"
      "\r\n"
      "Reporting-MTA: dns; mx.example.test\r\n"
      "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
      "\r\n"
      "Final-Recipient: rfc822;bob@example.net\r\n"
      "Action: failed\r\n"
      "Status: 5.1.1\r\n"
      "Remote-MTA: dns; mx.example.net\r\n"
      "Diagnostic-Code: smtp; 550 5.1.1 nobody of that name\r\n"
      "Last-Attempt-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
      "\r\n"
      "--=brqwhqwtw4hs5.000000000000abcd=\r\n"
      "Content-Type: message/rfc822\r\n"
      "Content-Transfer-Encoding: 7bit\r\n"
      "\r\n";
  CHECK(report.front == want);
  CHECK(report.back == "\r\n--=brqwhqwtw4hs5.000000000000abcd=--\r\n");
  CHECK(report.front.substr(report.header_octets, 4) == "--=b");
  CHECK_FALSE(report.eight_bit);
}

TEST_CASE("what the sender gave comes back: ENVID, ORCPT, and the header alone when that was asked for") {
  auto subject = some_subject();
  subject.envelope_id = "QQ314159";
  auto recipient = failed_recipient();
  recipient.original = "rfc822;Bob@example.com";
  const std::vector recipients{recipient};
  const auto report = format_report(subject, recipients, some_stamp(), Returned::header);
  CHECK(contains(report.front, "\r\nOriginal-Envelope-Id: QQ314159\r\n"));
  CHECK(contains(report.front, "\r\nOriginal-Recipient: rfc822;Bob@example.com\r\nFinal-Recipient: "));
  CHECK(contains(report.front, "Content-Type: text/rfc822-headers\r\n"));
}

TEST_CASE("several recipients: the worst names the report, each has a group of fields") {
  auto delayed = failed_recipient();
  delayed.action = Action::delayed;
  delayed.status = "4.4.1";
  delayed.answer.clear();
  delayed.why = "No server of example.net answers.";
  delayed.until = noon + std::chrono::days{5};
  auto failed = failed_recipient();
  failed.address = "eve@example.net";
  const std::vector recipients{delayed, failed};
  const auto report = format_report(some_subject(), recipients, some_stamp(), Returned::header);
  CHECK(contains(report.front, "Subject: Undelivered mail"));
  CHECK(contains(report.front, "Action: delayed\r\nStatus: 4.4.1\r\n"));
  CHECK(contains(report.front, "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000\r\n"));
  CHECK(contains(report.front, "Action: failed\r\nStatus: 5.1.1\r\n"));
  const std::vector one{delayed};
  CHECK(contains(format_report(some_subject(), one, some_stamp(), Returned::header).front, "Subject: Delayed mail"));
}

TEST_CASE("what a peer said stands in one field, however hostile") {
  auto recipient = failed_recipient();
  recipient.answer = "550 no\r\nBcc: eve@example.net\r\n\r\n--x \x1b[31m caf\xc3\xa9 " + std::string(5000, 'x');
  recipient.peer = "mx\r\n.example.net";
  const std::vector recipients{recipient};
  const auto report = format_report(some_subject(), recipients, some_stamp(), Returned::header);
  CHECK_FALSE(contains(report.front, "\nBcc"));
  CHECK_FALSE(contains(report.front, "\x1b"));
  CHECK_FALSE(contains(report.front, "\xc3"));
  CHECK(contains(report.front, "Remote-MTA: dns; mx??.example.net\r\n"));
  recipient.peer = "192.0.2.1";
  const auto numeric = format_report(some_subject(), std::vector{recipient}, some_stamp(), Returned::header);
  CHECK(contains(numeric.front, "Remote-MTA: dns; [192.0.2.1]\r\n"));
  for (std::size_t at = 0; at < report.front.size();) {
    const auto end = report.front.find("\r\n", at);
    CHECK(end - at <= 998);
    CHECK(report.front[at] != '.');
    at = end + 2;
  }
}

TEST_CASE("addresses beyond ASCII make a global report (RFC 6533)") {
  auto subject = some_subject();
  subject.utf8 = true;
  auto recipient = failed_recipient();
  recipient.address =
      "b\xc3\xb8"
      "b@example.net";
  const std::vector recipients{recipient};
  const auto report = format_report(subject, recipients, some_stamp(), Returned::whole);
  CHECK(report.utf8);
  CHECK(report.eight_bit);
  CHECK(contains(report.front, "Content-Type: message/global-delivery-status\r\n"));
  CHECK(contains(report.front,
                 "Final-Recipient: utf-8;b\xc3\xb8"
                 "b@example.net\r\n"));
  CHECK(contains(report.front, "Content-Type: message/global\r\n"));
  CHECK(contains(format_report(subject, recipients, some_stamp(), Returned::header).front,
                 "Content-Type: message/global-headers\r\n"));
}
