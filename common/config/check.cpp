#include "common/config/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "common/config/values.hpp"
#include "common/escape.hpp"

namespace common::config {
namespace {

class Check {
 public:
  Check(const ReadServer& read, std::vector<Mistake>& mistakes)
      : server_(read.server), places_(read.places), mistakes_(mistakes) {}

  void certificate();
  void authentication();
  void timeouts();
  void lmtp_port();
  void smart_host();
  void delay_notice();

 private:
  void tell(std::uint32_t line, std::string_view key, std::string what, std::string remedy) {
    mistakes_.push_back({server_.file, line, std::string{key}, std::move(what), std::move(remedy)});
  }
  void warn(std::string_view key, std::string what, std::string remedy) {
    mistakes_.push_back({server_.file, places_.line(key), std::string{key}, std::move(what), std::move(remedy), true});
  }

  const Server& server_;
  const Places& places_;
  std::vector<Mistake>& mistakes_;
};

void Check::certificate() {
  const Tls& tls = server_.tls;
  if (!places_.sound("tls.certificate") || !places_.sound("tls.key")) return;
  if (!tls.certificate.empty() && tls.key.empty()) {
    tell(places_.line("tls.certificate"), "tls.certificate", "has no key",
         "write the path of its private key as tls.key");
  }
  if (!tls.certificate.empty()) return;
  if (!tls.key.empty()) {
    tell(places_.line("tls.key"), "tls.key", "has no certificate",
         "write the path of its certificate as tls.certificate");
    return;
  }
  constexpr std::string_view remedy = "write tls.certificate and tls.key";
  for (std::size_t i = 0; i < server_.listen.size(); ++i) {
    if (!server_.listen[i].tls) continue;
    tell(places_.listen[i], "listen", "\"" + escape(server_.listen[i].text, 80) + "\" needs a certificate",
         std::string{remedy} + ", or leave out \",tls\"");
  }
  if (tls.required) {
    tell(places_.line("tls.required"), "tls.required", "needs a certificate", std::string{remedy} + ", or false here");
  }
  if (!tls.sni.empty()) {
    tell(places_.line("tls.sni"), "tls.sni", "needs a certificate for clients that name no server",
         std::string{remedy});
  }
}

void Check::authentication() {
  const bool submission = server_.kind == Kind::smtp && server_.role == Role::submission;
  if (submission && server_.auth.mechanisms.empty() && places_.sound("auth.mechanisms") && places_.sound("role")) {
    const bool given = places_.line("auth.mechanisms") != 0;
    tell(places_.line(given ? "auth.mechanisms" : "role"), "auth.mechanisms",
         "is empty, so nobody could use a server of role submission",
         R"(write at least one, as ["SCRAM-SHA-256", "PLAIN"])");
  }
  if (server_.auth.require_tls || server_.kind == Kind::lmtp) return;
  const auto open =
      std::ranges::find_if(server_.listen, [](const Listen& listen) { return !listen.tls && !is_loopback(listen); });
  if (open == server_.listen.end()) return;
  warn("auth.require_tls",
       fmt::format("passwords may cross the network in the clear at \"{}\"", escape(open->text, 80)),
       "write true, or listen on loopback addresses alone");
}

void Check::timeouts() {
  // RFC 1939 3: a pop3 server's inactivity timer is at least ten minutes.
  const Duration idle = server_.connections.idle_timeout;
  if (server_.kind != Kind::pop3 || idle == Duration{} || idle >= std::chrono::minutes{10}) return;
  warn("connections.idle_timeout", fmt::format("\"{}\" is less than RFC 1939 asks of a pop3 server", format_time(idle)),
       R"(write "10m" or more)");
}

void Check::lmtp_port() {
  // RFC 2033 5: who connects to port 25 expects SMTP.
  if (server_.kind != Kind::lmtp) return;
  for (std::size_t i = 0; i < server_.listen.size(); ++i) {
    if (server_.listen[i].port != 25) continue;
    tell(places_.listen[i], "listen", "\"" + escape(server_.listen[i].text, 80) + "\" is the port of SMTP",
         "choose another port for lmtp, as 24, or a Unix socket");
  }
}

void Check::smart_host() {
  const Outbound& outbound = server_.outbound;
  if (!places_.sound("outbound.username") || !places_.sound("outbound.password_file")) return;
  if (!outbound.username.empty() && outbound.password_file.empty()) {
    tell(places_.line("outbound.username"), "outbound.username", "has no password",
         "write the path of the file that holds it as outbound.password_file");
  } else if (outbound.username.empty() && !outbound.password_file.empty()) {
    tell(places_.line("outbound.password_file"), "outbound.password_file", "has no account",
         "write its name as outbound.username");
  } else if (!outbound.username.empty() && places_.sound("outbound.security") && outbound.security == "none") {
    warn("outbound.security", "with \"none\" the password of outbound.username crosses the network in the clear",
         R"(write "tls" or "verify")");
  }
  if (!outbound.smart_host.empty() || !places_.sound("outbound.smart_host")) return;
  for (const std::string_view key : {"outbound.username", "outbound.smart_host_use"}) {
    const bool given = key == "outbound.username" ? !outbound.username.empty() : outbound.smart_host_use == "fallback";
    if (given) warn(key, "is for a smart host, and there is none", "write outbound.smart_host, or leave it out");
  }
}

void Check::delay_notice() {
  const Delivery& delivery = server_.delivery;
  const bool written = places_.line("delivery.delay_notice") != 0;
  if (!written || !places_.sound("delivery.delay_notice") || !places_.sound("delivery.expire")) return;
  if (delivery.delay_notice < delivery.expire) return;
  warn("delivery.delay_notice",
       fmt::format("\"{}\" is not before delivery.expire, \"{}\": nobody is ever told",
                   format_time(delivery.delay_notice), format_time(delivery.expire)),
       R"(write a shorter time, or "0" for never)");
}

}  // namespace

void check_server(const ReadServer& read, std::vector<Mistake>& mistakes) {
  // What else the file says has no meaning while this is unknown.
  if (!read.places.sound("kind")) return;
  Check check{read, mistakes};
  check.certificate();
  check.authentication();
  check.timeouts();
  check.lmtp_port();
  check.smart_host();
  check.delay_notice();
}

void check_addresses(const std::vector<ReadServer>& servers, std::vector<Mistake>& mistakes) {
  struct Place {
    const ReadServer* read;
    const Listen* listen;
    std::uint32_t line;
  };
  std::vector<Place> taken;
  for (const ReadServer& read : servers) {
    for (std::size_t i = 0; i < read.server.listen.size(); ++i) {
      const Place place{&read, &read.server.listen[i], read.places.listen[i]};
      const auto other =
          std::ranges::find_if(taken, [&](const Place& each) { return overlap(*each.listen, *place.listen); });
      if (other != taken.end()) {
        mistakes.push_back(
            {read.server.file, place.line, "listen",
             fmt::format("\"{}\" is taken already by \"{}\" in {}:{}", escape(place.listen->text, 80),
                         escape(other->listen->text, 80), escape(other->read->server.file.native()), other->line),
             "give each an address or a port of its own"});
      }
      taken.push_back(place);
    }
  }
}

void check_homes(const std::vector<ReadServer>& servers, std::vector<Mistake>& mistakes) {
  for (std::size_t i = 0; i < servers.size(); ++i) {
    const auto& home = servers[i].server.home;
    if (home.empty()) continue;
    for (std::size_t before = 0; before < i; ++before) {
      const auto& other = servers[before].server;
      if (other.home.lexically_normal() != home.lexically_normal()) continue;
      mistakes.push_back({servers[i].server.file, servers[i].places.line("home"), "home",
                          fmt::format("\"{}\" is the home of the server in {} already", escape(home.native(), 200),
                                      escape(other.file.native())),
                          "give each a folder of its own"});
      break;
    }
  }
}

}  // namespace common::config
