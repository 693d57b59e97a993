#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/auth/sasl.hpp"
#include "common/secret.hpp"
#include "mailstore/types.hpp"
#include "pop3d/protocol/command.hpp"
#include "pop3d/protocol/line_reader.hpp"
#include "pop3d/protocol/reply.hpp"
#include "pop3d/session/marks.hpp"

namespace pop3d {

enum class Listing : std::uint8_t { octets, unique_ids };

// What the session does next, for the conversation. What is to be said already stands in `out`.
struct Proceed {};      ///< nothing: take the next line
struct CheckPassword {  ///< answered by on_login()
  std::string name;
  common::Secret password;
  std::string mechanism;
};
struct CheckApop {  ///< answered by on_login()
  std::string name;
  std::string stamp;
  std::string digest;
};
struct FindKeys {  ///< answered by on_keys(), or on_barred()
  std::string name;
};
struct OpenMaildrop {  ///< of the account last looked up for FindKeys; answered by on_login()
  std::string name;
  std::string mechanism;
};
struct Refused {  ///< a log-in that ended before it came to a check: for the log
  std::string why;
  bool malformed = false;  ///< no proof was wrong, there was none
  bool close = false;
};
struct StartTls {};   ///< once `out` is gone and what else was read thrown away; answered by on_secure()
struct FindMessage {  ///< answered by on_found(), or on_trouble()
  Verb verb{};
  std::uint64_t number = 0;
  std::uint64_t lines = 0;
};
struct SendMessage {  ///< whole, or the header section and `lines` of the body
  mailstore::Entry entry;
  std::optional<std::uint64_t> lines;
  std::uint64_t number = 0;  ///< for on_retrieved()
};
struct SendListing {  ///< all that is not marked, behind the line in `out`
  Listing what{};
};
struct Update {};        ///< what take_update() says; answered by on_updated()
struct Close {           ///< once `out` is gone and the maildrop given back
  std::string_view why;  ///< for the log
};
using Step = std::variant<Proceed, CheckPassword, CheckApop, FindKeys, OpenMaildrop, Refused, StartTls, FindMessage,
                          SendMessage, SendListing, Update, Close>;

/// How a log-in came out.
enum class Login : std::uint8_t { right, wrong, locked, in_use, too_soon, overloaded, store_trouble, barred };

/// What QUIT does with the messages that a session retrieved whole.
enum class Retrieved : std::uint8_t {
  kept,
  noted,    ///< in the store, so that they are removed some time later (EXPIRE 30)
  removed,  ///< as if each had been marked (EXPIRE 0)
};

/// What a session changes once it has come to its end (RFC 1939 6). Ids in order.
struct Changes {
  std::vector<mailstore::MessageId> removed;
  std::vector<mailstore::MessageId> noted;
};

/// What the configuration says to a conversation.
struct Rules {
  std::string hostname;
  std::vector<std::string> mechanisms;  ///< [auth]
  bool require_tls = true;              ///< [auth]: no password in the clear
  bool only_tls = false;                ///< [tls] required: nothing at all in the clear
  bool tls_available = false;
  std::uint64_t errors = 0;  ///< broken commands and failed log-ins before the end; 0: no limit
  bool apop = false;
  std::chrono::seconds login_delay{};          ///< 0: none
  std::optional<std::uint64_t> expire_days{};  ///< what EXPIRE says; nullopt: never
  Retrieved retrieved = Retrieved::kept;
};

/// One POP3 session without its connection and its maildrop (RFC 1939, 2449, 2595, 3206, 5034): is told what happened,
/// appends what there is to say to `out`, says what to do. While a question is out nothing else is told.
class Conversation {
 public:
  /// `rules` outlive it.
  Conversation(const Rules& rules, bool secure);

  /// `stamp`: what APOP is to prove, for this session alone; empty where it is not offered.
  void greet(std::string& out, std::string stamp = {});
  Step on_line(const Line& line, std::string& out);
  /// `messages` and `octets` of the maildrop that was opened; otherwise without meaning.
  Step on_login(Login login, std::uint64_t messages, std::uint64_t octets, std::string& out);
  /// StoredKeys{} for an account that does not exist.
  Step on_keys(const common::auth::StoredKeys& keys, std::string& out);
  Step on_barred(std::string& out);
  /// TLS stands; `channel` as common::auth::Channel wants it.
  void on_secure(common::auth::Channel channel);
  Step on_found(const FindMessage& question, const mailstore::Entry& entry, std::string& out);
  /// The store did not give the message that was asked for.
  Step on_trouble(std::string& out);
  /// A message went out whole.
  void on_retrieved(const SendMessage& message);
  /// `all`: what was to be removed is gone.
  Step on_updated(bool all, std::string& out);
  /// The daemon stops. What was marked stays where it is.
  void on_shutdown(std::string& out) const;

  bool in_exchange() const { return exchange_ != nullptr; }
  bool logged_in() const { return phase_ == Phase::transaction; }
  bool marked(std::uint64_t number) const { return marks_.marked(number); }
  Changes take_update();
  std::uint64_t marked_messages() const { return marks_.messages(); }

 private:
  enum class Phase : std::uint8_t { authorization = 1, transaction = 2, update = 4 };
  static bool allowed(Verb verb, Phase phase);
  Step broken(Cause cause, std::string& out);
  Step on_command(const Command& command, std::string& out);
  Step on_user(std::string_view name, std::string& out);
  Step on_pass(std::string_view password, std::string& out);
  Step on_apop(const Command& command, std::string& out);
  Step on_auth(const Command& command, std::string& out);
  Step on_answer(const Line& line, std::string& out);
  Step on_sasl(common::auth::SaslStep step, std::string& out);
  Step on_stls(std::string& out);
  Step on_quit(std::string& out);
  Step on_number(const Command& command, std::string& out);
  Step on_rset(std::string& out);
  std::vector<std::string> mechanisms() const;
  bool passwords_allowed() const { return secure_ || !rules_.require_tls; }

  const Rules& rules_;
  bool secure_;
  Phase phase_ = Phase::authorization;
  std::uint64_t errors_ = 0;
  std::string name_;   ///< what USER said
  std::string stamp_;  ///< in the greeting, until somebody has logged in

  struct Exchange {
    std::string mechanism;
    std::unique_ptr<common::auth::Sasl> sasl;
    std::optional<std::string> proved;  ///< the account; the client still has to take note of our last octets
  };
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<common::auth::Channel> channel_;

  std::uint64_t messages_ = 0;
  std::uint64_t octets_ = 0;
  Marks marks_;
  Marks retrieved_;  ///< those with which QUIT does something
};

}  // namespace pop3d
