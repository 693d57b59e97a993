#include "smtpd/outbound/carrier.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/use_future.hpp>
#include <fstream>
#include <map>

#include "common/log.hpp"
#include "stub_server.hpp"
#include "tests/unit/net/host.hpp"
#include "tests/unit/net/tls_client.hpp"

using namespace test;
using namespace smtpd::outbound;
using namespace std::chrono_literals;
using common::net::TlsClientContext;

namespace {

class FakeNames final : public NameService {
 public:
  asio::awaitable<MxAnswer> exchangers(std::string domain) override {
    const auto found = mx.find(domain);
    co_return found == mx.end() ? MxAnswer{Lookup::no_name, {}, {}} : found->second;
  }
  asio::awaitable<AddressAnswer> addresses(std::string host) override {
    const auto found = hosts.find(host);
    if (found == hosts.end()) co_return AddressAnswer{Lookup::no_name, {}, {}};
    co_return AddressAnswer{Lookup::found, found->second, {}};
  }
  std::map<std::string, MxAnswer> mx;
  std::map<std::string, std::vector<std::string>> hosts;
};

/// A carrier on a worker of its own, and a message.
class House {
 public:
  explicit House(const Clock& clock = system_clock_source()) : host_(clock) {
    names.mx["there.test"] = {Lookup::found, {{10, "mx.there.test"}}, {}};
    names.hosts["mx.there.test"] = {"127.0.0.1"};
    terms.hostname = "us.test";
    terms.security = Security::none;
    setup.dice = [](std::uint32_t bound) { return bound - 1; };
    message.id = "id";
    message.reverse_path = "ann@us.test";
    message.recipients = {{"bob@there.test", 0, {}}};
    write("Subject: a\r\n\r\n..dot\r\nbody\r\n", true);
  }
  ~House() {
    host_.on_thread([this] { carrier_.reset(); });
  }

  void write(const std::string& stored, bool stuffed) {
    std::ofstream{folder_ / "message", std::ios::binary} << "front" << stored;
    file_ = Descriptor{::open((folder_ / "message").c_str(), O_RDONLY | O_CLOEXEC)};
    body = {file_.get(), 5, stored.size()};
    message.stuffed = stuffed;
    message.stored_octets = stored.size();
    message.octets = stored.size() - (stuffed ? 1 : 0);
  }
  /// Begun, not awaited.
  std::future<Delivery> begin(std::uint16_t port) {
    route.domain = "there.test";
    route.port = port;
    route.terms = std::make_shared<const ClientTerms>(copy(terms));
    if (!carrier_) {
      host_.on_thread([this] { carrier_ = std::make_unique<Carrier>(host_.worker(), names, setup); });
    }
    return asio::co_spawn(host_.worker().context(), carrier_->carry(route, message, body), asio::use_future);
  }
  Delivery carry(std::uint16_t port) { return begin(port).get(); }

  /// Turns the clock until it is over, once the stub is silent.
  Delivery outlast(std::future<Delivery> under_way, StubServer& stub, HandClock& clock) {
    while (stub.heard().stalls == 0 && under_way.wait_for(1ms) != std::future_status::ready) {
    }
    for (int i = 0; i < 10'000 && under_way.wait_for(0s) != std::future_status::ready; ++i) host_.pass(clock, 30s);
    REQUIRE(under_way.wait_for(10s) == std::future_status::ready);
    return under_way.get();
  }
  Host& host() { return host_; }
  Carrier& carrier() { return *carrier_; }

  static ClientTerms copy(const ClientTerms& from) { return from; }

  FakeNames names;
  ClientTerms terms;
  Carrier::Setup setup;
  Route route;
  Message message;
  Body body;

 private:
  Folder folder_;
  Descriptor file_;
  Host host_;
  std::unique_ptr<Carrier> carrier_;
};

std::string told(const Delivery& delivery) {
  std::string text;
  for (const auto& answer : delivery.answers) {
    text +=
        std::string{text.empty() ? "" : "; "} + "-dtp?"[static_cast<int>(answer.outcome)] + " " + format_answer(answer);
  }
  return text;
}

}  // namespace

TEST_CASE("a message arrives as it is stored, the next one by the same connection") {
  House house;
  StubServer stub{{Ways{}}};
  const auto first = house.carry(stub.port());
  CHECK(told(first) == "d 250 2.0.0 taken");
  CHECK(first.host == "mx.there.test");
  CHECK(first.address == "127.0.0.1");
  CHECK(first.port == stub.port());
  CHECK(first.connections == 1);
  CHECK(house.carrier().idle() == 1);
  const auto second = house.carry(stub.port());
  CHECK(told(second) == "d 250 2.0.0 taken");
  CHECK(second.connections == 0);
  const auto heard = stub.heard();
  CHECK(heard.connections == 1);
  CHECK(heard.messages == std::vector<std::string>(2, "Subject: a\r\n\r\n..dot\r\nbody\r\n"));
  CHECK(heard.lines == std::vector<std::string>{"EHLO us.test", "MAIL FROM:<ann@us.test> SIZE=26",
                                                "RCPT TO:<bob@there.test>", "DATA", "MAIL FROM:<ann@us.test> SIZE=26",
                                                "RCPT TO:<bob@there.test>", "DATA"});
}

TEST_CASE("large messages in the clear and over TLS, and by BDAT where no dot is stuffed") {
  Folder folder;
  const auto certificate = make_certificate(folder, "stub", "mx.there.test");
  SSL_CTX* const tls = server_tls(certificate.certificate, certificate.key);
  std::string large;
  for (int i = 0; i < 60'000; ++i) large += "line " + std::to_string(i) + " of a message that is long\r\n";
  for (const bool secure : {false, true}) {
    for (const bool chunks : {false, true}) {
      House house;
      house.write(large, !chunks);
      Ways ways;
      ways.extensions = {"PIPELINING", "8BITMIME"};
      if (chunks) ways.extensions.emplace_back("CHUNKING");
      if (secure) ways.extensions.emplace_back("STARTTLS");
      ways.tls = tls;
      StubServer stub{{ways}};
      house.terms.security = secure ? Security::tls : Security::none;
      house.setup.unchecked = TlsClientContext::load(TlsClientContext::Peer::anyone).value();
      const auto delivery = house.carry(stub.port());
      CHECK(told(delivery) == "d 250 2.0.0 taken");
      CHECK(delivery.tls.empty() == !secure);
      const auto heard = stub.heard();
      REQUIRE(heard.messages.size() == 1);
      const bool same = heard.messages[0] == large;
      CHECK(same);
      CHECK(heard.lines.back() == (chunks ? "BDAT " + std::to_string(large.size()) + " LAST" : std::string{"DATA"}));
    }
  }
  SSL_CTX_free(tls);
}

TEST_CASE("lines in front of a message go with it, in every form, and count") {
  const std::string front = "Delivered-To: ann@us.test\r\n";
  struct Row {
    std::vector<std::string> extensions;
    std::string body, want, last_line;
  };
  const std::vector<Row> rows = {
      {{"PIPELINING", "SIZE", "8BITMIME"}, "Subject: a\r\n\r\n..dot\r\n", "", "DATA"},
      {{"SIZE", "8BITMIME", "CHUNKING"}, "Subject: a\r\n\r\nbody\r\n", "", "BDAT 47 LAST"},
      {{"PIPELINING", "SIZE"},
       "Subject: a\r\n\r\na short \xc3\xa4 and more\r\n",
       front + "Subject: a\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Transfer-Encoding: quoted-printable\r\n\r\na short =C3=A4 and more\r\n",
       "DATA"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.last_line);
    House house;
    house.write(row.body, row.body.contains(".."));
    house.message.eight_bit = !row.want.empty();
    house.message.front = front;
    Ways ways;
    ways.extensions = row.extensions;
    StubServer stub{{ways}};
    CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
    const auto heard = stub.heard();
    REQUIRE(heard.messages.size() == 1);
    CHECK(heard.messages[0] == (row.want.empty() ? front + row.body : row.want));
    CHECK(heard.lines.back() == row.last_line);
    if (row.want.empty()) {
      const auto size = " SIZE=" + std::to_string(front.size() + house.message.octets);
      CHECK(std::ranges::any_of(heard.lines, [&](const std::string& line) { return line.contains(size); }));
    }
  }
}

TEST_CASE("a peer that takes 7 bits only gets a message that it can take") {
  House house;
  house.write("Subject: a\r\n\r\nsome text with one \xc3\xa4 in it\r\n", false);
  house.message.eight_bit = true;
  Ways ways;
  ways.extensions = {"PIPELINING", "CHUNKING"};
  StubServer stub{{ways}};
  CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
  CHECK(stub.heard().messages[0] ==
        "Subject: a\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\nsome text with one =C3=A4 in it\r\n");
  CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");  // the next message begins anew
  CHECK(stub.heard().messages[1] == stub.heard().messages[0]);
}

TEST_CASE("one address after the other, one host after the other (RFC 5321 5.1)") {
  for (const std::string greeting : {"554 5.7.1 not here", "421 4.3.2 busy", "!close", "what?"}) {
    CAPTURE(greeting);
    House house;
    // Two addresses, one port.
    std::unique_ptr<StubServer> good, bad;
    do {
      good = std::make_unique<StubServer>(std::vector{Ways{}}, "127.0.0.2");
      bad = std::make_unique<StubServer>(std::vector{Ways{.answers = {{"GREETING", greeting}}}}, "127.0.0.1",
                                         good->port());
    } while (!bad->listening());
    house.names.mx["there.test"] = {Lookup::found, {{10, "nowhere.test"}, {20, "mx.there.test"}, {30, "b.test"}}, {}};
    house.names.hosts["mx.there.test"] = {"127.0.0.3", "127.0.0.1"};  // at the first nobody listens
    house.names.hosts["b.test"] = {"127.0.0.2"};
    const auto delivery = house.carry(good->port());
    CHECK(told(delivery) == "d 250 2.0.0 taken");
    CHECK(delivery.host == "b.test");
    CHECK(delivery.connections == 3);
  }
}

TEST_CASE("nobody to speak to: temporary while anybody may come back, permanent if all say so") {
  House house;
  std::uint16_t port = 0;
  {
    StubServer gone{{Ways{}}};
    port = gone.port();
  }
  auto delivery = house.carry(port);
  CHECK(told(delivery) == "t 4.4.1 mx.there.test [127.0.0.1]:" + std::to_string(port) + ": Connection refused");
  CHECK(delivery.sign == Pace::Sign::good);

  StubServer closed{{Ways{.answers = {{"GREETING", "554 5.7.1 no mail"}}}}};
  CHECK(told(house.carry(closed.port())) == "p 554 5.7.1 no mail");
  StubServer busy{{Ways{.answers = {{"GREETING", "421 4.3.2 busy"}}}}};
  delivery = house.carry(busy.port());
  CHECK(told(delivery) == "t 421 4.3.2 busy");
  CHECK(delivery.sign == Pace::Sign::slower);

  house.names.mx["there.test"] = {Lookup::found, {{0, ""}}, {}};
  CHECK(told(house.carry(port)) == "p 556 5.1.10 there.test: takes no mail (null MX)");
  house.names.mx["there.test"] = {Lookup::trouble, {}, "SERVFAIL"};
  CHECK(told(house.carry(port)) == "t 4.4.3 there.test: the name service has no answer: SERVFAIL");
  house.names.mx.erase("there.test");
  CHECK(told(house.carry(port)) == "p 5.1.2 there.test: no such domain");
}

TEST_CASE("smart hosts: instead of DNS, and where DNS knows no way (S67, S68)") {
  StubServer stub{{Ways{}}};
  {
    House house;
    house.names.mx.clear();
    house.route.via = common::HostPort{"127.0.0.1", true, stub.port()};
    CHECK(told(house.carry(1)) == "d 250 2.0.0 taken");
  }
  {
    House house;
    house.names.mx.clear();
    house.route.fallback = common::HostPort{"relay.test", false, stub.port()};
    house.names.hosts["relay.test"] = {"127.0.0.1"};
    CHECK(told(house.carry(1)) == "d 250 2.0.0 taken");
    // A host without an address is no way either; one that refuses is, and a domain that wants no mail is known.
    house.names.mx["there.test"] = {Lookup::found, {{10, "nowhere.test"}}, {}};
    CHECK(told(house.carry(1)) == "d 250 2.0.0 taken");
    house.names.mx["there.test"] = {Lookup::found, {{10, "mx.there.test"}}, {}};
    CHECK(told(house.carry(1)) == "t 4.4.1 mx.there.test [127.0.0.1]:1: Connection refused");
    house.names.mx["there.test"] = {Lookup::found, {{0, ""}}, {}};
    CHECK(told(house.carry(1)).starts_with("p 556 5.1.10"));
  }
}

TEST_CASE("mail does not go back to where it came from") {
  const struct {
    const char* listener;
    const char* want;
  } rows[] = {
      {"127.0.0.1", "p 5.4.6 mx.there.test"},
      {"0.0.0.0", "p 5.4.6 mx.there.test"},  // on every address
      {"::", "d 250 2.0.0 taken"},           // on every address of the other family
      {"127.0.0.2", "d 250 2.0.0 taken"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.listener);
    StubServer stub{{Ways{}}};
    House house;
    house.setup.own_listeners = {{row.listener, stub.port()}};
    CHECK(told(house.carry(stub.port())).starts_with(row.want));
    CHECK(stub.heard().lines.empty() == std::string_view{row.want}.starts_with("p"));
  }
}

TEST_CASE("among equal exchangers the one that a connection rests to is used again") {
  StubServer stub{{Ways{}}};
  House house;
  house.names.mx["there.test"] = {Lookup::found, {{10, "a.test"}, {10, "b.test"}, {20, "c.test"}}, {}};
  for (const std::string name : {"a.test", "b.test", "c.test"}) house.names.hosts[name] = {"127.0.0.1"};
  std::vector<std::uint32_t> throws{0, 1};  // the first swaps the equals, the second does not
  house.setup.dice = [&](std::uint32_t) {
    const auto thrown = throws.front();
    throws.erase(throws.begin());
    return thrown;
  };
  CHECK(house.carry(stub.port()).host == "b.test");
  const auto second = house.carry(stub.port());
  CHECK(second.host == "b.test");
  CHECK(second.connections == 0);
  CHECK(throws.empty());
}

TEST_CASE("while the daemon stops, connections that rest are used and no new ones made") {
  StubServer stub{{Ways{}}};
  House house;
  CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
  house.host().on_thread([&] { house.host().worker().end_sessions(false); });
  CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
  house.route.bind = {"127.0.0.1"};  // none rests that comes from there
  CHECK(told(house.carry(stub.port())) == "t 4.3.0 this server is about to stop");
  CHECK(stub.heard().connections == 1);
}

TEST_CASE("connections that rest or take their leave count: no more are open than may be (S60, S62)") {
  House house;
  StubServer one{{Ways{}}}, other{{Ways{}}};
  house.route.most_in_all = 1;
  CHECK(told(house.carry(one.port())) == "d 250 2.0.0 taken");
  CHECK(house.carrier().idle() == 1);
  CHECK(told(house.carry(other.port())) == "d 250 2.0.0 taken");
  CHECK(one.heard().lines.back() == "QUIT");
  CHECK(house.carrier().idle() == 1);

  house.route.most_in_all = 0;
  house.route.most_here = 1;
  house.terms.messages = 1;
  StubServer third{{Ways{}}};
  for (int i = 0; i < 20; ++i) CHECK(told(house.carry(third.port())) == "d 250 2.0.0 taken");
  CHECK(third.heard().connections == 20);
  CHECK(third.heard().most_at_once == 1);
}

TEST_CASE("S58, S68: the account at the smart host is for nobody whom DNS names") {
  House house;
  house.names.mx.clear();
  StubServer smart{{Ways{.extensions = {"AUTH PLAIN"}}}};
  house.route.fallback = common::HostPort{"127.0.0.1", true, smart.port()};
  auto credentials = std::make_shared<Credentials>();
  credentials->account = "us";
  credentials->password = common::Secret{"secret"};
  auto with = house.terms;
  with.credentials = credentials;
  house.route.fallback_terms = std::make_shared<const ClientTerms>(with);
  CHECK(told(house.carry(1)) == "d 250 2.0.0 taken");
  CHECK(smart.heard().lines[1].starts_with("AUTH PLAIN "));
}

TEST_CASE("source addresses by kind (bind)") {
  StubServer stub{{Ways{}}};
  House house;
  house.route.bind = {"127.0.0.9", "::1"};
  CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
  House wrong;
  wrong.route.bind = {"192.0.2.1"};
  CHECK(told(wrong.carry(stub.port())).find("192.0.2.1: Cannot assign requested address") != std::string::npos);
  House six;
  six.route.bind = {"::1"};
  CHECK(told(six.carry(stub.port())) == "t 4.4.1 mx.there.test: no address that we can reach");
}

TEST_CASE("a connection takes so many messages (S45); what is left of the recipients goes by the next") {
  House house;
  house.terms.messages = 2;
  StubServer stub{{Ways{}}};
  for (int i = 0; i < 5; ++i) CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
  CHECK(stub.heard().connections == 3);

  House many;
  many.terms.messages = 1;
  many.terms.recipients = 2;
  many.message.recipients = {{"a@there.test", 0, {}}, {"b@there.test", 0, {}}, {"c@there.test", 0, {}}};
  StubServer other{{Ways{.answers = {{"RCPT TO:<b@there.test>", "550 5.1.1 who?"}}}}};
  const auto delivery = many.carry(other.port());
  CHECK(told(delivery) == "d 250 2.0.0 taken; p 550 5.1.1 who?; d 250 2.0.0 taken");
  CHECK(delivery.connections == 2);
  CHECK(other.heard().messages.size() == 2);
}

TEST_CASE("connections that rest: closed by the peer they are passed over; after a while they say goodbye (S61)") {
  {
    House house;
    StubServer stub{{Ways{.answers = {{"END", "250 2.0.0 taken\n!close"}}}, Ways{}}};
    CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
    CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
    CHECK(stub.heard().connections == 2);
  }
  {
    HandClock clock;
    House house{clock};
    StubServer stub{{Ways{}}};
    CHECK(told(house.carry(stub.port())) == "d 250 2.0.0 taken");
    house.host().pass(clock, 4s);
    CHECK(house.carrier().idle() == 1);
    house.host().pass(clock, 2s);
    CHECK(house.carrier().idle() == 0);
    stub.wait_for("QUIT");
  }
  {
    // One that grows tired of us just when the next message comes.
    House house;
    StubServer stub{{Ways{.answers = {{"RSET", "421 4.4.2 idle"}, {"RCPT", "550 5.1.1 no"}}}, Ways{}}};
    CHECK(told(house.carry(stub.port())) == "p 550 5.1.1 no");
    CHECK(told(house.carry(stub.port())).substr(0, 1) != "?");
  }
}

TEST_CASE(
    "a peer that hangs up, stalls or talks nonsense at any point: no loss, and no double but where nobody knows") {
  struct Row {
    std::string at, outcome;
  };
  const Row rows[] = {{"GREETING", "t"}, {"EHLO", "t"}, {"MAIL", "t"}, {"RCPT", "t"}, {"DATA", "t"}, {"END", "?"}};
  const std::string endless(1'000'000, 'x');
  for (const auto& row : rows) {
    for (const std::string how : {"!close", "!stall", "garbage", "250-half\n250-half!stall", "2!close"}) {
      CAPTURE(row.at);
      CAPTURE(how);
      HandClock clock;
      House house{clock};
      Ways ways;
      ways.answers = {{row.at, how}};
      StubServer stub{{ways}};
      const auto delivery = house.outlast(house.begin(stub.port()), stub, clock);
      CHECK(told(delivery).substr(0, 1) == row.outcome);
      CHECK(delivery.answers[0].code == 0);
      CHECK(stub.heard().messages.size() == (row.at == "END" ? 1 : 0));
    }
    House house;
    Ways ways;
    ways.answers = {{row.at, endless}};
    StubServer stub{{ways}};
    CHECK(told(house.carry(stub.port())).substr(0, 1) == row.outcome);
  }
}

TEST_CASE("a peer that refuses in the middle of a message and hangs up: its words") {
  House house;
  std::string large;
  for (int i = 0; i < 400'000; ++i) large += "a line of a long message\r\n";
  house.write(large, true);
  StubServer stub{{Ways{.answers = {{"HALF", "552 5.3.4 too big for us\n!close"}}}}};
  CHECK(told(house.carry(stub.port())) == "p 552 5.3.4 too big for us");
}

TEST_CASE("a message whose file ends too early is not delivered, and not half") {
  for (const bool chunks : {false, true}) {
    House house;
    house.write("Subject: a\r\n\r\nbody\r\n", !chunks);
    house.body.octets += 100;
    house.message.stored_octets += 100;
    Ways ways;
    if (chunks) ways.extensions.emplace_back("CHUNKING");
    StubServer stub{{ways}};
    CHECK(told(house.carry(stub.port())) ==
          "t 4.4.2 the connection was lost (at data): the file ends too early: Input/output error");
    CHECK(stub.heard().messages.empty());
  }
}

TEST_CASE("TLS levels against real handshakes (S59): taken, broken, not offered, a certificate that does not fit") {
  Folder folder;
  const auto certificate = make_certificate(folder, "stub", "mx.there.test");
  const auto other = make_certificate(folder, "other", "elsewhere.test");
  SSL_CTX* const right = server_tls(certificate.certificate, certificate.key);
  SSL_CTX* const wrong = server_tls(other.certificate, other.key);
  const auto house_with = [&](Security security, const std::string& issuers) {
    auto house = std::make_unique<House>();
    house->terms.security = security;
    house->setup.unchecked = TlsClientContext::load(TlsClientContext::Peer::anyone).value();
    house->setup.verified = TlsClientContext::load(TlsClientContext::Peer::named, issuers).value();
    return house;
  };
  Ways ways;
  ways.extensions.emplace_back("STARTTLS");
  ways.tls = right;
  for (const auto security : {Security::opportunistic, Security::tls, Security::verify}) {
    // Twice by new connections: the second resumes.
    auto house = house_with(security, certificate.certificate);
    house->terms.messages = 1;
    StubServer stub{{ways}};
    for (int i = 0; i < 2; ++i) {
      const auto delivery = house->carry(stub.port());
      CHECK(told(delivery) == "d 250 2.0.0 taken");
      CHECK(delivery.tls.starts_with("TLSv1.3 TLS_"));
    }
    CHECK(stub.heard().connections == 2);
    CHECK(stub.heard().resumed == 1);
  }
  {
    auto house = house_with(Security::opportunistic, certificate.certificate);
    auto broken = ways;
    broken.answers = {{"TLS", "this is no TLS at all\n!close"}};
    StubServer stub{{broken}};
    const auto delivery = house->carry(stub.port());
    CHECK(told(delivery) == "d 250 2.0.0 taken");
    CHECK(delivery.tls.empty());
    CHECK(delivery.tls_trouble.starts_with("TLS failed: "));
    CHECK(stub.heard().connections == 2);
    auto strict = house_with(Security::tls, certificate.certificate);
    CHECK(told(strict->carry(stub.port())).starts_with("t 4.7.5 TLS failed: "));
  }
  {
    auto plain = house_with(Security::tls, certificate.certificate);
    StubServer stub{{Ways{}}};
    CHECK(told(plain->carry(stub.port())) == "t 4.7.4 TLS is asked for, and the server does not offer it");
    CHECK(stub.heard().messages.empty());
  }
  auto elsewhere = ways;
  elsewhere.tls = wrong;
  StubServer stub{{elsewhere}};
  CHECK(told(house_with(Security::tls, certificate.certificate)->carry(stub.port())) == "d 250 2.0.0 taken");
  CHECK(told(house_with(Security::verify, other.certificate)->carry(stub.port())) ==
        "t 4.7.5 TLS failed: certificate verify failed: hostname mismatch");
  const auto unknown = told(house_with(Security::verify, certificate.certificate)->carry(stub.port()));
  CHECK(unknown.starts_with("t 4.7.5 TLS failed: certificate verify failed: self"));
  CHECK(stub.heard().messages.size() == 1);
  CHECK(!TlsClientContext::load(TlsClientContext::Peer::named, (folder / "nothing").string()));
  SSL_CTX_free(right);
  SSL_CTX_free(wrong);
}

TEST_CASE("credentials go over TLS, and nowhere else unless the route says none (S58)") {
  Folder folder;
  const auto certificate = make_certificate(folder, "stub", "mx.there.test");
  SSL_CTX* const tls = server_tls(certificate.certificate, certificate.key);
  Ways ways;
  ways.extensions = {"PIPELINING", "8BITMIME", "AUTH PLAIN", "STARTTLS"};
  ways.tls = tls;
  StubServer stub{{ways}};
  auto broken = ways;
  broken.answers = {{"TLS", "this is no TLS at all\n!close"}};
  StubServer trap{{broken}};
  for (auto* const server : {&stub, &trap}) {
    House house;
    house.setup.unchecked = TlsClientContext::load(TlsClientContext::Peer::anyone).value();
    house.terms.security = Security::opportunistic;
    house.terms.credentials = std::make_shared<const Credentials>(Credentials{"ann", common::Secret{"secret"}});
    const auto delivery = house.carry(server->port());
    if (server == &stub) {
      CHECK(told(delivery) == "d 250 2.0.0 taken");
      CHECK(std::ranges::count(stub.heard().lines, "AUTH PLAIN AGFubgBzZWNyZXQ=") == 1);
    } else {
      CHECK(told(delivery) == "t 4.7.4 no TLS, and credentials are not sent in the clear");
      CHECK(std::ranges::none_of(trap.heard().lines, [](const auto& line) { return line.starts_with("AUTH"); }));
    }
  }
  SSL_CTX_free(tls);
}

TEST_CASE("connections at rest by where they lead, the newest first, the oldest makes room") {
  IdlePool<int> pool{3, 5s};
  const IdlePool<int>::Time start{1h};
  CHECK(!pool.put("a", 1, start));
  CHECK(!pool.put("b", 2, start + 1s));
  CHECK(!pool.put("a", 3, start + 2s));
  CHECK(pool.next_expiry() == start + 5s);
  CHECK(pool.put("c", 4, start + 3s) == 1);
  CHECK(pool.take("a") == 3);
  CHECK(!pool.take("a"));
  CHECK(pool.has("b"));
  CHECK(pool.take_expired(start + 5s).empty());
  CHECK(pool.take_expired(start + 6s) == std::vector{2});
  CHECK(pool.take_oldest() == 4);
  CHECK(!pool.take_oldest());
  CHECK(!pool.next_expiry());
  IdlePool<int> none{0, 5s};
  CHECK(none.put("a", 7, start) == 7);
}

TEST_CASE("S95: a connection whose roles are reversed leaves the patience of who asked behind") {
  StubServer stub{{Ways{.answers = {{"ATRN", "250 now reversing\n!stall"}}}}};
  HandClock clock;
  Host host{clock};
  auto terms = std::make_shared<ClientTerms>();
  terms->hostname = "us.test";
  terms->security = Security::none;
  terms->timeouts = shortened(terms->timeouts, 1min);
  auto waiting = [](Worker& worker, std::uint16_t port, std::shared_ptr<const ClientTerms> how,
                    std::promise<void>& reversed) -> asio::awaitable<End> {
    auto connecting = Stream::connect(worker, "127.0.0.1", port, {}, 5s);
    auto stream = co_await std::move(connecting);
    ClientSession session{worker, std::move(stream.value()), "127.0.0.1", std::move(how), nullptr, Attempt::first};
    co_await session.open();
    auto asking = session.ask("ATRN far.test");
    const auto answer = co_await std::move(asking);
    if (answer.code != 250) throw std::runtime_error(format_answer(answer));
    auto turned = session.take_stream();
    turned.set_timeout(10min);
    reversed.set_value();
    const auto octets = co_await turned.read();
    co_return octets ? End::closed : octets.error();
  };
  std::promise<void> reversed;
  auto ended = asio::co_spawn(host.worker().context(), waiting(host.worker(), stub.port(), std::move(terms), reversed),
                              asio::use_future);
  REQUIRE(reversed.get_future().wait_for(10s) == std::future_status::ready);
  int minutes = 0;
  for (; minutes < 100 && ended.wait_for(1ms) != std::future_status::ready; ++minutes) host.pass(clock, 1min);
  REQUIRE(ended.wait_for(10s) == std::future_status::ready);
  CHECK(ended.get() == End::timeout);
  CHECK(minutes >= 10);
}
