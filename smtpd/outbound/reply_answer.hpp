#pragma once

#include <string_view>

#include "smtpd/outbound/answer.hpp"
#include "smtpd/outbound/peer_reply.hpp"

namespace smtpd::outbound {

/// The peer's words as an answer: 2xx delivered, 5xx permanent, everything else temporary (RFC 5321 4.2.1). A missing
/// enhanced code is filled in from the code.
Answer answer_of(const PeerReply& reply, Stage stage);
/// Ours, temporary if `enhanced` begins with 4, else permanent.
Answer own_answer(Stage stage, std::string_view enhanced, std::string_view text);

}  // namespace smtpd::outbound
