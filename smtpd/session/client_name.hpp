#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <memory>
#include <string>

#include "common/dns/resolver.hpp"

namespace smtpd {

/// The client's verified name (S69), looked up beside the session from the moment it connects. Belongs to the session's
/// thread. When it goes, the lookup is given up.
class ClientName {
 public:
  /// Null for what is no numeric address (a Unix socket). `resolver` outlives all lookups.
  static std::unique_ptr<ClientName> look_up(common::dns::Resolver& resolver, asio::io_context& context,
                                             const std::string& address);
  ~ClientName();
  ClientName(const ClientName&) = delete;
  ClientName& operator=(const ClientName&) = delete;

  /// Waits until the lookup is over, but a second at most, and once: a mail is not kept waiting for somebody's slow
  /// name server.
  asio::awaitable<void> settle();
  /// Empty: there is none, or it is not known yet.
  const std::string& name() const;

 private:
  struct State;
  explicit ClientName(std::shared_ptr<State> state) : state_(std::move(state)) {}
  static asio::awaitable<void> run(common::dns::Resolver& resolver, asio::ip::address address,
                                   std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  ///< the lookup's too, which may be a moment longer there
};

}  // namespace smtpd
