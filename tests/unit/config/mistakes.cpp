#include <doctest/doctest.h>

#include "samples.hpp"

using namespace samples;

namespace {

struct Row {
  std::string text;
  const char* want;  ///< begins a line of the report, behind the folder
  const char* why;
};

void check(const Row& row, const Outcome& outcome) {
  CAPTURE(row.why);
  const std::string report = errors(outcome);
  CAPTURE(report);
  REQUIRE_FALSE(outcome);
  CHECK(("\n" + report).find("\n/etc/p/" + std::string{row.want}) != std::string::npos);
  for (const auto& mistake : outcome.error()) {
    CHECK_FALSE(mistake.what.empty());
    CHECK_FALSE(mistake.remedy.empty());
    CHECK_FALSE(mistake.warning);
  }
}

}  // namespace

TEST_CASE("mistakes in pennypost.toml") {
  const Row rows[] = {
      {"[store\n", "pennypost.toml:1: this is not TOML: ", "syntax"},
      {"[log]\nlevel = \"info\"\nlevel = \"debug\"\n", "pennypost.toml:3: this is not TOML: ", "a key twice"},
      {"\xFF", "pennypost.toml:1: this is not TOML: ", "not UTF-8"},
      {"[store]\npath = 5", "pennypost.toml:2: store.path: a whole number stands where it takes a text; ", "type"},
      {"[store]\npath = \"store\"", "pennypost.toml:2: store.path: \"store\" is a relative path; ", "relative"},
      {"[store]\npath = \"\"", "pennypost.toml:2: store.path: is empty; ", "empty"},
      {"[store]\nmap_size = \"1MB\"",
       "pennypost.toml:2: store.map_size: \"1MB\" is out of range; write \"16MB\" to \"65536GB", "range"},
      {"[store]\nmap_size = 0", "pennypost.toml:2: store.map_size: ", "no index without a size"},
      {"[store]\nreserve = -1", "pennypost.toml:2: store.reserve: -1 is out of range; ", "negative"},
      {"[store]\nreserve = \"lots\"", "pennypost.toml:2: store.reserve: \"lots\" does not begin with a number; ",
       "size"},
      {"[store]\nreserve = 1.5", "pennypost.toml:2: store.reserve: a fraction stands where", "fraction"},
      {"[run]\nthreads = 5000", "pennypost.toml:2: run.threads: 5000 is out of range; write 0 to 1024", "range"},
      {"[run]\nthreads = \"4\"", "pennypost.toml:2: run.threads: a text stands where it takes a whole number; ",
       "quotes"},
      {"[run]\nuser = \"a\\nb\"", "pennypost.toml:2: run.user: \"a\\nb\" holds a control character; ", "control"},
      {"[log]\nlevel = \"loud\"",
       "pennypost.toml:2: log.level: \"loud\" is not known here; write one of error, warning,", "choice"},
      {"[log]\ntarget = \"log/x\"", "pennypost.toml:2: log.target: \"log/x\" is a relative path; write stderr, ",
       "target"},
      {"[log]\nlvel = \"info\"", "pennypost.toml:2: log.lvel: is not a known key; did you mean log.level?", "near"},
      {"level = \"info\"", "pennypost.toml:1: level: is not a known key; did you mean log.level?", "without its table"},
      {"[logs]\nlevel = \"info\"", "pennypost.toml:1: logs: is not a known key; did you mean log?", "a table"},
      {"\"log.level\" = \"info\"", "pennypost.toml:1: log.level: is not a known key; ", "a dot in quotes"},
      {"log = 5", "pennypost.toml:1: log: a whole number stands where it takes a table; ", "no table"},
      {"[[log]]\nlevel = \"info\"", "pennypost.toml:1: log: a list stands where it takes a table; ",
       "a list of tables"},
      {"[log.level]\nx = 1", "pennypost.toml:1: log.level: a table stands where it takes a text; ", "a table too many"},
      {"[log.x.y]\nz = 1", "pennypost.toml:1: log.x: is not a known key; ", "deeper"},
      {"\"\\u001b[2J\" = 1", "pennypost.toml:1: \\x1B[2J: is not a known key; remove it", "an escape sequence as key"},
      {"\n\nlisten = []", "pennypost.toml:3: listen: is not a known key; write it in a file in servers/", "other file"},
      {"[dns]\nservers = [5]", "pennypost.toml:2: dns.servers: a whole number stands where it takes", "type"},
      {"[dns]\nservers = [\"192.0.2.1\"]",
       "pennypost.toml:2: dns.servers: \"192.0.2.1\" has no port; write address:port", "no port"},
      {"[dns]\nservers = [\"192.0.2.1:0\"]",
       "pennypost.toml:2: dns.servers: \"192.0.2.1:0\" has no port from 1 to 65535; write", "no port to connect to"},
      {"[dns]\nservers = [\"ns.example.org:53\"]",
       "pennypost.toml:2: dns.servers: \"ns.example.org:53\" has no numeric address; write address:port", "a name"},
      {"[dns]\nservers = [\"unix:/x\"]", "pennypost.toml:2: dns.servers: \"unix:/x\" is no server's address; write",
       "path"},
      {"[dns]\nservers = [\"192.0.2.1:53,tls\"]",
       "pennypost.toml:2: dns.servers: \"192.0.2.1:53,tls\" is no server's address; write", "TLS"},
      {"[dns]\nhosts = { \"a b\" = [\"192.0.2.1\"] }", "pennypost.toml:2: dns.hosts: \"a b\": ", "no name"},
      {"[dns]\nhosts = { \"a\" = [\"b\"] }", "pennypost.toml:2: dns.hosts: \"b\" is no numeric address; write",
       "a name"},
      {"[dns]\nhosts = { \"a\" = \"192.0.2.1\" }",
       "pennypost.toml:2: dns.hosts: a text stands where it takes a table of lists; write a list", "no list"},
      {"[dns]\ninsecure = [\"\"]", "pennypost.toml:2: dns.insecure: is empty; write a domain name", "no zone"},
      {"[dns]\ninsecure = [\"a b\"]", "pennypost.toml:2: dns.insecure: \"a b\": ", "no name"},
      {"[dns]\ntimeout = \"2m\"", "pennypost.toml:2: dns.timeout: \"2m\" is out of range; write \"1s\" to \"1m\"",
       "range"},
      {"[metrics]\nlisten = \"127.0.0.1:9090\"", "pennypost.toml:2: metrics.listen: is not supported yet; ", "later"},
      {"[auth]\ntrusted = [\"127.0.0.0/8\", \"192.0.2.1/24\"]",
       "pennypost.toml:2: auth.trusted: \"192.0.2.1/24\" has bits behind its prefix; write a list", "a slip"},
      {"[auth]\ntrusted = [\"localhost\"]", "pennypost.toml:2: auth.trusted: \"localhost\" is no numeric address; ",
       "a name"},
      {"[auth]\ntrusted = \"127.0.0.1\"", "pennypost.toml:2: auth.trusted: a text stands where it takes a list",
       "no list"},
      {"[auth]\nfailures = -1", "pennypost.toml:2: auth.failures: -1 is ", "negative"},
      {"[auth]\ndelay_max = \"1m\"", "pennypost.toml:2: auth.delay_max: \"1m\" is ", "too long"},
      {"[operators]\nann = [\"domain\"]", "pennypost.toml:1: operators: is not supported yet; ", "later"},
  };
  for (const auto& row : rows) check(row, suite(row.text));
}

TEST_CASE("mistakes in a server file") {
  const std::string tls = "[tls]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n";
  const Row rows[] = {
      {"", "servers/mx.toml: kind: is missing; write kind = ", "kind"},
      {"", "servers/mx.toml: listen: is missing; write listen = ", "listen"},
      {"kind = \"imap\"\n", "servers/mx.toml:1: kind: \"imap\" is not known here; write one of smtp, lmtp, pop3",
       "kind"},
      {"kind = \"lmtp\"\nlisten = [\"127.0.0.1:24\"]\nrole = \"mx\"", "servers/mx.toml:3: role: ", "an SMTP server's"},
      {"kind = \"lmtp\"\nlisten = [\n\"127.0.0.1:24\",\n\"[::]:25\"]",
       "servers/mx.toml:4: listen: \"[::]:25\" is the port of SMTP; choose another port for lmtp", "RFC 2033 5"},
      {"kind = \"smtp\"\nlisten = []", "servers/mx.toml:2: listen: is empty; ", "nowhere to listen"},
      {"kind = \"smtp\"\nlisten = [\n\"127.0.0.1:25\",\n\"localhost:26\",\n]",
       "servers/mx.toml:4: listen: \"localhost:26\" has no numeric address; ", "the line of the entry"},
      {"kind = \"smtp\"\nlisten = \"127.0.0.1:25\"",
       "servers/mx.toml:2: listen: a text stands where it takes a list of texts; ", "no list"},
      {"kind = \"smtp\"\nlisten = [\n\"127.0.0.1:25\",\n\"127.0.0.1:25\"]",
       "servers/mx.toml:4: listen: \"127.0.0.1:25\" is taken already by \"127.0.0.1:25\" in /etc/p/servers/mx.toml:3; ",
       "twice"},
      {smtp + "role = \"relay\"", "servers/mx.toml:3: role: \"relay\" is not known here; write one of mx, submission",
       "role"},
      {smtp + "[milters]\nuse = [\n\"inet:1@localhost\",\n\"inet:8891\"]",
       "servers/mx.toml:6: milters.use: \"inet:8891\" names no host; write inet:port@host or unix:/path", "S97"},
      {smtp + "[milters]\nuse = [\"unix:/a\", \"local:/a\"]",
       "servers/mx.toml:4: milters.use: \"local:/a\" stands there twice; name each filter once", "twice"},
      {smtp + "[milters]\nuse = \"unix:/a\"", "servers/mx.toml:4: milters.use: a text stands where it takes a list",
       "no list"},
      {smtp + "[milters]\nwhen_gone = \"discard\"",
       "servers/mx.toml:4: milters.when_gone: \"discard\" is not known here; write one of accept, tempfail, reject",
       "S97"},
      {smtp + "[milters]\ncommand_timeout = \"0\"", "servers/mx.toml:4: milters.command_timeout: \"0\" is out of range",
       "not for ever"},
      {"kind = \"pop3\"\nlisten = [\"127.0.0.1:1\"]\n[milters]\nuse = []",
       "servers/mx.toml:3: milters: does not belong to kind pop3; ", "no mail comes in"},
      {smtp + "hostname = \"a_b\"", "servers/mx.toml:3: hostname: \"a_b\": ", "no domain"},
      {smtp + "hostname = \"\"", "servers/mx.toml:3: hostname: is empty; ", "no name"},
      {smtp + "home = \"mx\"", "servers/mx.toml:3: home: \"mx\" is a relative path; ", "relative"},
      {smtp + "size = \"5MB\"", "servers/mx.toml:3: size: is not a known key; did you mean messages.size?",
       "without its table"},
      {smtp + "[tls]\nhostname = \"x\"",
       "servers/mx.toml:4: tls.hostname: is not a known key; write it at the top of the file", "under a table"},
      {smtp + "[conections]\nlimit = 5", "servers/mx.toml:3: conections: is not a known key; did you mean connections?",
       "a table"},
      {smtp + "[store]\npath = \"/x\"", "servers/mx.toml:3: store: is not a known key; write it in pennypost.toml",
       "other file"},
      {smtp + "[pop3]\napop = false", "servers/mx.toml:3: pop3: does not belong to kind smtp, role mx; remove it",
       "kind"},
      {pop3 + "role = \"mx\"",
       "servers/mx.toml:3: role: does not belong to kind pop3; remove it; it belongs to kind smtp", "kind"},
      {pop3 + "[messages]\nsize = 5", "servers/mx.toml:3: messages: does not belong to kind pop3; ", "kind"},
      {pop3 + "[auth]\nanonymous = true", "servers/mx.toml:4: auth.anonymous: does not belong to kind pop3; ", "kind"},
      {"kind = \"smtp\"\nlisten = [\"127.0.0.1:25\",\n\"127.0.0.1:465,tls\"]",
       "servers/mx.toml:3: listen: \"127.0.0.1:465,tls\" needs a certificate; ", "no certificate"},
      {smtp + "[tls]\nrequired = true", "servers/mx.toml:4: tls.required: needs a certificate; ", "no certificate"},
      {smtp + "[tls]\ncertificate = \"/c\"", "servers/mx.toml:4: tls.certificate: has no key; ", "no key"},
      {smtp + "[tls]\nkey = \"/k\"", "servers/mx.toml:4: tls.key: has no certificate; ", "no certificate"},
      {smtp + "[tls]\ncertificate = \"c.pem\"", "servers/mx.toml:4: tls.certificate: \"c.pem\" is a relative path; ",
       "relative"},
      {smtp + "[[tls.sni]]\nname = \"a\"\ncertificate = \"/c\"\nkey = \"/k\"",
       "servers/mx.toml:3: tls.sni: needs a certificate", "no certificate"},
      {smtp + tls + "[[tls.sni]]\nname = \"a\"", "servers/mx.toml:6: tls.sni: a table lacks name, certificate or key; ",
       "half an entry"},
      {smtp + tls + "[[tls.sni]]\nnme = \"a\"", "servers/mx.toml:7: tls.sni: \"nme\" is not known in tls.sni; ",
       "unknown"},
      {smtp + tls + "client_ca = \"/ca\"", "servers/mx.toml:6: tls.client_ca: is not supported yet; ", "later"},
      {smtp + "[connections]\nidle_timeout = 300", "servers/mx.toml:4: connections.idle_timeout: 300 has no unit; ",
       "unit"},
      {smtp + "[connections]\nidle_timeout = \"400d\"",
       "servers/mx.toml:4: connections.idle_timeout: \"400d\" is out of range; write 0 for none, or \"1s\" to \"365d\"",
       "range"},
      {smtp + "[connections]\nlogin_timeout = \"5s\"",
       "servers/mx.toml:4: connections.login_timeout: is not supported yet; ", "pop3 alone"},
      {smtp + "[connections]\nproxy_protocol = [\"192.0.2.1\"]",
       "servers/mx.toml:4: connections.proxy_protocol: is not supported yet; ", "later"},
      {smtp + "[auth]\nmechanisms = [\"GSSAPI\"]",
       "servers/mx.toml:4: auth.mechanisms: \"GSSAPI\" is not supported yet; ", "later"},
      {smtp + "[auth]\nmechanisms = [\"PLAN\"]", "servers/mx.toml:4: auth.mechanisms: \"PLAN\" is not known here; ",
       "unknown"},
      {smtp + "[auth]\nmechanisms = [\"PLAIN\", \"PLAIN\"]",
       "servers/mx.toml:4: auth.mechanisms: \"PLAIN\" is listed twice; ", "twice"},
      {smtp + "[auth]\nrequire_tls = \"yes\"",
       "servers/mx.toml:4: auth.require_tls: a text stands where it takes true or false; ", "type"},
      {submission + "[auth]\nmechanisms = []", "servers/mx.toml:5: auth.mechanisms: is empty, so nobody could",
       "submission"},
      {smtp + "[messages]\nrecipients = -1",
       "servers/mx.toml:4: messages.recipients: -1 is out of range; write 0 or more", "range"},
      {smtp + "[messages]\nndr_copy = \"postmaster\"",
       "servers/mx.toml:4: messages.ndr_copy: \"postmaster\": has no domain; write a whole address",
       "a bare name (S47)"},
      {smtp + "[messages]\nndr_copy = \"a b@x.test\"",
       "servers/mx.toml:4: messages.ndr_copy: \"a b@x.test\": ", "no address (S47)"},
      {smtp + "[messages]\nmasquerade = \"ann@x.test\"",
       "servers/mx.toml:4: messages.masquerade: \"ann@x.test\": ", "no domain (S65)"},
      {smtp + "[delivery]\nretry = []", "servers/mx.toml:4: delivery.retry: is empty; write a list", "none (S50)"},
      {smtp + "[delivery]\nretry = [\"15m\", \"0\"]",
       "servers/mx.toml:4: delivery.retry: \"0\" is out of range; write \"1s\" to \"365d\"", "at once (S51)"},
      {smtp + "[delivery]\nexpire = \"0\"", "servers/mx.toml:4: delivery.expire: \"0\" is out of range; ",
       "at once (S53)"},
      {smtp + "[delivery]\njitter = 101", "servers/mx.toml:4: delivery.jitter: 101 is out of range; write 0 to 100",
       "range"},
      {smtp + "[delivery]\nlocal_retry = \"0\"", "servers/mx.toml:4: delivery.local_retry: \"0\" is out of range; ",
       "at once (S55)"},
      {smtp + "[outbound]\nport = 70000", "servers/mx.toml:4: outbound.port: 70000 is out of range; write 1 to 65535",
       "range (S63)"},
      {smtp + "[outbound]\nbind = [\n\"192.0.2.1\",\n\"eth0\"]",
       "servers/mx.toml:6: outbound.bind: \"eth0\" is no numeric address; write a list", "a name"},
      {smtp + "[outbound]\nbind = [\"::1\", \"0::1\"]", "servers/mx.toml:4: outbound.bind: \"0::1\" is listed twice; ",
       "two spellings"},
      {smtp + "[outbound]\nsmart_host = \"[relay.test]\"",
       "servers/mx.toml:4: outbound.smart_host: \"[relay.test]\": brackets are for numeric addresses; write a host",
       "no address (S67)"},
      {smtp + "[outbound]\nsmart_host = \"relay.test:smtp\"",
       "servers/mx.toml:4: outbound.smart_host: \"relay.test:smtp\": a port is a number from 1 to 65535; ",
       "port (S67)"},
      {smtp + "[outbound]\nsmart_host_use = \"first\"",
       "servers/mx.toml:4: outbound.smart_host_use: \"first\" is not known here; write one of always, fallback", "S68"},
      {smtp + "[outbound]\nsecurity = \"starttls\"",
       "servers/mx.toml:4: outbound.security: \"starttls\" is not known here; write one of none, opportunistic, tls, "
       "verify",
       "S59"},
      {smtp + "[outbound]\nsmart_host = \"a.test\"\nusername = \"us\"",
       "servers/mx.toml:5: outbound.username: has no password; write the path of the file", "S58"},
      {smtp + "[outbound]\nsmart_host = \"a.test\"\npassword_file = \"/p\"",
       "servers/mx.toml:5: outbound.password_file: has no account; write its name as outbound.username", "S58"},
      {smtp + "[outbound]\npassword_file = \"p\"",
       "servers/mx.toml:4: outbound.password_file: \"p\" is a relative path; ", "relative"},
      {smtp + "[outbound.by_sender]\n\"a b\" = \"x.test\"",
       "servers/mx.toml:4: outbound.by_sender: \"a b\": ", "no domain"},
      {smtp + "[outbound.by_sender]\n\"a.test\" = \"x.test\"\n\"A.test\" = \"y.test\"",
       "servers/mx.toml:5: outbound.by_sender: \"A.test\" is listed twice; ", "two spellings"},
      {smtp + "[outbound.by_sender]\n\"*.a.test\" = \"x.test:0\"",
       "servers/mx.toml:4: outbound.by_sender: \"x.test:0\": a port is a number from 1 to 65535; ", "port"},
      {smtp + "[outbound.by_sender]\n\"a.test\" = \"\"",
       "servers/mx.toml:4: outbound.by_sender: \"a.test\" has no host; ", "empty"},
      {smtp + "[outbound]\nby_sender = [\"a.test\"]",
       "servers/mx.toml:4: outbound.by_sender: a list stands where it takes a table of texts; ", "type"},
      {pop3 + "[outbound]\nport = 25", "servers/mx.toml:3: outbound: does not belong to kind pop3; ", "kind"},
      {smtp + "[relay]\ndefault = \"allow\"", "servers/mx.toml:4: relay.default: is not supported yet; ", "later"},
      {pop3 + "[pop3]\nexpire = \"often\"", "servers/mx.toml:4: pop3.expire: \"often\" does not begin with a number",
       "time"},
      {pop3 + "[pop3]\nexpire = 30", "servers/mx.toml:4: pop3.expire: 30 has no unit", "time"},
      {pop3 + "[pop3]\nexpire = true", "servers/mx.toml:4: pop3.expire: true or false stands where it takes a time",
       "type"},
  };
  for (const auto& row : rows) check(row, server(row.text));
}

TEST_CASE("all mistakes are told at once, in the order of files and lines") {
  const auto outcome = common::config::parse(
      "/etc/p/pennypost.toml", "[log]\nlevel = 1\nfrmat = \"text\"\n",
      {{"/etc/p/servers/a.toml", "kind = \"smtp\"\nlisten = [\"0.0.0.0:25\"]\nname = 5\n[auth]\nrequire_tls = false\n"},
       {"/etc/p/servers/b.toml", "kind = \"pop3\"\n["},
       {"/etc/p/servers/c.toml", "kind = \"pop3\"\nlisten = [\"127.0.0.1:25\"]\n"}});
  REQUIRE_FALSE(outcome);
  std::string places;
  for (const auto& mistake : outcome.error()) {
    places += mistake.file.filename().native() + ":" + std::to_string(mistake.line) + " ";
  }
  CHECK(places == "pennypost.toml:2 pennypost.toml:3 a.toml:3 b.toml:2 c.toml:2 ");
  CHECK(errors(outcome).find(
            "c.toml:2: listen: \"127.0.0.1:25\" is taken already by \"0.0.0.0:25\" in /etc/p/servers/a.toml:2") !=
        std::string::npos);
}

TEST_CASE("a mistake does not lead to others") {
  for (const auto& text :
       {submission + "[auth]\nmechanisms = [\"GSSAPI\"]", smtp + "[tls]\ncertificate = 5\nkey = \"/k\"",
        std::string{"kind = \"lmtp\"\nlisten = [\"0.0.0.0:24,tls\"]\n"},
        std::string{"kind = \"pop\"\nlisten = [\"0.0.0.0:24\"]\n[messages]\nsize = 5\n[pop3]\napop = false"}}) {
    const auto outcome = server(text);
    CAPTURE(errors(outcome));
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().size() == 1);
  }
}

TEST_CASE("the name of a server file") {
  CHECK(server(smtp, "mx-1.example_a"));
  CHECK_FALSE(server(smtp, "mx 1"));
  CHECK_FALSE(server(smtp, "m\nx"));
  CHECK_FALSE(server(smtp, std::string(65, 'x')));
}

TEST_CASE("what is unwise is told and does not hinder") {
  struct Warned {
    std::string text;
    const char* want;
    const char* why;
  };
  const Warned rows[] = {
      {smtp + "[auth]\nrequire_tls = false", "", "loopback"},
      {"kind = \"smtp\"\nlisten = [\"unix:/a\", \"[::1]:25\"]\n[auth]\nrequire_tls = false", "", "loopback"},
      {"kind = \"smtp\"\nlisten = [\"127.0.0.1:25\", \"192.0.2.1:25\"]\n[auth]\nrequire_tls = false",
       "/etc/p/servers/mx.toml:4: auth.require_tls: passwords may cross the network in the clear at \"192.0.2.1:25\"; ",
       "open"},
      {"kind = \"pop3\"\nlisten = [\"0.0.0.0:110\"]\n[auth]\nrequire_tls = false",
       "/etc/p/servers/mx.toml:4: auth.require_tls: ", "open"},
      {pop3 + "[connections]\nidle_timeout = \"5m\"",
       "/etc/p/servers/mx.toml:4: connections.idle_timeout: \"5m\" is less", "RFC 1939"},
      {pop3 + "[connections]\nidle_timeout = \"0\"", "", "no limit"},
      {smtp + "[connections]\nidle_timeout = \"30s\"", "", "smtp"},
      {smtp + "[delivery]\ndelay_notice = \"2d\"\nexpire = \"1d\"",
       "/etc/p/servers/mx.toml:4: delivery.delay_notice: \"2d\" is not before delivery.expire, \"1d\"",
       "never told (S52)"},
      {smtp + "[delivery]\nexpire = \"1h\"", "", "the notice is the default"},
      {smtp + "[outbound]\nsmart_host_use = \"fallback\"",
       "/etc/p/servers/mx.toml:4: outbound.smart_host_use: is for a smart host, and there is none",
       "no smart host (S68)"},
      {smtp + "[outbound]\nusername = \"us\"\npassword_file = \"/p\"",
       "/etc/p/servers/mx.toml:4: outbound.username: is for a smart host, and there is none", "no smart host (S58)"},
      {smtp + "[outbound]\nsmart_host = \"a.test\"\nusername = \"us\"\npassword_file = \"/p\"", "", "an account (S58)"},
      {smtp + "[outbound]\nsmart_host = \"a.test\"\nusername = \"us\"\npassword_file = \"/p\"\nsecurity = \"none\"",
       "/etc/p/servers/mx.toml:7: outbound.security: with \"none\" the password", "in the clear (S59)"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto outcome = server(row.text);
    CAPTURE(errors(outcome));
    REQUIRE(outcome);
    CHECK(outcome->warnings.size() == (*row.want == 0 ? 0 : 1));
    CHECK(all(outcome->warnings).starts_with(row.want));
    for (const auto& warning : outcome->warnings) CHECK(warning.warning);
  }
}
