#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/address.hpp"
#include "common/auth/sasl.hpp"
#include "common/secret.hpp"

#include "mailstore/types.hpp"

#include "smtpd/outbound/trigger.hpp"
#include "smtpd/protocol/command.hpp"
#include "smtpd/protocol/lines.hpp"
#include "smtpd/protocol/reply.hpp"
#include "smtpd/routing/resolver.hpp"
#include "smtpd/session/terms.hpp"
#include "smtpd/session/transaction.hpp"

/// SMTP as the server speaks it (RFC 5321), without I/O: is told what happened, says what to do next.
namespace smtpd {

// What the session does next. A question is answered by the function named beside it; nothing else is told meanwhile.
// CheckRecipient (transaction.hpp): on_recipient()
struct Send {
  Reply reply;
  std::uint64_t copies = 1;  ///< LMTP answers a message once for each recipient (RFC 2033 4.2)
};
/// Does this name, or address literal, lead to the client's address? on_helo()
struct CheckHelo {
  std::string name;
  bool extended = false;
};
/// May this sender be used by who has authenticated? And who gets copies of his domain's mail? on_sender()
struct CheckSender {
  common::Address sender;
  std::optional<mailstore::MailboxNumber> account;  ///< nullopt: a program of this machine, which may use any
};
/// Open a draft, send the go-ahead, read the message, store it. on_message()
struct ReadMessage {
  Reply go_ahead;
};
/// Take the next octets, so many, as a piece of the message (the first opens a draft); store the message behind the
/// last one. on_chunk(), behind the last on_message()
struct ReadChunk {
  Chunk chunk;
};
/// Throw away the next octets, so many; then the reply.
struct SkipChunk {
  std::uint64_t octets = 0;
  Send answer;
};
/// Send the reply, throw away what was pipelined behind the command, shake hands. on_tls()
struct StartTls {
  Reply ready;
};
/// on_log_in()
struct CheckPassword {
  std::string account;
  common::Secret password;
};
/// What does the directory keep for a proof of this account's password? on_keys()
struct FindKeys {
  std::string account;
};
/// Let the mail of these go (RFC 1985). on_run()
struct AskRun {
  Node node;
};
/// May the account have the mail of these over this connection (RFC 2645)? on_turn()
struct AskTurn {
  std::string account;               ///< canonical
  std::vector<std::string> domains;  ///< none: all that it may have
};
/// Send the reply; from then on we are the client on this connection, and this session is over.
struct HandOver {
  Reply ready;
};
struct Close {
  Reply farewell;
};
using Step = std::variant<Send, CheckHelo, CheckSender, CheckRecipient, ReadMessage, ReadChunk, SkipChunk, StartTls,
                          CheckPassword, FindKeys, AskRun, AskTurn, HandOver, Close>;

/// Who may act in a mailbox's name.
struct Identity {
  mailstore::MailboxNumber mailbox{};
  std::string address;  ///< canonical
};
enum class Access : std::uint8_t {
  granted,
  refused,
  locked,
  unavailable,
  barred,  ///< nothing was checked: too many failed before
};
struct LogIn {
  Access access = Access::refused;
  Identity who;  ///< unless refused or unavailable
};

/// A log-in attempt that has come to its end, for the log.
struct AuthNote {
  std::string mechanism;
  std::string account;          ///< as the peer wrote it
  std::string why;              ///< of a failure
  std::optional<Cause> failed;  ///< what it was answered, should the reply say no more than that there were too many
};

/// How a message ended.
struct MessageEnd {
  std::optional<Cause> refused;
  std::string id;            ///< when stored
  std::uint64_t octets = 0;  ///< when stored
  std::string words;         ///< of Cause::filter_said
  bool discarded = false;    ///< taken, and thrown away for a filter
};

/// What a recipient's client is told.
Cause cause_of(routing::Outcome outcome);

class Conversation {
 public:
  /// `terms` outlives the conversation. `channel` is asked when an exchange begins that may bind to TLS.
  Conversation(const Terms& terms, bool secure, std::function<common::auth::Channel()> channel);

  Reply greeting() const;
  Step on_line(const Line& line);
  Step on_helo(const CheckHelo& asked, std::expected<bool, Cause> leads_to_client);
  Step on_sender(std::expected<bool, Cause> own);
  Step on_recipient(const CheckRecipient& asked, std::expected<routing::Resolution, Cause> found);
  /// What filters make of who connects, of HELO: no mail is taken in this session, whoever asks hears this reply.
  void bar(Reply refusal);
  /// Filters do not want what was just agreed to, a sender or DATA.
  Step on_filtered(Reply refusal);
  /// Of a filter, for a message or a chunk that is refused with Cause::filter_said.
  void on_words(std::string words) { said_ = std::move(words); }
  Step on_message(const MessageEnd& end);
  /// There is no draft for it: no go-ahead was sent.
  Step on_no_draft(Cause cause);
  /// A chunk is in. With `refused` the message failed there.
  Step on_chunk(const Chunk& chunk, std::optional<Cause> refused);
  /// TLS is on: what was said in the clear is forgotten (RFC 3207 4.2).
  void on_tls();
  Step on_log_in(LogIn result);
  /// `keys` are empty for an account that does not exist; the exchange goes on and fails at its end.
  Step on_keys(const common::auth::StoredKeys& keys, LogIn found);

  Step on_run(const outbound::RunAnswer& answer);
  Step on_turn(outbound::TurnAnswer answer);
  /// Something came behind a command that has to be the last before its answer.
  Step on_not_last() { return reply(Cause::not_last); }

  /// Between MAIL and the end of data. The session takes the envelope out when it stores the message.
  std::optional<Transaction>& transaction() { return transaction_; }
  bool in_transaction() const { return transaction_.has_value(); }
  /// Between the first chunk of a message and its last.
  bool in_chunks() const { return state_ == State::chunks; }
  const std::optional<Identity>& identity() const { return identity_; }
  bool secure() const { return secure_; }
  bool extended() const { return extended_; }
  /// What HELO or EHLO named; empty before, and where it was not checked and is no name.
  const std::string& helo() const { return helo_; }
  /// The attempt that the last reply was about.
  AuthNote take_auth_note() { return std::exchange(auth_note_, {}); }
  const AuthNote& auth_note() const { return auth_note_; }

 private:
  enum class State : std::uint8_t { connected, greeted, mail, rcpt, chunks };
  struct Order;
  struct Exchange {
    std::unique_ptr<common::auth::Sasl> sasl;
    std::string mechanism;
    std::string authorize;   ///< PLAIN's authorization identity
    LogIn found;             ///< whose keys the proof is checked against
    bool succeeded = false;  ///< the last data was sent; an empty answer ends it
  };
  static const Order& order_of(Verb verb);

  Step reply(Cause cause, std::string detail = {});
  Step close(Cause cause);
  Step on_command(const CommandLine& command);
  Step on_hello(bool extended, std::string_view name);
  Step greet(bool extended, std::string name);
  Step on_mail(std::string_view argument);
  Step on_vrfy(std::string_view argument);
  Step on_rcpt(std::string_view argument);
  Step on_bdat(std::string_view argument, Cause refused);
  Step fail_chunk(const Chunk& chunk, Cause cause);
  Reply message_reply(Cause cause) const;
  std::uint64_t message_answers() const;
  std::uint64_t message_limit() const;
  Step on_starttls(std::string_view argument);
  Step on_auth(std::string_view argument);
  Step on_etrn(std::string_view argument);
  Step on_turn_command(Verb verb, std::string_view argument);
  Step on_response(const Line& line);
  Step on_sasl(common::auth::SaslStep step);
  Step end_exchange(Cause cause, std::string why);
  Step finish_log_in(LogIn result, std::string_view authorize);
  bool same_account(std::string_view authorize, const Identity& who) const;
  std::string ehlo_text() const;
  Step syntax_error(SyntaxError error);
  void end_transaction();

  const Terms& terms_;
  std::function<common::auth::Channel()> channel_;
  State state_ = State::connected;
  bool secure_ = false;
  bool extended_ = false;
  std::uint64_t errors_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t octets_ = 0;
  std::string helo_;
  std::optional<Identity> identity_;
  std::optional<Transaction> transaction_;
  /// What the chunks behind one that failed are told: they may be on their way already (RFC 3030 2).
  std::optional<Cause> failed_chunk_;
  std::optional<Cause> barred_;
  std::string said_;  ///< of Cause::filter_said
  std::unique_ptr<Exchange> exchange_;
  AuthNote auth_note_;
};

}  // namespace smtpd
