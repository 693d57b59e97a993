"""The folders of a virtual server: pickup, drop, badmail; S06, S12 to S17 of the rows of the old server's manual."""

import base64
import os
import re
import socket
import stat
import subprocess
import unittest

from client_case import ClientCase, main
from letters import STRANGER, without_trace
from suite import DOMAIN, Suite
from wire import Wire, wait_for

ANN, BOB, EVE = f"ann@{DOMAIN}", f"bob@{DOMAIN}", f"eve@{DOMAIN}"
DROPS = "programs.test"


def lines(*texts):
    return "".join(text + "\r\n" for text in texts).encode()


MAIL = lines(f"From: Ann <{ANN}>", f"To: Bob <{BOB}>", "Subject: by file", "Date: Mon, 1 Jan 2024 00:00:00 +0000",
             "Message-ID: <1@client.test>", "", "body", ".a dot", "..two dots", "end")


class Folders(ClientCase):
    """One server with a home."""

    people = (ANN, BOB, EVE)
    quota = "500MB"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = cls.suite.folder / "mx home"
        cls.suite.stop()
        cls.suite.write_config({"mx": {"home": cls.home, "messages.drop_quota": cls.quota,
                                       "messages.hops": 5, "messages.size": "2MB"}})
        cls.suite.start()
        cls.learn_ports()
        cls.suite.tool("domain", "add", DROPS, "--drop")
        cls.suite.tool("queue", "suspend", "away.test")  # what goes there stays to be looked at

    def setUp(self):
        super().setUp()
        for item in self.suite.json("badmail", "list"):
            self.suite.tool("badmail", "purge", item["id"])
        for file in (self.home / "drop").iterdir():
            file.unlink()

    def put_file(self, name, octets, owner=None):
        """Written elsewhere, then moved in."""
        outside = self.suite.folder / "outside"
        outside.write_bytes(octets)
        if owner is not None:
            os.chown(outside, owner, -1)
        outside.rename(self.home / "pickup" / name)

    def pickup_is_empty(self):
        return wait_for(lambda: not os.listdir(self.home / "pickup"), why="the pickup folder to be emptied")

    def wait_stored(self, address, count=1):
        return wait_for(lambda: len(self.suite.messages(address)) >= count and self.stored(address),
                        why=f"mail for {address}")

    def badmail(self, count=1):
        return wait_for(lambda: (found := self.suite.json("badmail", "list")) and len(found) >= count and found,
                        why="badmail")

    def counts(self):
        return next(daemon for daemon in self.suite.json("status") if daemon["name"] == "smtpd")["badmail"]

    def drop_files(self, count=1):
        drop = self.home / "drop"
        return wait_for(lambda: (found := sorted(path for path in drop.iterdir() if not path.name.startswith(".")))
                        and len(found) >= count and found, why="files in the drop folder")

    def send(self, *recipients, body=MAIL, sender=STRANGER):
        with Wire(self.mx) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            wire.ask(f"MAIL FROM:<{sender}>")
            for recipient in recipients:
                self.assertRegex(wire.ask(f"RCPT TO:<{recipient}>"), rb"^250")
            self.assertRegex(wire.ask("DATA"), rb"^354")
            wire.send(re.sub(rb"(?m)^\.", b"..", body) + b".\r\n")
            self.assertRegex(wire.reply(), rb"^250 2\.0\.0 ")

    # ---- S06

    def test_folders_are_made(self):
        """S06"""
        modes = {name: stat.S_IMODE((self.home / name).stat().st_mode) for name in ("pickup", "drop", "badmail")}
        self.assertEqual(modes, {"pickup": 0o2770, "drop": 0o2770, "badmail": 0o750})

    # ---- S12

    def test_envelope_lines(self):
        """S12: three x-receiver and a Bcc are three envelopes; neither is seen by anybody."""
        self.put_file("a.eml", lines(f"x-sender: {ANN}", f"X-Receiver: {BOB}", f"x-receiver: <{EVE}>",
                                     f"x-receiver: far@away.test") +
                      MAIL.replace(b"Subject:", b"Bcc: secret@away.test,\r\n secret2@away.test\r\nSubject:"))
        want = MAIL
        self.assertEqual(self.wait_stored(BOB), [want])
        self.assertEqual(self.wait_stored(EVE), [want])
        self.pickup_is_empty()
        [row] = self.suite.json("queue", "list")
        self.assertEqual((row["recipient"], row["reverse_path"]), ("far@away.test", ANN))
        self.suite.tool("queue", "delete", "--all")

    def test_envelope_of_the_fields(self):
        """S12: without lines in front To, Cc and Bcc say who gets it, and Bcc goes."""
        self.put_file("b.eml", MAIL.replace(b"Subject:", f"Cc: Eve <{EVE}>\r\nBCC: undisclosed: {ANN};\r\nSubject:".encode()))
        self.assertEqual(len(self.wait_stored(ANN)), 1)
        for address in (ANN, BOB, EVE):
            [octets] = self.wait_stored(address)
            self.assertNotIn(b"BCC", octets)
            self.assertIn(b"Cc: Eve", octets)
        self.assertIn(f"Return-Path: <{ANN}>".encode(), self.mailbox(BOB)[0])

    def test_owner(self):
        """S12: any sender may be named; whose file it was stands in Received and in the log."""
        owners = [os.getuid()] + ([65534] if os.getuid() == 0 else [])
        for owner in owners:
            with self.subTest(owner=owner):
                self.empty(BOB)
                self.put_file("owned.eml", lines("x-sender: somebody@away.test", f"x-receiver: {BOB}") + MAIL, owner)
                self.wait_stored(BOB)
                [octets] = self.mailbox(BOB)
                self.assertTrue(octets.startswith(b"Return-Path: <somebody@away.test>\r\n"))
                self.assertIn(f", userid {owner})".encode(), octets)
                wait_for(lambda owner=owner: re.search(rf'message\.accepted .*peer="uid {owner}" .*by=pickup ', self.suite.log("smtpd")),
                         why="a line about whose it was")

    def test_unix_line_ends(self):
        """S12: a program of this machine ends its lines as it is used to."""
        self.put_file("c.eml", b"x-sender: <>\nx-receiver: " + BOB.encode() + b"\n\n" + MAIL.replace(b"\r\n", b"\n"))
        self.assertEqual(self.wait_stored(BOB), [MAIL])

    def test_written_in_place(self):
        """S12: a file that somebody has open to write is left alone until it is closed."""
        with open(self.home / "pickup" / "slow.eml", "wb") as file:
            file.write(MAIL[:100])
            file.flush()
            # A start looks at all that is there, before what comes later.
            self.suite.stop("smtpd")
            self.suite.start("smtpd")
            self.learn_ports()
            self.put_file("quick.eml", MAIL)
            self.wait_stored(BOB)
            self.assertEqual(os.listdir(self.home / "pickup"), ["slow.eml"])
            file.write(MAIL[100:])
        self.assertEqual(self.wait_stored(BOB, 2), [MAIL, MAIL])

    def test_unknown_recipient_is_reported(self):
        self.put_file("d.eml", lines(f"x-sender: {ANN}", f"x-receiver: stranger@{DOMAIN}", f"x-receiver: {BOB}") + MAIL)
        self.wait_stored(BOB)
        [report] = wait_for(lambda: self.suite.messages(ANN), why="a report")
        self.assertIn(b"5.1.1", self.suite.run_raw("message", "show", ANN, report["id"]).stdout)

    def test_what_is_missing_is_added(self):
        self.put_file("e.eml", lines(f"From: {ANN}", f"To: {BOB}", "", "short"))
        [octets] = self.wait_stored(BOB)
        self.assertRegex(octets, rb"\nMessage-ID: <\w{13}@mx\.example\.test>\r\n")
        self.assertRegex(octets, rb"(?m)^Date: ")

    def test_broken_files_go_to_badmail(self):
        """S12, S17: whatever lies there, the rest goes on, and each has its reason."""
        pickup = self.home / "pickup"
        before = self.counts()
        cases = {
            "empty": (b"", "bad-pickup-file", "it is empty"),
            "no sender": (lines(f"To: {BOB}", "", "x"), "bad-pickup-file", "names no sender"),
            "no recipient": (lines(f"From: {ANN}", "", "x"), "no-recipients", "names no recipient"),
            "bad\nname": (lines("x-sender: a b@c d", f"x-receiver: {BOB}", "", "x"), "bad-pickup-file", "x-sender: "),
            "two senders": (lines("x-sender: <>", "x-sender: <>", f"x-receiver: {BOB}"), "bad-pickup-file", "two x-sender"),
            "circle": (lines(f"x-sender: {ANN}", f"x-receiver: {BOB}", *["Received: from a by b; now"] * 6, "", "x"),
                       "hop-count", "too many Received lines"),
            "huge": (MAIL + b"x" * 3_000_000, "bad-pickup-file", "message too big"),
            "long head": (b"X: " + b"y" * 3_500_000, "bad-pickup-file", "header section is too long"),
            "binary": (bytes(range(256)) * 100, "bad-pickup-file", "malformed"),
        }
        for name, (octets, _, _) in cases.items():
            self.put_file(name, octets)
        os.symlink("/etc/passwd", pickup / "link")
        os.mkfifo(pickup / "fifo")
        with socket.socket(socket.AF_UNIX) as plug:
            plug.bind(str(pickup / "socket"))
        (self.suite.folder / "twice").write_bytes(MAIL)
        os.link(self.suite.folder / "twice", pickup / "hard link")
        (pickup / "folder").mkdir()
        (pickup / ".hidden").write_bytes(MAIL)
        # Terabytes of nothing are not read.
        holes = self.suite.folder / "holes"
        holes.write_bytes(MAIL)
        os.truncate(holes, 8 << 40)
        os.rename(holes, pickup / "holes")
        self.put_file("good.eml", MAIL)
        self.assertEqual(self.wait_stored(BOB), [MAIL])
        found = {item["file"]: item for item in self.badmail(len(cases) + 2)}
        self.assertIn("larger than messages may be", found["holes"]["why"])
        for name, (_, cause, why) in cases.items():
            item = found[name.replace("\n", "\\n")]
            self.assertEqual(item["cause"], cause, name)
            self.assertIn(why, item["why"], name)
        self.assertIn("hard links", found["hard link"]["why"])
        # What is no plain file is told, and left to whom it belongs.
        for name, why in (("link", "a symbolic link"), ("fifo", "no plain file"), ("socket", "no plain file"),
                          ("folder", "no plain file")):
            wait_for(lambda: re.search(rf'folder.refused source="pickup of mx" file={name} why="{why}"', self.suite.log("smtpd")),
                     why=f"a line about the {name}")
        self.assertEqual(sorted(os.listdir(pickup)), [".hidden", "fifo", "folder", "link", "socket"])
        (pickup / "folder").rmdir()
        for name in (".hidden", "fifo", "link", "socket"):
            (pickup / name).unlink()
        after = self.counts()
        self.assertEqual({cause: after[cause] - before[cause] for cause in ("bad-pickup-file", "no-recipients", "hop-count")},
                         {"bad-pickup-file": len(cases) + 2 - 2, "no-recipients": 1, "hop-count": 1})
        # Mended, it is mail.
        item = found["no recipient"]
        path = self.home / "badmail" / f"{item['id']}.BAD"
        path.write_bytes(MAIL)
        self.suite.tool("badmail", "retry", item["id"])
        self.wait_stored(BOB, 2)
        self.assertFalse(path.with_suffix(".BDR").exists())
        self.suite.tool("badmail", "export", found["binary"]["id"], "--output", self.folder)
        self.assertEqual((self.folder / f"{found['binary']['id']}.BAD").read_bytes(), bytes(range(256)) * 100)
        self.assertIn("Cause: bad-pickup-file", (self.folder / f"{found['binary']['id']}.BDR").read_text())
        self.suite.tool("badmail", "purge", "--all")
        self.assertEqual(os.listdir(self.home / "badmail"), [])

    # ---- S13

    def test_dots(self):
        """S13: as found. A line that begins with one dot says that none is stuffed; an end by a dot, that all are."""
        plain = lines(f"From: {ANN}", f"To: {BOB}", "Date: x", "Message-ID: <1@a>", "", ".one", "..two", "end")
        stuffed = lines(f"From: {ANN}", f"To: {BOB}", "Date: x", "Message-ID: <1@a>", "", "..one", "...two", "end", ".")
        self.put_file("plain", plain)
        self.wait_stored(BOB)
        self.put_file("stuffed", stuffed)
        self.assertEqual(self.wait_stored(BOB, 2), [plain, plain])
        # What cannot be told is said.
        told = lines(f"From: {ANN}", f"To: {BOB}", "Date: x", "Message-ID: <1@a>", "", "..two", "end")
        self.put_file("told", lines("x-dot-stuffed: no") + told)
        self.assertEqual(self.wait_stored(BOB, 3)[2], told)

    # ---- S14, S15

    def test_drop(self):
        """S14: two recipients are one file with two x-receiver lines; moved into pickup it is sent again."""
        self.send(f"one@{DROPS}", f"Two@{DROPS}", BOB)
        [path] = self.drop_files()
        octets = path.read_bytes()
        front = lines(f"x-sender: {STRANGER}", f"x-receiver: one@{DROPS}", f"x-receiver: Two@{DROPS}", "x-dot-stuffed: no")
        self.assertTrue(octets.startswith(front + b"Received: "), octets)
        self.assertTrue(octets.endswith(MAIL))
        self.assertEqual(without_trace(b"Return-Path: x\r\nDelivered-To: x\r\n" + octets[len(front):]), MAIL)
        self.assertEqual(len(self.stored(BOB)), 1)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
        wait_for(lambda: not self.suite.json("queue", "list"), why="the queue to be empty")
        path.rename(self.home / "pickup" / "again.eml")
        [again] = self.drop_files()
        self.assertNotEqual(again.name, path.name)
        self.assertTrue(again.read_bytes().startswith(front))
        self.assertTrue(again.read_bytes().endswith(MAIL))

    def test_drop_of_several_domains(self):
        """S14: each domain that is added so has its files in the one folder of the server."""
        self.suite.tool("domain", "add", "other-" + DROPS, "--drop")
        self.addCleanup(self.suite.tool, "domain", "remove", "other-" + DROPS)
        self.send(f"one@other-{DROPS}", f"two@{DROPS}")
        receivers = [re.findall(rb"(?m)^x-receiver: (\S+)\r$", path.read_bytes()) for path in self.drop_files(2)]
        self.assertEqual(sorted(receivers), [[f"one@other-{DROPS}".encode()], [f"two@{DROPS}".encode()]])

    def test_drop_of_the_null_sender(self):
        self.send(f"one@{DROPS}", sender="")
        [path] = self.drop_files()
        self.assertTrue(path.read_bytes().startswith(lines("x-sender: <>", f"x-receiver: one@{DROPS}")))

    def test_drop_is_of_the_server_that_took_it(self):
        """A server without a home has no drop folder: later, perhaps."""
        with Wire(self.submissions, self.context) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            wire.ask("AUTH PLAIN " + base64.b64encode(f"\0{ANN}\0pencil and paper".encode()).decode())
            wire.ask(f"MAIL FROM:<{ANN}>")
            self.assertRegex(wire.ask(f"RCPT TO:<one@{DROPS}>"), rb"^451 ")

    def test_drop_waits_for_its_folder(self):
        """250 holds whatever becomes of the folder: the mail waits."""
        drop = self.home / "drop"
        aside = self.home / "aside"
        drop.rename(aside)
        try:
            self.send(f"one@{DROPS}")
            [row] = wait_for(lambda: [row for row in self.suite.json("queue", "list") if row["answer"]], why="a try")
            self.assertIn("No such file", row["answer"])
        finally:
            aside.rename(drop)
        self.suite.tool("queue", "retry", "--domain", DROPS)
        self.assertEqual(len(self.drop_files()), 1)

    # ---- S16, S17

    def test_badmail(self):
        """S16, S17: what fails and cannot be reported is kept until a person decides."""
        before = self.counts()
        self.put_file("f.eml", lines("x-sender: <>", f"x-receiver: nobody@{DOMAIN}") + MAIL)
        [item] = self.badmail()
        self.assertEqual((item["cause"], item["recipient"], item["server"]), ("ndr-of-dsn", f"nobody@{DOMAIN}", "mx"))
        self.assertEqual(self.counts()["ndr-of-dsn"], before["ndr-of-dsn"] + 1)
        self.suite.tool("badmail", "export", item["id"], "--output", self.folder)
        base = self.folder / item["id"]
        self.assertTrue(base.with_suffix(".BAD").read_bytes().endswith(MAIL))
        self.assertIn(f"Recipient: <nobody@{DOMAIN}>", base.with_suffix(".BDP").read_text())
        self.assertIn("5.1.1", base.with_suffix(".BDR").read_text())
        self.assertIn("Subject: by file", self.suite.tool("badmail", "show", item["id"]))
        self.assertEqual(self.suite.json("badmail", "list", "--cause", "no-recipients"), [])
        self.suite.add_mailbox(f"nobody@{DOMAIN}")
        self.suite.tool("badmail", "retry", item["id"])
        self.wait_stored(f"nobody@{DOMAIN}")
        self.assertEqual(self.suite.json("badmail", "list"), [])

    def test_badmail_without_its_folder(self):
        """S16: what cannot be moved there stays where it lies, which is said, until the folder is back at a start."""
        badmail, aside = self.home / "badmail", self.home / "aside"
        badmail.rename(aside)
        try:
            self.put_file("homeless", b"")
            self.put_file("i.eml", MAIL)
            self.wait_stored(BOB)
            wait_for(lambda: re.search(r"folder\.refused .*file=homeless ", self.suite.log("smtpd")), why="a line in the log")
            self.assertIn("badmail.failed", self.suite.log("smtpd"))
            self.assertEqual(os.listdir(self.home / "pickup"), ["homeless"])
        finally:
            aside.rename(badmail)
        self.suite.stop("smtpd")
        self.suite.start("smtpd")
        self.learn_ports()
        self.assertEqual([item["file"] for item in self.badmail()], ["homeless"])

    def test_badmail_of_nobody(self):
        """S17: general failure; its sender is nobody here."""
        before = self.counts()["general-failure"]
        self.put_file("g.eml", lines(f"x-sender: ghost@{DOMAIN}", f"x-receiver: nobody2@{DOMAIN}") + MAIL)
        [item] = self.badmail()
        self.assertEqual(item["cause"], "general-failure")
        self.assertEqual(self.counts()["general-failure"], before + 1)
        self.suite.tool("badmail", "purge", "--cause", "general-failure")
        self.assertEqual(self.suite.json("queue", "list"), [])

    def test_badmail_by_a_person(self):
        """S17: triggered by an event."""
        before = self.counts()["by-event"]
        self.put_file("h.eml", lines(f"x-sender: {ANN}", "x-receiver: far@away.test") + MAIL)
        [row] = wait_for(lambda: self.suite.json("queue", "list"), why="mail in the queue")
        self.suite.tool("badmail", "add", row["id"], "--reason", "virus")
        [item] = self.badmail()
        self.assertEqual(item["cause"], "by-event")
        self.assertIn("virus", item["why"])
        wait_for(lambda: self.counts()["by-event"] == before + 1, why="it to be counted")
        self.suite.tool("badmail", "purge", item["id"])


class Limits(Folders):
    """With limits that are soon reached."""

    quota = "1000"

    def test_drop_quota(self):
        """S15: full is 452 4.2.2 at RCPT, until somebody takes a file out."""
        self.send(f"one@{DROPS}", body=lines("Subject: large", "") + b"x" * 1000 + b"\r\n")
        with Wire(self.mx) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            wire.ask(f"MAIL FROM:<{STRANGER}>")
            self.assertRegex(wire.ask(f"RCPT TO:<one@{DROPS}>"), rb"^452 4\.2\.2 ")
            wait_for(lambda: re.search(rf"recipient\.refused .*one@{DROPS}", self.suite.log("smtpd")), why="a line in the log")
            self.assertRegex(wire.ask(f"RCPT TO:<{BOB}>"), rb"^250")
            for file in self.drop_files():
                file.unlink()
            wait_for(lambda: wire.ask(f"RCPT TO:<one@{DROPS}>").startswith(b"250"), why="room")
            wire.ask("RSET")
            wire.ask(f"MAIL FROM:<{STRANGER}> SIZE=2000")
            self.assertRegex(wire.ask(f"RCPT TO:<one@{DROPS}>"), rb"^452 4\.2\.2 ")


def load_tests(loader, tests, pattern):
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(Folders))
    suite.addTest(Limits("test_drop_quota"))
    suite.addTest(loader.loadTestsFromTestCase(Surroundings))
    return suite


class Surroundings(unittest.TestCase):
    """What a home must be; what is in force."""

    def suite_with(self, **settings):
        suite = Suite(start=False)
        home = suite.folder / "home"
        suite.write_config({"mx": {"home": home, **settings}})
        return suite, home

    def refused(self, suite, *pieces, **more):
        done = subprocess.run([str(suite.build / "smtpd" / "smtpd"), "-c", str(suite.config)], capture_output=True,
                              text=True, timeout=60, env=suite.environment(**more))
        self.assertEqual(done.returncode, 2, done.stderr)
        for piece in pieces:
            self.assertIn(piece, done.stderr)

    def test_network_file_system(self):
        """S06: refused with the reason, by the daemon and by config check."""
        shim = os.environ["FOLDER_SHIM"]
        if os.environ["PENNYPOST_SANITIZED"] == "yes":
            self.skipTest("a sanitizer wants to be loaded first")
        suite, home = self.suite_with()
        with suite:
            more = {"LD_PRELOAD": shim, "SHIM_FILE_SYSTEM": "0x6969"}
            self.refused(suite, "home", "network file system (NFS)", str(home.parent), **more)
            done = subprocess.run([str(suite.build / "tools" / "pennypost"), "-c", str(suite.config), "config", "check"],
                                  capture_output=True, text=True, timeout=60, env=suite.environment(**more))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("network file system (NFS)", done.stderr)
            suite.start("smtpd")
            self.assertTrue((home / "pickup").is_dir())

    def test_setgid_that_is_refused(self):
        """S06: a service manager may refuse the bit; the folders are made all the same, with what rights there are."""
        if os.environ["PENNYPOST_SANITIZED"] == "yes":
            self.skipTest("a sanitizer wants to be loaded first")
        suite, home = self.suite_with()
        with suite:
            suite.start("smtpd", LD_PRELOAD=os.environ["FOLDER_SHIM"], SHIM_NO_SETGID="1")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
            self.assertEqual(modes, {"pickup": 0o770, "drop": 0o770, "badmail": 0o750})
            self.assertEqual(len(re.findall(r"folder\.no_setgid", suite.log("smtpd"))), 2)
            # One that is there is as somebody wanted it.
            suite.stop()
            (home / "pickup").chmod(0o2750)
            suite.start("smtpd")
            self.assertEqual(stat.S_IMODE((home / "pickup").stat().st_mode), 0o2750)
            self.assertEqual(sorted(os.listdir(home)), ["badmail", "drop", "pickup"])

    def test_folder_that_was_half_made(self):
        """S06: what a start that died left is gone on with, and never stood under the folder's own name."""
        suite, home = self.suite_with()
        with suite:
            (home / ".drop.new").mkdir(mode=0o700, parents=True)
            suite.start("smtpd")
            self.assertEqual(sorted(os.listdir(home)), ["badmail", "drop", "pickup"])
            self.assertEqual(stat.S_IMODE((home / "drop").stat().st_mode), 0o2770)

    def test_folder_behind_a_link(self):
        """S06: a link in the place of a folder leads nowhere: whoever has the home could point it at what is not his."""
        for name in ("drop", ".drop.new"):
            suite, home = self.suite_with()
            with suite, self.subTest(name):
                other = suite.folder / "other"
                other.mkdir(mode=0o700)
                home.mkdir()
                (home / name).symlink_to(other)
                self.refused(suite, str(home / "drop"))
                self.assertEqual(stat.S_IMODE(other.stat().st_mode), 0o700)

    def test_pickup_that_everybody_may_write(self):
        """S12: who may write there may send as anybody: its mode decides who that is."""
        suite, home = self.suite_with()
        with suite:
            (home / "pickup").mkdir(parents=True)
            (home / "pickup").chmod(0o777)
            self.refused(suite, "everybody may write", str(home / "pickup"))

    def test_home_that_is_shared(self):
        suite, home = self.suite_with()
        with suite:
            suite.write_config({"mx": {"home": home}, "submission": {"home": home}})
            self.refused(suite, "is the home of the server in", "mx.toml")
            suite.write_config({})

    def test_no_home_no_folders(self):
        with Suite() as suite:
            self.assertEqual(sorted(path.name for path in suite.folder.iterdir()),
                             ["certificate.key", "certificate.pem", "etc", "log", "run", "spool", "store"])

    def test_configured_dots(self):
        """S13: yes and no."""
        text = lines(f"From: {ANN}", f"To: {BOB}", "Date: x", "Message-ID: <1@a>", "", "..a", "end")
        for word, want in (("yes", text.replace(b"..a", b".a")), ("no", text)):
            suite, home = self.suite_with(**{"messages.pickup_dot_stuffed": word})
            with suite, self.subTest(word):
                suite.add_mailbox(BOB)
                home.joinpath("pickup").mkdir(parents=True)
                (home / "pickup" / "there before").write_bytes(text)  # S12: what is there at the start is taken
                suite.start()
                [message] = wait_for(lambda: suite.messages(BOB), why="mail")
                self.assertEqual(without_trace(suite.run_raw("message", "show", BOB, message["id"]).stdout), want)
                # The file's own line is believed first: what came out of a drop folder is not spoilt.
                says = lines("x-dot-stuffed: " + ("no" if word == "yes" else "yes"))
                outside = suite.folder / "outside"
                outside.write_bytes(says + text)
                outside.rename(home / "pickup" / "own word")
                own = wait_for(lambda: len(found := suite.messages(BOB)) == 2 and found[1], why="mail")
                self.assertEqual(without_trace(suite.run_raw("message", "show", BOB, own["id"]).stdout),
                                 text if word == "yes" else text.replace(b"..a", b".a"))

    def test_badmail_size(self):
        """S16: beyond the limit the oldest goes."""
        suite, home = self.suite_with(**{"messages.badmail_size": "10KB"})
        with suite:
            suite.start("smtpd")
            for number in range(4):
                outside = suite.folder / "outside"
                outside.write_bytes(b"x" * 4000)
                outside.rename(home / "pickup" / f"{number}")
                wait_for(lambda: f'file={number} ' in suite.log("smtpd") and "message.badmail" in suite.log("smtpd"),
                         why="badmail")
            left = wait_for(lambda: len(found := suite.json("badmail", "list")) == 2 and found, why="the oldest to go")
            self.assertEqual([item["file"] for item in left], ["2", "3"])
            self.assertIn("badmail.purged", suite.log("smtpd"))

    def test_badmail_size_of_the_queue(self):
        """S16: mail that failed and cannot be reported counts, too."""
        suite, home = self.suite_with(**{"messages.badmail_size": "10KB"})
        with suite:
            suite.start("smtpd")
            for number in range(3):
                outside = suite.folder / "outside"
                outside.write_bytes(lines("x-sender: <>", f"x-receiver: nobody{number}@{DOMAIN}", "Subject: x", "", "y" * 4000))
                outside.rename(home / "pickup" / f"{number}")
                wait_for(lambda: any(item["recipient"] == f"nobody{number}@{DOMAIN}" for item in suite.json("badmail", "list")),
                         why="badmail")
            left = wait_for(lambda: len(found := suite.json("badmail", "list")) == 2 and found, why="the oldest to go")
            self.assertEqual(sorted(item["recipient"] for item in left), [f"nobody1@{DOMAIN}", f"nobody2@{DOMAIN}"])

    def test_badmail_size_of_a_message_for_several_domains(self):
        """S16: it is one message, whose octets lie there once."""
        suite, home = self.suite_with(**{"messages.badmail_size": "10KB"})
        with suite:
            for number in range(4):
                suite.tool("domain", "add", f"d{number}.test")
            suite.start("smtpd")
            outside = suite.folder / "outside"
            outside.write_bytes(lines("x-sender: <>", *(f"x-receiver: nobody@d{number}.test" for number in range(4)),
                                      "Subject: x", "", "y" * 4000))
            outside.rename(home / "pickup" / "one")
            wait_for(lambda: len(suite.json("queue", "list", "--state", "held")) == 4, why="badmail")
            outside.write_bytes(b"x" * 4000)
            outside.rename(home / "pickup" / "two")
            wait_for(lambda: len({item["id"] for item in suite.json("badmail", "list")}) == 2, why="a file, too")
            self.assertNotIn("badmail.purged", suite.log("smtpd"))
            outside.write_bytes(b"x" * 4000)
            outside.rename(home / "pickup" / "three")
            left = wait_for(lambda: "badmail.purged" in suite.log("smtpd") and suite.json("badmail", "list"),
                            why="the oldest to go")
            self.assertEqual([item["file"] for item in left], ["two", "three"])
            self.assertEqual(suite.log("smtpd").count("badmail.purged"), 1)

    def test_home_that_comes_back(self):
        """S12: a reload takes a home away and the next gives it back, while the one before has hardly let it go."""
        suite, home = self.suite_with()
        with suite:
            suite.add_mailbox(BOB)
            suite.start()
            for number in range(1, 4):
                suite.write_config({"mx": {}})
                suite.tool("reload")
                suite.write_config({"mx": {"home": home}})
                suite.tool("reload")
                outside = suite.folder / "outside"
                outside.write_bytes(MAIL)
                outside.rename(home / "pickup" / f"{number}")
                wait_for(lambda: len(suite.messages(BOB)) == number, why="mail")

    def test_pickup_that_is_made_anew(self):
        """S12: what stands under the folder's name is the folder; not if everybody may write there."""
        suite, home = self.suite_with()
        with suite:
            suite.add_mailbox(BOB)
            suite.start()
            pickup = home / "pickup"
            pickup.rename(home / "aside")
            pickup.mkdir()
            pickup.chmod(0o777)
            (pickup / "one").write_bytes(MAIL)
            wait_for(lambda: re.search(r"folder\.moved .*everybody may write", suite.log("smtpd")), why="a refusal")
            self.assertEqual(suite.messages(BOB), [])
            pickup.chmod(0o770)
            wait_for(lambda: len(suite.messages(BOB)) == 1, why="mail")
            self.assertRegex(suite.log("smtpd"), r"folder\.moved .*another folder")

    def test_reload_moves_home(self):
        suite, home = self.suite_with()
        with suite:
            suite.add_mailbox(BOB)
            suite.start()
            suite.write_config({"mx": {"home": suite.folder / "elsewhere"}})
            self.assertIn("needs a restart", suite.run_tool("reload").stderr)
            suite.stop()
            suite.start()
            self.assertTrue((suite.folder / "elsewhere" / "drop").is_dir())


if __name__ == "__main__":
    main()
