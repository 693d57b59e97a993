#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "common/clock.hpp"
#include "common/net/admission.hpp"
#include "common/net/stream.hpp"

#include "mailstore/directory.hpp"
#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

#include "smtpd/outbound/ask_limits.hpp"
#include "smtpd/outbound/trigger.hpp"
#include "smtpd/protocol/command.hpp"

namespace smtpd::outbound {

/// Domains whose mail is being handed over, or about to be: nobody else gets it meanwhile. Given back when it goes.
class Reservation {
 public:
  struct Taken {
    std::mutex mutex;
    std::unordered_set<std::string> domains;
  };
  /// `domains` are in `taken` already.
  Reservation(std::shared_ptr<Taken> taken, std::vector<std::string> domains)
      : taken_(std::move(taken)), domains_(std::move(domains)) {}
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();
  const std::vector<std::string>& domains() const { return domains_; }

 private:
  std::shared_ptr<Taken> taken_;
  std::vector<std::string> domains_;
};

/// A connection whose roles are reversed: whoever called is the server now.
struct Turned {
  common::net::Stream::Loose stream;
  std::unique_ptr<Reservation> reserved;
  std::string account;                 ///< who called
  std::string server;                  ///< the virtual server that was called
  std::shared_ptr<const void> keeper;  ///< of what the connection's TLS was made with
};

/// What sessions ask of the scheduler: mail that waits for ETRN, ATRN or TURN (S93 to S95). Decides who may and how
/// often, and passes on what was granted. Any thread.
class Triggers {
 public:
  /// The scheduler's side; each posts to its thread and returns.
  struct Hooks {
    std::function<bool()> ready;  ///< this process schedules the queue
    std::function<void(std::vector<std::string>)> run;
    std::function<void(Turned)> serve;
  };
  Triggers(mailstore::Store& store, const common::Clock& clock, Hooks hooks);

  /// `peer`: who asks; nullopt: a program of this machine.
  RunAnswer start(const Node& node, const std::optional<common::net::PeerKey>& peer);

  struct Caller {
    std::string account;      ///< canonical
    bool secure = false;      ///< by TLS
    bool tls_wanted = false;  ///< where the domain does not say
  };
  struct Granted {
    TurnAnswer answer = TurnAnswer::refused;
    std::unique_ptr<Reservation> reserved;  ///< if granted
  };
  /// `domains`: all of them, or nothing at all (RFC 2645 5.2.1); none: whatever waits for this account.
  Granted turn(const Caller& caller, const std::vector<std::string>& domains);
  void hand_over(Turned turned) { hooks_.serve(std::move(turned)); }

 private:
  struct Waiting {
    std::string domain;
    std::uint64_t count = 0;
  };
  struct Found {
    std::vector<Waiting> domains;
    bool whole = true;  ///< false: there may be more, behind what one look takes in
  };
  /// Adds it if it has mail that may leave; false: the store has trouble.
  bool add_waiting(const std::string& domain, Found& found);
  /// Adds domains with mail that may leave, of those that `fits`.
  void add_waiting(const std::function<bool(const std::string&)>& fits, Found& found);
  /// The same, of what this account may have. `own`: what names it in the directory.
  Found waiting_for(mailstore::DirectoryView& directory, const std::string& account,
                    const std::vector<mailstore::Domain>& own);

  mailstore::Store& store_;
  const common::Clock& clock_;
  Hooks hooks_;
  std::shared_ptr<Reservation::Taken> taken_ = std::make_shared<Reservation::Taken>();
  AskLimits limits_;
};

}  // namespace smtpd::outbound
