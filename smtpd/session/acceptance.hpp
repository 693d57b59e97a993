#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/net/worker.hpp"

#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

#include "smtpd/folders/badmail.hpp"
#include "smtpd/report/auto_replier.hpp"
#include "smtpd/session/conversation.hpp"
#include "smtpd/session/incoming_message.hpp"
#include "smtpd/session/virtual_server.hpp"

namespace smtpd {

class Filtering;

/// Who hands a message in, for the log.
struct Sender {
  std::string_view peer;  ///< an address, or "uid 1000"
  std::string_view name, tls, account;
  std::string_view door;  ///< "smtp", "lmtp", "spool", "pickup"
};

/// A message that is whole.
struct WholeMessage {
  mailstore::Draft draft;
  mailstore::BodyFacts facts;
  std::string header{};  ///< its beginning as it came, kept where header_use() said so
  /// Of one that came in a file: which, so that it is accepted once (Store::accept_once).
  std::string origin{};
};

/// Before the first octet of a message, by whatever door it comes: is its header to be kept?
inline Header header_use(const VirtualServer& server, const Transaction& transaction) {
  // Filters may add recipients for whom it matters.
  return server.filters || transaction.wants_header() ? Header::kept : Header::passes;
}

/// What is done with a message between its last octet and our answer, and behind that; the same by whatever door it
/// came. In this order: filters; circles; copies for journals; the commit; reports of success. Who may answer by
/// himself does so behind the answer (answer_automatically()). For one message, on its worker's thread.
class Acceptance {
 public:
  /// `worker` and what `sender` points to outlive it; so do the store, the server and the transaction.
  Acceptance(mailstore::Store& store, common::net::Worker& worker, const VirtualServer& server,
             Transaction& transaction, const Sender& sender)
      : store_(store), worker_(worker), server_(server), transaction_(transaction), sender_(sender) {}

  /// Before its first octet: is its header to be kept?
  Header header_use() const { return smtpd::header_use(server_, transaction_); }
  /// `filtering`: null, there are no filters. A message that is refused or discarded is left in `message`. One that
  /// came in a file and was accepted before has no id in the answer.
  asio::awaitable<MessageEnd> take(WholeMessage& message, Filtering* filtering);
  /// One that take() refused for good, or discarded, and whose sender has gone: with all its recipients it is held as
  /// badmail, and, but for discarded ones, at once given back by the scheduler with `why`. The error is temporary.
  enum class Fate : std::uint8_t { kept, returned };
  asio::awaitable<MessageEnd> set_aside(WholeMessage& message, folders::BadmailCause cause, const std::string& why,
                                        Fate fate);
  /// Whoever has to answer by himself what was taken; nobody waits for that.
  asio::awaitable<void> answer_automatically();
  bool has_answers() const { return !occasion_.responders.empty(); }
  report::Occasion take_occasion() { return std::move(occasion_); }

  /// The end of a message that is not taken, told in the log.
  MessageEnd refuse(Cause cause, std::string_view id, std::string_view detail = {}) const;
  MessageEnd refuse(const mailstore::Error& error, std::string_view id) const;
  /// A filter has refused it, with these words.
  MessageEnd refuse(Reply words, std::string_view id) const;

 private:
  struct Success;
  asio::awaitable<MessageEnd> store(WholeMessage& message, std::string hold);
  std::optional<MessageEnd> complete_envelope(std::string_view header, std::string_view id, std::string_view hold);
  std::optional<Success> success_of(mailstore::MessageId id);
  mailstore::OpenMessage open_stored(const Success& success);

  mailstore::Store& store_;
  common::net::Worker& worker_;
  const VirtualServer& server_;
  Transaction& transaction_;
  Sender sender_;
  report::Occasion occasion_;
};

/// All recipients go into the queue: a mailbox holds nothing back from its owner.
void move_to_queue(mailstore::Envelope& envelope);

}  // namespace smtpd
