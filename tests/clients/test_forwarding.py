"""Mail that goes on from here: forwarding and the circles it may run in, reverse-paths that find their way back, groups, copies
of all mail, automatic replies. Four houses, each a Pennypost of its own, that know the ways to each other."""

import email
import email.policy
import hmac
import pathlib
import re
import ssl
import struct
import sys
import time
import unittest

from client_case import main
from wire import Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import PASSWORD, Suite  # noqa: E402

LETTER = (b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: joe@far.test\r\nTo: ann@a.test\r\nMessage-ID: <1@far.test>\r\n"
          b"Subject: Lunch\r\n\r\nAt noon?\r\n.\r\n..two\r\n")
HOUSES = ("a", "b", "c", "far")


def letter(**fields):
    """LETTER with other header fields; None takes one away."""
    message = LETTER
    for name, value in fields.items():
        name = name.replace("_", "-")
        message = re.sub(rb"(?mi)^%s: .*\r\n" % name.encode(), b"", message)
        if value is not None:
            message = f"{name}: {value}\r\n".encode() + message
    return message


def return_path(key, age):
    """The SRS address at a.test of joe@far.test, made so many days ago."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    day = (int(time.time()) // 86400 - age) % 1024
    stamp = letters[day >> 5] + letters[day & 31]
    mac = hmac.new(key.encode(), digestmod="sha256")
    for part in ("SRS0", stamp.lower(), "far.test", "joe"):
        mac.update(struct.pack("<Q", len(part)) + part.encode())
    bits = struct.unpack("!I", mac.digest()[:4])[0]
    return f"SRS0={''.join(letters[bits >> (27 - 5 * i) & 31] for i in range(6))}={stamp}=far.test=joe@a.test"


class Forwarding(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.houses = {}
        for name in HOUSES:
            suite = Suite({"mx": {"hostname": f"mx.{name}.test"}, "submission": {"hostname": f"mx.{name}.test"}},
                          domain=f"{name}.test", start=False)
            cls.houses[name] = cls.enterClassContext(suite)
            suite.start()
            suite.tool("mailbox", "passwd", f"postmaster@{name}.test", "--password-stdin", text_in=PASSWORD + "\n")
        cls.ports = {name: suite.port("mx") for name, suite in cls.houses.items()}
        for name, suite in cls.houses.items():
            for other, port in cls.ports.items():
                if other != name:
                    suite.tool("domain", "add", f"{other}.test", "--remote", "--route", f"[127.0.0.1]:{port}")

    def setUp(self):
        self.made = []

    def tearDown(self):
        for house, address in self.made:
            self.houses[house].tool("mailbox", "remove", address, "--purge")
        for house in HOUSES:
            wait_for(lambda house=house: self.houses[house].json("queue", "stat")["waiting"] == 0,
                     why=f"an empty queue of {house}")

    def person(self, address):
        house = address.rpartition("@")[2].removesuffix(".test")
        self.houses[house].add_mailbox(address, None)
        self.made.append((house, address))

    def tool(self, house, *arguments, **more):
        return self.houses[house].tool(*arguments, **more)

    def mail(self, house, to, sender="joe@far.test", octets=LETTER, want=rb"^250 2\.0\.0 "):
        """From outside, to one or several; gives back the reply to the end of data."""
        with Wire(self.ports[house]) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            self.assertRegex(wire.ask(f"MAIL FROM:<{sender}>"), rb"^250")
            for one in [to] if isinstance(to, str) else to:
                self.assertRegex(wire.ask(f"RCPT TO:<{one}>"), rb"^250")
            self.assertRegex(wire.ask("DATA"), rb"^354")
            wire.send(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            reply = wire.reply()
            self.assertRegex(reply, want)
            return reply

    def submit(self, house, account, to, octets=LETTER):
        context = ssl.create_default_context(cafile=self.houses[house].certificate)
        import smtplib
        with smtplib.SMTP_SSL("127.0.0.1", self.houses[house].port("submission", tls=True), context=context) as client:
            client.login(account, PASSWORD)
            client.sendmail(account, to, octets)

    def refused(self, house, recipient):
        with Wire(self.ports[house]) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            wire.ask("MAIL FROM:<>")
            return wire.ask(f"RCPT TO:<{recipient}>")

    def messages(self, address, count, settled=True):
        """Octets of the messages in a mailbox, once there are so many."""
        house = self.houses[address.rpartition("@")[2].removesuffix(".test")]
        wait_for(lambda: len(house.messages(address)) >= count, why=f"{count} messages for {address}")
        found = house.messages(address)
        self.assertEqual(len(found), count, found)
        return [house.run_raw("message", "show", address, message["id"]).stdout for message in found]

    def fields(self, octets):
        return email.message_from_bytes(octets, policy=email.policy.default)

    # ---- forwarding

    def test_a_forwarded_copy_is_the_message_with_a_line_in_front(self):
        self.person("ann@a.test")
        self.person("ann@b.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "ann@b.test", "--keep-copy")
        big = LETTER + b"x" * 70 + b"\r\n" + b".y\r\n" * 200_000
        for octets in (LETTER, LETTER.replace(b"\r\n.", b"\r\n"), big):
            with self.subTest(size=len(octets)):
                self.mail("a", "ann@a.test", octets=octets)
                got = self.messages("ann@b.test", 1)[0]
                trace = got[:-len(octets)].decode()
                self.assertEqual(got[-len(octets):], octets)
                self.assertEqual(re.findall(r"^([A-Za-z-]+):", trace, re.M),
                                 ["Return-Path", "Delivered-To", "Received", "Delivered-To", "Received"])
                self.assertEqual(re.findall(r"^Delivered-To: (.*)\r$", trace, re.M), ["ann@b.test", "ann@a.test"])
                self.assertRegex(trace, r"^Return-Path: <SRS0=[A-Z2-7]{6}=[A-Z2-7]{2}=far\.test=joe@a\.test>\r\n")
                kept = self.messages("ann@a.test", 1)[0]
                self.assertIn(b"Return-Path: <joe@far.test>\r\nDelivered-To: ann@a.test\r\n", kept)
                for house in "ab":
                    found = self.houses[house].messages(f"ann@{house}.test")
                    self.tool(house, "message", "delete", f"ann@{house}.test", *(one["id"] for one in found))

    def test_it_is_live_and_ends(self):
        self.person("ann@a.test")
        self.person("ann@b.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "ann@b.test")
        self.mail("a", "ann@a.test")
        self.messages("ann@b.test", 1)
        self.tool("a", "mailbox", "set", "ann@a.test", "--no-forward")
        self.mail("a", "ann@a.test")
        self.messages("ann@a.test", 1)
        self.messages("ann@b.test", 1)

    def test_mail_of_our_own_people_keeps_its_reverse_path(self):
        self.person("ann@a.test")
        self.person("ann@b.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "ann@b.test")
        self.submit("a", "postmaster@a.test", "ann@a.test")
        self.assertTrue(self.messages("ann@b.test", 1)[0].startswith(b"Return-Path: <postmaster@a.test>\r\n"))

    def test_what_cannot_be_delivered_behind_us_comes_back_to_the_sender(self):
        self.person("joe@far.test")
        self.person("ann@a.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "nobody@b.test")
        self.mail("a", "ann@a.test")
        report = self.fields(self.messages("joe@far.test", 1)[0])
        self.assertIn("nobody@b.test", report.get_payload(1).as_string())

    # ---- circles

    def test_a_ring_of_three_ends_and_the_sender_is_told_once(self):
        self.person("joe@far.test")
        ring = ("a", "b", "c")
        for house, following in zip(ring, ("b", "c", "a")):
            self.person(f"ann@{house}.test")
            self.tool(house, "mailbox", "set", f"ann@{house}.test", "--forward", f"ann@{following}.test")
        self.mail("a", "ann@a.test")
        report = self.fields(self.messages("joe@far.test", 1)[0])
        self.assertIn("5.4.6", report.get_payload(1).as_string())
        for house in ring:
            wait_for(lambda house=house: self.houses[house].json("queue", "stat")["waiting"] == 0)
            self.assertEqual(self.houses[house].messages(f"ann@{house}.test"), [])
        self.messages("joe@far.test", 1)

    def test_a_circle_beside_others_is_no_reason_to_refuse_them(self):
        self.person("joe@far.test")
        self.person("ann@a.test")
        self.person("bob@a.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "ann@b.test")
        been = letter(Delivered_To="ann@a.test")
        self.assertRegex(self.mail("a", "ann@a.test", octets=been, want=rb"^554 5\.4\.6 "), rb"circles")
        self.mail("a", ["ann@a.test", "bob@a.test"], octets=been)
        self.messages("bob@a.test", 1)
        report = self.fields(self.messages("joe@far.test", 1)[0]).get_payload(1).as_string()
        self.assertIn("5.4.6", report)
        self.assertNotIn("bob", report)
        # What she keeps she has.
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "ann@b.test", "--keep-copy")
        self.mail("a", ["ann@a.test", "bob@a.test"], octets=been)
        self.messages("bob@a.test", 2)
        self.assertEqual(self.houses["a"].messages("ann@a.test"), [])

    def test_oneself_and_a_way_back_are_refused(self):
        self.person("ann@a.test")
        self.person("bob@a.test")
        house = self.houses["a"]
        done = house.run_tool("mailbox", "set", "ann@a.test", "--forward", "ANN@a.test")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--keep-copy", done.stderr)
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "bob@a.test")
        done = house.run_tool("mailbox", "set", "bob@a.test", "--forward", "ann@a.test")
        self.assertEqual(done.returncode, 1)
        self.assertIn("loop", done.stderr)

    # ---- reverse-paths

    def test_addresses_that_we_never_made_are_refused(self):
        for address in ("SRS0=AAAAAA=AA=far.test=joe@a.test", "SRS1=AAAAAA=far.test==x@a.test", "SRS0=x@a.test"):
            self.assertRegex(self.refused("a", address), rb"^550 5\.1\.1 ")

    def test_keys_rotate_and_age_counts(self):
        self.person("ann@a.test")
        self.person("ann@b.test")
        self.person("joe@far.test")
        house = self.houses["a"]
        self.tool("a", "mailbox", "set", "ann@a.test", "--forward", "ann@b.test")
        keys = house.folder / "srs.keys"

        def path_with(*lines):
            keys.write_text("".join(line + "\n" for line in lines))
            house.write_config({"mx": {"hostname": "mx.a.test"}, "submission": {"hostname": "mx.a.test"},
                                "suite": {"srs.key_file": keys} if lines else {}})
            house.stop("smtpd")
            house.start("smtpd")
            self.ports["a"] = house.port("mx")
            self.mail("a", "ann@a.test")
            got = self.messages("ann@b.test", 1)[0]
            self.tool("b", "message", "delete", "ann@b.test", self.houses["b"].messages("ann@b.test")[0]["id"])
            return re.match(rb"Return-Path: <(.*)>\r\n", got)[1].decode()

        try:
            own = path_with()
            first = path_with("the first key of ours")
            second = path_with("the second key of ours", "the first key of ours")
            self.assertEqual(len({own, first, second}), 3)
            for path in (own, first, second):
                self.assertRegex(self.refused("a", path), rb"^250 ")
            path_with("the second key of ours")
            self.assertRegex(self.refused("a", first), rb"^550 5\.1\.1 ")
            self.assertRegex(self.refused("a", second), rb"^250 ")
            # A running daemon reads them again when it is told to.
            keys.write_text("the third key of ours\nthe first key of ours\n")
            house.tool("reload")
            self.assertRegex(self.refused("a", first), rb"^250 ")
            self.assertRegex(self.refused("a", second), rb"^550 5\.1\.1 ")
            # One of ours holds for three weeks.
            for age, want in ((20, rb"^250 "), (30, rb"^550 5\.7\.1 ")):
                self.assertRegex(self.refused("a", return_path("the first key of ours", age)), want)
        finally:
            path_with()
            for other in ("b", "c", "far"):
                self.tool(other, "domain", "set", "a.test", "--route", f"[127.0.0.1]:{self.ports['a']}")

    # ---- groups and copies

    def test_what_comes_back_from_a_group_goes_to_its_owner(self):
        for address in ("dora@a.test", "ann@a.test", "ann@b.test", "joe@far.test"):
            self.person(address)
        self.tool("a", "alias", "add", "team@a.test", "ann@a.test", "ann@b.test", "gone@c.test", "--owner", "dora@a.test")
        self.addCleanup(self.tool, "a", "alias", "remove", "team@a.test")
        self.mail("a", "team@a.test")
        self.assertTrue(self.messages("ann@b.test", 1)[0].startswith(b"Return-Path: <dora@a.test>\r\n"))
        self.assertTrue(self.messages("ann@a.test", 1)[0].startswith(b"Return-Path: <joe@far.test>\r\n"))
        report = self.fields(self.messages("dora@a.test", 1)[0])
        self.assertIn("gone@c.test", report.get_payload(1).as_string())
        self.assertEqual(self.houses["far"].messages("joe@far.test"), [])
        self.mail("a", "team-owner@a.test", octets=LETTER)
        self.messages("dora@a.test", 2)
        self.tool("a", "alias", "set", "team@a.test", "--no-owner")
        self.assertRegex(self.refused("a", "team-owner@a.test"), rb"^550 5\.1\.1 ")

    def test_copies_of_all_mail_of_a_domain(self):
        for address in ("ann@a.test", "bob@a.test", "ann@b.test", "archive@a.test", "archive@c.test"):
            self.person(address)
        self.tool("a", "domain", "set", "a.test", "--journal", "archive@c.test")
        self.addCleanup(self.tool, "a", "domain", "set", "a.test", "--journal", "none")
        # Theirs comes back to us, and goes no further.
        self.tool("c", "domain", "set", "c.test", "--journal", "archive@a.test")
        self.addCleanup(self.tool, "c", "domain", "set", "c.test", "--journal", "none")
        self.mail("a", ["ann@a.test", "bob@a.test"])
        self.messages("archive@c.test", 1)
        self.messages("archive@a.test", 1)
        self.submit("a", "postmaster@a.test", "ann@b.test")
        self.messages("ann@b.test", 1)
        self.messages("archive@c.test", 2)
        self.messages("archive@a.test", 2)
        self.mail("a", "archive@a.test")
        self.messages("archive@c.test", 3)

    def test_an_archive_elsewhere_may_send_its_copies_on(self):
        for address in ("ann@a.test", "archive@c.test", "ann@b.test"):
            self.person(address)
        self.tool("c", "mailbox", "set", "archive@c.test", "--forward", "ann@b.test")
        self.tool("a", "domain", "set", "a.test", "--journal", "archive@c.test")
        self.addCleanup(self.tool, "a", "domain", "set", "a.test", "--journal", "none")
        self.mail("a", "ann@a.test")
        copy = self.messages("ann@b.test", 1)[0].decode()
        self.assertEqual(re.findall(r"^Delivered-To: (.*)\r$", copy, re.M), ["ann@b.test", "archive@c.test", "=journal@a.test"])
        # Nobody gets the address that marks a copy.
        for command in (("mailbox", "add", "=journal@a.test", "--no-password"), ("alias", "add", "=journal@a.test", "ann@a.test")):
            done = self.houses["a"].run_tool(*command)
            self.assertEqual(done.returncode, 1)
            self.assertIn("marks copies", done.stderr)

    # ---- automatic replies

    def test_who_is_answered_and_who_is_not(self):
        self.person("ann@a.test")
        self.person("joe@far.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--auto-reply-file", "-", "--auto-reply-from", "2020-01-01",
                  text_in="Back on Monday, caf\u00e9.\n")
        self.mail("a", "ann@a.test", octets=letter(Auto_Submitted="auto-generated"))
        self.mail("a", "ann@a.test", octets=letter(List_Id="<x.y>"))
        self.mail("a", "ann@a.test", octets=letter(To="somebody@a.test"))
        self.mail("a", "ann@a.test", sender="")
        self.mail("a", "ann@a.test", sender="joe-request@far.test")
        self.mail("a", "ann@a.test", octets=letter(To="Ann <Ann+x@A.test>"))
        octets = self.messages("joe@far.test", 1)[0]
        self.assertTrue(octets.startswith(b"Return-Path: <>\r\n"))
        reply = self.fields(octets)
        self.assertEqual(reply["Auto-Submitted"], "auto-replied")
        self.assertEqual(reply["Subject"], "Auto: Lunch")
        self.assertEqual(reply["In-Reply-To"], "<1@far.test>")
        self.assertEqual(reply["From"].addresses[0].addr_spec, "ann@a.test")
        self.assertEqual(reply.get_content().rstrip(), "Back on Monday, caf\u00e9.")
        # Once a week, over a restart.
        self.mail("a", "ann@a.test")
        self.houses["a"].stop("smtpd")
        self.houses["a"].start("smtpd")
        self.ports["a"] = self.houses["a"].port("mx")
        for other in ("b", "c", "far"):
            self.tool(other, "domain", "set", "a.test", "--route", f"[127.0.0.1]:{self.ports['a']}")
        self.mail("a", "ann@a.test")
        self.messages("ann@a.test", 8)
        self.messages("joe@far.test", 1)
        self.tool("a", "mailbox", "set", "ann@a.test", "--auto-reply-until", "2020-12-24")
        self.mail("a", "ann@a.test", sender="eve@far.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--no-auto-reply")
        self.mail("a", "ann@a.test", sender="eve@far.test")
        self.messages("ann@a.test", 10)
        self.messages("joe@far.test", 1)

    def test_addresses_of_ours_are_looked_at_up_to_a_number(self):
        for address in ("ann@a.test", "joe@far.test", "eve@far.test"):
            self.person(address)
        self.tool("a", "alias", "add", "boss@a.test", "ann@a.test")
        self.addCleanup(self.tool, "a", "alias", "remove", "boss@a.test")
        self.tool("a", "mailbox", "set", "ann@a.test", "--auto-reply-subject", "Away")
        names = [f"p{i}" for i in range(40)]
        to = lambda domain: ",\r\n ".join([f"{name}@{domain}" for name in names] + ["boss@a.test"])
        self.mail("a", "boss@a.test", sender="eve@far.test", octets=letter(To=to("a.test")))
        self.mail("a", "boss@a.test", octets=letter(To=to("far.test")))
        self.messages("joe@far.test", 1)
        # One's own address counts wherever it stands.
        self.assertEqual(self.houses["far"].messages("eve@far.test"), [])
        self.mail("a", "boss@a.test", sender="eve@far.test", octets=letter(To=to("a.test"), Cc="ann@a.test"))
        self.messages("eve@far.test", 1)

    def test_two_who_are_both_away_do_not_talk_for_ever(self):
        for address in ("ann@a.test", "ann@b.test"):
            self.person(address)
            self.tool(address[4], "mailbox", "set", address, "--auto-reply-subject", "Away")
        self.mail("a", "ann@a.test", sender="ann@b.test")
        self.messages("ann@b.test", 1)
        self.messages("ann@a.test", 1)


if __name__ == "__main__":
    main()
