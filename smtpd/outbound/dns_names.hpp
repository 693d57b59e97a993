#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <cstddef>
#include <string>
#include <utility>

#include "common/dns/resolver.hpp"

#include "smtpd/outbound/name_service.hpp"
#include "smtpd/outbound/turns.hpp"

namespace smtpd::outbound {

/// The name service of the daemon: the resolver's answers in delivery's words. One thread, that of `executor`.
class DnsNames final : public NameService {
 public:
  /// Of the resolver's lookups the sessions keep a part.
  static constexpr std::size_t most_asking = common::dns::Resolver::most_asking * 4 / 5;

  DnsNames(common::dns::Resolver& resolver, asio::any_io_executor executor)
      : resolver_(resolver), turns_(std::move(executor)) {}
  asio::awaitable<MxAnswer> exchangers(std::string domain) override;
  asio::awaitable<AddressAnswer> addresses(std::string host) override;
  /// Whoever waits for a lookup's turn has trouble instead.
  void stop();

 private:
  /// A lookup's turn, while it lives: more would be refused by the resolver, and refused is no answer of a domain's.
  class Place {
   public:
    explicit Place(DnsNames& names) : names_(&names) {}
    Place(Place&& other) noexcept : names_(std::exchange(other.names_, nullptr)) {}
    Place& operator=(Place&&) = delete;
    ~Place();

   private:
    DnsNames* names_;
  };
  asio::awaitable<Place> turn();

  common::dns::Resolver& resolver_;
  Turns turns_;
  std::size_t asking_ = 0;
  bool stopping_ = false;
};

}  // namespace smtpd::outbound
