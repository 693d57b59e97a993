#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/config/config.hpp"

#include "mailstore/directory.hpp"

#include "common/host_port.hpp"
#include "smtpd/outbound/client_terms.hpp"

/// Where the mail of a domain goes next, and under which terms: the domain's own settings, else those of the virtual
/// server that took the message. No I/O.
namespace smtpd::outbound {

struct NextHop {
  std::optional<common::HostPort> host;      ///< nullopt: by DNS
  std::optional<common::HostPort> fallback;  ///< the smart host, where DNS finds no way (S68)
  std::uint16_t port = 25;                   ///< of the servers that DNS names (S63)
  Hello hello = Hello::ehlo;
  Security security = Security::opportunistic;
  std::string username, password;  ///< of us at the host; empty: none
  std::uint32_t connections = 0;   ///< at a time to one destination; 0: no limit
  std::uint32_t rate = 0;          ///< messages a minute; 0: no limit
  std::string rule;                ///< which setting decided, for people
};

/// `remote`: the settings that hold for `domain`, if there are any (routing::find_remote_domain). `sender`: the
/// message's reverse-path. `reroute`: what a person said of this recipient, "host[:port]"; empty: nothing. `steps`:
/// gets what was looked at on the way to the rule, if given. Error: the setting that is no host, in a sentence.
std::expected<NextHop, std::string> choose_next_hop(std::string_view domain,
                                                    const std::optional<mailstore::Domain>& remote,
                                                    const common::config::Outbound& server, std::string_view password,
                                                    std::string_view sender, std::string_view reroute,
                                                    std::vector<std::string>* steps = nullptr);

/// The entry of [outbound.by_sender] that holds for this reverse-path: of its domain, else of the longest "*.suffix".
/// Null: none.
const std::pair<const std::string, std::string>* find_sender_route(const common::config::Outbound& server,
                                                                   std::string_view sender);

}  // namespace smtpd::outbound
