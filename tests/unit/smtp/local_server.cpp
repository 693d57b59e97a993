#include "smtpd/session/local_server.hpp"

#include <doctest/doctest.h>

#include "smtpd/session/terms.hpp"

using namespace smtpd;

namespace {

common::config::Config configured(std::string_view suite, std::string_view server) {
  auto loaded =
      common::config::parse("/etc/p/pennypost.toml", suite, {{"/etc/p/servers/mx.toml", std::string{server}}});
  REQUIRE(loaded);
  return std::move(loaded->config);
}

constexpr std::string_view submission =
    "kind = \"smtp\"\nrole = \"submission\"\nlisten = [\"127.0.0.1:0\"]\nhostname = \"mx.test\"\ndefault_domain = "
    "\"example.test\"\n[messages]\nsize = 1000\nrecipients = 5\nper_session = 2\nhelo_check = \"fcrdns\"\n";

}  // namespace

TEST_CASE("programs of this machine need not log in, and may send to everybody") {
  const auto server = make_local_server(configured("[run]\ndirectory = \"/run/p\"", submission));
  REQUIRE(server);
  CHECK(server->id == "mx/local");
  REQUIRE(server->listen.size() == 1);
  CHECK(server->listen[0].path == "/run/p/submit");
  const auto terms = make_terms(*server);
  CHECK(terms.server == "mx");  // whose schedules and reports hold
  CHECK(terms.local);
  CHECK(terms.anonymous);
  CHECK_FALSE(terms.submission);
  CHECK_FALSE(terms.tls_required);
  CHECK_FALSE(terms.has_certificate);
  CHECK(terms.mechanisms.empty());
  CHECK(terms.default_domain == "example.test");
  CHECK(terms.message_octets == 1000);
  CHECK(terms.recipients == 0);
  CHECK(terms.messages_per_session == 0);
  CHECK(terms.helo_check == HeloCheck::off);
  CHECK(terms.bare_newline == BareNewline::normalize);
}

TEST_CASE("a Unix socket that a server listens on gives no such rights; the socket can be off") {
  const auto config = configured("[local]\nsocket = \"off\"",
                                 "kind = \"smtp\"\nlisten = [\"unix:/run/p/proxy\"]\nhostname = \"mx.test\"\n");
  CHECK_FALSE(make_terms(config.servers[0]).local);
  const auto server = make_local_server(config);
  REQUIRE(server);
  CHECK(server->listen.empty());
}

TEST_CASE("without a server of kind smtp there is none") {
  CHECK_FALSE(
      make_local_server(configured("", "kind = \"lmtp\"\nlisten = [\"127.0.0.1:0\"]\nhostname = \"mx.test\"\n")));
}
