#include "smtpd/outbound/reply_answer.hpp"

namespace smtpd::outbound {
namespace {

// As much of a peer's words as a report has a use for.
constexpr std::size_t text_limit = 512;

}  // namespace

Answer answer_of(const PeerReply& reply, Stage stage) {
  Answer answer;
  answer.outcome = reply.good() ? Outcome::delivered : reply.permanent() ? Outcome::permanent : Outcome::temporary;
  answer.stage = stage;
  answer.code = reply.code;
  answer.enhanced = reply.enhanced;
  if (answer.enhanced.empty()) answer.enhanced = reply.good() ? "2.0.0" : reply.permanent() ? "5.0.0" : "4.0.0";
  answer.text = reply.text.substr(0, text_limit);
  return answer;
}

Answer own_answer(Stage stage, std::string_view enhanced, std::string_view text) {
  Answer answer;
  answer.outcome = enhanced.starts_with('4') ? Outcome::temporary : Outcome::permanent;
  answer.stage = stage;
  answer.enhanced = enhanced;
  answer.text = text.substr(0, text_limit);
  return answer;
}

}  // namespace smtpd::outbound
