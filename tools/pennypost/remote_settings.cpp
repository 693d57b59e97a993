#include "tools/pennypost/remote_settings.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <limits>

#include <fmt/ranges.h>

#include "common/config/values.hpp"

#include "common/host_port.hpp"
#include "tools/pennypost/failure.hpp"
#include "tools/pennypost/limits.hpp"
#include "tools/pennypost/names.hpp"

namespace tools {
namespace {

using mailstore::Security;

constexpr std::size_t longest_password = 1024;

/// More often it is nobody's wish, and the other server's burden.
constexpr std::chrono::minutes least_every{1};
constexpr std::chrono::hours most_every{24 * 7};
constexpr std::chrono::minutes usual_every{15};

std::uint32_t need_count(std::string_view option, const std::string& text) {
  const auto count = parse_count(text);
  if (!count || *count > std::numeric_limits<std::uint32_t>::max())
    refuse(fmt::format("{} {}: not a count; write digits, or 0 for no limit", option, text));
  return static_cast<std::uint32_t>(*count);
}

/// In the form that is kept, the port left out where none was given.
std::string kept_place(const common::HostPort& where) {
  auto kept = common::format_host_port(where);
  if (where.port == 0) kept.resize(kept.size() - std::string_view{":0"}.size());
  return kept;
}

/// "dns", or a host in the form that is kept.
std::string parse_route(const std::string& text) {
  if (text == "default") return {};
  if (text == "dns") return text;
  // The port is the server's [outbound] port where none is given.
  const auto where = common::parse_host_port(text, 0);
  if (!where) {
    refuse(
        fmt::format("--route {}: {}; write dns, HOST, HOST:PORT or [ADDRESS]:PORT; default: as the server sends its "
                    "other mail",
                    text, where.error()));
  }
  return kept_place(*where);
}

/// A server that mail is fetched from, in the form that is kept.
std::string parse_provider(const std::string& text) {
  // The usual port depends on how it is asked, which may be said later.
  const auto where = common::parse_host_port(text, 0);
  if (!where) {
    refuse(fmt::format("--fetch-from {}: {}; write HOST, HOST:PORT or [ADDRESS]:PORT; none: nothing is fetched", text,
                       where.error()));
  }
  return kept_place(*where);
}

std::uint32_t parse_every(const std::string& text) {
  const auto every = common::config::parse_time(text);
  if (!every || *every < least_every || *every > most_every)
    refuse(fmt::format("--every {}: write a time from 1m to 7d, as 15m or 2h", text));
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(*every).count());
}

/// The first line of the file.
std::string read_password(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file) fail(fmt::format("--password-file {}: {}", path, std::strerror(errno)));
  if (!std::getline(file, line) || line.empty() || line.size() > longest_password) {
    fail(fmt::format("--password-file {}: its first line, the password, must have 1 to {} octets", path,
                     longest_password));
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

/// Our account at the other server.
void apply_login(const HostOptions& host, std::string& username, std::string& password) {
  if (host.username == "none") {
    username.clear();
    password.clear();
  } else if (!host.username.empty()) {
    username = host.username;
  }
  if (!host.password_file.empty()) password = read_password(host.password_file);
  if (username.empty() != password.empty())
    refuse("--username and --password-file belong together; give both, or --username none");
}

void apply_accounts(const RemoteOptions& options, std::vector<std::string>& accounts) {
  for (const auto& text : options.no_dequeue_accounts) {
    if (text == "all") {
      accounts.clear();
    } else {
      std::erase(accounts, parse_given_address(text).key);
    }
  }
  std::size_t octets = 0;
  for (const auto& text : options.dequeue_accounts) {
    auto account = parse_given_address(text).key;
    if (std::ranges::find(accounts, account) == accounts.end()) accounts.push_back(std::move(account));
  }
  for (const auto& account : accounts) octets += account.size();
  if (accounts.size() > mailstore::dequeue_accounts_limit || octets > mailstore::dequeue_accounts_octets_limit) {
    refuse(fmt::format("--dequeue-account: {} accounts, of {} octets in all, are the most that a domain has",
                       mailstore::dequeue_accounts_limit, mailstore::dequeue_accounts_octets_limit));
  }
}

}  // namespace

bool RemoteOptions::given() const {
  return allow_relay || no_esmtp || hold || !dequeue_accounts.empty() || !no_dequeue_accounts.empty() ||
         !(route.empty() && rate.empty() && connections.empty());
}

mailstore::Security parse_security(const std::string& text) {
  for (const auto security : {Security::none, Security::opportunistic, Security::tls, Security::verify}) {
    if (text == security_name(security)) return security;
  }
  refuse(fmt::format("--security {}: write none, opportunistic, tls or verify", text));
}

void add_host_options(CLI::App* command, HostOptions& options) {
  command
      ->add_option("--security", options.security,
                   "What is asked of the TLS of the server that mail is sent on to, or fetched from")
      ->type_name("none|opportunistic|tls|verify");
  command->add_option("--username", options.username, "Our account at the host of --route or --fetch-from; none: none")
      ->type_name("USERNAME");
  command
      ->add_option("--password-file", options.password_file,
                   "The file whose first line is its password, which is read now and kept")
      ->type_name("FILE");
}

void add_fetch_options(CLI::App* command, FetchOptions& options) {
  command
      ->add_option("--fetch-from", options.from,
                   "Local domain: the server that holds mail for it and is asked for it; none: nothing is fetched")
      ->type_name("HOST[:PORT]");
  command
      ->add_option("--fetch", options.by,
                   "Local domain: asks it to send (etrn), or takes it over the same connection (atrn); etrn unless set")
      ->type_name("etrn|atrn");
  command->add_option("--every", options.every, "Local domain: how often it is asked, 1m to 7d; 15m unless set")
      ->type_name("TIME");
}

void add_remote_options(CLI::App* command, RemoteOptions& options) {
  // One flag with its negation would set what is not given to false.
  command->add_flag_callback(
      "--allow-relay", [&options] { options.allow_relay = true; },
      "Remote domain: anybody may send to it through this server");
  command->add_flag_callback(
      "--no-allow-relay", [&options] { options.allow_relay = false; }, "Remote domain: only those who may send");
  command
      ->add_option("--route", options.route,
                   "Remote domain: the way of its mail, by DNS or to a host; default: as other mail")
      ->type_name("dns|HOST[:PORT]");
  command->add_flag_callback(
      "--no-esmtp", [&options] { options.no_esmtp = true; }, "Remote domain: HELO in place of EHLO");
  command->add_flag_callback("--esmtp", [&options] { options.no_esmtp = false; }, "Remote domain: EHLO again");
  command->add_option("--rate", options.rate, "Remote domain: most messages a minute; 0: no limit")->type_name("N");
  command
      ->add_option("--connections", options.connections, "Remote domain: most connections at a time; 0: as other mail")
      ->type_name("N");
  command->add_flag_callback(
      "--hold", [&options] { options.hold = true; },
      "Remote domain: its mail waits until it is asked for, by ETRN, ATRN or TURN");
  command->add_flag_callback("--no-hold", [&options] { options.hold = false; }, "Remote domain: it does not any more");
  command
      ->add_option("--dequeue-account", options.dequeue_accounts,
                   "Remote domain: who logs in as this mailbox may take its mail by ATRN or TURN")
      ->type_name("ADDRESS");
  command
      ->add_option("--no-dequeue-account", options.no_dequeue_accounts,
                   "Remote domain: who may not any more; all: none of them")
      ->type_name("ADDRESS|all");
}

void apply(const RemoteOptions& options, const HostOptions& host, mailstore::RemoteSettings& settings) {
  if (options.allow_relay) settings.allow_relay = *options.allow_relay;
  if (options.no_esmtp) settings.no_esmtp = *options.no_esmtp;
  if (!options.route.empty()) settings.route = parse_route(options.route);
  if (options.hold) settings.hold = *options.hold;
  apply_accounts(options, settings.dequeue_accounts);
  if (!host.security.empty()) settings.security = parse_security(host.security);
  apply_login(host, settings.username, settings.password);
  if (!options.rate.empty()) settings.rate = need_count("--rate", options.rate);
  if (!options.connections.empty()) settings.connections = need_count("--connections", options.connections);
  if (!settings.username.empty() && (settings.route.empty() || settings.route == "dns"))
    refuse("--username: whose account it is only a --route HOST tells; give that too");
}

void apply(const FetchOptions& options, const HostOptions& host, mailstore::FetchSettings& settings) {
  if (options.from == "none") {
    settings = {};
    return;
  }
  if (!options.from.empty()) settings.from = parse_provider(options.from);
  if (settings.from.empty()) refuse("where mail is fetched from is not known; give --fetch-from HOST");
  if (!options.by.empty()) {
    if (options.by != "etrn" && options.by != "atrn") refuse(fmt::format("--fetch {}: write etrn or atrn", options.by));
    settings.by = options.by == "atrn" ? mailstore::FetchBy::atrn : mailstore::FetchBy::etrn;
  }
  if (!options.every.empty()) settings.every = parse_every(options.every);
  if (settings.every == 0) settings.every = std::chrono::seconds{usual_every}.count();
  if (!host.security.empty()) settings.security = parse_security(host.security);
  apply_login(host, settings.username, settings.password);
  if (settings.by == mailstore::FetchBy::atrn && settings.username.empty())
    refuse("--fetch atrn: mail is handed over to those alone who log in; give --username and --password-file");
}

void need_accounts(mailstore::DirectoryView& view, const mailstore::RemoteSettings& settings) {
  for (const auto& account : settings.dequeue_accounts) {
    const auto there = view.mailbox(account);
    if (there && *there) continue;
    fail(fmt::format("--dequeue-account {}: there is no such mailbox; add it first with 'pennypost mailbox add {}'",
                     account, account));
  }
}

std::string_view security_name(Security security) {
  switch (security) {
    case Security::none:
      return "none";
    case Security::opportunistic:
      return "opportunistic";
    case Security::tls:
      return "tls";
    case Security::verify:
      break;
  }
  return "verify";
}

std::string describe_remote(const mailstore::RemoteSettings& settings) {
  std::string text = settings.route.empty() ? "sent as other mail" : "sent by way of " + settings.route;
  if (settings.security) text += fmt::format(", security {}", security_name(*settings.security));
  if (!settings.username.empty()) text += ", as " + settings.username;
  if (settings.no_esmtp) text += ", with HELO";
  if (settings.rate != 0) text += fmt::format(", {} messages a minute", settings.rate);
  if (settings.connections != 0) text += fmt::format(", {} connections", settings.connections);
  text += settings.allow_relay ? ", for anybody" : ", for those who may send";
  if (settings.hold) text += ", held until it is asked for";
  if (!settings.dequeue_accounts.empty())
    text += fmt::format(", handed over to {}", fmt::join(settings.dequeue_accounts, ", "));
  return text;
}

std::string describe_fetch(const mailstore::FetchSettings& settings) {
  if (settings.from.empty()) return {};
  return fmt::format("from {} by {} every {}, security {}{}", settings.from,
                     settings.by == mailstore::FetchBy::atrn ? "ATRN" : "ETRN",
                     common::config::format_time(std::chrono::seconds{settings.every}),
                     security_name(settings.security), settings.username.empty() ? "" : ", as " + settings.username);
}

}  // namespace tools
