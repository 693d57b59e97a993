#include "smtpd/folders/spool_envelope.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace smtpd;
using folders::SpoolEnvelope;

namespace {

Terms local_terms() {
  Terms terms;
  terms.server = "mx";
  terms.hostname = "mx.example.test";
  terms.default_domain = "example.test";
  terms.local = true;
  return terms;
}

/// ann@ is a mailbox, far.test elsewhere, "later" a day on which the store does not answer.
std::expected<routing::Resolution, Cause> find(const CheckRecipient& question) {
  routing::Resolution found;
  if (question.recipient.local == "later") return std::unexpected(Cause::store_trouble);
  if (question.recipient.local == "full") {
    found.outcome = routing::Outcome::full;
    found.targets.push_back({mailstore::MailboxNumber{8}, "full@example.test", {}});
    found.journals.push_back("copies@example.test");
  }
  if (question.recipient == common::Address{"ann", "example.test"}) {
    found.outcome = routing::Outcome::found;
    found.targets.push_back({mailstore::MailboxNumber{7}, "ann@example.test", {}});
  } else if (question.recipient.domain == "far.test") {
    CHECK(question.relay == routing::Relay::allowed);
    found.outcome = routing::Outcome::found;
    found.remotes.push_back({common::format_address(question.recipient), {}, {}});
  }
  return found;
}

/// What the lines come to, "DATA" at the end; the fault behind "!" (for good) or "?" (for now).
std::string read(const std::vector<std::string>& lines) {
  const auto terms = local_terms();
  SpoolEnvelope::Desk desk;
  desk.find_sender = [](const CheckSender& question, Transaction& transaction) -> std::expected<bool, Cause> {
    CHECK_FALSE(question.account);
    if (question.sender.local == "later") return std::unexpected(Cause::store_trouble);
    if (question.sender.local == "watched") transaction.add_journals({"copies@example.test"});
    return true;
  };
  desk.find_recipient = find;
  SpoolEnvelope envelope{terms, SpoolEnvelope::Asked::kept, desk};
  for (const auto& line : lines) {
    const auto taken = envelope.take(line);
    if (!taken) return (taken.error().why == SpoolEnvelope::Fault::Why::broken ? "!" : "?") + taken.error().text;
    if (!*taken) continue;
    const auto& found = envelope.transaction().envelope;
    std::string text = found.server + " <" + found.reverse_path + ">";
    for (const auto& owner : found.owners) text += " " + owner.delivered_to;
    for (const auto& remote : found.remotes) text += " ->" + remote.address;
    if (!found.envelope_id.empty()) text += " ENVID " + found.envelope_id;
    for (const auto& journal : envelope.transaction().journals) text += " copy " + journal;
    for (const auto& success : envelope.transaction().successes) text += " tell of " + success.address;
    for (const auto& asked : *envelope.transaction().asked) text += asked.parameters;
    text += envelope.parameters();
    return text;
  }
  return "no DATA";
}

}  // namespace

TEST_CASE("the commands of a spool file mean what they mean at the socket") {
  CHECK(read({"MAIL FROM:<root>", "RCPT TO:<ann>", "DATA"}) == "mx <root@example.test> ann@example.test");
  CHECK(read({"MAIL FROM:<a@b.test> RET=HDRS ENVID=1+2B", "RCPT TO:<x@far.test> NOTIFY=NEVER", "RCPT TO:<ann>",
              "DATA"}) == "mx <a@b.test> ann@example.test ->x@far.test ENVID 1+ NOTIFY=NEVER RET=HDRS ENVID=1+2B");
  CHECK(read({"MAIL FROM:<>", "RCPT TO:<ann>", "RCPT TO:<ann@example.test>", "DATA"}) == "mx <> ann@example.test");
  CHECK(read({"MAIL FROM:<watched>", "RCPT TO:<ann> NOTIFY=SUCCESS", "DATA"}) ==
        "mx <watched@example.test> ann@example.test copy copies@example.test tell of ann@example.test NOTIFY=SUCCESS");
}

TEST_CASE("a recipient that nobody is goes into the queue, which reports it") {
  CHECK(read({"MAIL FROM:<root>", "RCPT TO:<nobody>", "RCPT TO:<ann>", "DATA"}) ==
        "mx <root@example.test> ann@example.test ->nobody@example.test");
  // One without room may have some by then; the copy of its domain's mail is made now.
  CHECK(read({"MAIL FROM:<root>", "RCPT TO:<full>", "DATA"}) ==
        "mx <root@example.test> ->full@example.test copy copies@example.test");
}

TEST_CASE("what pennypost-sendmail would not write is no spool file; a store that does not answer is waited for") {
  CHECK(read({"MAIL FROM:<root>", "RCPT TO:<later>"}) == "?451 4.3.0");
  CHECK(read({"MAIL FROM:<later>"}) == "?451 4.3.0");
  const std::vector<std::string> rows[] = {
      {"DATA"},
      {"MAIL FROM:<root>", "DATA"},
      {"RCPT TO:<ann>"},
      {"MAIL FROM:<root"},
      {"MAIL FROM:<root>", "RCPT TO:<a b>"},
      {"MAIL FROM:<root>", "RCPT TO:<ann>", "BDAT 5 LAST"},
      {"MAIL FROM:<root>", "MAIL FROM:<root>"},
      {"STARTTLS"},
      {"AUTH PLAIN"},
      {"QUIT"},
      {"RSET"},
      {"EHLO x"},
      {"Subject: x"},
      {""},
      {std::string("\0\xFF", 2)},
  };
  for (const auto& lines : rows) {
    CAPTURE(lines.front());
    CHECK(read(lines).starts_with("!"));
  }
}
