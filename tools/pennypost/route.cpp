// pennypost route test: what would become of mail to an address, step by step, and which rule decides.

#include <algorithm>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "smtpd/outbound/client_terms.hpp"
#include "tools/pennypost/program.hpp"
#include "tools/pennypost/route_find.hpp"

namespace tools {
namespace {

using Json = nlohmann::ordered_json;
using Fate = RouteRemote::Fate;

std::string_view name_of(Fate fate) {
  switch (fate) {
    case Fate::sent:
      return "sent";
    case Fate::waits:
      return "waits";
    case Fate::fails:
      break;
  }
  return "fails";
}

Json or_null(const std::string& text) {
  return text.empty() ? Json{} : Json(text);
}

std::string next_host(const smtpd::outbound::NextHop& hop) {
  if (hop.host) return format_host_port(*hop.host);
  return hop.fallback ? "DNS, else " + format_host_port(*hop.fallback) : "DNS";
}

Json json_of(const RouteRemote& remote) {
  Json hosts = Json::array();
  for (const auto& host : remote.hosts) {
    hosts.push_back({{"preference", host.preference ? Json(*host.preference) : Json{}},
                     {"host", host.host},
                     {"port", host.port},
                     {"addresses", host.addresses},
                     {"trouble", or_null(host.trouble)}});
  }
  const auto& hop = remote.hop;
  return {{"address", remote.address},
          {"domain", remote.domain},
          {"remote_domain", or_null(remote.settings)},
          {"rule", hop.rule},
          {"next", next_host(hop)},
          {"esmtp", hop.hello == smtpd::outbound::Hello::ehlo},
          {"security", smtpd::outbound::name_of(hop.security)},
          {"username", or_null(hop.username)},
          {"connections", hop.connections},
          {"rate", hop.rate},
          {"hosts", std::move(hosts)},
          {"by_fallback", remote.by_fallback},
          {"fate", name_of(remote.fate)},
          {"why", or_null(remote.why)}};
}

void print_json(const RouteFound& found, bool good) {
  Json steps = Json::array();
  for (const auto& step : found.steps)
    steps.push_back({{"address", step.address}, {"rule", step.rule}, {"what", step.what}});
  Json remotes = Json::array();
  for (const auto& remote : found.remotes) remotes.push_back(json_of(remote));
  const Json sender{{"address", or_null(found.sender.address)},
                    {"accounts", found.sender.accounts},
                    {"leaves_as", or_null(found.sender.leaves_as)}};
  const Json all{{"server", found.server},
                 {"client", found.client},
                 {"deliverable", good},
                 {"reply", or_null(found.refusal)},
                 {"mailboxes", found.mailboxes},
                 {"remotes", std::move(remotes)},
                 {"sender", sender},
                 {"steps", std::move(steps)}};
  print(all.dump(2, ' ', true, Json::error_handler_t::replace) + "\n");
}

std::string limit_of(std::uint32_t count, std::string_view what) {
  return count == 0 ? std::string{} : fmt::format(", {} {}", count, what);
}

void print_remote(const RouteRemote& remote) {
  const auto& hop = remote.hop;
  print(shown(fmt::format("sent on: {} by {} ({})", remote.address, next_host(hop), hop.rule)) + "\n");
  print(shown(fmt::format(
            "  {}, TLS {}{}{}{}", hop.hello == smtpd::outbound::Hello::ehlo ? "EHLO" : "HELO",
            smtpd::outbound::name_of(hop.security), hop.username.empty() ? std::string{} : ", account " + hop.username,
            limit_of(hop.connections, "connections at a time"), limit_of(hop.rate, "messages a minute"))) +
        "\n");
  for (const auto& host : remote.hosts) {
    std::string addresses;
    for (const auto& address : host.addresses) addresses += (addresses.empty() ? "" : ", ") + address;
    const auto preference = host.preference ? fmt::format("MX {} ", *host.preference) : std::string{};
    const auto what = !host.trouble.empty() ? host.trouble : addresses.empty() ? "not looked up" : addresses;
    print(shown(fmt::format("  {}{} port {}: {}", preference, host.host, host.port, what)) + "\n");
  }
  if (remote.fate == Fate::waits) print(shown("  it waits in the queue: " + remote.why) + "\n");
  if (remote.fate == Fate::fails) print(shown("  it comes back to its sender: " + remote.why) + "\n");
}

void print_text(const RouteFound& found) {
  print(shown(fmt::format("by the rules of server {}, handed in by {}", found.server, found.client)) + "\n");
  List steps(Format::text, {{"address", "ADDRESS"}, {"rule", "RULE"}, {"what", "WHAT"}}, "");
  for (const auto& step : found.steps) steps.row({step.address, std::string{step.rule}, step.what});
  steps.end();
  if (!found.refusal.empty()) print(shown("refused: " + found.refusal) + "\n");
  for (const auto& mailbox : found.mailboxes) print(shown("delivered to: " + mailbox) + "\n");
  for (const auto& remote : found.remotes) print_remote(remote);
}

void test(Session& session, const RouteQuestion& question) {
  const auto found = find_route(session, question);
  const bool good = found.refusal.empty() && std::ranges::none_of(found.remotes, [](const RouteRemote& remote) {
                      return remote.fate == Fate::fails;
                    });
  if (session.format() == Format::json) {
    print_json(found, good);
  } else {
    print_text(found);
  }
  if (!good) throw Failure{Status::failed, {}};
}

}  // namespace

void add_route_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "route", "What becomes of mail");
  auto& session = program.session;
  auto given = std::make_shared<RouteQuestion>();
  auto sender = std::make_shared<std::string>();
  auto* command = add_command(*group, "test", "Tells what would become of mail to an address, and which rule decides",
                              program, [&session, given, sender] {
                                if (!sender->empty()) given->sender = *sender;
                                test(session, *given);
                              });
  add_argument(command, "ADDRESS", given->recipient, "The recipient; a bare name is completed as the server does")
      ->required();
  command->add_option("--server", given->server, "By the rules of this virtual server; else of the first smtp server")
      ->type_name("NAME");
  command->add_option("--sender", *sender, "As who may send under this address would hand it in; <> for reports")
      ->type_name("ADDRESS");
  command->add_flag("--no-dns", given->no_dns, "Looks nothing up in the DNS");
}

}  // namespace tools
