#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.hpp"

#include "mailstore/directory.hpp"

#include "smtpd/routing/srs.hpp"

/// What becomes of a recipient. Asks the directory, changes nothing, knows no session: the daemon and `pennypost route
/// test` call the same.
namespace smtpd::routing {

enum class Outcome : std::uint8_t {
  found,           ///< goes to `targets` and `remotes`
  unknown,         ///< no such mailbox or alias in a domain of ours
  no_domain,       ///< an alias domain whose domain is gone
  not_ours,        ///< a domain that is not ours, and relaying is denied
  too_far,         ///< aliases lead to more addresses, or deeper, than anybody means
  forged_return,   ///< an SRS address that we never made
  expired_return,  ///< one that we made too long ago
  full,            ///< a mailbox that it leads to is full
  too_big,         ///< the message as declared is larger than the whole quota of a mailbox that it leads to
};

/// A mailbox that gets a copy.
struct Target {
  mailstore::MailboxNumber mailbox{};
  std::string address;  ///< the mailbox's own, canonical
  mailstore::Limits limits{};
  friend bool operator==(const Target& one, const Target& other) {
    return one.mailbox == other.mailbox && one.address == other.address;
  }
};

/// An address whose mail is sent on.
struct Onward {
  std::string address;
  std::string by;          ///< the alias or mailbox of ours that leads there; empty: the peer named it
  std::string returns_to;  ///< who hears of its failures in the sender's place: a group's owner; empty: the sender
};

/// A mailbox that may answer by itself.
struct Responder {
  mailstore::MailboxNumber mailbox{};
  std::string address;  ///< the mailbox's own, canonical
};

struct Resolution {
  Outcome outcome = Outcome::unknown;
  std::vector<Target> targets;        ///< each mailbox once; empty unless found
  std::vector<Onward> remotes;        ///< each address once; empty unless found
  std::vector<Responder> responders;  ///< of the mailboxes on the way, those that have a reply
  std::vector<std::string> journals;  ///< who gets a copy, for the domains of ours on the way
  bool drop = false;                  ///< mail for some of `remotes` goes to the drop folder
};

/// One step of the way, for people.
struct Step {
  std::string address;
  std::string_view rule;  ///< what decided: "mailbox", "alias", "plus form", ...; lives for ever
  std::string what;       ///< "is an alias of ...", "is a mailbox", ...
};
using Explanation = std::vector<Step>;

/// Aliases that lead to aliases, so deep and no deeper.
inline constexpr std::size_t alias_depth_limit = 16;
/// Addresses that one recipient may lead to.
inline constexpr std::size_t address_limit = 10'000;

/// How addresses of ours that stand for strangers' are read.
struct Returns {
  const Srs& srs;
  std::chrono::sys_days today;
  std::string_view home = {};  ///< the domain of ours that stands in where no address of ours leads on
};

/// Whether who sends may send to domains that are not ours.
enum class Relay : std::uint8_t { denied, allowed };

/// A bare local part belongs to the server's default domain (S07; RFC 5321 4.5.1 has <postmaster> so). False: there is
/// none, and the address stays bare.
bool complete(common::Address& address, std::string_view default_domain, Explanation* explanation = nullptr);

/// Where `recipient` (with a domain) leads, in the order of precedence: exact mailbox or alias; the plus form;
/// postmaster; the domain's catch-all. An alias domain has the local parts of another. A domain that is not ours is
/// Mail of a mailbox that forwards goes on to where it says, and where that leads nowhere it stays. A group's owner is
/// reached as owner-GROUP and GROUP-owner, unless somebody has that address. A domain that is not ours is
/// sent on for those who may (`relay`), and for everybody where a remote domain says so; what an alias of ours names is
/// always sent on. A target of ours that is gone is passed over as long as another one is there. `explanation`: gets
/// the way, if given. `returns`: without it no address is read as an SRS one.
mailstore::Result<Resolution> resolve(mailstore::DirectoryView& directory, const common::Address& recipient,
                                      std::string_view default_domain, Relay relay, Explanation* explanation = nullptr,
                                      const Returns* returns = nullptr);

/// The settings that hold for mail to `domain`: of the domain itself, else of the longest "*.suffix" that it ends in
/// (LEGACY S87: the suffix itself does not match). nullopt: there are none, or `domain` is ours: local, alias or drop.
mailstore::Result<std::optional<mailstore::Domain>> find_remote_domain(mailstore::DirectoryView& directory,
                                                                       std::string_view domain);

/// Whether all of `targets` have room: Outcome::local, full, too_big (`declared`: SIZE= of MAIL, RFC 1870 6.1). A part
/// of an alias's readers must not miss a message, so that one full mailbox is enough. The central postmaster's is never
/// full.
mailstore::Result<Outcome> check_room(mailstore::DirectoryView& directory, const std::vector<Target>& targets,
                                      std::optional<std::uint64_t> declared, std::string_view default_domain,
                                      Explanation* explanation = nullptr);

/// Both: what a RCPT command is answered by.
mailstore::Result<Resolution> resolve_with_room(mailstore::DirectoryView& directory, const common::Address& recipient,
                                                std::optional<std::uint64_t> declared, std::string_view default_domain,
                                                Relay relay, Explanation* explanation = nullptr,
                                                const Returns* returns = nullptr);

/// Who logs in.
struct Account {
  mailstore::Mailbox mailbox;
  bool locked = false;  ///< itself or its domain; the lock of the domain does not hold for the central postmaster
};
/// The mailbox of a log-in name: its address, or its local part in the default domain; in an alias domain too. nullopt:
/// nobody.
mailstore::Result<std::optional<Account>> find_account(mailstore::DirectoryView& directory, std::string_view name,
                                                       std::string_view default_domain);

/// The mailboxes that mail to `address` reaches, other than as a catch-all.
mailstore::Result<std::vector<Target>> find_readers(mailstore::DirectoryView& directory, const common::Address& address,
                                                    std::string_view default_domain);
/// Whether an admin has said that `account` may send as `sender`.
bool is_granted(const mailstore::Mailbox& account, const common::Address& sender);
/// Whether mail to `sender` would reach `mailbox`, other than as a catch-all: then it may also come from there; or an
/// admin has said that it may.
mailstore::Result<bool> is_address_of(mailstore::DirectoryView& directory, const common::Address& sender,
                                      mailstore::MailboxNumber mailbox, std::string_view default_domain);

}  // namespace smtpd::routing
