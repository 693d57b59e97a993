"""Mail that comes in files, through the spool of pennypost-sendmail and a pickup folder: it has copies made, runs in no circle, is
answered, reported and filtered (LEGACY S97) as mail that comes by SMTP."""

import email
import email.policy
import os
import re
import subprocess

from client_case import ClientCase, main
from fake_filter import ACCEPT, DISCARD, HANG_UP, REJECT, TEMPFAIL, FakeFilter, packet, say, text
from letters import STRANGER
from suite import DOMAIN
from wire import wait_for

ANN, BOB, EVE, ARCHIVE = (f"{name}@{DOMAIN}" for name in ("ann", "bob", "eve", "archive"))
DOORS = ("spool", "pickup")


def letter(*fields, body="Hello,\r\n.dot\r\nbye\r\n"):
    lines = ["Date: Mon, 1 Jan 2024 00:00:00 +0000", "Message-ID: <1@client.test>", f"From: <{BOB}>", *fields,
             "Subject: by a door"]
    return "".join(line + "\r\n" for line in lines) + "\r\n" + body


class DoorCase(ClientCase):
    people = (ANN, BOB, EVE, ARCHIVE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home, cls.spool = cls.suite.folder / "home", cls.suite.folder / "spool"
        cls.suite.stop()
        cls.configure()
        cls.suite.start()
        cls.learn_ports()
        cls.suite.tool("queue", "suspend", "away.test")  # what goes there stays to be looked at

    @classmethod
    def configure(cls, **mx):
        cls.suite.write_config({"mx": {"home": cls.home, **mx}})

    def setUp(self):
        super().setUp()
        self.files = 0
        self.log_before = len(self.suite.log("smtpd"))

    def tearDown(self):
        """Nothing is left at the doors, of what was taken."""
        for item in self.suite.json("badmail", "list"):
            self.suite.tool("badmail", "purge", item["id"])
        if self.suite.json("queue", "list"):
            self.suite.tool("queue", "delete", "--all")

    def log(self):
        return self.suite.log("smtpd")[self.log_before:]

    def logged(self, pattern):
        return wait_for(lambda: re.search(pattern, self.log()), why=pattern)

    def hand_in(self, door, octets, *recipients, sender=STRANGER, notify=""):
        """Written elsewhere, then moved in; where it lies."""
        self.files += 1
        outside = self.suite.folder / "outside"
        name = f"file{self.files}"
        if door == "spool":
            front = f"MAIL FROM:<{sender}>\r\n" + "".join(f"RCPT TO:<{each}>{notify}\r\n" for each in recipients) + "DATA\r\n"
        else:
            front = f"x-sender: <{sender}>\r\n" + "".join(f"x-receiver: {each}\r\n" for each in recipients) + "x-dot-stuffed: no\r\n"
        outside.write_bytes((front + octets).encode())
        place = (self.spool if door == "spool" else self.home / "pickup") / name
        outside.rename(place)
        return place

    def take(self, door, *arguments, **more):
        """As hand_in, until it is gone from there."""
        place = self.hand_in(door, *arguments, **more)
        wait_for(lambda: not place.exists(), why=f"a file of the {door} taken")

    def wait_mail(self, address, count=1):
        wait_for(lambda: len(self.suite.messages(address)) >= count, why=f"{count} at {address}")
        found = self.mailbox(address)
        self.assertEqual(len(found), count)
        return found

    def badmail(self):
        return wait_for(lambda: self.suite.json("badmail", "list"), why="badmail")

    def by_socket(self, octets, *recipients, sender=STRANGER):
        subprocess.run([str(self.suite.build / "tools" / "pennypost-sendmail"), "-i", "-f", sender, *recipients],
                       input=octets.encode(), check=True, timeout=60, env=self.suite.environment())


class Doors(DoorCase):
    def test_copies_of_a_domain(self):
        """Of what it gets, and of what its people send: by the socket as by the files."""
        self.suite.tool("domain", "set", DOMAIN, "--journal", ARCHIVE)
        self.addCleanup(self.suite.tool, "domain", "set", DOMAIN, "--journal", "none")
        ways = {door: lambda *words, door=door, **more: self.take(door, *words, **more) for door in DOORS}
        for door, send in {**ways, "socket": self.by_socket}.items():
            with self.subTest(door):
                send(letter(), ANN)
                copy = self.wait_mail(ARCHIVE)[0]
                self.assertTrue(copy.startswith(f"Return-Path: <{STRANGER}>\r\nDelivered-To: {ARCHIVE}\r\n".encode()))
                self.wait_mail(ANN)
                send(letter(), "far@away.test", sender=BOB)
                self.wait_mail(ARCHIVE, 2)
                [row] = self.suite.json("queue", "list")
                self.assertEqual(row["recipient"], "far@away.test")
                # A stranger's mail to strangers is nobody's here.
                send(letter(), "far@away.test")
                wait_for(lambda: len(self.suite.json("queue", "list")) == 2, why="mail for far away")
                self.assertEqual(len(self.suite.messages(ARCHIVE)), 2)
                self.suite.tool("queue", "delete", "--all")
                self.empty(ANN)
                self.empty(ARCHIVE)

    def test_copies_that_are_no_files_wish(self):
        """A copy elsewhere carries the journal's address, by which one that comes back is known and not copied again."""
        self.suite.tool("domain", "set", DOMAIN, "--journal", "all@away.test")
        self.addCleanup(self.suite.tool, "domain", "set", DOMAIN, "--journal", "none")
        for door in DOORS:
            with self.subTest(door):
                self.take(door, letter(), ANN)
                [row] = self.suite.json("queue", "list")
                self.assertEqual(row["recipient"], "all@away.test")
                self.take(door, letter("Delivered-To: all@away.test"), ANN)
                self.wait_mail(ANN, 2)
                self.assertEqual(len(self.suite.json("queue", "list")), 1)
                self.suite.tool("queue", "delete", "--all")
                self.empty(ANN)

    def test_circles(self):
        """A file that would be forwarded where it came from: to badmail, or back to who sent it."""
        self.suite.tool("mailbox", "set", ANN, "--forward", "ann@round.test")
        self.addCleanup(self.suite.tool, "mailbox", "set", ANN, "--no-forward")
        self.take("pickup", letter(f"Delivered-To: {ANN}"), ANN, sender=BOB)
        [item] = self.badmail()
        self.assertEqual(item["cause"], "hop-count")
        self.assertIn("554 5.4.6 ", item["why"])
        self.assertEqual(self.suite.json("queue", "list"), [])
        self.suite.tool("badmail", "purge", item["id"])
        self.take("spool", letter(f"Delivered-To: {ANN}"), ANN, sender=BOB)
        self.assertIn(b"5.4.6", self.wait_mail(BOB)[0])
        self.assertEqual(self.suite.json("queue", "list"), [])
        # One that is for others too goes to those; the sender hears of the rest.
        for door in DOORS:
            with self.subTest(door):
                self.empty(BOB)
                self.empty(EVE)
                self.take(door, letter(f"Delivered-To: {ANN}"), ANN, EVE, sender=BOB)
                self.wait_mail(EVE)
                self.assertIn(b"5.4.6", self.wait_mail(BOB)[0])

    def test_automatic_replies(self):
        """Once a week, whichever way the mail came."""
        for number, door in enumerate(DOORS):
            with self.subTest(door):
                away = (ANN, EVE)[number]
                self.suite.tool("mailbox", "set", away, "--auto-reply-subject", "Away")
                self.addCleanup(self.suite.tool, "mailbox", "set", away, "--no-auto-reply")
                self.empty(BOB)
                self.take(door, letter(f"To: <{away}>"), away, sender=BOB)
                reply = email.message_from_bytes(self.wait_mail(BOB)[0], policy=email.policy.default)
                self.assertEqual((reply["Subject"], reply["Auto-Submitted"], reply["From"].addresses[0].addr_spec),
                                 ("Away", "auto-replied", away))
                self.take(door, letter(f"To: <{away}>"), away, sender=BOB)
                self.take(door, letter(f"To: <{away}>", "List-Id: <x.y>"), away, sender=EVE if away == ANN else ANN)
                self.wait_mail(away, 3)
                self.assertEqual(len(self.suite.messages(BOB)), 1)

    def test_success_is_reported(self):
        """RFC 3461: -N success, with smtpd down; an alias of several is "expanded", whoever is behind it."""
        group = f"group@{DOMAIN}"
        self.suite.tool("alias", "add", group, EVE, "far@away.test")
        self.addCleanup(self.suite.tool, "alias", "remove", group)
        self.suite.stop("smtpd")
        self.by_socket_command("-N", "success", "-V", "order 7", ANN, group)
        [place] = self.spool.iterdir()
        self.suite.start("smtpd")
        self.learn_ports()
        wait_for(lambda: not place.exists(), why="the spool taken")
        report = self.wait_mail(BOB)[0]
        self.assertIn(b"Original-Envelope-Id: order 7\r\n", report)
        fields = re.findall(rb"Final-Recipient: rfc822;(\S+)\r\n(?:[^\r\n]+\r\n)*?Action: (\S+)", report)
        self.assertEqual(sorted(fields), [(ANN.encode(), b"delivered"), (group.encode(), b"expanded")])
        self.wait_mail(EVE)
        [row] = self.suite.json("queue", "list")
        self.assertEqual(row["recipient"], "far@away.test")
        self.take("spool", letter(), ANN, sender=BOB, notify=" NOTIFY=FAILURE")
        self.wait_mail(ANN, 2)
        self.assertEqual(len(self.suite.messages(BOB)), 1)

    def by_socket_command(self, *words):
        subprocess.run([str(self.suite.build / "tools" / "pennypost-sendmail"), "-i", "-f", BOB, *words],
                       input=letter().encode(), check=True, timeout=60, env=self.suite.environment())

    def test_what_has_no_room_waits(self):
        """No quota is passed because nobody is there to hear 452."""
        full = f"full@{DOMAIN}"
        self.suite.tool("mailbox", "add", full, "--no-password", "--max-messages", "1")
        for door in DOORS:
            with self.subTest(door):
                self.take(door, letter(), full)
                self.wait_messages(full, 1)
                self.take(door, letter(), full)
                [row] = wait_for(lambda: [row for row in self.suite.json("queue", "list") if row["answer"]], why="a try")
                self.assertIn("4.2.2", row["answer"])
                self.assertEqual(len(self.suite.messages(full)), 1)
                self.suite.tool("queue", "delete", "--all")
                self.suite.tool("message", "delete", full, *[one["id"] for one in self.suite.messages(full)])

    def wait_messages(self, address, count):
        wait_for(lambda: len(self.suite.messages(address)) == count, why=f"{count} at {address}")

    def test_the_log_says_the_same(self):
        keys = {}
        for door in (*DOORS, "smtp"):
            self.log_before = len(self.suite.log("smtpd"))
            if door == "smtp":
                self.by_socket(letter(), ANN)
            else:
                self.take(door, letter(), ANN)
            line = self.logged(r" message\.accepted (id=.*)")[1]
            keys[door] = re.findall(r"(\w+)=", line)
            self.assertIn(f'from={STRANGER} to={ANN} owners=1 remotes=0 ', line)
            self.assertIn(f'peer="uid {os.getuid()}" ', line)
            self.assertIn(f" by={door} server=mx", line)
        self.assertEqual(keys["spool"], keys["smtp"])
        self.assertEqual(keys["pickup"], keys["smtp"])


class Filters(DoorCase):
    """Of one virtual server, whose filters are those of programs on this machine."""

    def begin(self, *filters, **milters):
        places = [each.place if isinstance(each, FakeFilter) else each for each in filters]
        self.configure(**{"milters.use": places, **{f"milters.{key}": value for key, value in milters.items()}})
        self.suite.tool("reload")
        self.log_before = len(self.suite.log("smtpd"))

    def again(self, place):
        """A file that waits is looked at again at once where it gets another name."""
        self.files += 1
        moved = place.with_name(f"again{self.files}")
        place.rename(moved)
        return moved

    def test_told_as_at_the_socket(self):
        with FakeFilter() as one:
            self.begin(one)
            self.by_socket(letter(), ANN, EVE)
            want, macros = [each for each in one.heard if each[0] != b"Q"], {step: dict(given) for step, given in one.macros.items()}
            self.assertEqual(b"".join(step for step, _ in want), b"CHMRRTLLLLNBE")
            self.assertEqual(one.told(b"C"), [b"localhost\0U"])
            self.assertEqual(macros[b"C"]["{daemon_name}"], "mx")
            for door in DOORS:
                with self.subTest(door):
                    one.forget()
                    self.take(door, letter(), ANN, EVE, notify=" NOTIFY=FAILURE")
                    wait_for(lambda: one.heard and one.heard[-1][0] == b"Q", why="QUIT")
                    self.assertEqual([step for step, _ in one.heard], [step for step, _ in want] + [b"Q"])
                    for step in (b"C", b"H", b"L", b"B"):
                        self.assertEqual(one.told(step), [data for heard, data in want if heard == step], step)
                    for step, given in macros.items():
                        given.pop("i", None)
                        self.assertEqual({key: value for key, value in one.macros[step].items() if key != "i"}, given, step)
                    self.assertRegex(one.macros[b"E"]["i"], r"^\w{13}$")
                    more = b" NOTIFY=FAILURE".strip() + b"\0" if door == "spool" else b""
                    self.assertEqual(one.told(b"R"), [f"<{each}>\0".encode() + more for each in (ANN, EVE)])
            self.assertEqual(len(self.suite.messages(ANN)), 3)

    def test_what_it_makes_of_it(self):
        edits = (packet(b"h", text("X-Seen", "yes")) + packet(b"b", b"Another body.\r\n") + packet(b"+", text(f"<{EVE}>"))
                 + packet(b"-", text(f"<{ANN}>")) + packet(b"e", text("<other@client.test>")) + packet(b"c"))
        with FakeFilter(script={b"E": edits}) as one:
            self.begin(one)
            for door in DOORS:
                with self.subTest(door):
                    self.take(door, letter(), ANN)
                    message = self.wait_mail(EVE)[0]
                    self.assertTrue(message.startswith(b"Return-Path: <other@client.test>\r\n"))
                    self.assertTrue(message.endswith(b"X-Seen: yes\r\n\r\nAnother body.\r\n"), message)
                    self.assertEqual(self.suite.messages(ANN), [])
                    self.empty(EVE)

    def test_whom_it_adds_counts_in_circles(self):
        self.suite.tool("mailbox", "set", ANN, "--forward", "ann@round.test")
        self.addCleanup(self.suite.tool, "mailbox", "set", ANN, "--no-forward")
        with FakeFilter(script={b"E": packet(b"+", text(f"<{ANN}>")) + packet(b"c")}) as one:
            self.begin(one)
            for door in DOORS:
                with self.subTest(door):
                    self.take(door, letter(f"Delivered-To: {ANN}"), EVE, sender=BOB)
                    self.wait_mail(EVE)
                    self.assertIn(b"\r\nStatus: 5.4.6\r\n", self.wait_mail(BOB)[0])
                    self.empty(BOB)
                    self.empty(EVE)

    def test_held(self):
        with FakeFilter(script={b"E": packet(b"q", text("somebody should look")) + packet(b"c")}) as one:
            self.begin(one)
            for door in DOORS:
                with self.subTest(door):
                    self.take(door, letter(), ANN)
                    [row] = self.suite.json("queue", "list")
                    self.assertEqual((row["state"], row["reason"]), ("held", "somebody should look"))
                    self.assertEqual(self.suite.messages(ANN), [])
                    self.suite.tool("queue", "release", row["id"])
                    self.wait_mail(ANN)
                    self.empty(ANN)

    def test_refused(self):
        """For good, at whatever step: badmail, or back to the sender, with the filter's words; and the rest goes on."""
        answers = ((REJECT, "550 5.7.1"), (say("554-5.6.1 no such thing\r\n554 5.6.1 ever"), "5.6.1 no such thing"))
        with FakeFilter() as one:
            self.begin(one)
            for step in (b"C", b"H", b"M", b"R", b"T", b"E"):
                answer, words = answers[step in (b"R", b"E")]
                for door in DOORS:
                    with self.subTest(f"{door} {step}"):
                        one.script = {step: [answer, packet(b"c")]}
                        one.forget()
                        self.take(door, letter(), ANN, EVE, sender=BOB)
                        if door == "spool":
                            report = self.wait_mail(BOB)[0]
                            self.assertIn(b"a filter refused it", report)
                            self.assertEqual(report.count(b"\r\nAction: failed\r\n"), 2)
                            self.empty(BOB)
                        else:
                            [item] = self.badmail()
                            self.assertEqual((item["cause"], item["file"]), ("by-event", f"file{self.files}"))
                            self.assertIn(f"a filter refused it: ", item["why"])
                            self.assertIn(words, item["why"])
                            self.suite.tool("badmail", "purge", item["id"])
                        self.assertEqual((self.suite.json("queue", "list"), self.suite.messages(ANN)), ([], []))
                        self.take(door, letter(), ANN)
                        self.wait_mail(ANN)
                        self.empty(ANN)

    def test_discarded(self):
        """Nobody is told, and a person finds it."""
        with FakeFilter() as one:
            self.begin(one)
            for step in (b"M", b"E"):
                for door in DOORS:
                    with self.subTest(f"{door} {step}"):
                        one.script = {step: DISCARD}
                        one.forget()
                        self.take(door, letter(), ANN, sender=BOB)
                        [item] = self.badmail()
                        self.assertEqual(item["cause"], "by-event")
                        self.assertIn("a filter discarded it", item["why"])
                        self.assertEqual((self.suite.messages(ANN), self.suite.messages(BOB)), ([], []))
                        self.suite.tool("badmail", "purge", item["id"])

    def test_not_now(self):
        with FakeFilter() as one:
            self.begin(one)
            for step in (b"C", b"R", b"E"):
                for door in DOORS:
                    with self.subTest(f"{door} {step}"):
                        # Pickup is looked at every two seconds.
                        one.script = {step: TEMPFAIL}
                        one.forget()
                        self.log_before = len(self.suite.log("smtpd"))
                        place = self.hand_in(door, letter(), ANN)
                        self.logged(r"folder\.waits .*451 4\.7\.1")
                        self.assertEqual(self.suite.messages(ANN), [])
                        one.script = {}
                        self.again(place)
                        self.wait_mail(ANN)
                        self.empty(ANN)

    def test_gone(self):
        """It waits until the filter is back, unless the configuration says otherwise."""
        for door in DOORS:
            with self.subTest(door), FakeFilter() as one:
                self.begin(one)
                one.stop()
                place = self.hand_in(door, letter(), ANN)
                self.logged(r'folder\.waits .*"a filter cannot be asked"')
                self.assertTrue(place.exists())
                self.assertEqual(self.suite.messages(ANN), [])
                one.start()
                if door == "spool":
                    # It is looked at every minute, and at each start.
                    self.suite.stop("smtpd")
                    self.suite.start("smtpd")
                    self.learn_ports()
                self.wait_mail(ANN)
                self.assertIn(b"E", one.commands())
                self.empty(ANN)
        with FakeFilter(script={b"E": HANG_UP}) as one:
            self.begin(one, when_gone="accept")
            for door in DOORS:
                self.take(door, letter(), ANN)
            self.wait_mail(ANN, 2)
            self.empty(ANN)
            self.begin(one, when_gone="reject")
            self.take("pickup", letter(), ANN)
            self.assertIn("554 5.3.0", self.badmail()[0]["why"])
            self.take("spool", letter(), ANN, sender=BOB)
            self.assertIn(b"554 5.3.0", self.wait_mail(BOB)[0])

    def test_lets_a_session_pass(self):
        with FakeFilter(script={b"H": ACCEPT}) as one:
            self.begin(one)
            for door in DOORS:
                self.take(door, letter(), ANN)
            self.wait_mail(ANN, 2)
            self.assertEqual(one.commands(), b"CHQCHQ")

    def test_many_at_once(self):
        """Each is shown, and stored, once."""
        with FakeFilter(script={b"E": packet(b"h", text("X-Seen", "yes")) + packet(b"c")}) as one:
            self.begin(one)
            for number in range(60):
                self.hand_in(DOORS[number % 2], letter(f"X-Number: {number}"), ANN)
            found = self.wait_mail(ANN, 60)
            numbers = [int(re.search(rb"X-Number: (\d+)\r\n", message)[1]) for message in found]
            self.assertEqual(sorted(numbers), list(range(60)))
            self.assertTrue(all(b"X-Seen: yes\r\n" in message for message in found))
            self.assertEqual(one.commands().count(b"E"), 60)


if __name__ == "__main__":
    main()
