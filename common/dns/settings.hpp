#pragma once

#include <asio/ip/address.hpp>
#include <chrono>
#include <expected>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/config.hpp"

namespace common::dns {

/// What a resolver works with: [dns], and what the machine has where that says nothing.
struct Settings {
  std::vector<std::string> servers;  ///< "192.0.2.53@53"
  std::map<std::string, std::vector<asio::ip::address>, std::less<>> hosts;
  std::vector<std::string> insecure;  ///< zones
  std::vector<std::string> anchors;   ///< records in text; none: nothing is validated
  std::chrono::milliseconds timeout{};
};

/// The files of the machine that are read. Both when the program starts and when its configuration is read again.
struct SystemFiles {
  std::filesystem::path resolv_conf = "/etc/resolv.conf";
  std::filesystem::path anchors = "/usr/share/dns/root.key";  ///< of Debian's dns-root-data; may be missing
};
/// Error: a sentence with the remedy.
std::expected<Settings, std::string> read_settings(const config::Dns& dns, const SystemFiles& files = {});

/// The name servers of a resolv.conf(5); the local one if it names none.
std::vector<std::string> parse_resolv_conf(std::string_view text);
/// The DNSKEY and DS records of a file of trust anchors, without comments.
std::vector<std::string> parse_anchors(std::string_view text);

}  // namespace common::dns
