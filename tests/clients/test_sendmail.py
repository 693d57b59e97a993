"""pennypost-sendmail: by hand, and called by mail, git send-email, mutt and cron; with smtpd up, down, and the
spool in every state that others can bring it into."""

import email
import email.policy
import os
import pathlib
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import unittest

from client_case import DOMAIN, ClientCase, main
from suite import TOP
from wire import wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from stub_smtp import StubSmtp  # noqa: E402

USER = pwd.getpwuid(os.getuid()).pw_name
ME = f"{USER}@{DOMAIN}"
NOTE = b"Subject: a note\n\none\n.\ntwo\n"


class Sendmail(ClientCase):
    settings = {"mx": {"messages.size": "2MB"}, "suite": {"log.level": "info"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sendmail = cls.suite.build / "tools" / "pennypost-sendmail"
        cls.spool = cls.suite.folder / "spool"
        cls.suite.add_mailbox(ME)
        # Another user must get to the socket and the spool.
        cls.suite.folder.chmod(0o755)

    def setUp(self):
        super().setUp()
        self.empty(ME)

    def send(self, *words, text=NOTE, status=0, **more):
        """What it said on standard error."""
        done = subprocess.run([str(self.sendmail), *words], input=text, capture_output=True, timeout=60,
                              env=self.suite.environment(LC_ALL="C", TZ="UTC"), **more)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, status, said)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(said.count("\n"), 0 if status == 0 else 1, said)
        return said

    def arrived(self, address=None, count=1):
        """The messages, once there are so many, as Python's email package reads them; and their octets."""
        address = address or self.address
        wait_for(lambda: len(self.suite.messages(address)) >= count, why=f"{count} at {address}")
        octets = self.mailbox(address)
        self.assertEqual(len(octets), count)
        return [(email.message_from_bytes(one, policy=email.policy.SMTP), one) for one in octets]

    def spooled(self):
        return [path for path in self.spool.iterdir()]

    def make_socket(self, path):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))

    def down(self):
        self.suite.stop("smtpd")
        self.addCleanup(self.up)

    def up(self):
        if "smtpd" not in self.suite.processes:
            self.suite.start("smtpd")

    # ---- the message

    def test_what_a_program_says_arrives_as_mail(self):
        self.send(self.address, text=b"Subject: a note\n\n.one\n..\ntwo\n.\nnever read\n")
        message, octets = self.arrived()[0]
        self.assertTrue(octets.startswith(f"Return-Path: <{ME}>\r\nDelivered-To: {self.address}\r\nReceived: ".encode()))
        self.assertIn(f"Received: from localhost (local, userid {os.getuid()})\r\n\tby mx.example.test with ESMTP id ".encode(), octets)
        self.assertTrue(octets.endswith(b"\r\n\r\n.one\r\n..\r\ntwo\r\n"), octets)
        self.assertEqual(octets.count(b"\n"), octets.count(b"\r\n"))
        self.assertEqual(message["From"].addresses[0].addr_spec, ME)
        self.assertEqual(message["Subject"], "a note")
        self.assertIsNotNone(message["Date"].datetime)
        self.assertRegex(message["Message-ID"], rf"^<[0-9a-f.]+@{DOMAIN}>$")
        self.assertRegex(self.suite.log("smtpd"), rf'message\.accepted id=\S+ from={ME} .*peer="uid {os.getuid()}"')

    def test_dot_is_a_line(self):
        for words in (("-i",), ("-oi",)):
            self.send(*words, self.address)
        for _, octets in self.arrived(count=2):
            self.assertTrue(octets.endswith(b"one\r\n.\r\ntwo\r\n"), octets)

    def test_recipients_of_the_header(self):
        other = "other." + self.address
        self.suite.add_mailbox(other)
        text = f"From: me@{DOMAIN}\nTo: Some One\n <{self.address}>\nBcc: {other} (quietly)\nSubject: x\n\nbody\n".encode()
        self.send("-t", text=text)
        for address in (self.address, other):
            message, octets = self.arrived(address)[0]
            self.assertIsNone(message["Bcc"])
            self.assertNotIn(b"quietly", octets)
            self.assertEqual(message["From"].addresses[0].addr_spec, f"me@{DOMAIN}")

    def test_sender_and_full_name(self):
        self.send("-f", f"robot@{DOMAIN}", "-F", "The Robot, himself", self.address)
        message, octets = self.arrived()[0]
        self.assertTrue(octets.startswith(f"Return-Path: <robot@{DOMAIN}>\r\n".encode()))
        self.assertEqual(message["From"].addresses[0].display_name, "The Robot, himself")
        self.assertEqual(message["From"].addresses[0].addr_spec, f"robot@{DOMAIN}")
        # Whoever calls himself by another name: who it was stands there (as with Postfix).
        self.assertIn(f"userid {os.getuid()})".encode(), octets)

    def test_null_sender(self):
        self.send("-f", "<>", self.address)
        self.assertTrue(self.arrived()[0][1].startswith(b"Return-Path: <>\r\n"))

    def test_binary_empty_and_long(self):
        self.send("-i", self.address, text=b"")
        self.send("-i", self.address, text=b"\n" + bytes(range(256)) * 10)
        self.send("-i", self.address, text=b"y" * 1_500_000)
        self.send("-i", self.address, text=b"Subject: long\n\n" + b"x" * 1_500_000)
        octets = [one for _, one in self.arrived(count=4)]
        self.assertTrue(octets[0].endswith(b">\r\n\r\n"))
        # A lone CR has become a line end.
        line_ends = bytes(range(256)).replace(b"\r", b"\n").replace(b"\n", b"\r\n") * 10 + b"\r\n"
        self.assertTrue(octets[1].endswith(line_ends))
        self.assertTrue(octets[2].endswith(b"y" * 1_500_000 + b"\r\n"))  # one line, and no field
        self.assertTrue(octets[3].endswith(b"x" * 1_500_000 + b"\r\n"))
        said = self.send("-i", self.address, text=b"\n" + b"x" * 3_000_000, status=69)
        self.assertIn("larger than 2097152 octets", said)

    def test_refusals(self):
        for words, text, status, piece in (
            ((), NOTE, 64, "no recipient"),
            (("-z",), NOTE, 64, "no such option: -z"),
            (("a b",), NOTE, 64, "recipient a b"),
            (("-t",), NOTE, 65, "no recipient in To"),
            (("-t",), b"To: a b\n\nx\n", 65, "the field To"),
            ((f"no.one@{DOMAIN}", self.address), NOTE, 67, f"<no.one@{DOMAIN}>: 550 5.1.1 "),
            (("-N", "sometimes", self.address), NOTE, 64, "-N sometimes"),
        ):
            with self.subTest(words=words):
                self.assertIn(piece, self.send(*words, text=text, status=status))
        # Whoever calls again after a failure sends nothing twice.
        self.assertEqual(self.suite.messages(self.address), [])

    def test_another_user(self):
        if os.getuid() != 0:
            self.skipTest("only root can become somebody else")
        nobody = pwd.getpwnam("nobody")
        self.suite.add_mailbox(f"nobody@{DOMAIN}")
        # Others may not see the folder that it was built in.
        built, self.sendmail = self.sendmail, shutil.copy2(self.sendmail, self.suite.folder)
        self.addCleanup(setattr, self, "sendmail", built)
        self.send(self.address, user="nobody", group=nobody.pw_gid, extra_groups=[])
        message, octets = self.arrived()[0]
        self.assertIn(f"(local, userid {nobody.pw_uid})".encode(), octets)
        self.assertTrue(octets.startswith(f"Return-Path: <nobody@{DOMAIN}>".encode()))
        self.down()
        self.send(self.address, user="nobody", group=nobody.pw_gid, extra_groups=[])
        self.assertEqual([path.stat().st_uid for path in self.spooled()], [nobody.pw_uid])
        self.up()
        octets = self.arrived(count=2)[1][1]
        self.assertIn(f"(local, userid {nobody.pw_uid})".encode(), octets)

    # ---- to other domains

    def test_remote(self):
        """Who is here may send everywhere; DSN parameters go along."""
        stub = StubSmtp(extensions=("PIPELINING", "DSN"))
        self.addCleanup(stub.close)
        self.suite.tool("domain", "add", "far.test", "--remote", "--route", f"127.0.0.1:{stub.port}")
        self.send("-N", "failure,delay", "-R", "hdrs", "-V", "order=7", "bob@far.test")
        wait_for(lambda: stub.messages, why="the message at the next server")
        self.assertIn(b"Subject: a note\r\n", stub.messages[0])
        self.assertIn(f"MAIL FROM:<{ME}> RET=HDRS ENVID=order+3D7", stub.lines[1])
        self.assertIn("RCPT TO:<bob@far.test> NOTIFY=FAILURE,DELAY", stub.lines[2])
        self.down()
        self.send("-V", "8", "eve@far.test")
        self.up()
        wait_for(lambda: len(stub.messages) == 2, why="the message from the spool at the next server")
        self.assertTrue(any("ENVID=8" in line for line in stub.lines))

    # ---- other modes

    def test_smtp_on_standard_input(self):
        text = (f"EHLO x\r\nMAIL FROM:<me@{DOMAIN}>\r\nRCPT TO:<{self.address}>\r\nDATA\r\nSubject: bs\r\n\r\nx\r\n.\r\n"
                "QUIT\r\n").encode()
        said = self.run_raw(self.sendmail, "-bs", text_in=text).decode()
        self.assertRegex(said, r"(?s)^220 .*\n250 2\.0\.0 .*\n221 ")
        self.assertNotIn("AUTH", said)
        self.assertEqual(self.arrived()[0][0]["Subject"], "bs")
        self.down()
        self.assertTrue(self.run_raw(self.sendmail, "-bs", status=75).startswith(b"421 4.3.2 "))

    def test_queue(self):
        self.assertEqual(self.run_raw(self.sendmail, "-bp"), b"Mail queue is empty\n")
        self.suite.tool("domain", "add", "slow.test", "--remote", "--route", "127.0.0.1:1")
        self.suite.tool("queue", "suspend", "slow.test", "--reason", "closed")
        self.send("zoe@slow.test")
        shown = self.run_raw(self.sendmail, "-bp").decode()
        self.assertRegex(shown, rf"(?m)^[a-z2-7]+[ !*] +\d+ \w{{3}} \w{{3}} +\d+ [\d:]+  {ME}$")
        self.assertIn(" zoe@slow.test\n", shown)
        self.assertTrue(shown.endswith(" Kbytes in 1 Request.\n"), shown)
        self.assertEqual(self.run_raw(self.sendmail, "-q"), b"")
        self.assertEqual(self.run_raw(self.sendmail, "-qRslow.test"), b"")
        self.suite.tool("queue", "delete", "--domain", "slow.test")

    # ---- the spool

    def test_smtpd_is_down(self):
        self.assertEqual(stat.S_IMODE(self.spool.stat().st_mode), 0o1733)
        self.down()
        other = "other." + self.address
        self.suite.add_mailbox(other)
        self.send("-i", self.address, other, f"nobody.here@{DOMAIN}")
        files = self.spooled()
        self.assertEqual(len(files), 1)
        self.assertRegex(files[0].name, r"^[0-9a-f]{32}$")
        self.up()
        message, octets = self.arrived()[0]
        self.assertTrue(octets.endswith(b"\r\n\r\none\r\n.\r\ntwo\r\n"))
        self.assertRegex(octets, rb"Received: from localhost \(local, userid \d+\)\r\n\tby mx\.example\.test id ")
        self.arrived(other)
        # The one that is nobody's comes back.
        report, _ = self.arrived(ME)[0]
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertIn(f"nobody.here@{DOMAIN}", str(report.get_payload()[1]))
        wait_for(lambda: not self.spooled(), why="an empty spool")
        self.suite.stop("smtpd")
        self.suite.start("smtpd")
        self.assertEqual(len(self.suite.messages(self.address)), 1)

    def test_taken_while_smtpd_runs(self):
        """What is renamed into the spool is taken at once; unfinished work waits."""
        half = self.spool / ".half"
        half.write_bytes(f"MAIL FROM:<{ME}>\r\nRCPT TO:<{self.address}>\r\nDATA\r\nSubject: x\r\n\r\ny\r\n".encode())
        self.send(self.address)
        self.arrived()
        self.assertTrue(half.exists())
        half.rename(self.spool / "whole")
        self.arrived(count=2)
        wait_for(lambda: not self.spooled(), why="an empty spool")

    def test_spool_that_takes_nothing(self):
        self.down()
        moved = self.spool.with_name("spool.away")
        self.spool.rename(moved)
        self.addCleanup(lambda: (self.spool.is_symlink() or self.spool.is_file()) and self.spool.unlink() or
                        not self.spool.exists() and moved.rename(self.spool))
        said = self.send(self.address, status=75)
        self.assertIn("takes nothing: No such file", said)
        self.assertIn("run/submit", said)
        self.spool.symlink_to("/dev/full")
        self.send(self.address, status=75)
        self.spool.unlink()
        moved.rename(self.spool)
        self.assertEqual(self.spooled(), [])

    def test_no_room(self):
        """A file system that is full: nothing half is left."""
        self.down()
        done = subprocess.run(["prlimit", "--fsize=2000", "sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", str(self.sendmail), self.address],
                              input=b"Subject: x\n\n" + b"y" * 100_000, capture_output=True, timeout=60, env=self.suite.environment())
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn(b"takes nothing: File too large", done.stderr)
        self.assertEqual(self.spooled(), [])

    def test_what_is_no_mail(self):
        good = f"MAIL FROM:<{ME}>\r\nRCPT TO:<{self.address}>\r\nDATA\r\nSubject: evil\r\n\r\ny\r\n".encode()
        outside = self.folder / "outside"
        outside.write_bytes(good)
        wrong = {
            "link": lambda path: path.symlink_to(outside),
            "hard-link": lambda path: os.link(outside, path),
            "pipe": os.mkfifo,
            "folder": lambda path: path.mkdir(),
            "socket": self.make_socket,
            "empty": lambda path: path.write_bytes(b""),
            "binary": lambda path: path.write_bytes(os.urandom(100_000)),
            "huge": lambda path: path.write_bytes(good + b"z" * 3_000_000),
            "no message": lambda path: path.write_bytes(good[:60]),
            "no recipient": lambda path: path.write_bytes(f"MAIL FROM:<{ME}>\r\nDATA\r\n\r\n".encode()),
            "other commands": lambda path: path.write_bytes(b"STARTTLS\r\n" + good),
            "a line that never ends": lambda path: path.write_bytes(b"MAIL FROM:<" + b"x" * 200_000),
        }
        if os.getuid() == 0:
            wrong["device"] = lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        self.down()
        for name, make in wrong.items():
            make(self.spool / name)
        (self.spool / "new\nline").write_bytes(good.replace(b"evil", b"good"))
        self.up()
        message, _ = self.arrived()[0]
        self.assertEqual(message["Subject"], "good")
        refused = lambda: set(re.findall(r'folder\.refused source=spool file=(?:"([^"]*)"|(\S+))', self.suite.log("smtpd")))
        wait_for(lambda: len(refused()) >= len(wrong), why="all the others refused")
        self.assertEqual({one or other for one, other in refused()}, set(wrong))
        self.assertEqual({path.name for path in self.spooled()}, set(wrong))
        self.send(self.address)  # and the rest goes on
        self.arrived(count=2)
        for path in self.spooled():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    # ---- other programs

    def test_cron(self):
        """The command line of Debian's cron, and what cron writes."""
        self.suite.tool("alias", "add", f"root.{self.address}", self.address)
        self.send("-i", "-FCronDaemon", "-B8BITMIME", "-oem", f"root.{self.address}",
                  text="From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> date\nMIME-Version: 1.0\n"
                       "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\ngr\u00fc\u00dfe\n".encode())
        message, octets = self.arrived()[0]
        self.assertEqual(message["Subject"], "Cron <root@host> date")
        self.assertIn(b"From: root (Cron Daemon)\r\n", octets)
        self.assertTrue(octets.endswith("gr\u00fc\u00dfe\r\n".encode()))

    def test_cron_itself(self):
        """Debian's cron with our program as its sendmail, in a file system of its own; a job of the start."""
        private = ["unshare", "--mount", "--propagation", "private"]
        if os.geteuid() != 0 or subprocess.run([*private, "true"], capture_output=True).returncode != 0:
            self.skipTest("no right to lay folders of our own over the machine's")
        subprocess.run([str(TOP / "tools" / "unpack-packages"), "cron"], check=True)
        for name in ("sbin", "pam.d", "cron.d"):
            (self.folder / name).mkdir()
        (self.folder / "sbin" / "sendmail").write_text(
            f'#!/bin/sh\nPENNYPOST_CONFIG={self.suite.config} exec {self.sendmail} "$@"\n')
        (self.folder / "sbin" / "sendmail").chmod(0o755)
        (self.folder / "pam.d" / "cron").write_text(
            "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session")))
        (self.folder / "crontab").write_text(f"MAILTO={self.address}\n@reboot echo first; echo .; echo last\n")
        cron = TOP / "build" / "peers" / "cron" / "usr" / "sbin" / "cron"
        script = f"""
            mount -t tmpfs none /run
            mount -t tmpfs none /var/spool
            mkdir -p /var/spool/cron/crontabs
            install -m 600 {self.folder}/crontab /var/spool/cron/crontabs/root
            [ ! -d /etc/cron.d ] || mount --bind {self.folder}/cron.d /etc/cron.d
            [ ! -f /etc/crontab ] || mount --bind /dev/null /etc/crontab
            mount --bind {self.folder}/pam.d /etc/pam.d
            mount --bind {self.folder}/sbin /usr/sbin
            exec {cron} -f"""
        daemon = subprocess.Popen([*private, "sh", "-euc", script], stdin=subprocess.DEVNULL)
        try:
            message, octets = self.arrived()[0]
        finally:
            daemon.terminate()
            daemon.wait(30)
        self.assertRegex(message["Subject"], r"^Cron <root@\S+> echo first; echo \.; echo last$")
        self.assertEqual(message["To"], self.address)
        self.assertTrue(octets.endswith(b"\r\n\r\nfirst\r\n.\r\nlast\r\n"), octets)

    def test_mail(self):
        """mail of GNU Mailutils, which calls sendmail -oi -f ... -t."""
        self.run_program("mail", "-E", f"set sendmail=sendmail://{self.sendmail}", "-s", "by mail", "-a", "X-Extra: 1", self.address, text_in=b"hello\n.\nthere\n")
        message, octets = self.arrived()[0]
        self.assertEqual((message["Subject"], message["X-Extra"]), ("by mail", "1"))
        self.assertTrue(octets.endswith(b"hello\r\n.\r\nthere\r\n"), octets)

    def test_git_send_email(self):
        repository = self.folder / "repository"
        git = lambda *words: self.run_raw("git", "-C", repository, *words)
        self.run_raw("git", "init", "-q", repository)
        for key, value in (("user.name", "Ann"), ("user.email", f"ann@{DOMAIN}")):
            git("config", key, value)
        (repository / "file").write_text("text\n")
        git("add", "file")
        git("commit", "-q", "-m", "A change\n\n.\n\nFrom the start")
        self.run_program("git", "-C", repository, "send-email", f"--smtp-server={self.sendmail}", "--to", self.address, "--quiet",
                         "--confirm=never", "--suppress-cc=all", "--envelope-sender=auto", "-1")
        message, octets = self.arrived()[0]
        self.assertEqual(message["Subject"], "[PATCH] A change")
        self.assertTrue(octets.startswith(f"Return-Path: <ann@{DOMAIN}>".encode()))
        self.assertIn(b"\r\n.\r\n", octets)

    def test_mutt(self):
        self.run_program("mutt", "-F", "/dev/null", "-e", f'set sendmail="{self.sendmail} -oem -oi"', "-e", "set copy=no",
                         "-e", f"set from=ann@{DOMAIN}", "-e", "set use_envelope_from=yes", "-s", "by mutt", "--", self.address, text_in=b"hello\n.\nthere\n")
        message, octets = self.arrived()[0]
        self.assertEqual(message["Subject"], "by mutt")
        self.assertTrue(octets.endswith(b"hello\r\n.\r\nthere\r\n"), octets)


class Off(ClientCase):
    settings = {"suite": {"local.socket": "off", "local.spool": "off"}}

    def test_off(self):
        sendmail = self.suite.build / "tools" / "pennypost-sendmail"
        said = self.run_program(sendmail, self.address, text_in=NOTE, status=75)
        self.assertIn("socket is off", said)
        self.assertFalse((self.suite.folder / "spool").exists())
        self.assertFalse((self.suite.folder / "run" / "submit").exists())


class Elsewhere(ClientCase):
    def test_named(self):
        """[local] socket and spool where the configuration says, and the right to it stays when the daemon is shut in."""
        folder = self.suite.folder
        (folder / "other").mkdir()
        self.suite.stop()
        self.suite.write_config({"suite": {"local.socket": folder / "other" / "s", "local.spool": folder / "other" / "queue"}})
        sendmail = self.suite.build / "tools" / "pennypost-sendmail"
        self.suite.start()
        self.learn_ports()
        self.run_raw(sendmail, self.address, text_in=NOTE)
        self.assertEqual(len(self.mailbox()), 1)
        self.suite.stop("smtpd")
        self.run_raw(sendmail, self.address, text_in=NOTE)
        self.assertEqual(len(list((folder / "other" / "queue").iterdir())), 1)
        self.suite.start("smtpd")
        wait_for(lambda: len(self.suite.messages(self.address)) == 2, why="the spool taken")
        # A mistake in a server's file is nobody's trouble here: smtpd runs with what it read before.
        mx = self.suite.servers / "mx.toml"
        good = mx.read_text()
        mx.write_text("colour = 1\n" + good)
        self.run_raw(sendmail, self.address, text_in=NOTE)
        mx.write_text(good)
        self.assertEqual(len(self.mailbox()), 3)
        self.suite.stop("smtpd")
        mx.write_text("colour = 1\n" + good)
        self.run_raw(sendmail, self.address, text_in=NOTE)
        mx.write_text(good)
        self.assertEqual(len(list((folder / "other" / "queue").iterdir())), 1)
        # In pennypost.toml itself: the places are what they are by default.
        suite = self.suite.config.read_text()
        self.suite.config.write_text("colour = 1\n" + suite)
        said = subprocess.run([str(sendmail), self.address], input=NOTE, capture_output=True, timeout=60,
                              env=self.suite.environment()).stderr
        self.suite.config.write_text(suite)
        self.assertNotIn(b"colour", said)
        self.suite.start("smtpd")
        wait_for(lambda: len(self.suite.messages(self.address)) == 4, why="the spool taken")


if __name__ == "__main__":
    main()
