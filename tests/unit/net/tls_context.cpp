#include "common/net/tls_context.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>

#include "host.hpp"
#include "tls_client.hpp"

using namespace test;

TEST_CASE("no certificate is no context; a wrong one is named with reason and remedy") {
  const Folder folder;
  const auto good = make_certificate(folder, "good", "mail.example.test");
  const auto other = make_certificate(folder, "other", "other.example.test");
  const auto rsa = make_certificate(folder, "rsa", "rsa.example.test", true);
  std::ofstream{folder / "junk"} << "not a certificate\n";
  const auto junk = (folder / "junk").string();
  const auto missing = (folder / "missing").string();

  CHECK(TlsContext::load({}).value() == nullptr);
  CHECK(TlsContext::load(settings(good)).value() != nullptr);
  CHECK(TlsContext::load(settings(rsa)).value() != nullptr);

  const struct {
    config::Tls tls;
    const std::string& file;
    const char* reason;
  } rows[] = {
      {settings({missing, good.key}), missing, "No such file"},
      {settings({good.certificate, missing}), missing, "No such file"},
      {settings({junk, good.key}), junk, "not a certificate chain"},
      {settings({good.certificate, junk}), junk, "not a private key"},
      {settings({good.certificate, other.key}), other.key, "does not belong"},
      {settings({good.certificate, rsa.key}), rsa.key, "does not belong"},
  };
  for (const auto& row : rows) {
    const auto loaded = TlsContext::load(row.tls);
    REQUIRE(!loaded);
    CHECK_MESSAGE(loaded.error().starts_with(row.file), loaded.error());
    CHECK_MESSAGE(loaded.error().find(row.reason) != std::string::npos, loaded.error());
    CHECK_MESSAGE(loaded.error().find("; ") != std::string::npos, loaded.error());
  }
  auto tls = settings(good);
  tls.sni.push_back({"x.test", other.certificate, good.key});
  CHECK(!TlsContext::load(tls));
}

TEST_CASE("the certificate follows the name that the client asks for") {
  const Folder folder;
  auto tls = settings(make_certificate(folder, "default", "default.test"));
  const auto one = make_certificate(folder, "one", "one.test");
  const auto star = make_certificate(folder, "star", "star.test", true);
  tls.sni.push_back({"Mail.One.test", one.certificate, one.key});
  tls.sni.push_back({"*.star.test", star.certificate, star.key});
  const auto context = TlsContext::load(tls).value();
  const struct {
    const char* asked;
    const char* got;
  } rows[] = {{nullptr, "default.test"},    {"mail.one.test", "one.test"},     {"MAIL.ONE.TEST", "one.test"},
              {"a.star.test", "star.test"}, {"a.b.star.test", "default.test"}, {"elsewhere.test", "default.test"}};
  Host host;
  for (const auto& row : rows) {
    auto ends = connect_pair(Over::tcp);
    auto ended = host.serve(std::move(ends.server), [&](Stream& stream) -> asio::awaitable<void> {
      const auto secured = co_await stream.accept_tls(*context);
      CHECK(secured);
    });
    TlsClient client{ends.client.get(), {.server_name = row.asked}};
    REQUIRE(client.connect());
    CHECK(client.peer_name() == row.got);
    ended.get();
  }
}
