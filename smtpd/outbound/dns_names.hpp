#pragma once

#include <asio/awaitable.hpp>
#include <string>

#include "common/dns/resolver.hpp"

#include "smtpd/outbound/name_service.hpp"

namespace smtpd::outbound {

/// The name service of the daemon: the resolver's answers in delivery's words.
class DnsNames final : public NameService {
 public:
  explicit DnsNames(common::dns::Resolver& resolver) : resolver_(resolver) {}
  asio::awaitable<MxAnswer> exchangers(std::string domain) override;
  asio::awaitable<AddressAnswer> addresses(std::string host) override;

 private:
  common::dns::Resolver& resolver_;
};

}  // namespace smtpd::outbound
