#include <doctest/doctest.h>

#include <chrono>

#include "common/config/local.hpp"
#include "samples.hpp"

using namespace samples;
using namespace common::config;
using namespace std::chrono_literals;

namespace {

const std::string full_suite = R"([store]
path = "/srv/mail \"store\""
map_size = "64GB"
reserve = 1000
[run]
user = ""
directory = "/run/p"
threads = 3
[local]
socket = "/srv/mail/submit"
spool = "off"
[auth]
failures = 5
address_failures = 0
account_failures = 50
failure_window = "1h"
delay_max = "2s"
known_for = "7d"
trusted = ["192.0.2.0/24", "::1"]
[log]
level = "debug"
target = "/var/log/p.log"
format = "json"
[dns]
servers = ["192.0.2.53:53", "[2001:DB8:0::53]:5353"]
hosts = { "B.example" = [], "bücher.example" = ["192.0.2.1", "2001:DB8:0::1"] }
insecure = [".", "INSIDE.example"]
timeout = "3s"
)";
const std::string full_server = R"(kind = "smtp"
name = "Grüße \\ \"x\""
listen = ["0.0.0.0:587", "[::]:465,tls", "unix:/run/p/smtp"]
role = "submission"
hostname = "MAIL.example.org"
default_domain = "bücher.example"
home = "/srv/p"
[tls]
certificate = "/c.pem"
key = "/k.pem"
required = true
[[tls.sni]]
name = "a.example"
certificate = "/a.pem"
key = "/a.key"
[[tls.sni]]
name = "b.example"
certificate = "/b.pem"
key = "/b.key"
[connections]
limit = 0
per_address = 7
idle_timeout = "90s"
errors = 3
[auth]
mechanisms = ["PLAIN"]
anonymous = true
require_tls = true
[messages]
size = "0"
session_size = 123456
per_session = 9
recipients = 100
hops = 15
bare_newline = "normalize"
helo_check = "fcrdns"
reverse_dns = true
ndr_copy = "Post@BÜCHER.example"
masquerade = "BÜCHER.example"
[delivery]
retry = ["1m", "2h"]
delay_notice = "0"
expire = "3d"
jitter = 0
[outbound]
connections = 50
per_domain = 5
idle_timeout = "2m"
port = 2525
bind = ["192.0.2.1", "2001:DB8:0::1"]
messages_per_connection = 0
smart_host = "[192.0.2.9]:587"
smart_host_use = "fallback"
security = "verify"
username = "us"
password_file = "/p"
[outbound.by_sender]
"Example.ORG" = "smtp.example.net:587"
"*.bücher.example" = "[2001:db8::9]"
[milters]
use = ["inet:8891@LOCALHOST", "unix:/run/x.sock"]
connect_timeout = "1s"
command_timeout = "2s"
content_timeout = "3m"
when_gone = "reject"
)";

}  // namespace

TEST_CASE("an empty file is all defaults") {
  const auto outcome = common::config::parse(
      "/etc/p/pennypost.toml", "",
      {{"/etc/p/servers/mx.toml", smtp},
       {"/etc/p/servers/post.toml", pop3},
       {"/etc/p/servers/sub.toml", "kind=\"smtp\"\nrole=\"submission\"\nlisten=[\"127.0.0.1:0\"]"}});
  CAPTURE(errors(outcome));
  REQUIRE(outcome);
  const Suite& suite = outcome->config.suite;
  CHECK(suite.store.path == "/var/lib/pennypost/store");
  CHECK(suite.store.map_size == Octets{256} << 30U);
  CHECK(suite.store.reserve == Octets{256} << 20U);
  CHECK(suite.run.user == "pennypost");
  CHECK(suite.run.directory == "/run/pennypost");
  CHECK(local_socket(suite) == "/run/pennypost/submit");
  CHECK(local_spool(suite) == "/var/lib/pennypost/spool");
  CHECK(suite.guessing.failures == 10);
  CHECK(suite.guessing.address_failures == 100);
  CHECK(suite.guessing.account_failures == 100);
  CHECK(suite.guessing.failure_window == 15min);
  CHECK(suite.guessing.delay_max == 5s);
  CHECK(suite.guessing.known_for == 30 * 24h);
  CHECK(suite.guessing.trusted.empty());
  CHECK(suite.log.level == LogLevel::info);
  CHECK(suite.log.target == "stderr");
  CHECK(suite.log.format == "text");
  CHECK(suite.dns.servers.empty());
  CHECK(suite.dns.timeout == 10s);

  REQUIRE(outcome->config.servers.size() == 3);
  REQUIRE(local_server(outcome->config.servers) != nullptr);
  CHECK(local_server(outcome->config.servers)->id == "mx");
  CHECK(local_server({outcome->config.servers[1]}) == nullptr);
  const Server& mx = outcome->config.servers[0];
  CHECK(mx.id == "mx");
  CHECK(mx.name == "mx");
  CHECK(mx.file == "/etc/p/servers/mx.toml");
  CHECK(mx.home.empty());
  CHECK_FALSE(mx.hostname.empty());
  CHECK(mx.default_domain.empty());
  CHECK(mx.connections.limit == 10000);
  CHECK(mx.connections.per_address == 200);
  CHECK(mx.connections.idle_timeout == 5min);
  CHECK(mx.connections.errors == 20);
  CHECK(mx.auth.anonymous);
  CHECK(mx.auth.require_tls);
  CHECK(mx.auth.mechanisms == std::vector<std::string>{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"});
  CHECK(mx.messages.size == Octets{50} << 20U);
  CHECK(mx.messages.recipients == 1000);
  CHECK(mx.messages.hops == 50);
  CHECK(mx.messages.bare_newline == "reject");
  CHECK(mx.messages.helo_check == "syntax");
  CHECK(mx.milters.use.empty());
  CHECK(mx.milters.command_timeout == 30s);
  CHECK(mx.milters.content_timeout == 5min);
  CHECK(mx.milters.when_gone == "tempfail");
  CHECK(mx.relay.fallback == "deny");
  CHECK(mx.delivery.retry == std::vector<Duration>{15min, 30min, 60min, 4h});

  const Server& post = outcome->config.servers[1];
  CHECK(post.kind == Kind::pop3);
  CHECK(post.connections.idle_timeout == 10min);
  CHECK(post.connections.login_timeout == 60s);
  CHECK_FALSE(post.pop3.expire);

  const Server& sub = outcome->config.servers[2];
  CHECK(sub.role == Role::submission);
  CHECK_FALSE(sub.auth.anonymous);
  CHECK(sub.listen[0].port == 0);
}

TEST_CASE("every value arrives") {
  const auto outcome =
      common::config::parse("/etc/p/pennypost.toml", full_suite, {{"/etc/p/servers/sub.toml", full_server}});
  CAPTURE(errors(outcome));
  REQUIRE(outcome);
  CHECK(outcome->warnings.empty());
  const Suite& suite = outcome->config.suite;
  CHECK(suite.store.path == "/srv/mail \"store\"");
  CHECK(suite.store.reserve == 1000);
  CHECK(suite.run.user.empty());
  CHECK(suite.run.threads == 3);
  CHECK(local_socket(suite) == "/srv/mail/submit");
  CHECK(local_spool(suite).empty());
  CHECK(suite.log.level == LogLevel::debug);
  CHECK(suite.log.format == "json");
  CHECK(suite.dns.servers == std::vector<std::string>{"192.0.2.53:53", "[2001:db8::53]:5353"});
  CHECK(suite.dns.hosts == std::map<std::string, std::vector<std::string>>{
                               {"b.example", {}}, {"xn--bcher-kva.example", {"192.0.2.1", "2001:db8::1"}}});
  CHECK(suite.dns.insecure == std::vector<std::string>{".", "inside.example"});
  CHECK(suite.dns.timeout == 3s);
  const Server& server = outcome->config.servers.at(0);
  CHECK(server.name == "Grüße \\ \"x\"");
  CHECK(server.hostname == "mail.example.org");
  CHECK(server.default_domain == "xn--bcher-kva.example");
  REQUIRE(server.listen.size() == 3);
  CHECK(server.listen[1].tls);
  CHECK(server.listen[2].path == "/run/p/smtp");
  REQUIRE(server.tls.sni.size() == 2);
  CHECK(server.tls.sni[1].name == "b.example");
  CHECK(server.tls.sni[1].key == "/b.key");
  CHECK(server.connections.limit == 0);
  CHECK(server.connections.idle_timeout == 90s);
  CHECK(server.auth.anonymous);
  CHECK(server.messages.session_size == 123456);
  CHECK(server.messages.bare_newline == "normalize");
  CHECK(server.messages.helo_check == "fcrdns");
  CHECK(server.messages.reverse_dns);
  CHECK(server.milters.use == std::vector<std::string>{"inet:8891@localhost", "unix:/run/x.sock"});
  CHECK(server.milters.connect_timeout == 1s);
  CHECK(server.milters.command_timeout == 2s);
  CHECK(server.milters.content_timeout == 3min);
  CHECK(server.milters.when_gone == "reject");
  CHECK(server.messages.ndr_copy == "Post@xn--bcher-kva.example");
  CHECK(server.messages.masquerade == "xn--bcher-kva.example");
  CHECK(server.delivery.retry == std::vector<Duration>{1min, 2h});
  CHECK(server.delivery.delay_notice == 0s);
  CHECK(server.delivery.expire == 72h);
  CHECK(server.delivery.jitter == 0);
  CHECK(server.outbound.connections == 50);
  CHECK(server.outbound.per_domain == 5);
  CHECK(server.outbound.idle_timeout == 2min);
  CHECK(server.outbound.port == 2525);
  CHECK(server.outbound.bind == std::vector<std::string>{"192.0.2.1", "2001:db8::1"});
  CHECK(server.outbound.messages_per_connection == 0);
  CHECK(server.outbound.smart_host == "[192.0.2.9]:587");
  CHECK(server.outbound.smart_host_use == "fallback");
  CHECK(server.outbound.security == "verify");
  CHECK(server.outbound.username == "us");
  CHECK(server.outbound.password_file == "/p");
  CHECK(server.outbound.by_sender == std::map<std::string, std::string>{{"*.xn--bcher-kva.example", "[2001:db8::9]"},
                                                                        {"example.org", "smtp.example.net:587"}});
}

TEST_CASE("what is shown reads back the same") {
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"", smtp}, {"", submission}, {"", pop3}, {full_suite, full_server}};
  for (const auto& [suite_text, server_text] : texts) {
    const auto first =
        common::config::parse("/etc/p/pennypost.toml", suite_text, {{"/etc/p/servers/x.toml", server_text}});
    REQUIRE(first);
    for (const bool defaults : {false, true}) {
      const auto shown_suite = show_suite(first->config, defaults);
      const auto shown_server = show_server(first->config.servers[0], defaults);
      CAPTURE(shown_suite);
      CAPTURE(shown_server);
      const auto second =
          common::config::parse("/etc/p/pennypost.toml", shown_suite, {{"/etc/p/servers/x.toml", shown_server}});
      CAPTURE(errors(second));
      REQUIRE(second);
      // With every key shown nothing can hide.
      CHECK(show_suite(second->config, true) == show_suite(first->config, true));
      CHECK(show_server(second->config.servers[0], true) == show_server(first->config.servers[0], true));
    }
  }
}

TEST_CASE("what is shown, to the letter") {
  const auto outcome = server(pop3 + "[connections]\nlimit = 5\n");
  REQUIRE(outcome);
  CHECK(show_suite(outcome->config, false).empty());
  CHECK(show_server(outcome->config.servers[0], false) ==
        "kind = \"pop3\"\nlisten = [\"127.0.0.1:2110\"]\n\n[connections]\nlimit = 5\n");
  CHECK(show_suite(outcome->config, true)
            .starts_with("[store]\npath = \"/var/lib/pennypost/store\"\nmap_size = \"256GB\"\n"));
  CHECK(show_suite(outcome->config, true).ends_with("\n[operators]\n"));
}
