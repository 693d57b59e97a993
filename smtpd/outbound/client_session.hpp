#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "common/net/stream.hpp"
#include "common/net/tls_client_context.hpp"
#include "common/net/worker.hpp"

#include "smtpd/outbound/answer.hpp"
#include "smtpd/outbound/client_conversation.hpp"
#include "smtpd/outbound/client_terms.hpp"
#include "smtpd/outbound/seven_bit.hpp"

namespace smtpd::outbound {

/// Where the stored octets of a message lie; whoever hands this out keeps the file open.
struct Body {
  int descriptor = -1;
  std::uint64_t offset = 0;
  std::uint64_t octets = 0;
};

/// One connection to a next server. Does what its conversation says and decides nothing. Stays on its worker's thread;
/// one message at a time. No call throws for what the peer or the network does: that is in the answers.
class ClientSession {
 public:
  /// `host`: the name to ask for and, with Security::verify, to be proved. `tls` may be null with Security::none.
  ClientSession(common::net::Worker& worker, common::net::Stream stream, std::string host,
                std::shared_ptr<const ClientTerms> terms, std::shared_ptr<const common::net::TlsClientContext> tls,
                Attempt attempt);

  /// From the greeting to where messages may be sent; false: `conversation().failure()` says why not.
  asio::awaitable<bool> open();
  /// `message` and `answers` stay until it is done.
  asio::awaitable<void> send(const Message& message, const Body& body, std::vector<Answer>& answers);
  /// A command that is no part of a transaction, such as ETRN; what the peer said to it, or that it said nothing.
  asio::awaitable<Answer> ask(std::string command);
  /// The connection itself, when its roles are reversed; this session is over then, and its patience too.
  common::net::Stream take_stream() {
    stream_.set_deadline({});
    return std::move(stream_);
  }
  /// Says goodbye and closes.
  asio::awaitable<void> quit();

  const ClientConversation& conversation() const { return conversation_; }
  /// Worth sending another message on: nothing was heard since the last one.
  bool fresh() const { return conversation_.reusable() && stream_.silent(); }
  std::string_view host() const { return host_; }
  const std::string& address() const { return address_; }
  std::uint16_t port() const { return port_; }
  /// "TLSv1.3 TLS_AES_128_GCM_SHA256", empty: in the clear.
  const std::string& tls() const { return tls_facts_; }

 private:
  asio::awaitable<void> run(Step step);
  asio::awaitable<Step> exchange(std::chrono::milliseconds patience);
  asio::awaitable<Step> shake_hands();
  asio::awaitable<Step> transmit(Transmit what);
  asio::awaitable<void> transmit_converted();
  asio::awaitable<Step> examine();
  /// Why the peer does not take it, if it does not.
  asio::awaitable<std::optional<ClientConversation::Loss>> write_output();
  Step on_lost(const std::system_error& error);

  common::net::Worker& worker_;
  common::net::Stream stream_;
  std::string host_, address_;
  std::uint16_t port_;
  std::shared_ptr<const ClientTerms> terms_;
  std::shared_ptr<const common::net::TlsClientContext> tls_;
  ClientConversation conversation_;
  std::string tls_facts_;
  Body body_;
  std::string_view front_;            ///< of the running message
  std::vector<EntityPlan> plans_;     ///< of the running message, if it was looked at
  std::uint64_t heard_ = UINT64_MAX;  ///< replies when the running wait began
};

}  // namespace smtpd::outbound
