#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/config.hpp"
#include "smtpd/outbound/next_hop.hpp"
#include "smtpd/routing/resolver.hpp"
#include "tools/pennypost/session.hpp"

/// What becomes of a recipient, by the daemon's own rules, with the reasons: for `pennypost route test`.
namespace tools {

struct RouteQuestion {
  std::string recipient;
  std::string server;                 ///< whose rules; empty: those of the first smtp server
  std::optional<std::string> sender;  ///< "<>": the null reverse-path
  bool no_dns = false;
};

/// Who hands the message in.
struct RouteSender {
  std::string address;                ///< empty: the null reverse-path, or none was given
  std::vector<std::string> accounts;  ///< that may send so
  std::string leaves_as;              ///< to other domains (S65); empty: as it is
};

/// A server that mail for a domain may be given to.
struct RouteHost {
  std::optional<std::uint16_t> preference;  ///< of its MX record
  std::string host;
  std::uint16_t port = 0;
  std::vector<std::string> addresses;  ///< in the order of their turn
  std::string trouble;                 ///< why there is none
};

/// An address whose mail is sent on.
struct RouteRemote {
  std::string address;
  std::string domain;
  std::string settings;  ///< the remote domain whose settings hold; empty: none
  smtpd::outbound::NextHop hop;
  std::vector<RouteHost> hosts;  ///< in the order of their turn; those of the smart host that DNS leaves it to
  bool by_fallback = false;      ///< `hosts` are those of the fallback
  enum class Fate : std::uint8_t {
    sent,
    waits,  ///< in the queue: there is nobody to speak to now
    fails,  ///< it would come back
  } fate = Fate::sent;
  std::string why;  ///< unless sent, "4.4.3 ..."
};

struct RouteFound {
  std::string server;
  std::string client;  ///< "a stranger", or the account that is logged in
  RouteSender sender;
  smtpd::routing::Explanation steps;
  std::string refusal;  ///< the reply to MAIL or RCPT, "550 5.7.1 ..."; empty: taken
  std::vector<std::string> mailboxes;
  std::vector<RouteRemote> remotes;
};

/// Refuses (usage) an address or a server that cannot be.
RouteFound find_route(Session& session, const RouteQuestion& question);

}  // namespace tools
