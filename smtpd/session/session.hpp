#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/auth/guard.hpp"
#include "common/auth/verifier.hpp"
#include "common/config/config.hpp"
#include "common/dns/resolver.hpp"
#include "common/net/stream.hpp"
#include "common/net/worker.hpp"

#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

#include "smtpd/outbound/triggers.hpp"
#include "smtpd/protocol/data_reader.hpp"
#include "smtpd/protocol/input.hpp"
#include "smtpd/session/acceptance.hpp"
#include "smtpd/session/client_name.hpp"
#include "smtpd/session/conversation.hpp"
#include "smtpd/session/filtering.hpp"
#include "smtpd/session/incoming_message.hpp"
#include "smtpd/session/virtual_server.hpp"

namespace smtpd {

/// What all sessions share.
struct Services {
  mailstore::Store& store;
  common::auth::Verifier& verifier;
  common::auth::Guard& guard;
  common::dns::Resolver& resolver;
  outbound::Triggers& triggers;
};

/// One SMTP connection, from greeting to close. Stays on its worker's thread and where it was made: the conversation
/// points back into it. Owns no buffer while it waits.
class Session {
 public:
  Session(Services services, common::net::Worker& worker, common::net::Stream stream,
          std::shared_ptr<const VirtualServer> server);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// `tls_at_once`: the handshake comes before the greeting. A lost peer: std::system_error; nothing is delivered then.
  asio::awaitable<void> run(bool tls_at_once);

 private:
  /// What needs no waiting is done, up to the conversation's next wish; true: nothing is left of `step`.
  bool perform(Step& step);
  /// Send or Close.
  void say(const Step& step);
  asio::awaitable<void> perform_waiting(Step& step);
  asio::awaitable<Step> read_message(Reply go_ahead);
  asio::awaitable<MessageEnd> receive(mailstore::Draft draft);
  asio::awaitable<Step> read_chunk(Chunk chunk);
  asio::awaitable<void> skip_chunk(std::uint64_t octets);
  /// Fills the empty input; false: there is nothing more, and the session has ended.
  asio::awaitable<bool> read_more();
  /// The message is in: filters, then the store.
  asio::awaitable<MessageEnd> finish(mailstore::Draft draft, mailstore::BodyFacts facts, std::string header);
  asio::awaitable<void> answer_automatically();
  Acceptance acceptance();
  DataLimits data_limits() const;
  MissingFields missing_fields(mailstore::MessageId id) const;
  /// Waits, but not for long, for the client's name.
  asio::awaitable<void> settle_name();
  asio::awaitable<Step> check_helo(CheckHelo question);
  asio::awaitable<Step> check_password(const CheckPassword& question);
  asio::awaitable<Step> find_keys(const FindKeys& question);
  /// Holds a log-in back as long as its failures before ask for; false: it is refused, or the session has ended.
  asio::awaitable<bool> admit(const std::string& account);
  common::auth::Judgement begin_attempt(const std::string& account);
  /// What the reply says of a log-in is remembered.
  void settle_attempt(Cause cause);
  asio::awaitable<bool> secure();
  asio::awaitable<void> flush();

  // Filters (session_filters.cpp); all but the first two only where there are any.
  bool concerns_filters(const Step& step) const;
  void note_for_filters(const Step& step, std::string_view line);
  asio::awaitable<void> show_connection();
  asio::awaitable<Step> ask_filters(Step& step);
  asio::awaitable<Step> ask_about_recipient(const CheckRecipient& question);
  /// The refusal of DATA; nullopt: none.
  asio::awaitable<std::optional<Reply>> ask_about_data(mailstore::MessageId id);
  void update_facts();

  Step check_sender(const CheckSender& question);
  std::expected<routing::Resolution, Cause> resolve_recipient(const CheckRecipient& question);
  Step check_recipient(const CheckRecipient& question);
  std::optional<Cause> check_drop(const CheckRecipient& question) const;
  Step ask_run(const AskRun& question);
  Step ask_turn(const AskTurn& question);
  /// Nothing is to be read from this connection any more but by whoever gets it.
  bool nothing_behind() const { return input_.empty() && !stream_.pending(); }
  void hand_over();
  struct Found;
  Found find_account(const std::string& name);

  /// Before a wait for a command.
  void limit_line(bool line_taken);
  void queue(const Reply& reply);
  void end(common::net::End end);
  std::string received_line(mailstore::MessageId id);
  std::optional<MessageEnd> refusal_of(const IncomingMessage& incoming);
  void log_refused_recipient(const CheckRecipient& question, const Step& answer);
  void log_reply(const Reply& reply);
  std::string_view tls_name() const { return tls_ ? std::string_view{tls_->protocol} : std::string_view{}; }
  std::string_view client_name() const { return name_ ? std::string_view{name_->name()} : std::string_view{}; }
  std::string_view account() const {
    return conversation_.identity() ? std::string_view{conversation_.identity()->address} : std::string_view{};
  }

  Services services_;
  common::net::Worker& worker_;
  common::net::Stream stream_;
  std::shared_ptr<const VirtualServer> server_;
  std::optional<std::uint32_t> user_;  ///< of a program on this machine
  std::string peer_;
  std::unique_ptr<ClientName> name_;  ///< null: nobody wants to know
  Conversation conversation_;
  Input input_;
  std::string replies_;  ///< gathered until there is nothing more to do without the peer (RFC 2920 3.2)
  std::unique_ptr<common::net::TlsFacts> tls_;
  std::unique_ptr<common::auth::Guard::Attempt> attempt_;  ///< a log-in that has begun
  std::unique_ptr<IncomingMessage> chunks_;                ///< a message of which some chunks are in
  std::unique_ptr<outbound::Reservation> reserved_;        ///< mail that goes over this connection next
  std::unique_ptr<report::Occasion> occasion_;             ///< a message that some may answer by themselves
  std::unique_ptr<Filtering> filtering_;                   ///< null: there are no filters
  bool open_ = true;
  bool line_begun_ = false;  ///< its deadline is set
};

}  // namespace smtpd
