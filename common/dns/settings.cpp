#include "common/dns/settings.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

namespace common::dns {
namespace {

/// Nobody's file of these kinds is longer.
constexpr std::size_t file_limit = 256 * 1024;
constexpr std::size_t most_servers = 16;
constexpr std::size_t most_anchors = 64;

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in) return std::nullopt;
  std::string text(file_limit, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

/// Calls `each` with the words of each line, up to what begins a comment.
template <class Each>
void for_lines(std::string_view text, std::string_view comment, Each each) {
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line = line.substr(0, line.find_first_of(comment));
    std::vector<std::string_view> words;
    for (;;) {
      line.remove_prefix(std::min(line.find_first_not_of(" \t\r"), line.size()));
      if (line.empty()) break;
      words.push_back(line.substr(0, line.find_first_of(" \t\r")));
      line.remove_prefix(words.back().size());
    }
    if (!words.empty()) each(words);
  }
}

/// "[2001:db8::1]:53", already checked, as libunbound writes it.
std::string at_port(std::string_view server) {
  const auto colon = server.rfind(':');
  auto address = server.substr(0, colon);
  if (address.starts_with('[')) address = address.substr(1, address.size() - 2);
  return std::string{address} + "@" + std::string{server.substr(colon + 1)};
}

}  // namespace

std::vector<std::string> parse_resolv_conf(std::string_view text) {
  std::vector<std::string> servers;
  for_lines(text, "#;", [&](const auto& words) {
    if (words.size() < 2 || words[0] != "nameserver" || servers.size() == most_servers) return;
    asio::error_code error;
    const auto address = asio::ip::make_address(std::string{words[1]}, error);
    if (!error) servers.push_back(address.to_string() + "@53");
  });
  if (servers.empty()) servers.emplace_back("127.0.0.1@53");
  return servers;
}

std::vector<std::string> parse_anchors(std::string_view text) {
  std::vector<std::string> anchors;
  for_lines(text, ";", [&](const auto& words) {
    const bool anchor =
        std::ranges::find(words, "DNSKEY") != words.end() || std::ranges::find(words, "DS") != words.end();
    if (!anchor || anchors.size() == most_anchors) return;
    std::string record;
    for (const auto word : words) record += (record.empty() ? "" : " ") + std::string{word};
    anchors.push_back(std::move(record));
  });
  return anchors;
}

std::expected<Settings, std::string> read_settings(const config::Dns& dns, const SystemFiles& files) {
  Settings settings;
  std::ranges::transform(dns.servers, std::back_inserter(settings.servers), at_port);
  if (settings.servers.empty()) {
    const auto text = read_file(files.resolv_conf);
    if (!text) {
      return std::unexpected(files.resolv_conf.string() + ": " + std::strerror(errno) +
                             "; name the name servers in dns.servers");
    }
    settings.servers = parse_resolv_conf(*text);
  }
  for (const auto& [name, addresses] : dns.hosts) {
    auto& host = settings.hosts[name];
    for (const auto& address : addresses) host.push_back(asio::ip::make_address(address));
  }
  settings.insecure = dns.insecure;
  const bool all_insecure = std::ranges::find(dns.insecure, ".") != dns.insecure.end();
  if (!all_insecure) settings.anchors = parse_anchors(read_file(files.anchors).value_or(""));
  settings.timeout = dns.timeout;
  return settings;
}

}  // namespace common::dns
