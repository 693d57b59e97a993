#pragma once

#include <asio/awaitable.hpp>
#include <asio/ip/address.hpp>
#include <expected>
#include <string>

#include "common/dns/resolver.hpp"

/// Names and addresses that vouch for each other.
namespace common::dns {

/// The name of a client that its address leads to and that leads back to the address (RFC 8601 2.7.3 "iprev"): a PTR
/// record alone is the claim of whoever has the address. Errc::no_data: none of its names leads back.
asio::awaitable<std::expected<std::string, Error>> verified_name(Resolver& resolver, asio::ip::address address);
/// Is this one of the name's addresses? False also where there is no such name. Error: not known now.
asio::awaitable<std::expected<bool, Error>> leads_to(Resolver& resolver, std::string name, asio::ip::address address);

}  // namespace common::dns
