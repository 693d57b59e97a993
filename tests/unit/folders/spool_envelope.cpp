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
std::expected<routing::Resolution, std::string> resolve(const CheckRecipient& question) {
  routing::Resolution found;
  if (question.recipient.local == "later") return std::unexpected("the store is away");
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
  SpoolEnvelope envelope{terms};
  for (const auto& line : lines) {
    const auto taken = envelope.take(line, resolve);
    if (!taken) return (taken.error().why == SpoolEnvelope::Fault::Why::broken ? "!" : "?") + taken.error().text;
    if (!*taken) continue;
    const auto& found = envelope.transaction().envelope;
    std::string text = found.server + " <" + found.reverse_path + ">";
    for (const auto& owner : found.owners) text += " " + owner.delivered_to;
    for (const auto& remote : found.remotes) text += " ->" + remote.address;
    if (!found.envelope_id.empty()) text += " ENVID " + found.envelope_id;
    return text;
  }
  return "no DATA";
}

}  // namespace

TEST_CASE("the commands of a spool file mean what they mean at the socket") {
  CHECK(read({"MAIL FROM:<root>", "RCPT TO:<ann>", "DATA"}) == "mx <root@example.test> ann@example.test");
  CHECK(read({"MAIL FROM:<a@b.test> RET=HDRS ENVID=1+2B", "RCPT TO:<x@far.test> NOTIFY=NEVER", "RCPT TO:<ann>",
              "DATA"}) == "mx <a@b.test> ann@example.test ->x@far.test ENVID 1+");
  CHECK(read({"MAIL FROM:<>", "RCPT TO:<ann>", "RCPT TO:<ann@example.test>", "DATA"}) == "mx <> ann@example.test");
}

TEST_CASE("a recipient that nobody is goes into the queue, which reports it") {
  CHECK(read({"MAIL FROM:<root>", "RCPT TO:<nobody>", "RCPT TO:<ann>", "DATA"}) ==
        "mx <root@example.test> ann@example.test ->nobody@example.test");
}

TEST_CASE("what pennypost-sendmail would not write is no spool file; a store that does not answer is waited for") {
  CHECK(read({"MAIL FROM:<root>", "RCPT TO:<later>"}) == "?the store is away");
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
