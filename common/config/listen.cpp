#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "common/address.hpp"
#include "common/config/values.hpp"
#include "common/escape.hpp"

namespace common::config {
namespace {

constexpr std::size_t unix_path_limit = sizeof(sockaddr_un::sun_path) - 1;

Wrong wrong(std::string_view text, std::string_view what, std::string remedy) {
  return {0, "\"" + escape(text, 80) + "\" " + std::string{what}, std::move(remedy)};
}

bool is_six(const Listen& listen) {
  return listen.address.contains(':');
}
bool is_wildcard(const Listen& listen) {
  return listen.address == "0.0.0.0" || listen.address == "::";
}

}  // namespace

std::expected<Listen, Wrong> parse_listen(std::string_view text) {
  Listen listen;
  listen.text = text;
  std::string_view rest = text;
  if (rest.ends_with(",tls")) {
    listen.tls = true;
    rest.remove_suffix(4);
  }
  if (rest.starts_with("unix:")) {
    listen.path = rest.substr(5);
    if (!listen.path.starts_with('/')) {
      return std::unexpected(wrong(text, "has a relative path", R"(write the whole path: "unix:/run/pennypost/name")"));
    }
    if (listen.path.size() > unix_path_limit || listen.path.contains('\0')) {
      return std::unexpected(wrong(text, "has a path that the system does not take for a socket",
                                   "write a path of at most " + std::to_string(unix_path_limit) + " octets"));
    }
    return listen;
  }

  const auto colon = rest.rfind(':');
  const auto usage =
      R"(write address:port, as "0.0.0.0:25", "[::]:25", "unix:/path", with ",tls" for TLS from the first byte)";
  if (colon == std::string_view::npos) return std::unexpected(wrong(text, "has no port", usage));
  const auto port = rest.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), listen.port);
  if (port.empty() || error != std::errc{} || end != port.data() + port.size()) {
    return std::unexpected(wrong(text, "has no port from 0 to 65535 (0: the system chooses)", usage));
  }
  std::string host{rest.substr(0, colon)};
  const bool six = host.starts_with('[') && host.ends_with(']');
  if (six) host = host.substr(1, host.size() - 2);
  in6_addr octets{};  // room for either family
  const int family = six ? AF_INET6 : AF_INET;
  if (host.contains('\0') || inet_pton(family, host.c_str(), &octets) != 1) {
    return std::unexpected(wrong(text, "has no numeric address", usage));
  }
  if (six && IN6_IS_ADDR_V4MAPPED(&octets)) {
    return std::unexpected(wrong(text, "is an IPv4 address in IPv6 form", R"(write it as IPv4: "192.0.2.1:25")"));
  }
  std::array<char, INET6_ADDRSTRLEN> name{};
  inet_ntop(family, &octets, name.data(), name.size());
  listen.address = name.data();
  return listen;
}

std::expected<std::string, Wrong> parse_server(std::string_view text) {
  const auto usage = R"(write address:port, as "192.0.2.53:53" or "[2001:db8::53]:53")";
  if (text.starts_with("unix:") || text.ends_with(",tls")) {
    return std::unexpected(wrong(text, "is no server's address", usage));
  }
  auto listen = parse_listen(text);
  if (!listen) return std::unexpected(Wrong{0, std::move(listen.error().what), usage});
  if (listen->port == 0) return std::unexpected(wrong(text, "has no port from 1 to 65535", usage));
  return is_six(*listen) ? fmt::format("[{}]:{}", listen->address, listen->port)
                         : fmt::format("{}:{}", listen->address, listen->port);
}

std::expected<FilterPlace, Wrong> parse_filter(std::string_view text) {
  const auto usage = R"(write inet:port@host or unix:/path, as "inet:8891@127.0.0.1" or "unix:/run/filter.sock")";
  FilterPlace place;
  const auto kind = text.substr(0, text.find(':'));
  auto rest = text.substr(std::min(kind.size() + 1, text.size()));
  if (kind == "unix" || kind == "local") {
    if (!rest.starts_with('/')) return std::unexpected(wrong(text, "has a relative path", usage));
    if (rest.size() > unix_path_limit)
      return std::unexpected(wrong(text, "has a path that the system does not take for a socket", usage));
    place.path = rest;
    place.text = "unix:" + place.path;
    return place;
  }
  if (kind != "inet" && kind != "inet6") return std::unexpected(wrong(text, "is no filter's place", usage));
  const auto at = rest.find('@');
  const auto port = rest.substr(0, at);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), place.port);
  if (port.empty() || error != std::errc{} || end != port.data() + port.size() || place.port == 0)
    return std::unexpected(wrong(text, "has no port from 1 to 65535", usage));
  auto host = at == std::string_view::npos ? std::string_view{} : rest.substr(at + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) return std::unexpected(wrong(text, "names no host", usage));
  place.host = host;
  in6_addr octets{};
  for (const int family : {AF_INET, AF_INET6}) {
    std::array<char, INET6_ADDRSTRLEN> name{};
    if (place.host.contains('\0') || inet_pton(family, place.host.c_str(), &octets) != 1) continue;
    inet_ntop(family, &octets, name.data(), name.size());
    place.address = place.host = name.data();
  }
  if (place.address.empty()) {
    auto name = canonical_domain(host);
    if (!name) return std::unexpected(wrong(text, "names no host: " + name.error(), usage));
    place.host = std::move(*name);
    // Not a question for name servers (RFC 6761 6.3).
    if (place.host == "localhost") place.address = kind == "inet6" ? "::1" : "127.0.0.1";
  }
  place.text = fmt::format("inet:{}@{}", place.port, place.host);
  return place;
}

bool is_loopback(const Listen& listen) {
  return !listen.path.empty() || listen.address == "::1" || listen.address.starts_with("127.");
}

bool overlap(const Listen& one, const Listen& other) {
  if (!one.path.empty() || !other.path.empty()) return one.path == other.path;
  // Port 0 is another port each time. [::] is bound for IPv6 alone, so it leaves 0.0.0.0 free.
  if (one.port != other.port || one.port == 0 || is_six(one) != is_six(other)) return false;
  return one.address == other.address || is_wildcard(one) || is_wildcard(other);
}

}  // namespace common::config
