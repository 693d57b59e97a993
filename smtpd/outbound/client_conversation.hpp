#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/auth/sasl_client.hpp"

#include "smtpd/outbound/answer.hpp"
#include "smtpd/outbound/client_terms.hpp"
#include "smtpd/outbound/extensions.hpp"
#include "smtpd/outbound/peer_reply.hpp"

/// SMTP as the client speaks it (RFC 5321), without I/O: is told what happened, says what to do next.
namespace smtpd::outbound {

// What the session does next; before each step it sends `output()`.
/// Wait for octets, so long at most for each reply. on_octets() or on_lost()
struct Exchange {
  std::chrono::milliseconds patience{};
};
/// Shake hands; octets that have come are thrown away (RFC 3207 6). on_secured() or on_tls_failed()
struct Handshake {};
/// Find out what a peer that takes less than all may take of this message. on_examined()
struct Examine {};
enum class Form : std::uint8_t { stored, seven_bit };
enum class Closing : std::uint8_t { dot, none };
/// Send the message right behind `output()`, then the closing dot or nothing (BDAT). on_transmitted() or on_lost()
struct Transmit {
  Form form = Form::stored;
  Closing closing = Closing::dot;
};
/// Nothing is under way: send() the next message, keep the connection, or leave().
struct Rest {};
/// Close; the message, if there was one, has its answers.
struct Done {};
using Step = std::variant<Exchange, Handshake, Examine, Transmit, Rest, Done>;

/// What a look at the octets of a message found, for peers without 8BITMIME or SMTPUTF8.
struct Examination {
  enum class Content : std::uint8_t {
    seven_bit,    ///< nothing in it needs 8BITMIME
    convertible,  ///< Form::seven_bit will do
    fixed,        ///< it does, and may not be converted
  };
  Content content = Content::seven_bit;
  bool header_ascii = true;
  std::string why;  ///< of `fixed`
};

/// What became of TLS on the connection before this one.
enum class Attempt : std::uint8_t {
  first,
  without_tls,  ///< opportunistic TLS broke: this one does not try it, and no credentials go in its clear
};

class ClientConversation {
 public:
  explicit ClientConversation(std::shared_ptr<const ClientTerms> terms, Attempt attempt = Attempt::first);

  /// Before anything else: wait for the greeting.
  Step start();
  /// At Rest, while `reusable()`. `answers` gets one for each recipient; both stay until the next Rest or Done.
  Step send(const Message& message, std::vector<Answer>& answers);
  /// At Rest, while `resting()`: a command of one line and one reply, which `said()` tells at the next Rest or Done.
  Step ask(std::string command);
  const Answer& said() const { return said_; }
  /// At Rest: QUIT.
  Step leave();

  Step on_octets(std::string_view octets);
  enum class Loss : std::uint8_t { closed, timeout };
  /// Nothing more can be read or written. `why`: for the log; may be empty.
  Step on_lost(Loss loss, std::string_view why);
  Step on_secured(common::auth::Channel channel);
  Step on_tls_failed(std::string_view why);
  Step on_examined(const Examination& found);
  Step on_transmitted();

  /// What is to be sent now; `sent()` once it is.
  std::string_view output() const { return output_; }
  void sent() { output_.clear(); }
  /// Goes up with each reply: whoever waits for the next one waits anew.
  std::uint64_t replies() const { return replies_; }

  /// Nothing is under way: leave() is the polite end.
  bool resting() const { return state_ == State::ready; }
  /// Another message may be sent on this connection.
  bool reusable() const { return state_ == State::ready && !noise_ && has_messages_left(); }
  /// Why the peer was left before any message; nullopt: it was not.
  const std::optional<Answer>& failure() const { return failure_; }
  /// The peer hung up while the connection rested, before it heard of the message: try it again on a new one.
  bool stale() const { return stale_; }
  /// Opportunistic TLS failed: the next connection is to go without.
  bool tls_broke() const { return tls_broke_; }
  const Extensions& offered() const { return offered_; }
  std::uint64_t messages() const { return messages_; }

 private:
  enum class Expect : std::uint8_t {
    greeting,
    ehlo,
    helo,
    starttls,
    auth,
    asked,
    mail,
    rcpt,
    data,
    nothing,
    end,
    rset,
    quit
  };
  enum class State : std::uint8_t { opening, ready, asking, transaction, leaving, over };
  /// Of a recipient in the running transaction.
  enum class Standing : std::uint8_t { asked, accepted, later, answered };
  struct Asked {
    std::size_t recipient = 0;
    Standing standing = Standing::asked;
  };

  Step exchange() const;
  Step take_replies(std::string_view octets);
  Step on_reply(Expect expect, const PeerReply& reply);
  Step on_greeting(const PeerReply& reply);
  Step on_ehlo(const PeerReply& reply);
  Step on_helo(const PeerReply& reply);
  Step on_starttls(const PeerReply& reply);
  Step on_auth(const PeerReply& reply);
  Step on_mail(const PeerReply& reply);
  Step on_rcpt(const PeerReply& reply);
  Step on_data(const PeerReply& reply);
  Step on_end(const PeerReply& reply);
  Step say_hello(Expect which);
  Step after_hello();
  Step authenticate();
  Step next_mechanism();
  Step open();

  Step next_transaction();
  void choose_recipients();
  void say_mail();
  void say_rcpt(std::size_t recipient);
  Step say_body();
  Step after_envelope();
  Step finish();

  Step fail(Answer answer);
  Step break_off(Answer answer);
  Step hear_farewell(Expect expect, const PeerReply& reply);
  bool take_early_refusal();
  void answer_accepted(const Answer& answer);
  void answer_unanswered(const Answer& answer);
  bool uses_chunks() const;
  bool has_messages_left() const;
  Stage stage() const;
  void expect(Expect what) { expected_.push_back(what); }

  std::shared_ptr<const ClientTerms> terms_;
  State state_ = State::opening;
  ReplyReader reader_;
  std::string output_;
  std::string early_;  ///< came before the message had left
  std::vector<Expect> expected_;
  std::size_t expected_from_ = 0;
  Attempt attempt_;
  Extensions offered_;
  common::auth::Channel channel_;
  std::unique_ptr<common::auth::SaslClient> sasl_;
  std::size_t mechanism_ = 0;
  std::optional<Answer> failure_;
  std::optional<Answer> auth_refused_;
  Answer said_;
  std::uint64_t replies_ = 0;
  std::uint64_t messages_ = 0;
  std::size_t peer_recipients_ = 0;  ///< as many as it once took; 0: not known
  bool rset_due_ = false;
  bool reused_ = false;  ///< a transaction went well before this one
  bool noise_ = false;
  bool stale_ = false;
  bool tls_broke_ = false;

  const Message* message_ = nullptr;
  std::vector<Answer>* answers_ = nullptr;
  std::vector<Asked> asked_;
  std::size_t at_rcpt_ = 0;    ///< the next of `asked_` to be answered
  std::size_t said_rcpt_ = 0;  ///< the next of `asked_` to be named
  std::size_t accepted_ = 0;
  Form form_ = Form::stored;
  bool with_utf8_ = false;
  bool mail_refused_ = false;
  bool heard_ = false;     ///< anything of this message
  bool sending_ = false;   ///< the message is on its way
  bool all_sent_ = false;  ///< down to the last octet
};

}  // namespace smtpd::outbound
