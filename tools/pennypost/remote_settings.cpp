#include "tools/pennypost/remote_settings.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>

#include <fmt/format.h>

#include "common/host_port.hpp"
#include "tools/pennypost/failure.hpp"
#include "tools/pennypost/limits.hpp"

namespace tools {
namespace {

using mailstore::Security;

constexpr std::size_t longest_password = 1024;

mailstore::Security parse_security(const std::string& text) {
  for (const auto security : {Security::none, Security::opportunistic, Security::tls, Security::verify}) {
    if (text == security_name(security)) return security;
  }
  refuse(fmt::format("--security {}: write none, opportunistic, tls or verify", text));
}

std::uint32_t need_count(std::string_view option, const std::string& text) {
  const auto count = parse_count(text);
  if (!count || *count > std::numeric_limits<std::uint32_t>::max())
    refuse(fmt::format("{} {}: not a count; write digits, or 0 for no limit", option, text));
  return static_cast<std::uint32_t>(*count);
}

/// "dns", or a host in the form that is kept.
std::string parse_route(const std::string& text) {
  if (text == "default") return {};
  if (text == "dns") return text;
  // The port is the server's [outbound] port where none is given: it is left out here too.
  const auto where = common::parse_host_port(text, 0);
  if (!where) {
    refuse(
        fmt::format("--route {}: {}; write dns, HOST, HOST:PORT or [ADDRESS]:PORT; default: as the server sends its "
                    "other mail",
                    text, where.error()));
  }
  auto kept = common::format_host_port(*where);
  if (where->port == 0) kept.resize(kept.size() - std::string_view{":0"}.size());
  return kept;
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

}  // namespace

bool RemoteOptions::given() const {
  return allow_relay || no_esmtp ||
         !(route.empty() && security.empty() && username.empty() && password_file.empty() && rate.empty() &&
           connections.empty());
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
  command->add_option("--security", options.security, "Remote domain: what is asked of the next server's TLS")
      ->type_name("none|opportunistic|tls|verify");
  command->add_option("--username", options.username, "Remote domain: our account at the host of --route; none: none")
      ->type_name("USERNAME");
  command
      ->add_option("--password-file", options.password_file,
                   "Remote domain: the file whose first line is its password, which is read now and kept")
      ->type_name("FILE");
  command->add_option("--rate", options.rate, "Remote domain: most messages a minute; 0: no limit")->type_name("N");
  command
      ->add_option("--connections", options.connections, "Remote domain: most connections at a time; 0: as other mail")
      ->type_name("N");
}

void apply(const RemoteOptions& options, mailstore::RemoteSettings& settings) {
  if (options.allow_relay) settings.allow_relay = *options.allow_relay;
  if (options.no_esmtp) settings.no_esmtp = *options.no_esmtp;
  if (!options.route.empty()) settings.route = parse_route(options.route);
  if (!options.security.empty()) settings.security = parse_security(options.security);
  if (options.username == "none") {
    settings.username.clear();
    settings.password.clear();
  } else if (!options.username.empty()) {
    settings.username = options.username;
  }
  if (!options.password_file.empty()) settings.password = read_password(options.password_file);
  if (!options.rate.empty()) settings.rate = need_count("--rate", options.rate);
  if (!options.connections.empty()) settings.connections = need_count("--connections", options.connections);
  if (settings.username.empty() != settings.password.empty())
    refuse("--username and --password-file belong together; give both, or --username none");
  if (!settings.username.empty() && (settings.route.empty() || settings.route == "dns"))
    refuse("--username: whose account it is only a --route HOST tells; give that too");
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
  return text;
}

}  // namespace tools
