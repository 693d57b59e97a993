#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/address.hpp"

#include "mailstore/types.hpp"

#include "smtpd/report/report.hpp"
#include "smtpd/routing/forwarding.hpp"
#include "smtpd/routing/resolver.hpp"

/// A message on its way in, by whatever door it comes: whom it is for, and what that brings with it. No I/O.
namespace smtpd {

/// Where does this recipient lead?
struct CheckRecipient {
  common::Address recipient;
  routing::Relay relay = routing::Relay::denied;
  std::optional<std::uint64_t> declared{};  ///< SIZE= of MAIL
  std::uint8_t notify = 0;                  ///< DSN parameters of RCPT, as in the envelope
  std::string original_recipient{};
};

/// From MAIL to the end of data.
struct Transaction {
  /// A recipient as it was asked for.
  struct Asked {
    CheckRecipient question;
    routing::Resolution found;
    std::string parameters{};  ///< that stood behind it in RCPT
  };

  mailstore::Envelope envelope;
  std::optional<std::uint64_t> declared;        ///< SIZE= of MAIL
  std::uint64_t recipients = 0;                 ///< RCPT commands taken
  std::string recipient;                        ///< the first of them, as the peer wrote it but canonical in form
  std::unordered_set<std::uint32_t> mailboxes;  ///< of envelope.owners, once there are many
  std::unordered_set<std::string> remotes;      ///< of envelope.remotes
  std::uint64_t chunk_octets = 0;               ///< of the chunks so far
  bool drop = false;                            ///< some of envelope.remotes are for the drop folder
  std::vector<report::Recipient> successes;     ///< of which its sender hears once it is stored
  bool sent_on = false;                         ///< some of envelope.remotes are not the peer's wish, but ours
  std::vector<routing::Responder> responders;   ///< who may answer by themselves
  std::vector<std::string> journals;            ///< who gets a copy of all mail of a domain
  std::optional<std::vector<Asked>> asked;      ///< kept where a filter may take one away again

  /// A recipient that was found, with all that its resolution brings: owners, addresses elsewhere, success to be told
  /// of, those who answer, copies. False: there are too many.
  bool add(const CheckRecipient& asked_for, routing::Resolution found);
  /// As add() left it; what LMTP answers is not touched.
  void clear_recipients();
  void add_journals(std::vector<std::string> found);
  /// What becomes of it depends on what its header says.
  bool wants_header() const { return sent_on || !responders.empty() || !journals.empty(); }
};

/// For a recipient that cannot be refused any more, as its sender has gone: it goes into the queue, whose scheduler
/// finds the same and reports it. One that is full may have room by then.
routing::Resolution to_be_queued(const common::Address& recipient, routing::Resolution refused);

}  // namespace smtpd
