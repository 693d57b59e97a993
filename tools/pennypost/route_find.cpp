#include "tools/pennypost/route_find.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "common/address.hpp"
#include "common/dns/resolver.hpp"
#include "common/host_port.hpp"
#include "mailstore/queue.hpp"
#include "smtpd/outbound/dns_answers.hpp"
#include "smtpd/outbound/exchangers.hpp"
#include "smtpd/outbound/masquerade.hpp"
#include "smtpd/session/conversation.hpp"
#include "tools/pennypost/await.hpp"
#include "tools/pennypost/failure.hpp"
#include "tools/pennypost/pages.hpp"

namespace tools {
namespace {

namespace outbound = smtpd::outbound;
namespace routing = smtpd::routing;
using common::config::Kind;
using smtpd::Cause;

const common::config::Server& find_server(const common::config::Config& config, const std::string& name) {
  const common::config::Server* first = nullptr;
  std::string known;
  for (const auto& server : config.servers) {
    if (server.kind == Kind::pop3) continue;
    if (server.id == name) return server;
    if (first == nullptr || (first->kind == Kind::lmtp && server.kind == Kind::smtp)) first = &server;
    known += (known.empty() ? "" : ", ") + server.id;
  }
  if (first == nullptr) refuse("no server of kind smtp or lmtp is configured: nobody takes mail");
  if (!name.empty())
    refuse(fmt::format("--server {}: no server that takes mail has this name; there is {}", name, known));
  return *first;
}

common::Address parse(const std::string& text, std::string_view what) {
  auto address = common::parse_address(text);
  if (!address) refuse(fmt::format("{} {}: {}", what, text, address.error()));
  return std::move(*address);
}

/// "550 5.7.1 relaying denied", as append_reply writes it, without the line end.
std::string reply_line(Cause cause, std::string detail = {}) {
  std::string line;
  smtpd::append_reply(line, {cause, std::move(detail)});
  while (line.ends_with('\r') || line.ends_with('\n')) line.pop_back();
  return line;
}

/// One question after the other to the DNS, as [dns] says.
class Names {
 public:
  explicit Names(const common::config::Dns& dns) {
    auto settings = common::dns::read_settings(dns);
    if (!settings) fail(std::move(settings.error()));
    if (auto configured = resolver_.configure(std::move(*settings)); !configured) fail(std::move(configured.error()));
  }
  outbound::MxAnswer exchangers(const std::string& domain) {
    return outbound::mx_answer(run_awaitable(resolver_.exchangers(domain)));
  }
  outbound::AddressAnswer addresses(const std::string& host) {
    using enum common::dns::Family;
    const std::array found{run_awaitable(resolver_.addresses(host, v6)), run_awaitable(resolver_.addresses(host, v4))};
    return outbound::address_answer(found);
  }

 private:
  common::dns::Resolver resolver_;
};

/// The way of one address from here on.
class Way {
 public:
  Way(RouteRemote& remote, const common::config::Config& config, const common::config::Outbound& settings, Names* names)
      : remote_(remote), config_(config), settings_(settings), names_(names) {}

  void walk() {
    const auto& hop = remote_.hop;
    if (hop.host) {
      add(*hop.host, {});
    } else {
      add_exchangers();
      if (hop.fallback && outbound::is_unknown_to_dns(failures_)) {
        remote_.by_fallback = true;
        failures_.clear();
        add(*hop.fallback, {});
      }
    }
    const bool reached = std::ranges::any_of(remote_.hosts, [](const RouteHost& host) { return host.trouble.empty(); });
    if (reached || failures_.empty()) return;
    const auto& answer = outbound::worst_hope(failures_);
    remote_.fate = answer.outcome == outbound::Outcome::permanent ? RouteRemote::Fate::fails : RouteRemote::Fate::waits;
    remote_.why = outbound::format_answer(answer);
  }

 private:
  void add(const common::HostPort& where, std::optional<std::uint16_t> preference) {
    RouteHost host{preference, where.host, where.port, {}, {}};
    if (where.numeric) {
      host.addresses.push_back(where.host);
    } else if (names_ != nullptr) {
      const auto found = names_->addresses(where.host);
      host.addresses = outbound::order_addresses(found.addresses, outbound::families_of(settings_.bind));
      if (host.addresses.empty()) {
        failures_.push_back(outbound::no_address(where.host, found));
        host.trouble = failures_.back().text;
      }
    }
    remote_.hosts.push_back(std::move(host));
  }

  void add_exchangers() {
    if (names_ == nullptr) return;
    std::vector<std::string> own;
    for (const auto& server : config_.servers) {
      if (server.kind != Kind::pop3) own.push_back(server.hostname);
    }
    // Equals stay in the order of the answer: each delivery shuffles them anew.
    const auto in_order = [](std::uint32_t bound) { return bound - 1; };
    const auto found = names_->exchangers(remote_.domain);
    const auto chosen = outbound::choose_exchangers(remote_.domain, found, own, in_order);
    if (!chosen) {
      failures_.push_back(chosen.error());
      return;
    }
    const bool by_mx = found.lookup == outbound::Lookup::found;
    for (const auto& each : *chosen) {
      add({each.host, false, remote_.hop.port}, by_mx ? std::optional{each.preference} : std::nullopt);
    }
  }

  RouteRemote& remote_;
  const common::config::Config& config_;
  const common::config::Outbound& settings_;
  Names* names_;
  std::vector<outbound::Answer> failures_;
};

class Finder {
 public:
  Finder(Session& session, const RouteQuestion& question)
      : session_(session),
        question_(question),
        server_(find_server(session.config(), question.server)),
        terms_(smtpd::make_terms(server_)) {}

  RouteFound find() {
    auto recipient = parse(question_.recipient, "ADDRESS");
    found_.server = server_.id;
    auto client = smtpd::Client::stranger;
    if (!look_at_sender(client)) return std::move(found_);
    if (!routing::complete(recipient, terms_.default_domain, &found_.steps)) {
      found_.refusal = reply_line(Cause::bad_recipient, "domain missing");
      return std::move(found_);
    }
    routing::Resolution resolution;
    {
      const auto directory = session_.directory();
      resolution = need(routing::resolve_with_room(*directory, recipient, std::nullopt, terms_.default_domain,
                                                   smtpd::relay_for(terms_, client), &found_.steps),
                        "the directory could not be read");
    }
    if (resolution.outcome != routing::Outcome::found) {
      found_.refusal = reply_line(smtpd::cause_of(resolution.outcome));
      return std::move(found_);
    }
    for (auto& target : resolution.targets) found_.mailboxes.push_back(std::move(target.address));
    if (!resolution.remotes.empty() && !question_.no_dns) names_.emplace(session_.config().suite.dns);
    for (auto& address : resolution.remotes) send_on(std::move(address));
    return std::move(found_);
  }

 private:
  void explain(std::string_view address, std::string_view rule, std::string what) {
    found_.steps.push_back({std::string{address}, rule, std::move(what)});
  }

  /// False: refused. `client` becomes an account where the sender is one's, or where the server takes mail from no
  /// others.
  bool look_at_sender(smtpd::Client& client) {
    const bool log_in = !terms_.mechanisms.empty() && !terms_.lmtp;
    found_.client = "a stranger";
    if (question_.sender && *question_.sender != "<>") {
      auto sender = parse(*question_.sender, "--sender");
      if (!routing::complete(sender, terms_.default_domain, &found_.steps)) {
        found_.refusal = reply_line(Cause::bad_sender, "domain missing");
        return false;
      }
      found_.sender.address = common::format_address(sender);
      if (log_in) find_accounts(sender);
      const auto& accounts = found_.sender.accounts;
      if (!accounts.empty()) {
        client = smtpd::Client::authenticated;
        found_.client = accounts.front();
        return true;
      }
      explain(found_.sender.address, "sender",
              log_in ? "belongs to no account here: a stranger's" : "is anybody's: nobody logs in to this server");
      if (!terms_.anonymous) found_.refusal = reply_line(Cause::not_your_address);
      return terms_.anonymous;
    }
    if (terms_.anonymous) return true;
    client = smtpd::Client::authenticated;
    found_.client = "somebody who has logged in";
    return true;
  }

  void find_accounts(const common::Address& sender) {
    std::vector<routing::Target> readers;
    {
      const auto directory = session_.directory();
      readers =
          need(routing::find_readers(*directory, sender, terms_.default_domain), "the directory could not be read");
    }
    auto& accounts = found_.sender.accounts;
    for (const auto& reader : readers) {
      explain(found_.sender.address, "sender", "is an address of the account " + reader.address);
      accounts.push_back(reader.address);
    }
    each_mailbox(session_.store(), {}, mailstore::Which::living, [&](const MailboxUse& use) {
      const auto& account = use.mailbox;
      if (std::ranges::find(accounts, account.address) != accounts.end()) return;
      if (!routing::is_granted(account, sender)) return;
      explain(found_.sender.address, "sender", "may be used by the account " + account.address + " (--send-as)");
      accounts.push_back(account.address);
    });
  }

  void send_on(std::string address) {
    RouteRemote remote;
    remote.domain = mailstore::queue_domain_of(address);
    remote.address = std::move(address);
    std::optional<mailstore::Domain> settings;
    mailstore::Envelope envelope;
    envelope.reverse_path = found_.sender.address;
    if (!found_.sender.accounts.empty()) envelope.authenticated = found_.sender.accounts.front();
    {
      const auto directory = session_.directory();
      settings = need(routing::find_remote_domain(*directory, remote.domain), "the directory could not be read");
      auto path = need(outbound::leaving_path(*directory, envelope, server_.messages.masquerade),
                       "the directory could not be read");
      if (path != envelope.reverse_path && found_.sender.leaves_as.empty()) {
        explain(envelope.reverse_path, "masquerade", "leaves as " + path);
        found_.sender.leaves_as = std::move(path);
      }
    }
    if (settings) remote.settings = settings->name;
    std::vector<std::string> steps;
    // The password is nothing that people need to see.
    auto hop =
        outbound::choose_next_hop(remote.domain, settings, server_.outbound, {}, envelope.reverse_path, {}, &steps);
    for (auto& step : steps) explain(remote.address, "next hop", std::move(step));
    if (!hop) {
      remote.fate = RouteRemote::Fate::waits;
      remote.why = "4.3.5 " + hop.error();
    } else {
      remote.hop = std::move(*hop);
      Way{remote, session_.config(), server_.outbound, names_ ? &*names_ : nullptr}.walk();
    }
    if (remote.by_fallback) explain(remote.address, "next hop", "DNS knows no way: the smart host gets it");
    found_.remotes.push_back(std::move(remote));
  }

  Session& session_;
  const RouteQuestion& question_;
  const common::config::Server& server_;
  const smtpd::Terms terms_;
  std::optional<Names> names_;
  RouteFound found_;
};

}  // namespace

RouteFound find_route(Session& session, const RouteQuestion& question) {
  return Finder{session, question}.find();
}

}  // namespace tools
