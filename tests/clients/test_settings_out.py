"""Settings of mail that goes out, seen by the servers that get it: hosts by the sender's domain, copies of reports, names."""

import base64
import email
import email.policy

from client_case import DOMAIN, ClientCase, main
from letters import letter
from wire import Wire, wait_for

from stub_smtp import StubSmtp
from suite import PASSWORD, Raw

STRANGER, REFUSED = "x@far.test", "nobody@backup.test"
WATCH = f"watch@{DOMAIN}"


class Out(ClientCase):
    @classmethod
    def setUpClass(cls):
        cls.relay, cls.own, cls.backup = StubSmtp(), StubSmtp(), StubSmtp(refused={REFUSED: "550 5.1.1 nobody of that name"})
        for stub in (cls.relay, cls.own, cls.backup):
            cls.addClassCleanup(stub.close)
        out = {
            "outbound.smart_host": f"[127.0.0.1]:{cls.relay.port}",
            "outbound.by_sender": Raw(f'{{ "*.second.test" = "[127.0.0.1]:{cls.own.port}" }}'),
            "messages.ndr_copy": WATCH, "messages.masquerade": "face.test",
        }
        cls.settings = {"mx": out, "submission": out}
        super().setUpClass()
        cls.suite.add_mailbox(WATCH)
        cls.suite.tool("domain", "add", "a.second.test")
        cls.suite.tool("domain", "add", "backup.test", "--remote", "--allow-relay", "--route", f"[127.0.0.1]:{cls.backup.port}")

    def setUp(self):
        super().setUp()
        self.empty(WATCH)

    def hand_in(self, sender, *recipients, account=None, more=""):
        with Wire(self.submissions if account else self.mx, self.context if account else None) as wire:
            wire.reply()
            self.assertRegex(wire.ask("EHLO client.test"), rb"^250")
            if account:
                self.assertRegex(wire.ask("AUTH PLAIN " + plain(account)), rb"^235")
            self.assertRegex(wire.ask(f"MAIL FROM:<{sender}>"), rb"^250")
            for recipient in recipients:
                self.assertRegex(wire.ask(f"RCPT TO:<{recipient}>{more}"), rb"^250")
            self.assertRegex(wire.ask("DATA"), rb"^354")
            wire.send(letter(recipients[0], self._testMethodName).replace(b"\r\n.", b"\r\n..") + b".\r\n")
            self.assertRegex(wire.reply(), rb"^250 2\.0\.0 ")

    def arrived(self, stub):
        """The message of this test, once it is there; the last if there are several."""
        mark = self._testMethodName.encode()
        return wait_for(lambda: [each for each in stub.messages if mark in each], why="the message at the next server")[-1]

    def copies(self):
        return wait_for(lambda: self.suite.messages(WATCH), why="the copy of the report")

    def test_the_host_of_the_senders_domain(self):
        account = "ann@a.second.test"
        self.suite.add_mailbox(account)
        self.hand_in(account, STRANGER, account=account)
        self.arrived(self.own)
        self.hand_in(self.address, STRANGER, account=self.address)
        self.arrived(self.relay)
        self.assertEqual(len([each for each in self.own.messages if self._testMethodName.encode() in each]), 1)

    def test_a_report_of_failure_and_its_copy(self):
        """S47, and S65 of a report that leaves the house."""
        self.hand_in(STRANGER, REFUSED)
        report = self.arrived(self.relay)
        self.assertIn(f"RCPT TO:<{STRANGER}>", [line.split(" NOTIFY")[0] for line in self.relay.lines])
        self.assertIn("MAIL FROM:<>", [line.split("> ")[0].removesuffix(">") + ">" for line in self.relay.lines])
        parsed = email.message_from_bytes(report, policy=email.policy.default)
        self.assertEqual(parsed["From"].addresses[0].addr_spec, "postmaster@face.test")
        self.assertEqual(parsed.get_content_type(), "multipart/report")
        self.assertIn(b"550 5.1.1 nobody of that name", report)
        (copy,) = self.copies()
        kept = self.suite.run_raw("message", "show", WATCH, copy["id"]).stdout
        self.assertIn(b"Action: failed\r\n", kept)
        self.assertIn(f"To: <{STRANGER}>\r\n".encode(), kept)

    def test_a_report_to_ourselves_keeps_its_name(self):
        """S65: inside nothing is masked."""
        self.hand_in(self.address, REFUSED, account=self.address)
        wait_for(lambda: self.suite.messages(self.address), why="the report")
        (got,) = self.mailbox()
        self.assertIn(f"<postmaster@{DOMAIN}>".encode(), got)
        self.assertNotIn(b"face.test", got)

    def test_our_own_mail_leaves_under_another_name(self):
        """S65: on its way out alone; what strangers send, and what stays, keeps its name."""
        local = self.address.partition("@")[0]
        inside = f"inside@{DOMAIN}"
        self.suite.add_mailbox(inside)
        self.hand_in(self.address, STRANGER, inside, account=self.address)
        self.arrived(self.relay)
        self.assertIn(f"MAIL FROM:<{local}@face.test>", [line.split(" SIZE")[0].split(" BODY")[0] for line in self.relay.lines])
        self.assertIn(f"Return-Path: <{self.address}>\r\n".encode(), self.mailbox(inside)[0])
        # The sender of what comes back is found by the true path.
        self.hand_in(self.address, REFUSED, account=self.address)
        wait_for(lambda: self.suite.messages(self.address), why="the report")
        self.assertIn(f"MAIL FROM:<{local}@face.test>", [line.split(" SIZE")[0].split(" BODY")[0] for line in self.backup.lines])
        self.hand_in(self.address, "y@backup.test")
        self.arrived(self.backup)
        self.assertIn(f"MAIL FROM:<{self.address}>", [line.split(" SIZE")[0].split(" BODY")[0] for line in self.backup.lines])

    def test_no_copy_of_a_report_of_success(self):
        """S47: of failures alone."""
        self.hand_in(self.address, self.address, account=self.address, more=" NOTIFY=SUCCESS")
        self.assertEqual(len(self.mailbox()), 2)
        self.assertEqual(self.suite.messages(WATCH), [])


def plain(account):
    return base64.b64encode(f"\0{account}\0{PASSWORD}".encode()).decode()


if __name__ == "__main__":
    main()
