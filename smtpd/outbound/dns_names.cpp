#include "smtpd/outbound/dns_names.hpp"

#include <array>
#include <utility>

#include "smtpd/outbound/dns_answers.hpp"

namespace smtpd::outbound {

asio::awaitable<MxAnswer> DnsNames::exchangers(std::string domain) {
  auto asking = resolver_.exchangers(std::move(domain));
  auto found = co_await std::move(asking);
  co_return mx_answer(std::move(found));
}

asio::awaitable<AddressAnswer> DnsNames::addresses(std::string host) {
  auto asking = resolver_.addresses(host, common::dns::Family::v6);
  auto six = co_await std::move(asking);
  asking = resolver_.addresses(host, common::dns::Family::v4);
  auto four = co_await std::move(asking);
  const std::array found{std::move(six), std::move(four)};
  co_return address_answer(found);
}

}  // namespace smtpd::outbound
