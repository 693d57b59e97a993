// Whole conversations: no crash, the same replies and the same mail in any cuts of what the peer sends, and replies
// that no peer has a word in.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tests/unit/smtp/talk.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

FakeDirectory& people() {
  static FakeDirectory directory = [] {
    FakeDirectory made;
    made.add_domain("example.test");
    made.add_domain("other.test", "example.test");
    made.add_mailbox("ann@example.test", "secret");
    made.add_mailbox("bob@example.test", "hidden");
    made.add_mailbox("postmaster@example.test");
    made.add_alias("team@example.test", {"ann@example.test", "bob@example.test"});
    return made;
  }();
  return directory;
}

/// RFC 5321 4.2: code, hyphen or space, printable text; and short enough (4.5.3.1.5), but for a challenge.
void check_replies(std::string_view replies) {
  while (!replies.empty()) {
    const auto end = replies.find("\r\n");
    expect(end != std::string_view::npos);
    const auto line = replies.substr(0, end);
    replies.remove_prefix(end + 2);
    const bool challenge = line.starts_with("334 ");  // the first one of PLAIN says nothing
    expect(line.size() > (challenge ? 3U : 4U) && line[0] >= '2' && line[0] <= '5' &&
           (line[3] == ' ' || line[3] == '-'));
    expect(line.size() <= 510 || challenge);
    for (const char c : line) expect(c >= ' ' && c <= '~');
    if (line[3] == '-') expect(replies.starts_with(line.substr(0, 3)));
  }
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t times = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++times;
  return times;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  smtpd::Terms terms;
  terms.server = "fuzz";
  terms.hostname = "mx.example.test";
  terms.default_domain = "example.test";
  terms.mechanisms = {"SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"};
  terms.submission = (data[0] & 1) != 0;
  terms.anonymous = !terms.submission;
  terms.passwords_need_tls = (data[0] & 2) != 0;
  terms.helo_check = (data[0] & 4) == 0     ? smtpd::HeloCheck::off
                     : (data[0] & 128) != 0 ? smtpd::HeloCheck::fcrdns
                                            : smtpd::HeloCheck::syntax;
  terms.has_certificate = (data[0] & 8) != 0;
  terms.tls_required = terms.has_certificate && (data[0] & 16) != 0;
  if ((data[0] & 32) != 0) terms.bare_newline = smtpd::BareNewline::normalize;
  terms.lmtp = (data[0] & 64) != 0 && !terms.submission;
  terms.message_octets = 500;
  terms.recipients = 3;
  terms.hops = 3;
  terms.errors = 10;
  const std::size_t piece = std::max<std::size_t>(data[1], 1);
  const std::string_view octets{reinterpret_cast<const char*>(data) + 2, size - 2};

  Talk whole{terms, people()};
  whole.feed(octets);
  Talk cut{terms, people()};
  for (std::size_t at = 0; at < octets.size() && cut.open; at += piece) cut.feed(octets.substr(at, piece));
  // What stands behind STARTTLS is thrown away as far as it has come: there the cuts matter. Challenges differ each
  // time.
  const bool same_each_time = !terms.has_certificate && whole.replies.find("\r\n334 ") == std::string::npos;
  if (same_each_time) {
    expect(whole.replies == cut.replies);
    expect(whole.messages.size() == cut.messages.size());
    for (std::size_t i = 0; i < whole.messages.size(); ++i) expect(whole.messages[i].stored == cut.messages[i].stored);
  }
  check_replies(whole.replies);
  check_replies(cut.replies);
  // 250 is said for every message, by LMTP once for each recipient that was taken, and never without one.
  const auto stored = count(whole.replies, " stored\r\n");
  expect(terms.lmtp ? stored >= whole.messages.size() : stored == whole.messages.size());
  expect(stored <= whole.messages.size() * terms.recipients);
  for (const auto& message : whole.messages) {
    expect(message.stored.find("\r\n.\r\n") == std::string::npos);
    expect(!message.envelope.owners.empty());
    expect(!terms.submission || !message.envelope.authenticated.empty());
  }
  return 0;
}
