"""Which way mail goes: by DNS, by smart host, by the settings of its domain."""

import base64
import tempfile

from client_case import main
from dns_server import DnsServer
from outbound_case import ANN, LETTER, QUICK, OutboundCase
from stub import Stub
from suite import PASSWORD
from wire import Wire, wait_for

ZONE = """
there MX 10 mx.there
mx.there A 127.0.0.1
plain A 127.0.0.1
two MX 20 mx.there
two MX 10 nobody.two
nobody.two A 127.0.0.9
none MX 0 .
refused A 127.0.0.9
ours MX 10 mx.example
loop CNAME loop
"""


class RouteCase(OutboundCase):
    """Beside the suite a name server with the zone test., and a next server to which DNS leads."""

    @classmethod
    def setUpClass(cls):
        cls.dns = cls.enterClassContext(DnsServer({"test.": ZONE, "broken.": None}, silent={"slow.test"}))
        cls.direct = cls.enterClassContext(Stub(users={"us": "right"}, tls=None))
        cls.smart = cls.enterClassContext(Stub(users={"us": "right"}))
        cls.settings = {
            "suite": {"dns.servers": [cls.dns.address], "dns.insecure": ["."], "dns.timeout": "3s"},
            "mx": {**QUICK, "delivery.retry": ["1h"], "outbound.port": cls.direct.port, **cls.outbound()},
        }
        super().setUpClass()

    @classmethod
    def outbound(cls):
        return {}

    def send(self, *recipients):
        """By somebody who may send anywhere (S41)."""
        with Wire(self.mx) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            self.assertRegex(wire.ask("STARTTLS"), rb"^220")
            wire.secure(self.context)
            wire.ask("EHLO client.test")
            token = base64.b64encode(f"\0{ANN}\0{PASSWORD}".encode()).decode()
            self.assertRegex(wire.ask(f"AUTH PLAIN {token}"), rb"^235")
            self.assertRegex(wire.ask(f"MAIL FROM:<{ANN}>"), rb"^250")
            for recipient in recipients:
                self.assertRegex(wire.ask(f"RCPT TO:<{recipient}>"), rb"^250")
            wire.ask("DATA")
            wire.send(LETTER.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            said = wire.reply()
            self.assertRegex(said, rb"^250 2\.0\.0 ")
            return said.split()[2].decode()

    def outcome(self, address):
        """The row of the recipient once it was tried."""
        number = self.send(address)
        return wait_for(lambda: next((row for row in self.why(number) if row["last"]), None), why=address)


class ByDns(RouteCase):
    def test_exchangers_and_addresses_s63_s70(self):
        for domain, peer in (("there.test", "mx.there.test"), ("plain.test", "plain.test"), ("two.test", "mx.there.test")):
            with self.subTest(domain=domain):
                row = self.outcome(f"bob@{domain}")
                self.assertEqual(row["cause"], "delivered")
                self.assertEqual(row["peer"], f"{peer}[127.0.0.1]:{self.direct.port}")
        self.assertIn("there.test", self.dns.asked)
        self.assertEqual(self.direct.said("AUTH"), [])

    def test_our_name_s66(self):
        self.outcome("bob@there.test")
        self.assertEqual(self.direct.lines[0], "EHLO mx.example.test")
        with Wire(self.mx) as wire:
            self.assertTrue(wire.reply().startswith(b"220 mx.example.test "))
        self.assertIn(b"\r\n\tby mx.example.test with", self.direct.messages[0])

    def test_domains_that_take_no_mail(self):
        for domain, status in (("none.test", "5.1.10"), ("nowhere.test", "5.1.2"), ("refused.test", "4.4.1"),
                               ("loop.test", "4.4.3"), ("slow.test", "4.4.3"), ("a.broken", "4.4.3")):
            with self.subTest(domain=domain):
                row = self.outcome(f"bob@{domain}")
                self.assertIn(status, row["answer"])
                self.assertEqual(row["state"] in ("done", "failed"), status.startswith("5"))

    def test_a_domain_that_leads_back_to_us(self):
        row = self.outcome("bob@ours.test")
        self.assertEqual(row["state"], "failed")
        self.assertIn("5.4.6", row["answer"])

    def test_address_literal(self):
        row = self.outcome("bob@[127.0.0.1]")
        self.assertEqual(row["cause"], "delivered")

    def test_wildcards_s87_and_routes_s92(self):
        self.suite.tool("domain", "add", "*.there.test", "--remote", "--route", self.smart.route)
        self.assertEqual(self.outcome("bob@sub.there.test")["peer"].rpartition(":")[2], str(self.smart.port))
        self.assertEqual(self.outcome("bob@there.test")["peer"].rpartition(":")[2], str(self.direct.port))
        # The longer one, which goes by DNS and finds nobody.
        self.suite.tool("domain", "add", "*.sub.there.test", "--remote", "--route", "dns")
        self.assertIn("5.1.2", self.outcome("bob@x.sub.there.test")["answer"])

    def test_relaying_for_one_domain_only_s89(self):
        with Stub() as stub:
            domain = self.lead(stub)
            with Wire(self.mx) as wire:
                wire.reply()
                wire.ask("EHLO client.test")
                wire.ask("MAIL FROM:<eve@elsewhere.test>")
                self.assertRegex(wire.ask(f"RCPT TO:<bob@{domain}>"), rb"^250")
                self.assertRegex(wire.ask("RCPT TO:<bob@there.test>"), rb"^550 5\.7\.1")
                self.assertRegex(wire.ask(f"RCPT TO:<bob@sub.{domain}>"), rb"^550 5\.7\.1")
                self.suite.tool("domain", "set", domain, "--no-allow-relay")
                self.assertRegex(wire.ask(f"RCPT TO:<eve@{domain}>"), rb"^550 5\.7\.1")

    def test_domains_of_ours_are_live_s84_s85_s88(self):
        self.suite.tool("domain", "add", "late.test")
        self.suite.add_mailbox("bob@late.test")
        self.suite.tool("domain", "add", "second.test", "--alias-of", "late.test")
        self.put(LETTER, to="bob@late.test")
        self.put(LETTER, to="bob@second.test")
        messages = self.mailbox("bob@late.test")
        self.assertEqual(len(messages), 2)
        for message in messages:
            self.assertIn(b"Delivered-To: bob@late.test\r\n", message)
            self.assertTrue(message.endswith(LETTER))

    def test_mail_of_a_domain_that_became_ours(self):
        number = self.send("carl@refused.test")
        wait_for(lambda: self.why(number)[0]["last"])
        self.suite.tool("domain", "add", "refused.test")
        self.suite.add_mailbox("carl@refused.test")
        self.suite.tool("queue", "retry", number)
        self.assertEqual(self.wait_left(number)["carl@refused.test"]["state"], "done")
        self.assertEqual(len(self.mailbox("carl@refused.test")), 1)
        self.suite.tool("domain", "remove", "refused.test", "--purge")


class Bound(RouteCase):
    @classmethod
    def outbound(cls):
        return {"outbound.bind": ["127.0.0.5"]}

    def test_source_address(self):
        self.assertEqual(self.outcome("bob@there.test")["cause"], "delivered")
        self.assertEqual({address for address, _ in self.direct.clients}, {"127.0.0.5"})


class SmartHost(RouteCase):
    @classmethod
    def outbound(cls):
        return {"outbound.smart_host": f"[127.0.0.1]:{cls.smart.port}"}

    def test_all_mail_for_others_goes_there_s67(self):
        for domain in ("there.test", "nowhere.test", "none.test"):
            self.assertEqual(self.outcome(f"bob@{domain}")["cause"], "delivered")
        self.assertEqual(len(self.smart.messages), 3)
        self.assertEqual(self.direct.connections, 0)

    def test_the_settings_of_a_domain_come_first_s86_s92(self):
        self.suite.tool("domain", "add", "there.test", "--remote", "--route", "dns")
        row = self.outcome("bob@there.test")
        self.assertEqual(row["peer"], f"mx.there.test[127.0.0.1]:{self.direct.port}")
        self.suite.tool("domain", "remove", "there.test")


class Fallback(RouteCase):
    @classmethod
    def outbound(cls):
        return {"outbound.smart_host": f"127.0.0.1:{cls.smart.port}", "outbound.smart_host_use": "fallback",
                "outbound.security": "none", "outbound.username": "us", "outbound.password_file": cls.password_file()}

    @classmethod
    def password_file(cls):
        file = cls.enterClassContext(tempfile.NamedTemporaryFile("w"))
        file.write("right\n")
        file.flush()
        return file.name

    def test_only_what_dns_does_not_know_goes_there_s68(self):
        row = self.outcome("bob@nowhere.test")
        self.assertEqual((row["cause"], row["peer"].rpartition(":")[2]), ("delivered", str(self.smart.port)))
        row = self.outcome("bob@slow.test")
        self.assertEqual((row["cause"], row["peer"].rpartition(":")[2]), ("delivered", str(self.smart.port)))
        self.assertIn("4.4.1", self.outcome("bob@refused.test")["answer"])
        self.assertIn("5.1.10", self.outcome("bob@none.test")["answer"])
        self.assertEqual(len(self.smart.messages), 2)

    def test_our_password_is_for_the_smart_host_alone_s58(self):
        self.assertEqual(self.outcome("bob@there.test")["cause"], "delivered")
        self.assertEqual(self.direct.said("AUTH"), [])
        self.assertEqual(self.outcome("bob@nobody.test")["cause"], "delivered")
        self.assertEqual(len(self.smart.said("AUTH")), 1)


if __name__ == "__main__":
    main()
