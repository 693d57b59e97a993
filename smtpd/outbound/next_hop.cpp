#include "smtpd/outbound/next_hop.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <limits>

namespace smtpd::outbound {
namespace {

Security security_of(std::string_view text) {
  if (text == "none") return Security::none;
  if (text == "tls") return Security::tls;
  return text == "verify" ? Security::verify : Security::opportunistic;
}

Security security_of(mailstore::Security security) {
  switch (security) {
    case mailstore::Security::none:
      return Security::none;
    case mailstore::Security::opportunistic:
      return Security::opportunistic;
    case mailstore::Security::tls:
      return Security::tls;
    case mailstore::Security::verify:
      break;
  }
  return Security::verify;
}

std::uint32_t count_of(std::int64_t value) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(value, 0, std::numeric_limits<std::uint32_t>::max()));
}

/// `place`: the setting that names it.
std::expected<void, std::string> set_host(std::optional<common::HostPort>& host, std::string_view text,
                                          std::uint16_t port, std::string_view place) {
  auto parsed = common::parse_host_port(text, port);
  if (!parsed) return std::unexpected(fmt::format("{}: \"{}\" is no host: {}", place, text, parsed.error()));
  host = std::move(*parsed);
  return {};
}

}  // namespace

const std::pair<const std::string, std::string>* find_sender_route(const common::config::Outbound& server,
                                                                   std::string_view sender) {
  const auto at = sender.rfind('@');
  if (server.by_sender.empty() || at == sender.npos) return nullptr;
  std::string domain{sender.substr(at + 1)};
  auto found = server.by_sender.find(domain);
  for (auto dot = domain.find('.'); found == server.by_sender.end() && dot != domain.npos;
       dot = domain.find('.', dot + 1)) {
    found = server.by_sender.find("*" + domain.substr(dot));
  }
  return found == server.by_sender.end() ? nullptr : &*found;
}

std::expected<NextHop, std::string> choose_next_hop(std::string_view domain,
                                                    const std::optional<mailstore::Domain>& remote,
                                                    const common::config::Outbound& server, std::string_view password,
                                                    std::string_view sender, std::string_view reroute,
                                                    std::vector<std::string>* steps) {
  const auto note = [steps](std::string what) {
    if (steps != nullptr) steps->push_back(std::move(what));
  };
  NextHop hop;
  hop.port = static_cast<std::uint16_t>(server.port);
  hop.security = security_of(server.security);
  hop.connections = count_of(server.per_domain);
  std::string_view route;
  if (remote) {
    const auto& settings = remote->remote;
    route = settings.route;
    if (settings.no_esmtp) hop.hello = Hello::helo;
    if (settings.security) hop.security = security_of(*settings.security);
    if (settings.connections != 0) hop.connections = settings.connections;
    hop.rate = settings.rate;
    note(fmt::format("the settings of the remote domain {} hold for {}", remote->name, domain));
  } else {
    note(fmt::format("no remote domain stands for {}: the virtual server's [outbound] holds", domain));
  }

  std::expected<void, std::string> fine;
  const auto* by_sender = find_sender_route(server, sender);
  if (!reroute.empty()) {
    hop.rule = fmt::format("rerouted to {}", reroute);
    fine = set_host(hop.host, reroute, hop.port, "reroute");
  } else if (!route.empty() && route != "dns") {
    hop.rule = fmt::format("the remote domain {} goes by way of {}", remote->name, route);
    fine = set_host(hop.host, route, hop.port, "route of " + remote->name);
    hop.username = remote->remote.username;
    hop.password = remote->remote.password;
  } else if (domain.starts_with('[')) {
    hop.rule = "an address literal";  // RFC 5321 5.1: no look-up
    fine = set_host(hop.host, domain, hop.port, "domain");
  } else if (route == "dns") {
    hop.rule = fmt::format("the remote domain {} goes by DNS", remote->name);
  } else if (by_sender != nullptr) {
    hop.rule = fmt::format("[outbound.by_sender] {} goes by way of {}", by_sender->first, by_sender->second);
    fine = set_host(hop.host, by_sender->second, hop.port, "[outbound.by_sender] " + by_sender->first);
  } else {
    if (!server.by_sender.empty()) note("[outbound.by_sender] has nothing for this sender");
    if (server.smart_host.empty()) {
      note("there is no [outbound] smart_host");
      hop.rule = "by DNS";
    } else {
      const bool always = server.smart_host_use == "always";
      hop.rule = always ? fmt::format("[outbound] smart_host {}", server.smart_host)
                        : fmt::format("by DNS, else [outbound] smart_host {}", server.smart_host);
      fine = set_host(always ? hop.host : hop.fallback, server.smart_host, hop.port, "[outbound] smart_host");
      hop.username = server.username;
      hop.password = password;
    }
  }
  if (!fine) return std::unexpected(std::move(fine.error()));
  note(hop.rule);
  return hop;
}

}  // namespace smtpd::outbound
