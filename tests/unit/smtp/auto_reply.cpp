#include "smtpd/report/auto_reply.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace smtpd::report;

namespace {

constexpr std::chrono::sys_seconds now{std::chrono::seconds{1'700'000'000}};
constexpr std::uint64_t now_micros = 1'700'000'000'000'000;
const mailstore::AutoReply always{0, 0, "Away", "Back on Monday.\n"};

std::string withheld(const std::string& header, const std::string& sender = "joe@far.test") {
  const auto why = check_auto_reply(always, sender, read_asking(header), true, now);
  return why ? std::string{name_of(*why)} : "";
}

const Letter letter{"id", "mx.example.test", "ann@example.test", "joe@far.test", now};

}  // namespace

TEST_CASE("who gets no automatic reply (RFC 3834 2)") {
  struct Row {
    std::string header, want;
  };
  const std::string automatic{name_of(Withheld::automatic)}, list{name_of(Withheld::of_a_list)};
  const std::vector<Row> rows = {
      {"Subject: hello\r\n", ""},
      {"Auto-Submitted: no\r\n", ""},
      {"Auto-Submitted: No (really)\r\n", ""},
      {"Auto-Submitted: auto-generated\r\n", automatic},
      {"auto-submitted:\r\n auto-replied; owner=x\r\n", automatic},
      {"Auto-Submitted: anything\r\n", automatic},
      {"X-Auto-Response-Suppress: OOF\r\n", automatic},
      {"X-Auto-Response-Suppress: DR, RN\r\n", ""},
      {"X-Autoreply: yes\r\n", automatic},
      {"List-Id: <x.y>\r\n", list},
      {"List-Unsubscribe: <mailto:x@y>\r\n", list},
      {"Precedence: bulk\r\n", list},
      {"Precedence: LIST\r\n", list},
      {"Precedence: junk\r\n", list},
      {"Precedence: first-class\r\n", ""},
      {"Listing: x\r\n", ""},
  };
  for (const auto& row : rows) {
    CAPTURE(row.header);
    CHECK(withheld(row.header) == row.want);
  }
  for (const std::string sender : {"MAILER-DAEMON@far.test", "owner-list@far.test", "list-request@far.test",
                                   "List-Owner@far.test", "noreply@far.test", "No-Reply+1@far.test",
                                   "bounces+x@far.test", "list-bounces@far.test", "list-bounces+joe=x.test@far.test",
                                   "listserv@far.test", "postmaster@far.test", "x-relay@far.test", "not an address"}) {
    CAPTURE(sender);
    CHECK(withheld("Subject: x\r\n", sender) == name_of(Withheld::robot_sender));
  }
  for (const std::string sender : {"joe@far.test", "owner@far.test", "norepl@far.test", "ann.request@far.test"}) {
    CAPTURE(sender);
    CHECK(withheld("Subject: x\r\n", sender).empty());
  }
  CHECK(withheld("Subject: x\r\n", "") == name_of(Withheld::no_sender));
  CHECK(check_auto_reply(always, "joe@far.test", {}, false, now) == Withheld::not_addressed);
}

TEST_CASE("from when until when") {
  auto reply = always;
  const auto fine = [&] { return !check_auto_reply(reply, "joe@far.test", {}, true, now); };
  reply.from = now_micros;
  CHECK(fine());
  reply.from = now_micros + 1'000'000;
  CHECK_FALSE(fine());
  reply.from = 0;
  reply.until = now_micros;
  CHECK_FALSE(fine());
  reply.until = now_micros + 1'000'000;
  CHECK(fine());
}

TEST_CASE("what of a message matters for an answer") {
  const auto asking = read_asking(
      "To: Ann <ann@example.test>\r\nCc: bob@example.test,\r\n carl@example.test\r\nBcc: x@example.test\r\n"
      "Message-ID: <1@far.test>\r\nReferences: <a@far.test>\r\n <b@far.test>\r\nSubject: =?utf-8?q?x?=\r\n");
  CHECK(asking.to == std::vector<std::string>{"ann@example.test", "bob@example.test", "carl@example.test"});
  CHECK(asking.message_id == "<1@far.test>");
  CHECK(asking.references == "<a@far.test> <b@far.test>");
  CHECK(asking.subject == "=?utf-8?q?x?=");
  const auto odd =
      read_asking("Message-ID: <1@far.test> <2@far.test>\r\nIn-Reply-To: <c@far.test>\r\nSubject: caf\xC3\xA9\r\n");
  CHECK(odd.message_id.empty());
  CHECK(odd.references == "<c@far.test>");
  CHECK(odd.subject.empty());
}

TEST_CASE("the answer") {
  Asking asking;
  asking.message_id = "<1@far.test>";
  asking.references = "<a@far.test>";
  asking.subject = "Lunch?";
  const auto written = write_auto_reply(always, asking, letter);
  CHECK(written.octets ==
        "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        "From: <ann@example.test>\r\n"
        "To: <joe@far.test>\r\n"
        "Subject: Away\r\n"
        "Message-ID: <id@mx.example.test>\r\n"
        "In-Reply-To: <1@far.test>\r\n"
        "References: <a@far.test>\r\n <1@far.test>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
        "Back on Monday.\r\n");
  CHECK(written.octets.substr(written.header_octets) == "Back on Monday.\r\n");
  CHECK_FALSE(written.utf8);
  auto reply = always;
  reply.subject.clear();
  CHECK(write_auto_reply(reply, asking, letter).octets.contains("\r\nSubject: Auto: Lunch?\r\n"));
  asking.subject.clear();
  CHECK(write_auto_reply(reply, asking, letter).octets.contains("\r\nSubject: Automatic reply\r\n"));
  reply.subject = "Bin im B\xC3\xBCro";
  CHECK(write_auto_reply(reply, asking, letter).octets.contains("\r\nSubject: =?utf-8?B?QmluIGltIELDvHJv?=\r\n"));
  // Nobody's subject makes a second field.
  reply.subject = "a\r\nBcc: x@y";
  CHECK(write_auto_reply(reply, asking, letter).octets.contains("\r\nSubject: a  Bcc: x@y\r\n"));
}

TEST_CASE("whatever is in the text, lines are short, ASCII, and none begins with a dot") {
  auto reply = always;
  reply.text = "caf\xC3\xA9 = good \n.\n..\nend " + std::string(500, 'x') + "\r\n" + std::string(74, 'y') + ".\t";
  reply.subject = std::string(120, '\xC3');
  for (std::size_t i = 1; i < reply.subject.size(); i += 2) reply.subject[i] = '\xA9';
  const auto written = write_auto_reply(reply, {}, letter);
  std::size_t begin = 0;
  while (begin < written.octets.size()) {
    const auto end = written.octets.find("\r\n", begin);
    REQUIRE(end != std::string::npos);
    const auto line = written.octets.substr(begin, end - begin);
    CAPTURE(line);
    CHECK(line.size() <= 78);
    CHECK_FALSE(line.starts_with('.'));
    CHECK(std::ranges::all_of(line, [](char c) { return c >= ' ' && c < 0x7f; }));
    begin = end + 2;
  }
  CHECK(written.octets.contains("\r\ncaf=C3=A9 =3D good=20\r\n=2E\r\n=2E.\r\nend xxx"));
  reply.text.clear();
  CHECK(write_auto_reply(reply, {}, letter).octets.ends_with("\r\n\r\nThis is an automatic reply.\r\n"));
}
