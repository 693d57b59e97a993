#include "smtpd/outbound/about.hpp"

#include "smtpd/report/reporter.hpp"

namespace smtpd::outbound {
namespace {

std::string words_of(const mailstore::Answer& answer) {
  if (answer.code == 0) return answer.text;
  std::string text = std::to_string(answer.code);
  if (!answer.enhanced.empty()) text += ' ' + answer.enhanced;
  return text + ' ' + answer.text;
}

/// "mx.example.net[192.0.2.1]:25" without its numbers.
std::string name_of_peer(const std::string& peer) {
  return peer.substr(0, peer.find('['));
}

}  // namespace

report::Recipient about(const mailstore::QueuedRecipient& recipient, const mailstore::Envelope& envelope,
                        const mailstore::Attempt& attempt, report::Action action) {
  report::Recipient told;
  told.address = recipient.address;
  if (recipient.name.ordinal < envelope.remotes.size())
    told.original = report::readable_original(envelope.remotes[recipient.name.ordinal].original_recipient);
  told.action = action;
  told.status = attempt.answer.enhanced;
  told.peer = name_of_peer(attempt.peer);
  if (attempt.answer.code != 0) {
    told.answer = words_of(attempt.answer);
  } else {
    told.why = attempt.answer.text;
  }
  if (attempt.at != mailstore::no_time) told.tried = std::chrono::floor<std::chrono::seconds>(attempt.at);
  return told;
}

}  // namespace smtpd::outbound
