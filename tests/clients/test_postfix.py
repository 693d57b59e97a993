"""Postfix as the one who hands mail on: lmtp(8) over TCP and over a Unix socket, smtp(8) to the mx."""

import re

from client_case import ClientCase, main
from letters import STRANGER, letter
from postfix import Postfix
from suite import DOMAIN
from wire import Wire

ANN, FULL, UTF8 = f"ann@{DOMAIN}", f"full@{DOMAIN}", f"jörg@{DOMAIN}"
# Each of these is the same people, reached another way.
TCP, UNIX, SMTP = "tcp.test", "unix.test", "smtp.test"


class OfPostfix(ClientCase):
    settings = {"lmtp": {}}
    people = (ANN, FULL, UTF8)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in (TCP, UNIX, SMTP):
            cls.suite.tool("domain", "add", name, "--alias-of", DOMAIN)
        cls.suite.tool("mailbox", "set", FULL, "--max-messages", "1")
        # Postfix' programs are not root's; the socket says itself who may connect.
        for folder in (cls.suite.folder, cls.suite.folder / "run"):
            folder.chmod(0o755)
        lmtp = cls.suite.port("lmtp")
        cls.postfix = cls.enterClassContext(Postfix(cls.suite.folder / "postfix", {
            "transport_maps": f"inline:{{ {{{TCP}=lmtp:inet:127.0.0.1:{lmtp}}}, "
                              f"{{{UNIX}=lmtp:unix:{cls.suite.folder}/run/lmtp}}, "
                              f"{{{SMTP}=smtp:[127.0.0.1]:{cls.mx}}} }}",
            "smtp_tls_security_level": "verify", "smtp_tls_verify_cert_match": "localhost",
            "smtp_tls_CAfile": cls.ca, "smtp_tls_loglevel": "1",
            "lmtp_tls_security_level": "may", "lmtp_tls_loglevel": "1",
        }))

    def setUp(self):
        super().setUp()
        self.postfix.logfile.write_bytes(b"")

    def hand_in(self, octets, *recipients, sender=STRANGER, utf8=False):
        """To Postfix, which will hand it on to us."""
        with Wire(self.postfix.port) as wire:
            wire.reply()
            wire.ask("EHLO inside.test")
            self.assertRegex(wire.ask(f"MAIL FROM:<{sender}> BODY=8BITMIME" + (" SMTPUTF8" if utf8 else "")), rb"^250")
            for recipient in recipients:
                self.assertRegex(wire.ask(f"RCPT TO:<{recipient}>"), rb"^250")
            self.assertRegex(wire.ask("DATA"), rb"^354")
            wire.send(re.sub(rb"(?m)^\.", b"..", octets) + b".\r\n")
            self.assertRegex(wire.reply(), rb"^250")
            wire.ask("QUIT")
        return self.postfix.fates(len(recipients))

    def assert_one(self, octets, address=ANN):
        """The mailbox holds the message behind two Received lines, ours and Postfix'; gives ours back."""
        messages = self.mailbox(address)
        self.assertEqual(len(messages), 1)
        self.assertTrue(messages[0].endswith(octets), messages[0][-len(octets) - 200:])
        trace = messages[0][:-len(octets)].decode()
        self.assertEqual(re.findall(r"^([A-Za-z-]+):", trace, re.M),
                         ["Return-Path", "Delivered-To", "Received", "Received"], trace)
        return trace

    def answers_of_lmtp(self, domain):
        """An answer for each recipient: one is good, one unknown, one over quota."""
        self.put(b"Subject: fills it\r\n\r\n", to=FULL)
        text = letter(f"ann@{domain}")
        fates = self.hand_in(text, f"ann@{domain}", f"nobody@{domain}", f"full@{domain}")
        self.assertEqual({address.partition("@")[0]: status for address, (status, _) in fates.items()},
                         {"ann": "sent", "nobody": "bounced", "full": "deferred"})
        self.assertIn("250 2.0.0 ", fates[f"ann@{domain}"][1])
        self.assertIn("550 5.1.1 ", fates[f"nobody@{domain}"][1])
        self.assertIn("452 4.2.2 ", fates[f"full@{domain}"][1])
        return self.assert_one(text)

    def test_lmtp_over_tcp(self):
        self.assertRegex(self.answers_of_lmtp(TCP), r"Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n"
                         r"\tby mx\.example\.test with LMTPS id \w+\r\n\t\(TLSv1\.3 ")

    def test_lmtp_over_a_unix_socket(self):
        """No TLS there: Postfix does not ask for it."""
        self.assertRegex(self.answers_of_lmtp(UNIX), r"Received: from client\.test \(local\)\r\n"
                         r"\tby mx\.example\.test with LMTP id ")

    def test_nothing_but_dots_and_a_long_line(self):
        """Dots at every place of a line, and a line as long as Postfix sends one."""
        body = b"".join(b"." * count + b"\r\n" for count in range(1, 60)) + b"y" * 990 + b"\r\n"
        text = b"Subject: dots\r\nFrom: <x@y.test>\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@y.test>\r\n\r\n" + body
        self.hand_in(text, f"ann@{TCP}")
        self.assert_one(text)

    def test_many_recipients_in_one_transaction(self):
        """One answer each behind the end of data, in order, though aliases lead to one mailbox and some were refused."""
        for i in range(20):
            self.suite.tool("alias", "add", f"a{i}@{DOMAIN}", ANN)
        people = [f"a{i}@{TCP}" for i in range(20)] + [f"no{i}@{TCP}" for i in range(5)]
        text = letter(f"ann@{TCP}")
        fates = self.hand_in(text, *people)
        for address, (status, _) in fates.items():
            self.assertEqual(status, "bounced" if address.startswith("no") else "sent", address)
        self.assert_one(text)
        for i in range(20):
            self.suite.tool("alias", "remove", f"a{i}@{DOMAIN}")

    def test_smtp_with_tls_and_pipelining(self):
        text = letter(f"ann@{SMTP}")
        fates = self.hand_in(text, f"ann@{SMTP}", f"nobody@{SMTP}")
        self.assertEqual(fates[f"ann@{SMTP}"][0], "sent")
        self.assertEqual(fates[f"nobody@{SMTP}"][0], "bounced")
        self.assertIn("Verified TLS connection established", self.postfix.log())
        trace = self.assert_one(text)
        self.assertRegex(trace, r"(?m)^\tby mx\.example\.test with ESMTPS id .*\r\n\t\(TLSv1\.3 ")

    def test_smtputf8(self):
        text = letter("jörg", sender="ä@bücher.test").replace(b"Subject: A letter", "Subject: Grüße".encode())
        fates = self.hand_in(text, f"jörg@{SMTP}", sender="ä@bücher.test", utf8=True)
        self.assertEqual(fates[f"jörg@{SMTP}"][0], "sent")
        trace = self.assert_one(text, UTF8)
        self.assertRegex(trace, r"with UTF8SMTPS id ")
        self.assertIn("Return-Path: <ä@xn--bcher-kva.test>\r\n", trace)

    def test_smtputf8_by_lmtp(self):
        text = letter("jörg")
        fates = self.hand_in(text, f"jörg@{UNIX}", utf8=True)
        self.assertEqual(fates[f"jörg@{UNIX}"][0], "sent")
        self.assertRegex(self.assert_one(text, UTF8), r"with UTF8LMTP id ")

    def test_larger_than_the_whole_quota(self):
        """Postfix says SIZE= at MAIL, so the refusal is final at RCPT (RFC 1870 6.1)."""
        self.suite.tool("mailbox", "set", ANN, "--quota", "100")
        try:
            status, said = self.hand_in(letter(f"ann@{SMTP}"), f"ann@{SMTP}")[f"ann@{SMTP}"]
        finally:
            self.suite.tool("mailbox", "set", ANN, "--quota", "0")
        self.assertEqual(status, "bounced")
        self.assertIn("552 5.2.2 ", said)
        self.assertEqual(self.mailbox(ANN), [])


if __name__ == "__main__":
    main()
