"""Where mail goes by what a real name server says (RFC 5321 5.1): preferences, aliases, no exchangers at all, both families; and what
becomes of it where DNS says no, knows nothing, is broken, silent or slow."""

import email
import smtplib
import ssl
import unittest

from client_case import PASSWORD, ClientCase, main
from letters import ANN, letter
from postfix import free_port
from wire import wait_for

from dns_server import DnsServer
from stub_smtp import StubSmtp

NOBODY, SECOND, THIRD, SIX = "127.0.0.11", "127.0.0.12", "127.0.0.13", "::1"
ZONE = f"""
nobody.hosts A {NOBODY}
second.hosts A {SECOND}
third.hosts A {THIRD}
alias.hosts CNAME second.hosts
us.hosts A 127.0.0.1
both.hosts A {SECOND}
both.hosts AAAA {SIX}
preferred MX 30 third.hosts
preferred MX 20 second.hosts
preferred MX 10 nobody.hosts
behind-an-alias MX 10 alias.hosts
alias CNAME preferred
address A {SECOND}
six AAAA {SIX}
both MX 10 both.hosts
null MX 0 .
nameless MX 10 missing.hosts
half MX 10 missing.hosts
half MX 20 second.hosts
text TXT "neither exchanger nor address"
we-are-last MX 10 second.hosts
we-are-last MX 20 mx.example.test.
we-are-first MX 10 MX.example.test.
we-are-first MX 20 second.hosts
by-address MX 10 us.hosts
late MX 10 second.hosts
silently MX 10 mx.silent
""" + "".join(f"d{number}.many MX 10 second.hosts\n" for number in range(1000))


class OverDns(ClientCase):
    people = (ANN,)
    late, silent = {"late.test": 0.3}, ("silent.test",)
    our_address = "127.0.0.1"
    sinks = (SECOND, THIRD, SIX)

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(DnsServer({"test": ZONE, "broken.test": None}, silent=cls.silent, late=cls.late))
        cls.port = free_port()
        outbound = {"outbound.port": cls.port, "outbound.security": "none"}
        cls.settings = {
            "suite": {"dns.servers": [cls.server.address], "dns.insecure": ["."], "dns.timeout": "4s", "log.level": "info"},
            "mx": {"listen": [f"{cls.our_address}:{cls.port}"], **outbound}, "submission": outbound,
            "fallback": {"kind": "smtp", "role": "submission", "listen": ["127.0.0.1:0"], "hostname": "mx.example.test", **outbound,
                         "outbound.smart_host": f"[{THIRD}]", "outbound.smart_host_use": "fallback"},
        }
        super().setUpClass()
        cls.fallback = cls.suite.port("fallback")
        cls.hosts = {address: cls.enterClassContext(StubSmtp(("PIPELINING", "8BITMIME"), address=address, port=cls.port)) for address in cls.sinks}

    def setUp(self):
        super().setUp()
        for host in self.hosts.values():
            host.messages.clear()

    def send(self, domain, port=None):
        text = letter(f"bob@{domain}", sender=ANN)
        with smtplib.SMTP("localhost", port or self.submission, timeout=60) as client:
            client.starttls(context=ssl.create_default_context(cafile=self.ca))
            client.login(ANN, PASSWORD)
            client.sendmail(ANN, [f"bob@{domain}"], text)
        return text

    def arrives(self, domain, *addresses, port=None):
        """At one of these, and nowhere else."""
        text = self.send(domain, port)
        def came():
            return [address for address, host in self.hosts.items() for message in host.messages if message.endswith(text)]
        self.assertIn(wait_for(came, 10, f"mail for {domain} arrives")[0], addresses)
        self.assertEqual(len(came()), 1)
        for host in self.hosts.values():
            host.messages.clear()

    def comes_back(self, domain, status, words, port=None):
        self.send(domain, port)
        reports = wait_for(lambda: self.mailbox(ANN), 10, f"a report about {domain}")
        self.assertEqual(len(reports), 1)
        self.empty(ANN)
        parts = list(email.message_from_bytes(reports[0]).walk())
        told = next(part for part in parts if part.get_content_type() == "message/delivery-status").get_payload()[1]
        self.assertEqual((told["Action"], told["Status"], told["Final-Recipient"]), ("failed", status, f"rfc822;bob@{domain}"))
        self.assertIn(words, parts[1].get_payload())
        self.assertEqual([len(host.messages) for host in self.hosts.values()], [0] * len(self.hosts))

    def waits(self, domain, status, words):
        self.send(domain)
        def tried():
            return [row for row in self.suite.json("queue", "list", "--domain", domain) if row["state"] == "waiting"]
        row = wait_for(tried, 10, f"mail for {domain} waits")[0]
        told = self.suite.json("queue", "why", row["id"])[0]
        self.assertTrue(told["answer"].startswith(status + " "), told)
        self.assertIn(words, told["answer"])
        self.suite.tool("queue", "delete", row["id"])


class Ways(OverDns):
    def test_preferences(self):
        """Nobody listens at the first; the third is not needed."""
        self.arrives("preferred.test", SECOND)

    def test_aliases(self):
        self.arrives("behind-an-alias.test", SECOND)
        self.arrives("alias.test", SECOND)

    def test_no_exchanger(self):
        self.arrives("address.test", SECOND)

    def test_both_families(self):
        self.arrives("six.test", SIX)
        self.arrives("both.test", SIX, SECOND)

    def test_an_exchanger_without_a_name(self):
        self.arrives("half.test", SECOND)

    def test_we_are_the_last_exchanger(self):
        self.arrives("we-are-last.test", SECOND)

    def test_a_slow_answer(self):
        self.arrives("late.test", SECOND)

    def test_the_server_of_the_settings(self):
        """S70: at its port, which is no DNS server's by custom."""
        self.server.asked.clear()
        self.arrives("address.test", SECOND)
        self.arrives("asked-for-the-first-time.preferred.test", THIRD, port=self.fallback)
        self.assertIn("asked-for-the-first-time.preferred.test", self.server.asked)

    def test_the_smart_host_as_fallback(self):
        """S68: for what DNS does not know, and not for a domain that wants no mail."""
        self.arrives("nowhere.test", THIRD, port=self.fallback)
        self.arrives("www.broken.test", THIRD, port=self.fallback)
        self.arrives("address.test", SECOND, port=self.fallback)
        self.comes_back("null.test", "5.1.10", "takes no mail (null MX)", port=self.fallback)


class ManyAtATime(OverDns):
    sinks = (SECOND,)

    def test_more_domains_than_lookups_that_the_resolver_takes(self):
        """Those that would be too many wait for their turn, and not for a round of their domain."""
        text = letter("everybody@many.test", sender=ANN)
        with smtplib.SMTP("localhost", self.submission, timeout=60) as client:
            client.starttls(context=ssl.create_default_context(cafile=self.ca))
            client.login(ANN, PASSWORD)
            client.sendmail(ANN, [f"bob@d{number}.many.test" for number in range(1000)], text)
        wait_for(lambda: self.suite.json("queue", "stat")["waiting"] == 0 or "domain.deferred" in self.suite.log("smtpd"), 60,
                 "all has been sent")
        self.assertNotIn("domain.deferred", self.suite.log("smtpd"))
        self.assertEqual(len(self.hosts[SECOND].messages), 1000)


class NoWay(OverDns):
    def test_null_exchanger(self):
        """RFC 7505."""
        self.comes_back("null.test", "5.1.10", "takes no mail (null MX)")

    def test_no_such_domain(self):
        self.comes_back("nowhere.test", "5.1.2", "no such domain")

    def test_no_such_host(self):
        self.comes_back("nameless.test", "5.1.2", "missing.hosts.test: no such host")

    def test_neither_exchanger_nor_address(self):
        self.comes_back("text.test", "5.1.2", "the host has no address")

    def test_we_are_the_first_exchanger(self):
        self.comes_back("we-are-first.test", "5.4.6", "its mail exchanger is this server")

    def test_a_way_that_leads_to_our_own_listener(self):
        self.comes_back("by-address.test", "5.4.6", "that is this server")

    def test_a_broken_zone(self):
        self.waits("www.broken.test", "4.4.3", "the name service has no answer")

    def test_a_server_that_is_silent(self):
        self.waits("silent.test", "4.4.3", "the name service has no answer")
        self.waits("silently.test", "4.4.3", "mx.silent.test: the name service has no answer")


class OnEveryAddress(OverDns):
    """smtpd listens on all addresses of the machine: each of them is this server."""

    our_address = "0.0.0.0"
    sinks = ()

    def test_a_way_that_leads_to_our_own_listener(self):
        self.comes_back("by-address.test", "5.4.6", "that is this server")
        self.comes_back("address.test", "5.4.6", "that is this server")


del OverDns

if __name__ == "__main__":
    main()
