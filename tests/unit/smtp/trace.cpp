#include "smtpd/protocol/trace.hpp"

#include <doctest/doctest.h>

#include "smtpd/protocol/reply.hpp"

using namespace smtpd;

TEST_CASE("the trace line") {
  Trace trace;
  trace.helo = "client.test";
  trace.address = "192.0.2.7";
  trace.hostname = "mx.example.test";
  trace.id = "abc";
  trace.recipient = "ann@example.test";
  trace.time = std::chrono::sys_seconds{std::chrono::seconds{1'700'000'000}};
  CHECK(format_received(trace) ==
        "Received: from client.test ([192.0.2.7])\r\n\tby mx.example.test with SMTP id abc\r\n\tfor "
        "<ann@example.test>;\r\n\t"
        "Tue, 14 Nov 2023 22:13:20 +0000\r\n");
  trace.name = "host.client.test";
  CHECK(format_received(trace).starts_with(
      "Received: from client.test (host.client.test [192.0.2.7])\r\n\tby mx.example.test with SMTP id abc"));
  trace.address = "2001:db8::1";
  CHECK(format_received(trace).starts_with("Received: from client.test (host.client.test [IPv6:2001:db8::1])\r\n"));
  trace.name = "";
  trace.protocol = Trace::Protocol::esmtp;
  trace.authenticated = true;
  trace.helo = "";
  trace.address = "2001:db8::1";
  trace.tls_protocol = "TLSv1.3";
  trace.tls_cipher = "TLS_AES_256_GCM_SHA384";
  trace.recipient = "";
  CHECK(format_received(trace) ==
        "Received: from unknown ([IPv6:2001:db8::1])\r\n\tby mx.example.test with ESMTPSA id abc\r\n\t(TLSv1.3 "
        "TLS_AES_256_GCM_SHA384);\r\n\t"
        "Tue, 14 Nov 2023 22:13:20 +0000\r\n");
}

TEST_CASE("whose program it was stands in the trace line") {
  Trace trace;
  trace.helo = "localhost";
  trace.address = "unix";
  trace.hostname = "mx.example.test";
  trace.id = "abc";
  trace.protocol = Trace::Protocol::esmtp;
  CHECK(format_received(trace).starts_with("Received: from localhost (local)\r\n\tby mx.example.test with ESMTP id"));
  trace.user = 1000;
  CHECK(
      format_received(trace).starts_with("Received: from localhost (local, userid 1000)\r\n\tby mx.example.test with"));
  trace.protocol = Trace::Protocol::none;
  CHECK(format_received(trace).contains("\tby mx.example.test id abc;\r\n"));
}

TEST_CASE("the protocol's name in the trace line (RFC 3848, RFC 6531 4.3)") {
  using enum Trace::Protocol;
  struct Row {
    Trace::Protocol protocol;
    bool utf8, tls, authenticated;
    std::string name;
  };
  const Row rows[] = {
      {smtp, false, true, false, "SMTP"},      {esmtp, false, false, false, "ESMTP"},
      {esmtp, false, true, true, "ESMTPSA"},   {esmtp, true, false, false, "UTF8SMTP"},
      {esmtp, true, true, false, "UTF8SMTPS"}, {esmtp, true, false, true, "UTF8SMTPA"},
      {esmtp, true, true, true, "UTF8SMTPSA"}, {lmtp, false, false, false, "LMTP"},
      {lmtp, false, true, false, "LMTPS"},     {lmtp, true, false, false, "UTF8LMTP"},
      {lmtp, true, true, true, "UTF8LMTPSA"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.name);
    Trace trace;
    trace.protocol = row.protocol;
    trace.utf8 = row.utf8;
    trace.authenticated = row.authenticated;
    if (row.tls) trace.tls_protocol = "TLSv1.3";
    CHECK(format_received(trace).find(" with " + row.name + " id ") != std::string::npos);
  }
}

TEST_CASE("dates (RFC 5322 3.3)") {
  CHECK(format_date(std::chrono::sys_seconds{std::chrono::seconds{0}}) == "Thu, 01 Jan 1970 00:00:00 +0000");
  CHECK(format_date(std::chrono::sys_days{std::chrono::year{2024} / 2 / 29} + std::chrono::seconds{86399}) ==
        "Thu, 29 Feb 2024 23:59:59 +0000");
}

TEST_CASE("replies of one line and of several") {
  std::string out;
  append_reply(out, {Cause::ok, {}});
  append_reply(out, {Cause::ehlo, "a\nb\nc"});
  append_reply(out, {Cause::stored, "id"});
  CHECK(out == "250 2.0.0 ok\r\n250-a\r\n250-b\r\n250 c\r\n250 2.0.0 id stored\r\n");
  CHECK(format_code(Cause::unknown_recipient) == "550 5.1.1");
}
