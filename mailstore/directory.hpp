#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/types.hpp"

/// People and domains as the store keeps them. Names are given in canonical form: domains as lower-case A-labels,
/// addresses as `lower-case-local-part@domain` (common/address makes both); the form to show is kept beside.
namespace mailstore {

enum class DomainKind : std::uint8_t { local = 1, alias = 2, remote = 3, drop = 4 };

/// What is asked of the next server's TLS.
enum class Security : std::uint8_t {
  none = 1,
  opportunistic,  ///< TLS when it is offered, whoever answers
  tls,            ///< TLS or no mail
  verify,         ///< TLS with a certificate that names the server, from an issuer we trust
};

/// How mail leaves for a remote domain. What is not given is as the virtual server that took the message has it.
struct RemoteSettings {
  bool allow_relay = false;  ///< anybody may send to it through us, as to a domain of ours
  bool no_esmtp = false;     ///< HELO in place of EHLO
  std::string route;         ///< "dns", or a host as "name", "name:port", "[address]:port"; empty: not given
  std::optional<Security> security;
  std::string username, password;  ///< of us at the host that `route` names; empty: none
  std::uint32_t rate = 0;          ///< messages a minute; 0: no limit
  std::uint32_t connections = 0;   ///< at a time; 0: not given
  bool hold = false;               ///< its mail waits until it is asked for (ETRN, ATRN, TURN)
  /// Whose log-in may fetch it over its own connection (ATRN, TURN): canonical addresses of mailboxes.
  std::vector<std::string> dequeue_accounts;
  friend bool operator==(const RemoteSettings&, const RemoteSettings&) = default;
};
/// Of `dequeue_accounts`, so that a row stays small.
inline constexpr std::size_t dequeue_accounts_limit = 16;
inline constexpr std::size_t dequeue_accounts_octets_limit = 1000;

/// How a domain of ours asks for the mail that another server holds for it.
enum class FetchBy : std::uint8_t {
  etrn = 1,  ///< that server then sends it as it sends other mail
  atrn,      ///< it comes over the connection that asked
};
struct FetchSettings {
  std::string from;  ///< HOST[:PORT] as in RemoteSettings::route; empty: nothing is fetched
  FetchBy by = FetchBy::etrn;
  std::uint32_t every = 0;  ///< seconds
  Security security = Security::opportunistic;
  std::string username, password;  ///< of us there; empty: none
  friend bool operator==(const FetchSettings&, const FetchSettings&) = default;
};

struct Domain {
  std::string name;  ///< of kind remote also "*.example.com", which stands for all that end so
  DomainKind kind = DomainKind::local;
  std::string alias_of;  ///< kind alias: the domain whose local parts it shares
  bool locked = false;
  std::uint64_t created = 0;    ///< microseconds since the Unix epoch
  std::uint64_t mailboxes = 0;  ///< filled in by each_domain alone, for it is counted; never stored
  // Kind local:
  std::string catch_all;           ///< where mail goes for local parts that nobody has; canonical, empty: nowhere
  std::uint64_t quota_octets = 0;  ///< of its mailboxes that have none of their own; 0: none
  bool plus_addressing = true;     ///< ann+anything is ann
  std::string journal;             ///< gets a copy of all mail of the domain; canonical, empty: nobody
  FetchSettings fetch;
  RemoteSettings remote;  ///< kind remote
};

/// What proves a password. Opaque to the store; common/auth makes and checks it. Every change gets a new version.
struct Credential {
  std::uint64_t version = 0;  ///< set by the store; 0: there is none, nobody can log in
  std::string password_hash;  ///< Argon2id, or an imported crypt(3) hash
  std::string scram_sha256;   ///< RFC 5803 form: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey; empty: none
};

struct Mailbox {
  MailboxNumber number{};
  std::string address;  ///< canonical
  std::string display;  ///< as it was typed
  bool locked = false;
  std::optional<std::uint64_t> quota_octets;  ///< 0: none; nullopt: its domain's
  std::uint64_t quota_messages = 0;           ///< 0: none
  std::uint64_t created = 0;                  ///< microseconds since the Unix epoch
  Credential credential;
  std::string apop_secret;           ///< what APOP proves, in the clear as RFC 1939 7 needs it; empty: none
  std::vector<std::string> send_as;  ///< whose mail it may send beside its own: canonical addresses, or "@domain"
  std::vector<std::string> forward;  ///< where its mail goes on to: canonical addresses
  bool keep_copy = false;            ///< of what goes on
  bool auto_reply = false;           ///< it has one: DirectoryView::auto_reply
  std::uint64_t removed_at = 0;      ///< microseconds since the Unix epoch; 0: it is there
};
/// Of `send_as`, so that a row stays small.
inline constexpr std::size_t send_as_limit = 16;
inline constexpr std::size_t send_as_octets_limit = 1000;
/// The same of `forward`.
inline constexpr std::size_t forward_limit = 16;
inline constexpr std::size_t forward_octets_limit = 1000;

/// What a mailbox answers by itself, and when (RFC 3834).
struct AutoReply {
  std::uint64_t from = 0, until = 0;  ///< microseconds since the Unix epoch; 0: without beginning, without end
  std::string subject;                ///< UTF-8; empty: that of the message with "Auto: " in front
  std::string text;                   ///< UTF-8, lines end in LF
  friend bool operator==(const AutoReply&, const AutoReply&) = default;
};
inline constexpr std::size_t auto_reply_subject_limit = 200;
inline constexpr std::size_t auto_reply_text_limit = 16 * 1024;
/// Senders whom one mailbox remembers to have answered; beyond them it answers nobody new until some are forgotten.
inline constexpr std::size_t answered_limit = 1000;

/// The local part of an address that nobody gets: it marks copies of a domain's mail (Domain::journal).
inline constexpr std::string_view copies_local_part = "=journal";

/// Whom a list of mailboxes names.
enum class Which : std::uint8_t {
  living,
  all,  ///< removed ones too, which wait to be restored or purged
};

/// How much a mailbox may hold; 0: no limit.
struct Limits {
  std::uint64_t octets = 0, messages = 0;
};
/// `domain` is the mailbox's own.
inline Limits limits_of(const Mailbox& mailbox, const Domain& domain) {
  return {mailbox.quota_octets.value_or(domain.quota_octets), mailbox.quota_messages};
}

struct Alias {
  std::string address;
  std::vector<std::string> targets;  ///< canonical addresses
  std::string owner{};  ///< of a group: who gets what comes back of mail that is sent on; canonical, empty: the sender
};

struct Totals {
  std::uint64_t messages = 0;
  std::uint64_t octets = 0;
  std::uint64_t arrivals = 0;  ///< how many ever arrived
};

/// One consistent look at the directory. Holds a read transaction: short-lived, never kept across a co_await,
/// used on the thread that made it.
class DirectoryView {
 public:
  virtual ~DirectoryView() = default;
  virtual Result<std::optional<Domain>> domain(std::string_view name) = 0;
  virtual Result<std::optional<Mailbox>> mailbox(std::string_view address) = 0;
  virtual Result<std::optional<Mailbox>> mailbox(MailboxNumber number) = 0;
  /// One that was removed and waits to be restored or purged.
  virtual Result<std::optional<Mailbox>> removed_mailbox(std::string_view address) = 0;
  virtual Result<std::optional<Alias>> alias(std::string_view address) = 0;
  virtual Result<Totals> totals(MailboxNumber number) = 0;
  virtual Result<std::optional<AutoReply>> auto_reply(MailboxNumber number) = 0;
  /// In the order of the names. `each` returns false to stop. `after`: begins with the first name behind it, whether it
  /// is there or not, so that a long list can be read in pages, each by a short look.
  virtual Result<void> each_domain(const std::function<bool(const Domain&)>& each, std::string_view after = {}) = 0;
  // These look at one row a domain, and count no mailboxes.
  /// Those whose mail is fetched.
  virtual Result<std::vector<Domain>> fetching_domains() = 0;
  /// Remote ones, patterns among them, whose mail this account may fetch.
  virtual Result<std::vector<Domain>> domains_dequeued_by(std::string_view account) = 0;
  /// `domain` empty: all. Sorted by domain, then local part, octet by octet. `after`: an address.
  virtual Result<void> each_mailbox(std::string_view domain, const std::function<bool(const Mailbox&)>& each,
                                    std::string_view after = {}, Which which = Which::living) = 0;
  virtual Result<void> each_alias(std::string_view domain, const std::function<bool(const Alias&)>& each,
                                  std::string_view after = {}) = 0;
};

}  // namespace mailstore
