#include "smtpd/outbound/exchangers.hpp"

#include <doctest/doctest.h>

#include <array>

#include "common/host_port.hpp"

#include "smtpd/outbound/dns_answers.hpp"

using namespace smtpd::outbound;

namespace {

std::string hosts(const std::vector<Exchanger>& chosen) {
  std::string text;
  for (const auto& each : chosen) text += (text.empty() ? "" : " ") + each.host;
  return text;
}

}  // namespace

TEST_CASE("mail exchangers (RFC 5321 5.1, RFC 7505): order, fallback, null MX, ourselves") {
  struct Row {
    MxAnswer found;
    std::string_view hosts, refusal, why;
  };
  const std::vector<std::string> own{"us.test", "mx.us.test"};
  const Row rows[] = {
      {{Lookup::found, {{20, "b.test"}, {10, "a.test"}}, {}}, "a.test b.test", "", "by preference"},
      {{Lookup::empty, {}, {}}, "there.test", "", "no MX: the domain itself"},
      {{Lookup::found, {}, {}}, "there.test", "", "no MX: the domain itself"},
      {{Lookup::found, {{0, ""}}, {}}, "", "556 5.1.10 there.test: takes no mail (null MX)", "RFC 7505"},
      {{Lookup::found, {{0, ""}, {10, "a.test"}}, {}}, "a.test", "", "a null MX beside others is none (RFC 7505 3)"},
      {{Lookup::no_name, {}, {}}, "", "5.1.2 there.test: no such domain", "permanent"},
      {{Lookup::trouble, {}, "SERVFAIL"},
       "",
       "4.4.3 there.test: the name service has no answer: SERVFAIL",
       "temporary"},
      {{Lookup::found, {{10, "a.test"}, {20, "us.test"}, {20, "b.test"}, {30, "c.test"}}, {}},
       "a.test",
       "",
       "ourselves, and no better than ourselves, left out"},
      {{Lookup::found, {{10, "mx.us.test"}, {20, "b.test"}}, {}},
       "",
       "5.4.6 there.test: its mail exchanger is this server, which does not know it",
       "a loop"},
      {{Lookup::found, {{10, "a.test"}, {20, "a.test"}, {20, "b.test"}}, {}}, "a.test b.test", "", "none twice"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    const auto chosen = choose_exchangers("there.test", row.found, own, [](std::uint32_t bound) { return bound - 1; });
    CHECK(chosen.has_value() == row.refusal.empty());
    if (chosen) {
      CHECK(hosts(*chosen) == row.hosts);
    } else {
      CHECK(format_answer(chosen.error()) == row.refusal);
      CHECK((chosen.error().outcome == Outcome::temporary) == row.refusal.starts_with('4'));
    }
  }
  // The domain itself, which is ours by name and not by directory.
  CHECK(!choose_exchangers("us.test", {Lookup::empty, {}, {}}, own, [](std::uint32_t) { return 0U; }));
}

TEST_CASE("equal preferences are shuffled, others stay apart; there is an end to the list") {
  const MxAnswer found{Lookup::found, {{5, "a"}, {5, "b"}, {5, "c"}, {9, "d"}, {9, "e"}}, {}};
  const auto first = choose_exchangers("x", found, {}, [](std::uint32_t) { return 0U; });
  CHECK(hosts(*first) == "b c a e d");
  const auto last = choose_exchangers("x", found, {}, [](std::uint32_t bound) { return bound - 1; });
  CHECK(hosts(*last) == "a b c d e");
  MxAnswer many{Lookup::found, {}, {}};
  for (std::uint16_t i = 0; i < 100; ++i) many.records.push_back({i, "h" + std::to_string(i)});
  CHECK(choose_exchangers("x", many, {}, [](std::uint32_t) { return 0U; })->size() == exchangers_limit);
}

TEST_CASE("addresses: IPv6 and IPv4 in turn, of the kinds we can come from, none twice, not without end") {
  const std::vector<std::string> all{"192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1", "192.0.2.3"};
  using List = std::vector<std::string>;
  CHECK(order_addresses(all, {}) == List{"2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"});
  CHECK(order_addresses(all, {.ipv4 = false, .ipv6 = true}) == List{"2001:db8::1"});
  CHECK(order_addresses(all, {.ipv4 = true, .ipv6 = false}) == List{"192.0.2.1", "192.0.2.2", "192.0.2.3"});
  List many;
  for (int i = 0; i < 50; ++i) many.push_back("192.0.2." + std::to_string(i));
  CHECK(order_addresses(many, {}).size() == addresses_limit);

  CHECK(families_of({}).ipv4);
  CHECK(families_of({}).ipv6);
  CHECK(!families_of(List{"192.0.2.1"}).ipv6);
  CHECK(families_of(List{"192.0.2.1", "2001:db8::1"}).ipv6);
  CHECK(!families_of(List{"::1"}).ipv4);
}

TEST_CASE("hosts without addresses, and what all hosts together mean") {
  CHECK(format_answer(no_address("a.test", {Lookup::trouble, {}, "timed out"})) ==
        "4.4.3 a.test: the name service has no answer: timed out");
  CHECK(format_answer(no_address("a.test", {Lookup::no_name, {}, {}})) == "5.1.2 a.test: no such host");
  CHECK(format_answer(no_address("a.test", {Lookup::empty, {}, {}})) == "5.1.2 a.test: the host has no address");
  CHECK(no_address("a.test", {Lookup::found, {"::1"}, {}}).outcome == Outcome::temporary);

  const std::vector<Answer> all{{.outcome = Outcome::permanent, .text = "a"},
                                {.outcome = Outcome::permanent, .text = "b"}};
  CHECK(worst_hope(all).text == "a");
  const std::vector<Answer> some{{.outcome = Outcome::permanent, .text = "a"},
                                 {.outcome = Outcome::temporary, .text = "b"},
                                 {.outcome = Outcome::temporary, .text = "c"}};
  CHECK(worst_hope(some).text == "b");
}

TEST_CASE("when DNS knows no way, and the smart host gets it (S68)") {
  const auto said = [](std::string enhanced) {
    Answer answer;
    answer.outcome = enhanced.front() == '4' ? Outcome::temporary : Outcome::permanent;
    answer.enhanced = std::move(enhanced);
    return answer;
  };
  struct Row {
    std::vector<Answer> failures;
    bool want;
    std::string_view why;
  };
  const Row rows[] = {
      {{}, false, "nothing has failed"},
      {{said("5.1.2")}, true, "no such domain"},
      {{said("4.4.3")}, true, "no answer"},
      {{said("5.1.2"), said("4.4.3")}, true, "no exchanger has an address"},
      {{said("5.1.10")}, false, "the domain takes no mail"},
      {{said("5.4.6")}, false, "it leads back to us"},
      {{said("4.4.1")}, false, "the way is closed"},
      {{said("5.1.2"), said("4.4.1")}, false, "one of them has an address"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(is_unknown_to_dns(row.failures) == row.want);
  }
}

TEST_CASE("what the resolver says, in delivery's words") {
  namespace dns = common::dns;
  using Addresses = dns::Result<asio::ip::address>;
  const auto failed = [](dns::Errc code) { return Addresses{std::unexpected(dns::Error{code, "why"})}; };
  dns::Answer<asio::ip::address> one;
  one.records.push_back(asio::ip::make_address("192.0.2.1"));
  struct Row {
    Addresses six, four;
    Lookup want;
    std::string_view why;
  };
  using enum dns::Errc;
  const Row rows[] = {
      {failed(no_data), Addresses{one}, Lookup::found, "one family is enough"},
      {failed(temporary), Addresses{one}, Lookup::found, "whatever became of the other"},
      {failed(no_name), failed(no_name), Lookup::no_name, "neither"},
      {failed(no_data), failed(no_data), Lookup::empty, "a name without addresses"},
      {failed(no_data), failed(timeout), Lookup::trouble, "nobody knows"},
      {failed(bogus), failed(no_name), Lookup::trouble, "trouble has more hope"},
      {failed(malformed), failed(no_data), Lookup::empty, "nothing that could be used"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    for (const auto& pair : {std::array{row.six, row.four}, std::array{row.four, row.six}}) {
      const auto got = address_answer(pair);
      CHECK(got.lookup == row.want);
      CHECK(got.addresses.empty() == (row.want != Lookup::found));
    }
  }
  dns::Answer<dns::MailExchanger> exchangers;
  exchangers.records = {{10, "mx.far.test"}, {0, ""}};
  const auto got = mx_answer(exchangers);
  CHECK(got.lookup == Lookup::found);
  CHECK(got.records == std::vector<Exchanger>{{10, "mx.far.test"}, {0, ""}});
  const auto none = mx_answer(std::unexpected(dns::Error{no_name, "NXDOMAIN"}));
  CHECK(none.lookup == Lookup::no_name);
  CHECK(none.why == "NXDOMAIN");
}

TEST_CASE("smart hosts and routes as people write them (S63, S67, S92)") {
  struct Row {
    std::string_view text;
    common::HostPort want;
    std::string_view error;
  };
  const Row rows[] = {
      {"relay.example.net", {"relay.example.net", false, 25}, ""},
      {"Relay.Example.NET:587", {"relay.example.net", false, 587}, ""},
      {"b\xc3\xbc"
       "cher.example",
       {"xn--bcher-kva.example", false, 25},
       ""},
      {"[192.0.2.9]", {"192.0.2.9", true, 25}, ""},
      {"[192.0.2.9]:587", {"192.0.2.9", true, 587}, ""},
      {"192.0.2.9:2525", {"192.0.2.9", true, 2525}, ""},
      {"[2001:db8::9]:26", {"2001:db8::9", true, 26}, ""},
      {"[IPv6:2001:db8::9]", {"2001:db8::9", true, 25}, ""},
      {"2001:db8::9", {}, "an IPv6 address needs brackets"},
      {"[relay.example.net]", {}, "brackets are for numeric addresses"},
      {"[192.0.2.9", {}, "a bracket without its end"},
      {"[192.0.2.9]25", {}, "only a colon and a port may follow"},
      {"a.test:0", {}, "a port is a number from 1 to 65535"},
      {"a.test:65536", {}, "a port is a number from 1 to 65535"},
      {"a.test:", {}, "a port is a number from 1 to 65535"},
      {"a.test:25x", {}, "a port is a number from 1 to 65535"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const auto got = common::parse_host_port(row.text, 25);
    CHECK(got.has_value() == row.error.empty());
    if (got) {
      CHECK(*got == row.want);
      CHECK(common::parse_host_port(format_host_port(*got), 1) == row.want);
    } else {
      CHECK(got.error() == row.error);
    }
  }
  CHECK(!common::parse_host_port("", 25));
  CHECK(!common::parse_host_port("a b", 25));
}
