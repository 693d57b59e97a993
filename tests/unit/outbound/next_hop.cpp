#include "smtpd/outbound/next_hop.hpp"

#include <doctest/doctest.h>

using namespace smtpd::outbound;

namespace {

common::config::Outbound settings(std::string smart_host = {}, std::string use = "always") {
  common::config::Outbound outbound;
  outbound.per_domain = 100;
  outbound.port = 25;
  outbound.security = "opportunistic";
  outbound.smart_host = std::move(smart_host);
  outbound.smart_host_use = std::move(use);
  outbound.username = "us";
  outbound.password_file = "/etc/password";
  return outbound;
}

std::optional<mailstore::Domain> remote(mailstore::RemoteSettings given) {
  mailstore::Domain domain;
  domain.name = "far.test";
  domain.kind = mailstore::DomainKind::remote;
  domain.remote = std::move(given);
  return domain;
}

std::string text_of(const NextHop& hop) {
  std::string text = hop.host ? format_host_port(*hop.host) : "dns:" + std::to_string(hop.port);
  if (hop.fallback) text += " else " + format_host_port(*hop.fallback);
  if (!hop.username.empty()) text += " as " + hop.username;
  return text;
}

}  // namespace

TEST_CASE("where mail goes next (S67, S68, S92)") {
  struct Row {
    std::string domain;
    std::optional<mailstore::Domain> remote;
    common::config::Outbound server;
    std::string reroute, want, why;
    std::string sender = {};
  };
  auto by_sender = settings("relay.test");
  by_sender.by_sender = {
      {"ours.test", "own.test:587"}, {"*.ours.test", "below.test"}, {"*.b.ours.test", "[192.0.2.7]"}};
  const Row rows[] = {
      {"far.test", {}, settings(), "", "dns:25", "nothing is set"},
      {"far.test", {}, settings("relay.test"), "", "relay.test:25 as us", "a smart host, always"},
      {"far.test", {}, settings("[192.0.2.9]:587"), "", "[192.0.2.9]:587 as us", "brackets skip DNS"},
      {"far.test", {}, settings("relay.test", "fallback"), "", "dns:25 else relay.test:25 as us", "DNS first"},
      {"far.test", remote({.route = "dns"}), settings("relay.test"), "", "dns:25", "a remote domain goes before"},
      {"far.test", remote({.route = "mx.far.test:2525"}), settings("relay.test"), "", "mx.far.test:2525",
       "its host goes before, and the smart host's account is not for it"},
      {"far.test", remote({.route = "mx.far.test", .username = "me", .password = "x"}), settings(), "",
       "mx.far.test:25 as me", "with an account of its own"},
      {"far.test", remote({.allow_relay = true}), settings("relay.test"), "", "relay.test:25 as us",
       "a remote domain without a route of its own"},
      {"far.test", remote({.route = "mx.far.test"}), settings(), "[::1]:26", "[::1]:26", "what a person said"},
      {"[192.0.2.1]", {}, settings("relay.test"), "", "[192.0.2.1]:25", "an address literal"},
      {"[IPv6:2001:db8::1]", {}, settings(), "", "[2001:db8::1]:25", "an address literal"},
      {"far.test",
       {},
       by_sender,
       "",
       "own.test:587",
       "by the sender's domain, without the smart host's account",
       "ann@ours.test"},
      {"far.test", {}, by_sender, "", "below.test:25", "below it", "ann@a.ours.test"},
      {"far.test", {}, by_sender, "", "[192.0.2.7]:25", "the longest counts", "ann@a.b.ours.test"},
      {"far.test", {}, by_sender, "", "relay.test:25 as us", "another sender", "ann@yours.test"},
      {"far.test", {}, by_sender, "", "relay.test:25 as us", "a name that only ends alike", "ann@notours.test"},
      {"far.test", {}, by_sender, "", "relay.test:25 as us", "the null reverse-path", ""},
      {"far.test", remote({.route = "mx.far.test"}), by_sender, "", "mx.far.test:25", "a remote domain goes before",
       "ann@ours.test"},
      {"far.test", remote({.route = "dns"}), by_sender, "", "dns:25", "a remote domain goes before", "ann@ours.test"},
      {"far.test", remote({.no_esmtp = true}), by_sender, "", "own.test:587", "one without a route", "ann@ours.test"},
      {"[192.0.2.1]", {}, by_sender, "", "[192.0.2.1]:25", "an address literal", "ann@ours.test"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    std::vector<std::string> steps;
    const auto hop = choose_next_hop(row.domain, row.remote, row.server, "pw", row.sender, row.reroute, &steps);
    REQUIRE(hop);
    CHECK(text_of(*hop) == row.want);
    CHECK_FALSE(hop->rule.empty());
    REQUIRE(steps.size() >= 2);
    CHECK(steps.back() == hop->rule);
  }
  CHECK_FALSE(choose_next_hop("far.test", {}, settings("a b"), "", "", ""));
  CHECK_FALSE(choose_next_hop("[none]", {}, settings(), "", "", ""));
}

TEST_CASE("terms of a remote domain go before the server's (S62, S90, S91)") {
  const auto plain = choose_next_hop("far.test", {}, settings(), "", "", "");
  CHECK(plain->security == Security::opportunistic);
  CHECK(plain->hello == Hello::ehlo);
  CHECK(plain->connections == 100);
  CHECK(plain->rate == 0);
  const auto own = choose_next_hop(
      "far.test", remote({.no_esmtp = true, .security = mailstore::Security::verify, .rate = 60, .connections = 2}),
      settings(), "", "", "");
  CHECK(own->security == Security::verify);
  CHECK(own->hello == Hello::helo);
  CHECK(own->connections == 2);
  CHECK(own->rate == 60);
}
