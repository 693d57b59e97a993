#include <doctest/doctest.h>
#include <gsasl.h>

#include <string>

#include "common/auth/cram_md5.hpp"
#include "common/auth/password.hpp"

#include "tests/unit/smtp/script.hpp"

using namespace smtpd;

namespace {

Terms submission_terms() {
  Terms terms;
  terms.server = "submission";
  terms.hostname = "mail.example.test";
  terms.default_domain = "example.test";
  terms.submission = true;
  terms.anonymous = false;
  terms.passwords_need_tls = false;
  terms.mechanisms = {"SCRAM-SHA-256", "PLAIN", "LOGIN"};
  terms.recipients = 100;
  terms.errors = 20;
  return terms;
}

FakeDirectory people() {
  FakeDirectory directory;
  directory.add_domain("example.test");
  directory.add_mailbox("ann@example.test", "secret");
  directory.add_mailbox("bob@example.test", "hidden");
  directory.add_mailbox("closed@example.test", "secret").locked = true;
  directory.add_alias("team@example.test", {"ann@example.test", "bob@example.test"});
  directory.add_alias("desk@example.test", {"bob@example.test"});
  return directory;
}

std::string plain(std::string_view authorize, std::string_view name, std::string_view password) {
  std::string octets{authorize};
  octets += '\0';
  octets += name;
  octets += '\0';
  octets += password;
  return common::auth::encode_base64(octets);
}

std::string base64(std::string_view text) {
  return common::auth::encode_base64(text);
}

/// The replies to `octets` behind EHLO.
std::string answers(const Terms& terms, FakeDirectory& directory, const std::string& octets) {
  std::string whole;
  for (const std::size_t piece : {octets.size(), std::size_t{1}}) {
    Talk talk{terms, directory};
    talk.feed("EHLO client.test\r\n");
    talk.replies.clear();
    for (std::size_t at = 0; at < octets.size(); at += piece) talk.feed(std::string_view{octets}.substr(at, piece));
    if (piece == 1 && octets.size() != 1) CHECK(talk.replies == whole);
    whole = talk.replies;
  }
  return whole;
}

}  // namespace

TEST_CASE("PLAIN and LOGIN") {
  auto directory = people();
  const auto terms = submission_terms();
  const auto reply_to = [&](const std::string& octets) { return answers(terms, directory, octets); };
  const std::string ok = "235 2.7.0 authenticated\r\n", wrong = "535 5.7.8 authentication credentials invalid\r\n";
  CHECK(reply_to("AUTH PLAIN " + plain("", "ann@example.test", "secret") + "\r\n") == ok);
  CHECK(reply_to("auth plain " + plain("", "Ann", "secret") + "\r\n") == ok);
  CHECK(reply_to("AUTH PLAIN " + plain("Ann@Example.test", "ann@example.test", "secret") + "\r\n") == ok);
  CHECK(reply_to("AUTH PLAIN\r\n" + plain("", "ann", "secret") + "\r\n") == "334 \r\n" + ok);
  CHECK(reply_to("AUTH LOGIN\r\n" + base64("ann") + "\r\n" + base64("secret") + "\r\n") ==
        "334 " + base64("Username:") + "\r\n334 " + base64("Password:") + "\r\n" + ok);
  CHECK(reply_to("AUTH LOGIN " + base64("ann") + "\r\n" + base64("secret") + "\r\n") ==
        "334 " + base64("Password:") + "\r\n" + ok);
  CHECK(reply_to("AUTH PLAIN " + plain("", "ann", "wrong") + "\r\n") == wrong);
  CHECK(reply_to("AUTH PLAIN " + plain("", "nobody", "secret") + "\r\n") == wrong);
  CHECK(reply_to("AUTH PLAIN " + plain("bob@example.test", "ann@example.test", "secret") + "\r\n") == wrong);
  CHECK(reply_to("AUTH PLAIN " + plain("", "closed", "secret") + "\r\n") == "535 5.7.13 this mailbox is locked\r\n");
  CHECK(reply_to("AUTH PLAIN " + plain("", "closed", "wrong") + "\r\n") == wrong);
  CHECK(reply_to("AUTH PLAIN =\r\n").starts_with("501 5.5.2"));
  CHECK(reply_to("AUTH PLAIN !!!\r\n").starts_with("501 5.5.2"));
  CHECK(reply_to("AUTH PLAIN\r\nAGE\r\n").starts_with("334 \r\n501 5.5.2"));
  CHECK(reply_to("AUTH PLAIN\r\n*\r\nNOOP\r\n") == "334 \r\n501 5.7.0 authentication cancelled\r\n250 2.0.0 ok\r\n");
  CHECK(reply_to("AUTH PLAIN\r\nA\nA\r\nNOOP\r\n").starts_with("334 \r\n500 5.5.2"));
  CHECK(reply_to("AUTH PLAIN\r\n" + std::string(20'000, 'A') + "\r\nNOOP\r\n").starts_with("334 \r\n500 5.5.6"));
  CHECK(reply_to("AUTH KERBEROS_V4\r\n").starts_with("504 5.5.4"));
  CHECK(reply_to("AUTH SCRAM-SHA-256-PLUS\r\n").starts_with("504 5.5.4"));
  CHECK(reply_to("AUTH\r\n").starts_with("501 5.5.4"));
  const auto twice =
      reply_to("AUTH PLAIN " + plain("", "ann", "secret") + "\r\nAUTH PLAIN " + plain("", "ann", "secret") + "\r\n");
  CHECK(twice.starts_with(ok + "503 5.5.1"));
  directory.broken = true;
  CHECK(reply_to("AUTH PLAIN " + plain("", "ann", "secret") + "\r\n").starts_with("454 4.7.0"));
}

TEST_CASE("no password goes over a clear connection unless the configuration says so") {
  auto directory = people();
  auto terms = submission_terms();
  terms.passwords_need_tls = true;
  CHECK(answers(terms, directory, "AUTH PLAIN " + plain("", "ann", "secret") + "\r\n").starts_with("538 5.7.11"));
  CHECK(answers(terms, directory, "AUTH LOGIN\r\n").starts_with("538 5.7.11"));
  CHECK(answers(terms, directory, "AUTH SCRAM-SHA-256\r\n") == "334 \r\n");
  terms.mechanisms = {"SCRAM-SHA-256"};
  CHECK(answers(terms, directory, "AUTH PLAIN\r\n").starts_with("504 5.5.4"));
}

TEST_CASE("submission wants authentication, and own addresses") {
  auto directory = people();
  const auto terms = submission_terms();
  Talk talk{terms, directory};
  const auto reply_to = [&](const std::string& line) {
    talk.replies.clear();
    talk.feed(line + "\r\n");
    return talk.replies.substr(0, 9);
  };
  reply_to("EHLO client.test");
  CHECK(reply_to("MAIL FROM:<ann@example.test>") == "530 5.7.0");
  CHECK(reply_to("AUTH PLAIN " + plain("", "ann", "secret")) == "235 2.7.0");
  CHECK(reply_to("MAIL FROM:<bob@example.test>") == "550 5.7.1");
  CHECK(reply_to("RCPT TO:<bob@example.test>") == "503 5.5.1");
  CHECK(reply_to("MAIL FROM:<desk@example.test>") == "550 5.7.1");
  CHECK(reply_to("MAIL FROM:<x@elsewhere.test>") == "550 5.7.1");
  for (const auto* sender :
       {"ann@example.test", "ann", "ANN@example.test", "ann+shop@example.test", "team@example.test", ""}) {
    CAPTURE(sender);
    CHECK(reply_to(std::string{"MAIL FROM:<"} + sender + ">") == "250 2.1.0");
    CHECK(reply_to("AUTH PLAIN") == "503 5.5.1");
    CHECK(reply_to("RSET") == "250 2.0.0");
  }
  CHECK(reply_to("MAIL FROM:<ann>") == "250 2.1.0");
  CHECK(reply_to("RCPT TO:<x@Elsewhere.test> NOTIFY=DELAY ORCPT=rfc822;y@x.test") == "250 2.1.5");
  CHECK(reply_to("RCPT TO:<x@elsewhere.test>") == "250 2.1.5");
  CHECK(reply_to("RCPT TO:<bob@example.test> NOTIFY=NEVER") == "250 2.1.5");
  CHECK(reply_to("DATA") == "354 end w");
  CHECK(reply_to("From: ann\r\n\r\nhello\r\n.") == "250 2.0.0");
  REQUIRE(talk.messages.size() == 1);
  CHECK(talk.messages[0].stored == "From: ann\r\nDate: now\r\nMessage-ID: <id@host>\r\n\r\nhello\r\n");
  CHECK(talk.messages[0].envelope.authenticated == "ann@example.test");
  CHECK(talk.messages[0].envelope.reverse_path == "ann@example.test");
  REQUIRE(talk.messages[0].envelope.remotes.size() == 1);
  CHECK(talk.messages[0].envelope.remotes[0].address == "x@elsewhere.test");
  CHECK(talk.messages[0].envelope.remotes[0].notify == mailstore::notify_delay);
  CHECK(talk.messages[0].envelope.remotes[0].original_recipient == "rfc822;y@x.test");
  REQUIRE(talk.messages[0].envelope.owners.size() == 1);
  CHECK(talk.messages[0].envelope.owners[0].notify == mailstore::notify_never);
}

TEST_CASE("who authenticates may send anywhere, or not ([relay] authenticated)") {
  auto directory = people();
  auto terms = submission_terms();
  terms.relay_authenticated = false;
  Talk talk{terms, directory};
  talk.feed("EHLO client.test\r\nAUTH PLAIN " + plain("", "ann", "secret") + "\r\nMAIL FROM:<ann@example.test>\r\n");
  talk.replies.clear();
  talk.feed("RCPT TO:<x@elsewhere.test>\r\nRCPT TO:<bob@example.test>\r\n");
  CHECK(talk.replies.starts_with("550 5.7.1"));
  CHECK(talk.replies.ends_with("250 2.1.5 recipient ok\r\n"));
}

TEST_CASE("SCRAM-SHA-256 with a real client") {
  auto directory = people();
  const auto terms = submission_terms();
  const auto hashes = common::auth::make_hashes(common::Secret{"secret"});
  REQUIRE(hashes);
  for (auto& [address, mailbox] : directory.mailboxes) {
    mailbox.credential.scram_sha256 = hashes->scram_sha256;
    mailbox.credential.version = 1;
  }
  const auto log_in = [&](const char* name, const char* password) {
    Talk talk{terms, directory};
    talk.feed("EHLO client.test\r\n");
    Gsasl* context = nullptr;
    REQUIRE(gsasl_init(&context) == GSASL_OK);
    Gsasl_session* client = nullptr;
    REQUIRE(gsasl_client_start(context, "SCRAM-SHA-256", &client) == GSASL_OK);
    gsasl_property_set(client, GSASL_AUTHID, name);
    gsasl_property_set(client, GSASL_PASSWORD, password);
    std::string line = "AUTH SCRAM-SHA-256";
    std::string challenge;
    for (int round = 0; round < 5; ++round) {
      talk.replies.clear();
      talk.feed(line + "\r\n");
      if (!talk.replies.starts_with("334 ")) break;
      challenge = talk.replies.substr(4, talk.replies.size() - 6);
      char* answer = nullptr;
      const int state = gsasl_step64(client, challenge.c_str(), &answer);
      REQUIRE((state == GSASL_OK || state == GSASL_NEEDS_MORE));
      line = answer;
      gsasl_free(answer);
    }
    gsasl_finish(client);
    gsasl_done(context);
    return talk.replies.substr(0, 10);
  };
  CHECK(log_in("ann@example.test", "secret") == "235 2.7.0 ");
  CHECK(log_in("ann", "secret") == "235 2.7.0 ");
  CHECK(log_in("ann", "wrong") == "535 5.7.8 ");
  CHECK(log_in("nobody", "secret") == "535 5.7.8 ");
  CHECK(log_in("closed", "secret") == "535 5.7.13");
}

TEST_CASE("CRAM-MD5 where it is configured, for those who have a secret") {
  auto directory = people();
  auto terms = submission_terms();
  CHECK(answers(terms, directory, "AUTH CRAM-MD5\r\n").starts_with("504 5.5.4"));
  terms.mechanisms.emplace_back("CRAM-MD5");
  terms.passwords_need_tls = true;
  // A secret and a password; a secret alone; a password alone; locked.
  directory.mailboxes["ann@example.test"].apop_secret = "tanstaaf";
  directory.add_mailbox("eve@example.test").apop_secret = "tanstaaf";
  directory.mailboxes["closed@example.test"].apop_secret = "tanstaaf";
  const auto log_in = [&](const std::string& name, const std::string& secret) {
    Talk talk{terms, directory};
    talk.feed("EHLO client.test\r\n");
    CHECK(talk.replies.find("250-AUTH SCRAM-SHA-256 CRAM-MD5\r\n") != std::string::npos);
    talk.replies.clear();
    talk.feed("AUTH CRAM-MD5\r\n");
    REQUIRE(talk.replies.starts_with("334 "));
    const auto challenge = common::auth::decode_base64(talk.replies.substr(4, talk.replies.size() - 6));
    REQUIRE(challenge);
    CHECK(challenge->ends_with("@mail.example.test>"));
    talk.replies.clear();
    talk.feed(base64(name + ' ' + common::auth::cram_md5_digest(*challenge, secret)) + "\r\n");
    return talk.replies;
  };
  const std::string ok = "235 2.7.0 authenticated\r\n", wrong = "535 5.7.8 authentication credentials invalid\r\n";
  CHECK(log_in("ann@example.test", "tanstaaf") == ok);
  CHECK(log_in("Ann", "tanstaaf") == ok);
  CHECK(log_in("eve", "tanstaaf") == ok);
  CHECK(log_in("ann", "secret") == wrong);
  CHECK(log_in("bob", "hidden") == wrong);
  CHECK(log_in("bob", "") == wrong);
  CHECK(log_in("nobody", "tanstaaf") == wrong);
  CHECK(log_in("nobody", "") == wrong);
  CHECK(log_in("closed", "wrong") == wrong);
  CHECK(log_in("closed", "tanstaaf") == "535 5.7.13 this mailbox is locked\r\n");
  for (const std::string line : {"AUTH CRAM-MD5 =", "AUTH CRAM-MD5 YW5u"}) {
    Talk talk{terms, directory};
    talk.feed("EHLO client.test\r\n");
    talk.replies.clear();
    talk.feed(line + "\r\nNOOP\r\n");
    CHECK(talk.replies.starts_with("501 5.5.2"));
    CHECK(talk.replies.ends_with("\r\n250 2.0.0 ok\r\n"));
  }
  directory.broken = true;
  CHECK(log_in("ann", "tanstaaf").starts_with("454 4.7.0"));
}
