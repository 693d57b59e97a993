#include "common/dns/settings.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "common/dns/context.hpp"

using namespace common::dns;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = "/tmp/pp-dns.XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream{path_ / name} << text;
    return path_ / name;
  }
  std::filesystem::path missing() const { return path_ / "missing"; }

 private:
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("name servers out of resolv.conf") {
  struct Row {
    std::string text;
    std::vector<std::string> want;
    std::string why;
  };
  const Row rows[] = {
      {"# made by hand\nsearch example.org\nnameserver 192.0.2.53\n\tnameserver\t2001:db8::53 # second\r\noptions "
       "edns0\n",
       {"192.0.2.53@53", "2001:db8::53@53"},
       "as people write it"},
      {"", {"127.0.0.1@53"}, "resolv.conf(5): the one on this machine"},
      {"nameserver\nnameserver ns.example.org\nnameserver 300.0.0.1\n", {"127.0.0.1@53"}, "no address"},
      {"nameserver 192.0.2.1", {"192.0.2.1@53"}, "no line end"},
      {";nameserver 192.0.2.1\nxnameserver 192.0.2.1\n", {"127.0.0.1@53"}, "not for us"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(parse_resolv_conf(row.text) == row.want);
  }
}

TEST_CASE("trust anchors out of a file") {
  CHECK(parse_anchors("; autotrust trust anchor file\n;;id: . 1\n"
                      ". IN DNSKEY 257 3 8 AwEAAag= ; keytag 20326\n.\t86400 IN DS 20326 8 2 E06D\n\n. IN NS a.\n") ==
        std::vector<std::string>{". IN DNSKEY 257 3 8 AwEAAag=", ". 86400 IN DS 20326 8 2 E06D"});
  CHECK(parse_anchors("").empty());
}

TEST_CASE("settings come from the configuration, and from the machine where it says nothing") {
  const Folder folder;
  const SystemFiles files{folder.write("resolv.conf", "nameserver 192.0.2.9\n"),
                          folder.write("root.key", ". IN DS 1 8 2 00\n")};
  common::config::Dns dns;
  dns.hosts = {{"a.test", {"192.0.2.1", "2001:db8::1"}}};
  dns.insecure = {"b.test"};
  dns.timeout = std::chrono::milliseconds{700};
  auto read = read_settings(dns, files);
  REQUIRE(read);
  CHECK(read->servers == std::vector<std::string>{"192.0.2.9@53"});
  CHECK(read->hosts.at("a.test").size() == 2);
  CHECK(read->insecure == dns.insecure);
  CHECK(read->anchors == std::vector<std::string>{". IN DS 1 8 2 00"});
  CHECK(read->timeout == dns.timeout);

  dns.servers = {"192.0.2.53:5353", "[2001:db8::53]:53"};
  dns.insecure = {"."};
  read = read_settings(dns, {folder.missing(), files.anchors});
  REQUIRE(read);
  CHECK(read->servers == std::vector<std::string>{"192.0.2.53@5353", "2001:db8::53@53"});
  CHECK(read->anchors.empty());

  dns.insecure.clear();
  CHECK(read_settings(dns, {folder.missing(), folder.missing()})->anchors.empty());
  dns.servers.clear();
  const auto failed = read_settings(dns, {folder.missing(), files.anchors});
  REQUIRE(!failed);
  CHECK(failed.error().ends_with("missing: No such file or directory; name the name servers in dns.servers"));
}

TEST_CASE("fixed answers, in both directions") {
  Settings settings;
  settings.hosts["a.test"] = {asio::ip::make_address("192.0.2.1"), asio::ip::make_address("2001:db8::1")};
  settings.hosts["b.test"] = {asio::ip::make_address("192.0.2.1")};
  settings.hosts["empty.test"] = {};

  const auto four = find_fixed(settings, {"a.test", Type::a});
  REQUIRE((four && *four));
  CHECK((*four)->records == std::vector<std::string>{std::string("\xC0\0\2\1", 4)});
  CHECK((*four)->name == "a.test");
  CHECK(!(*four)->secure);
  const auto six = find_fixed(settings, {"a.test", Type::aaaa});
  REQUIRE((six && *six));
  CHECK((*six)->records.front().size() == 16);

  const auto names = find_fixed(settings, {"1.2.0.192.in-addr.arpa", Type::ptr});
  REQUIRE((names && *names));
  CHECK((*names)->records == std::vector<std::string>{std::string("\1a\4test\0", 8), std::string("\1b\4test\0", 8)});
  CHECK(!find_fixed(settings, {"2.2.0.192.in-addr.arpa", Type::ptr}));

  for (const auto& question :
       {Question{"b.test", Type::aaaa}, Question{"a.test", Type::mx}, Question{"empty.test", Type::a}}) {
    CAPTURE(question.name);
    const auto none = find_fixed(settings, question);
    REQUIRE((none && !*none));
    CHECK(none->error().code == Errc::no_data);
  }
  CHECK(!find_fixed(settings, {"c.test", Type::a}));
}
