#pragma once

#include <asio/awaitable.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "common/dns/resolver.hpp"
#include "common/net/worker.hpp"

#include "mailstore/store.hpp"

#include "smtpd/milter/filters.hpp"
#include "smtpd/session/acceptance.hpp"
#include "smtpd/session/conversation.hpp"
#include "smtpd/session/virtual_server.hpp"

namespace smtpd {

/// The filters of a session, or of a file (LEGACY S97): shows them each step, and does to the envelope what they make
/// of the message. Transaction::asked is kept for them.
class Filtering {
 public:
  using Decision = milter::Decision;
  /// Client and connection are for the caller to say, in facts(). The server has filters; it outlives this.
  Filtering(common::net::Worker& worker, common::dns::Resolver& resolver, const VirtualServer& server);

  milter::Facts& facts() { return filters_.facts(); }
  milter::Filters& filters() { return filters_; }

  asio::awaitable<Decision> on_mail(const Transaction& transaction, std::string_view parameters);
  asio::awaitable<Decision> on_recipient(const CheckRecipient& question, const routing::Resolution& found,
                                         std::string_view parameters);
  asio::awaitable<Decision> on_data(mailstore::MessageId id);
  /// All steps in front of the message, for one whose envelope is known already.
  asio::awaitable<Decision> show_envelope(const Transaction& transaction, std::string_view parameters,
                                          mailstore::MessageId id);
  /// Where a message ends that is not to be stored; `hold`: it is to be held, and why.
  asio::awaitable<std::optional<MessageEnd>> on_message(mailstore::Store& store, Transaction& transaction,
                                                        WholeMessage& message, std::string& hold,
                                                        const Acceptance& acceptance, const Sender& sender);

  std::string line;  ///< a session's: the command that they are asked about

 private:
  void apply_edits(mailstore::Store& store, Transaction& transaction, const milter::Edits& edits, std::string_view id);
  bool add(mailstore::Store& store, Transaction& transaction, const milter::RecipientEdit& edit);

  const VirtualServer& server_;
  milter::Filters filters_;
};

}  // namespace smtpd
