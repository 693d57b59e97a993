#include "smtpd/outbound/client_conversation.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "smtpd/outbound/reply_answer.hpp"

namespace smtpd::outbound {

ClientConversation::ClientConversation(std::shared_ptr<const ClientTerms> terms, Attempt attempt)
    : terms_(std::move(terms)), attempt_(attempt) {}

Step ClientConversation::start() {
  expect(Expect::greeting);
  return exchange();
}

Step ClientConversation::ask(std::string command) {
  state_ = State::asking;
  said_ = {};
  output_ = std::move(command) + "\r\n";
  expect(Expect::asked);
  return exchange();
}

Step ClientConversation::leave() {
  state_ = State::leaving;
  output_ = "QUIT\r\n";
  expect(Expect::quit);
  return exchange();
}

/// Waits for what was expected first.
Step ClientConversation::exchange() const {
  const auto& timeouts = terms_->timeouts;
  if (expected_from_ == expected_.size()) return Exchange{timeouts.end};
  switch (expected_[expected_from_]) {
    case Expect::greeting:
      return Exchange{timeouts.greeting};
    case Expect::ehlo:
    case Expect::helo:
      return Exchange{timeouts.hello};
    case Expect::starttls:
      return Exchange{timeouts.tls};
    case Expect::auth:
      return Exchange{timeouts.auth};
    case Expect::asked:
    case Expect::mail:
    case Expect::rset:
      return Exchange{timeouts.mail};
    case Expect::rcpt:
      return Exchange{timeouts.rcpt};
    case Expect::data:
      return Exchange{timeouts.data};
    case Expect::nothing:
    case Expect::end:
      return Exchange{timeouts.end};
    case Expect::quit:
      return Exchange{timeouts.quit};
  }
  return Done{};
}

Stage ClientConversation::stage() const {
  if (sending_) return all_sent_ ? Stage::end : Stage::data;
  if (expected_from_ == expected_.size()) return Stage::ours;
  switch (expected_[expected_from_]) {
    case Expect::greeting:
      return Stage::greeting;
    case Expect::ehlo:
    case Expect::helo:
      return Stage::hello;
    case Expect::starttls:
      return Stage::tls;
    case Expect::auth:
      return Stage::auth;
    case Expect::mail:
    case Expect::rset:
      return Stage::mail;
    case Expect::rcpt:
      return Stage::rcpt;
    case Expect::data:
    case Expect::nothing:
      return Stage::data;
    case Expect::end:
      return Stage::end;
    case Expect::asked:
    case Expect::quit:
      break;
  }
  return Stage::ours;
}

// ---- what happens

Step ClientConversation::on_octets(std::string_view octets) {
  if (state_ == State::over) return Done{};
  if (sending_ && !all_sent_) {
    // Judged once the message has left, or cannot.
    early_ += octets.substr(0, reply_octets_limit - std::min(early_.size(), reply_octets_limit));
    return Exchange{terms_->timeouts.block};
  }
  return take_replies(octets);
}

Step ClientConversation::take_replies(std::string_view octets) {
  for (;;) {
    const auto reply = reader_.next(octets);
    if (!reply) return exchange();
    if (!*reply) return break_off(own_answer(stage(), "4.5.0", describe(reply->error())));
    ++replies_;
    if (expected_from_ == expected_.size()) return break_off(own_answer(stage(), "4.5.0", "a reply to nothing"));
    const auto expected = expected_[expected_from_];
    // RFC 5321 3.8: said anywhere, it is the last that comes.
    Step step = (*reply)->code == 421 ? hear_farewell(expected, **reply) : Step{};
    if (!std::holds_alternative<Done>(step)) {
      if (++expected_from_ == expected_.size()) {
        expected_.clear();
        expected_from_ = 0;
      }
      step = on_reply(expected, **reply);
    }
    if (std::holds_alternative<Exchange>(step)) continue;
    if (std::holds_alternative<Handshake>(step)) {
      // RFC 3207 6: what came in the clear behind the go-ahead may be anybody's.
      reader_.clear();
    } else if (std::holds_alternative<Transmit>(step)) {
      early_ = octets;
    } else if (std::holds_alternative<Rest>(step)) {
      noise_ = !octets.empty() || !reader_.empty();
    }
    return step;
  }
}

Step ClientConversation::on_reply(Expect expected, const PeerReply& reply) {
  switch (expected) {
    case Expect::greeting:
      return on_greeting(reply);
    case Expect::ehlo:
      return on_ehlo(reply);
    case Expect::helo:
      return on_helo(reply);
    case Expect::starttls:
      return on_starttls(reply);
    case Expect::auth:
      return on_auth(reply);
    case Expect::asked:
      said_ = answer_of(reply, Stage::ours);
      return open();
    case Expect::mail:
      return on_mail(reply);
    case Expect::rcpt:
      return on_rcpt(reply);
    case Expect::data:
      return on_data(reply);
    case Expect::end:
      return on_end(reply);
    case Expect::nothing:
      return next_transaction();
    case Expect::rset:
      if (!reply.good()) return break_off(answer_of(reply, Stage::mail));
      if (!offered_.pipelining) say_mail();
      return exchange();
    case Expect::quit:
      break;
  }
  state_ = State::over;
  return Done{};
}

/// 421 where something else was waited for.
Step ClientConversation::hear_farewell(Expect expected, const PeerReply& reply) {
  if (expected == Expect::end) {
    answer_accepted(answer_of(reply, Stage::end));
    state_ = State::over;
    return Done{};
  }
  if (state_ == State::transaction && reused_ && !heard_) {
    // It grew tired while the connection rested: this message has nothing to do with it.
    stale_ = true;
    state_ = State::over;
    return Done{};
  }
  return break_off(answer_of(reply, stage()));
}

Step ClientConversation::on_lost(Loss loss, std::string_view why) {
  if (state_ == State::over || state_ == State::leaving || state_ == State::ready) {
    state_ = State::over;
    return Done{};
  }
  if (state_ == State::transaction && reused_ && !heard_ && loss == Loss::closed) {
    stale_ = true;
    state_ = State::over;
    return Done{};
  }
  if (take_early_refusal()) return Done{};
  const auto where = stage();
  std::string text = loss == Loss::timeout ? "no answer in time" : "the connection was lost";
  text += where == Stage::greeting ? " (waiting for the greeting" : " (at ";
  if (where != Stage::greeting) text += name_of(where);
  text += ')';
  if (!why.empty()) {
    text += ": ";
    text += why;
  }
  return break_off(own_answer(where, loss == Loss::timeout ? "4.4.1" : "4.4.2", text));
}

/// A peer that refuses in the middle of a message and hangs up has said why.
bool ClientConversation::take_early_refusal() {
  if (!sending_ || all_sent_ || early_.empty()) return false;
  std::string_view octets = early_;
  const auto reply = reader_.next(octets);
  if (!reply || !*reply || !((*reply)->temporary() || (*reply)->permanent())) return false;
  answer_accepted(answer_of(**reply, Stage::data));
  state_ = State::over;
  return true;
}

/// The peer is no good, and nothing was begun.
Step ClientConversation::fail(Answer answer) {
  answer.elsewhere = true;
  failure_ = std::move(answer);
  state_ = State::over;
  output_ = "QUIT\r\n";
  return Done{};
}

/// The connection is worth nothing more.
Step ClientConversation::break_off(Answer answer) {
  answer.elsewhere = true;
  if (state_ == State::opening) {
    failure_ = std::move(answer);
  } else if (state_ == State::asking) {
    said_ = std::move(answer);
  } else if (state_ == State::transaction) {
    if (all_sent_) {
      // RFC 5321 4.5.3.2.6: whether the message was taken is known to the peer alone.
      answer.outcome = Outcome::unknown;
      answer.elsewhere = false;
      answer_accepted(answer);
    } else {
      if (answer.outcome == Outcome::permanent) answer.outcome = Outcome::temporary;
      answer_unanswered(answer);
    }
  }
  state_ = State::over;
  return Done{};
}

// ---- the opening

Step ClientConversation::on_greeting(const PeerReply& reply) {
  // RFC 7504 4: 5xx is about this host; whether others speak for the domain is the caller's to know.
  if (reply.code / 100 != 2) return fail(answer_of(reply, Stage::greeting));
  return say_hello(terms_->hello == Hello::helo ? Expect::helo : Expect::ehlo);
}

Step ClientConversation::say_hello(Expect which) {
  output_ += which == Expect::ehlo ? "EHLO " : "HELO ";
  output_ += terms_->hostname;
  output_ += "\r\n";
  expect(which);
  return exchange();
}

Step ClientConversation::on_ehlo(const PeerReply& reply) {
  if (reply.permanent()) {
    offered_ = {};
    return say_hello(Expect::helo);
  }
  if (!reply.good()) return fail(answer_of(reply, Stage::hello));
  offered_ = parse_extensions(reply.text);
  return after_hello();
}

Step ClientConversation::on_helo(const PeerReply& reply) {
  if (!reply.good()) return fail(answer_of(reply, Stage::hello));
  offered_ = {};
  return after_hello();
}

Step ClientConversation::after_hello() {
  const auto security = terms_->security;
  if (channel_.secure || security == Security::none || attempt_ == Attempt::without_tls) return authenticate();
  if (offered_.starttls) {
    output_ += "STARTTLS\r\n";
    expect(Expect::starttls);
    return exchange();
  }
  if (security == Security::opportunistic) return authenticate();
  return fail(own_answer(Stage::tls, "4.7.4", "TLS is asked for, and the server does not offer it"));
}

Step ClientConversation::on_starttls(const PeerReply& reply) {
  if (reply.good()) return Handshake{};
  if (terms_->security == Security::opportunistic) return authenticate();
  auto answer = answer_of(reply, Stage::tls);
  answer.outcome = Outcome::temporary;
  return fail(std::move(answer));
}

Step ClientConversation::on_secured(common::auth::Channel channel) {
  channel_ = std::move(channel);
  channel_.secure = true;
  // RFC 3207 4.2: all that was heard in the clear is forgotten.
  offered_ = {};
  return say_hello(Expect::ehlo);
}

Step ClientConversation::on_tls_failed(std::string_view why) {
  tls_broke_ = terms_->security == Security::opportunistic;
  std::string text = "TLS failed: ";
  text += why;
  auto answer = own_answer(Stage::tls, "4.7.5", text);
  answer.elsewhere = true;
  failure_ = std::move(answer);
  state_ = State::over;
  return Done{};
}

Step ClientConversation::authenticate() {
  if (terms_->credentials == nullptr) return open();
  if (!channel_.secure && terms_->security != Security::none) {
    return fail(own_answer(Stage::auth, "4.7.4", "no TLS, and credentials are not sent in the clear"));
  }
  mechanism_ = 0;
  return next_mechanism();
}

Step ClientConversation::next_mechanism() {
  struct Mechanism {
    std::string_view name;
    bool offered;
  };
  // From the one that tells an impostor least.
  const std::array mechanisms{Mechanism{"SCRAM-SHA-256-PLUS", offered_.auth_scram_plus},
                              Mechanism{"SCRAM-SHA-256", offered_.auth_scram},
                              Mechanism{"CRAM-MD5", offered_.auth_cram_md5}, Mechanism{"PLAIN", offered_.auth_plain},
                              Mechanism{"LOGIN", offered_.auth_login}};
  while (mechanism_ < mechanisms.size()) {
    const auto& each = mechanisms[mechanism_++];
    if (!each.offered) continue;
    const auto& credentials = *terms_->credentials;
    sasl_ = common::auth::SaslClient::start(each.name, credentials.account, credentials.password, channel_);
    if (sasl_ == nullptr) continue;
    output_ += "AUTH ";
    output_ += each.name;
    if (const auto first = sasl_->first()) {
      output_ += ' ';
      output_ += first->empty() ? std::string{"="} : common::auth::encode_base64(*first);  // RFC 4954 4
    }
    output_ += "\r\n";
    expect(Expect::auth);
    return exchange();
  }
  if (auth_refused_) return fail(std::move(*auth_refused_));
  return fail(own_answer(Stage::auth, "4.7.0", "the server offers no way to authenticate that we know"));
}

Step ClientConversation::on_auth(const PeerReply& reply) {
  if (reply.good()) {
    if (sasl_ == nullptr || !sasl_->complete()) {
      return fail(own_answer(Stage::auth, "4.7.0", "the server did not prove that it knows the password"));
    }
    sasl_.reset();
    return open();
  }
  if (reply.go_ahead() && sasl_ != nullptr) {
    const auto challenge = common::auth::decode_base64(reply.text);
    const auto response = challenge ? sasl_->answer(*challenge) : std::unexpected("a challenge that is not base64");
    if (response) {
      output_ += common::auth::encode_base64(*response);
    } else {
      auth_refused_ = own_answer(Stage::auth, "4.7.0", response.error());
      sasl_.reset();
      output_ += '*';  // RFC 4954 4: cancels
    }
    output_ += "\r\n";
    expect(Expect::auth);
    return exchange();
  }
  // A wrong password is somebody's to set right here: until then the mail waits.
  if (sasl_ != nullptr || !auth_refused_) {
    auth_refused_ = answer_of(reply, Stage::auth);
    auth_refused_->outcome = Outcome::temporary;
  }
  sasl_.reset();
  // An account may lack what one mechanism wants, SCRAM's keys say, and the server does not know before it is asked.
  if (reply.permanent()) return next_mechanism();
  return fail(std::move(*auth_refused_));
}

Step ClientConversation::open() {
  state_ = State::ready;
  return Rest{};
}

bool ClientConversation::has_messages_left() const {
  if (terms_->messages != 0 && messages_ >= terms_->messages) return false;
  return offered_.mail_max == 0 || messages_ < offered_.mail_max;
}

}  // namespace smtpd::outbound
