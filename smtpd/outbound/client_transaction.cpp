// Mail transactions of the client's conversation (RFC 5321 3.3): one message, as many as its recipients need.
#include <algorithm>

#include "smtpd/outbound/client_conversation.hpp"
#include "smtpd/outbound/reply_answer.hpp"

namespace smtpd::outbound {
namespace {

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// Nothing in it could end the command it stands in.
bool is_sendable(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// The value of a parameter (RFC 5321 4.1.2, esmtp-value).
bool is_value(std::string_view text) {
  return !text.empty() && std::ranges::none_of(text, [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '=';
  });
}

std::string_view domain_of(std::string_view path) {
  const auto at = path.rfind('@');
  return at == path.npos ? std::string_view{} : path.substr(at + 1);
}

/// RFC 3461 4.1
void append_notify(std::string& out, std::uint8_t notify) {
  if (notify == 0) return;
  out += " NOTIFY=";
  if ((notify & notify_never) != 0) {
    out += "NEVER";
    return;
  }
  const auto from = out.size();
  const auto add = [&](std::uint8_t flag, std::string_view name) {
    if ((notify & flag) == 0) return;
    if (out.size() > from) out += ',';
    out += name;
  };
  add(notify_success, "SUCCESS");
  add(notify_failure, "FAILURE");
  add(notify_delay, "DELAY");
}

/// RFC 5321 4.5.3.1.10: a peer that takes no more recipients in this transaction, rather than never.
bool is_about_number(const PeerReply& reply) {
  if (reply.code != 452 && reply.code != 552) return false;
  return reply.enhanced.empty() || reply.enhanced.ends_with(".5.3");
}

}  // namespace

Step ClientConversation::send(const Message& message, std::vector<Answer>& answers) {
  state_ = State::transaction;
  message_ = &message;
  answers_ = &answers;
  answers.assign(message.recipients.size(), Answer{});
  form_ = Form::stored;
  with_utf8_ = message.utf8;
  heard_ = sending_ = all_sent_ = false;

  if (offered_.size && offered_.most != 0 && message.octets + message.front.size() > offered_.most) {
    // RFC 1870 6.1: said before anything is sent.
    answer_unanswered(own_answer(
        Stage::ours, "5.3.4",
        "the message is larger than the " + std::to_string(offered_.most) + " octets that the server takes"));
    return finish();
  }
  const bool sender_ascii = is_ascii(message.reverse_path);
  if (!is_sendable(message.reverse_path)) {
    answer_unanswered(own_answer(Stage::ours, "5.1.7", "the sender's address cannot be sent"));
  }
  for (std::size_t i = 0; i < message.recipients.size(); ++i) {
    const auto& path = message.recipients[i].path;
    if (!is_sendable(path)) answers[i] = own_answer(Stage::ours, "5.1.3", "the address cannot be sent");
    const bool plain = sender_ascii && is_ascii(path);
    if (!plain) with_utf8_ = true;
    if (!plain && !offered_.utf8) {
      answers[i] = own_answer(Stage::ours, "5.6.7", "an address is not ASCII, and the server takes no others");
    }
  }
  const bool look = (message.utf8 && !offered_.utf8) || !offered_.eight_bit;
  with_utf8_ = with_utf8_ && offered_.utf8;
  const bool anybody = std::ranges::any_of(answers, [](const Answer& a) { return a.outcome == Outcome::untried; });
  if (!anybody) return finish();
  if (look) return Examine{};
  return next_transaction();
}

Step ClientConversation::on_examined(const Examination& found) {
  if (!found.header_ascii && message_->utf8 && !offered_.utf8) {
    answer_unanswered(own_answer(Stage::ours, "5.6.7", "the header is UTF-8, and the server does not take that"));
  } else if (!offered_.eight_bit) {
    if (found.content == Examination::Content::convertible) form_ = Form::seven_bit;
    if (found.content == Examination::Content::fixed) {
      answer_unanswered(
          own_answer(Stage::ours, "5.6.3",
                     "the server takes 7-bit messages only, and this one cannot be converted: " + found.why));
    }
  }
  return next_transaction();
}

/// The next recipients that have no answer, as many as go together.
void ClientConversation::choose_recipients() {
  asked_.clear();
  at_rcpt_ = said_rcpt_ = accepted_ = 0;
  mail_refused_ = sending_ = all_sent_ = false;
  std::size_t most = terms_->recipients == 0 ? SIZE_MAX : terms_->recipients;
  if (offered_.rcpt_max != 0) most = std::min<std::size_t>(most, offered_.rcpt_max);
  if (peer_recipients_ != 0) most = std::min(most, peer_recipients_);
  std::vector<std::string_view> domains;
  for (std::size_t i = 0; i < answers_->size() && asked_.size() < most; ++i) {
    if ((*answers_)[i].outcome != Outcome::untried) continue;
    if (offered_.rcpt_domain_max != 0) {
      const auto domain = domain_of(message_->recipients[i].path);
      if (std::ranges::find(domains, domain) == domains.end()) {
        if (domains.size() == offered_.rcpt_domain_max) continue;
        domains.push_back(domain);
      }
    }
    asked_.push_back({i, Standing::asked});
  }
}

Step ClientConversation::next_transaction() {
  choose_recipients();
  if (asked_.empty() || !has_messages_left()) return finish();
  ++messages_;
  const bool reset = rset_due_;
  if (rset_due_) {
    output_ += "RSET\r\n";
    expect(Expect::rset);
    rset_due_ = false;
  }
  if (offered_.pipelining || !reset) say_mail();
  return exchange();
}

void ClientConversation::say_mail() {
  output_ += "MAIL FROM:<";
  output_ += message_->reverse_path;
  output_ += '>';
  // What it becomes by conversion is not known yet.
  if (offered_.size && form_ == Form::stored) {
    output_ += " SIZE=";
    output_ += std::to_string(message_->octets + message_->front.size());
  }
  if (message_->eight_bit && offered_.eight_bit) output_ += " BODY=8BITMIME";
  if (with_utf8_) output_ += " SMTPUTF8";
  if (offered_.dsn) {
    if (message_->return_content != ReturnContent::not_given) {
      output_ += message_->return_content == ReturnContent::full ? " RET=FULL" : " RET=HDRS";
    }
    if (is_value(message_->envelope_id)) {
      output_ += " ENVID=";
      output_ += message_->envelope_id;
    }
  }
  output_ += "\r\n";
  expect(Expect::mail);
  if (!offered_.pipelining) return;
  for (const auto& each : asked_) say_rcpt(each.recipient);
  if (uses_chunks()) return;
  // RFC 2920 3.1: the last of its group.
  output_ += "DATA\r\n";
  expect(Expect::data);
}

void ClientConversation::say_rcpt(std::size_t recipient) {
  const auto& to = message_->recipients[recipient];
  output_ += "RCPT TO:<";
  output_ += to.path;
  output_ += '>';
  if (offered_.dsn) {
    append_notify(output_, to.notify);
    if (is_value(to.original_recipient)) {
      output_ += " ORCPT=";
      output_ += to.original_recipient;
    }
  }
  output_ += "\r\n";
  expect(Expect::rcpt);
  ++said_rcpt_;
}

/// With stuffed dots the octets on disk are not the message: they go by DATA, which takes them out again.
bool ClientConversation::uses_chunks() const {
  return offered_.chunking && form_ == Form::stored && !message_->stuffed && message_->stored_octets > 0;
}

Step ClientConversation::on_mail(const PeerReply& reply) {
  heard_ = true;
  if (reply.go_ahead()) return break_off(own_answer(Stage::mail, "4.5.0", "the answer to MAIL makes no sense"));
  if (!reply.good()) {
    mail_refused_ = true;
    answer_unanswered(answer_of(reply, Stage::mail));
    return offered_.pipelining ? exchange() : after_envelope();
  }
  if (!offered_.pipelining) say_rcpt(asked_[0].recipient);
  return exchange();
}

Step ClientConversation::on_rcpt(const PeerReply& reply) {
  auto& asked = asked_[at_rcpt_++];
  if (!mail_refused_) {
    if (reply.go_ahead()) return break_off(own_answer(Stage::rcpt, "4.5.0", "the answer to RCPT makes no sense"));
    if (reply.good()) {
      asked.standing = Standing::accepted;
      ++accepted_;
    } else if (accepted_ > 0 && is_about_number(reply)) {
      // Those behind it go with the next transaction, and later ones begin no larger.
      asked.standing = Standing::later;
      if (peer_recipients_ == 0 || accepted_ < peer_recipients_) peer_recipients_ = accepted_;
    } else {
      asked.standing = Standing::answered;
      auto& answer = (*answers_)[asked.recipient];
      answer = answer_of(reply, Stage::rcpt);
      // RFC 5321 4.5.3.1.10: 552 was once said for 452.
      if (reply.code == 552 && is_about_number(reply) && !reply.enhanced.empty()) answer.outcome = Outcome::temporary;
    }
  }
  if (offered_.pipelining) {
    const bool more = expected_from_ < expected_.size();
    return more ? exchange() : after_envelope();
  }
  if (said_rcpt_ < asked_.size() && asked.standing != Standing::later) {
    say_rcpt(asked_[said_rcpt_].recipient);
    return exchange();
  }
  return after_envelope();
}

/// Every recipient of the transaction has been named and answered, and DATA has not been said.
Step ClientConversation::after_envelope() {
  if (mail_refused_ || accepted_ == 0) {
    rset_due_ = !mail_refused_;
    return next_transaction();
  }
  if (uses_chunks()) {
    output_ += "BDAT ";
    output_ += std::to_string(message_->stored_octets + message_->front.size());
    output_ += " LAST\r\n";
    sending_ = true;
    return Transmit{Form::stored, Closing::none};
  }
  output_ += "DATA\r\n";
  expect(Expect::data);
  return exchange();
}

Step ClientConversation::on_data(const PeerReply& reply) {
  if (reply.good()) return break_off(own_answer(Stage::data, "4.5.0", "the answer to DATA makes no sense"));
  if (!reply.go_ahead()) {
    answer_accepted(answer_of(reply, Stage::data));
    rset_due_ = !mail_refused_;
    return next_transaction();
  }
  if (accepted_ == 0) {
    // RFC 2920 3.1: it wants a message for nobody, and gets an empty one.
    output_ += ".\r\n";
    expect(Expect::nothing);
    return exchange();
  }
  sending_ = true;
  return Transmit{form_, Closing::dot};
}

Step ClientConversation::on_transmitted() {
  all_sent_ = true;
  expect(Expect::end);
  if (early_.empty()) return exchange();
  const std::string octets = std::move(early_);
  early_.clear();
  return take_replies(octets);
}

Step ClientConversation::on_end(const PeerReply& reply) {
  if (reply.go_ahead()) {
    expected_.insert(expected_.begin(), Expect::end);
    return break_off(own_answer(Stage::end, "4.5.0", "the answer to the end of the message makes no sense"));
  }
  auto answer = answer_of(reply, Stage::end);
  answer.dsn_passed_on = reply.good() && offered_.dsn;
  answer_accepted(answer);
  reused_ = true;
  return next_transaction();
}

void ClientConversation::answer_accepted(const Answer& answer) {
  for (auto& each : asked_) {
    if (each.standing != Standing::accepted) continue;
    each.standing = Standing::answered;
    (*answers_)[each.recipient] = answer;
  }
  accepted_ = 0;
}

void ClientConversation::answer_unanswered(const Answer& answer) {
  for (auto& each : *answers_) {
    if (each.outcome == Outcome::untried) each = answer;
  }
}

Step ClientConversation::finish() {
  state_ = State::ready;
  message_ = nullptr;
  answers_ = nullptr;
  return Rest{};
}

}  // namespace smtpd::outbound
