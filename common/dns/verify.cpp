#include "common/dns/verify.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace common::dns {
namespace {

/// Names of one address that are followed: each costs a lookup, and their number is the client's choice.
constexpr std::size_t most_names = 5;

/// Without the scope of a link-local address, which no record has.
asio::ip::address without_scope(const asio::ip::address& address) {
  return address.is_v6() ? asio::ip::address{asio::ip::address_v6{address.to_v6().to_bytes()}} : address;
}

}  // namespace

asio::awaitable<std::expected<bool, Error>> leads_to(Resolver& resolver, std::string name, asio::ip::address address) {
  const Family family = address.is_v4() ? Family::v4 : Family::v6;
  auto found = co_await resolver.addresses(std::move(name), family);
  if (!found) {
    if (is_settled(found.error().code)) co_return false;
    co_return std::unexpected(std::move(found.error()));
  }
  co_return std::ranges::find(found->records, without_scope(address)) != found->records.end();
}

asio::awaitable<std::expected<std::string, Error>> verified_name(Resolver& resolver, asio::ip::address address) {
  auto names = co_await resolver.names(address);
  if (!names) co_return std::unexpected(std::move(names.error()));
  Error failed{Errc::no_data, "no name of the address leads back to it"};
  for (std::size_t i = 0; i < std::min(names->records.size(), most_names); ++i) {
    auto back = co_await leads_to(resolver, names->records[i], address);
    if (back && *back) co_return std::move(names->records[i]);
    if (!back) failed = std::move(back.error());
    if (failed.code == Errc::cancelled) break;
  }
  co_return std::unexpected(std::move(failed));
}

}  // namespace common::dns
