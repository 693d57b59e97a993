"""A running suite for the tests of real clients: ports, people, running a program, what a mailbox holds."""

import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import unittest

from letters import STRANGER, without_trace
from wire import Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import DOMAIN, PASSWORD, TOP, Suite  # noqa: E402


def find_program(name):
    """On the machine, or unpacked by tools/unpack-packages."""
    return shutil.which(name) or shutil.which(name, path=str(TOP / "build" / "peers" / name / "usr" / "bin"))


def main():
    """Runs the tests of the program; where all were skipped its status says so (77, Meson's)."""
    result = unittest.main(module="__main__", exit=False).result
    # A class that skips itself as a whole runs none.
    if result.wasSuccessful() and result.skipped and result.testsRun in (0, len(result.skipped)):
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() else 1)


def readable(octets):
    return octets.decode(errors="backslashreplace")


class ClientCase(unittest.TestCase):
    """One suite for the class. `settings` change its configuration, as in Suite. Each test has a mailbox of its own
    (`address`), or, with `people`, begins with these mailboxes, which are empty; and a folder of its own."""

    settings = {}
    people = ()
    needs = ()  # programs
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        for name in cls.needs:
            if not find_program(name):
                raise unittest.SkipTest(f"{name} is not here; tools/install-packages --test")
        cls.suite = cls.enterClassContext(Suite(cls.settings))
        cls.ca = str(cls.suite.certificate)
        for address in cls.people:
            cls.suite.add_mailbox(address)
        cls.learn_ports()
        # The one reader of the tests themselves.
        cls.context = ssl.create_default_context(cafile=cls.ca)

    @classmethod
    def learn_ports(cls):
        cls.mx = cls.suite.port("mx")
        cls.submission, cls.submissions = cls.suite.port("submission"), cls.suite.port("submission", tls=True)
        cls.pop3, cls.pop3s = cls.suite.port("pop3"), cls.suite.port("pop3", tls=True)

    def setUp(self):
        self.folder = self.suite.folder / self._testMethodName
        self.folder.mkdir()
        for address in self.people:
            self.empty(address)
        if not self.people:
            self.address = self._testMethodName.removeprefix("test_").replace("_", ".")[:60] + "@" + DOMAIN
            self.suite.add_mailbox(self.address)

    def empty(self, address):
        found = [message["id"] for message in self.suite.messages(address)]
        if found:
            self.suite.tool("message", "delete", address, *found)

    def run_raw(self, *command, status=0, text_in=b"", timeout=120):
        """The program's standard output in octets; it must end with `status` (None: with any but 0)."""
        return self._run(command, status, text_in, timeout, subprocess.PIPE).stdout

    def run_program(self, *command, status=0, text_in=b"", timeout=120):
        """As run_raw; its output and errors together, as text."""
        return readable(self._run(command, status, text_in, timeout, subprocess.STDOUT).stdout)

    def _run(self, command, status, text_in, timeout, errors):
        if not find_program(str(command[0])):
            self.fail(f"{command[0]} is not here; tools/install-packages --test does it")
        done = subprocess.run([str(word) for word in command], input=text_in, stdout=subprocess.PIPE, stderr=errors,
                              timeout=timeout,
                              env=self.suite.environment(HOME=str(self.folder), LC_ALL="C.UTF-8", http_proxy="",
                                                         all_proxy="", ALL_PROXY=""))
        said = f"{command}:\n{readable(done.stdout)}{readable(done.stderr or b'')}"
        if status is None:
            self.assertNotEqual(done.returncode, 0, said)
        else:
            self.assertEqual(done.returncode, status, said)
        return done

    def put(self, *letters, to=None):
        """Straight into the mailbox, by SMTP from outside."""
        with Wire(self.mx) as wire:
            wire.reply()
            self.assertRegex(wire.ask("EHLO client.test"), rb"^250")
            for octets in letters:
                self.assertRegex(wire.ask(f"MAIL FROM:<{STRANGER}>"), rb"^250")
                self.assertRegex(wire.ask(f"RCPT TO:<{to or self.address}>"), rb"^250")
                self.assertRegex(wire.ask("DATA"), rb"^354")
                wire.send(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                self.assertRegex(wire.reply(), rb"^250 2\.0\.0 ")
            wire.ask("QUIT")

    def mailbox(self, address=None):
        """All messages, as RETR gives them, undotted: octet for octet."""
        with Wire(self.pop3s, self.context) as wire:
            wire.reply()
            wire.ask(f"USER {address or self.address}")
            self.assertRegex(wire.ask(f"PASS {PASSWORD}"), rb"^\+OK")
            count = int(wire.ask("STAT").split()[1])
            messages = []
            for number in range(1, count + 1):
                octets = int(wire.ask(f"LIST {number}").split()[2])
                self.assertRegex(wire.ask(f"RETR {number}"), rb"^\+OK")
                stuffed = wire.until(b"\r\n.\r\n")[:-3]
                message = stuffed.replace(b"\r\n.", b"\r\n")
                # What LIST says is what RETR gives (the design counts stuffed dots nowhere else).
                self.assertIn(octets, (len(message), len(stuffed)))
                messages.append(message)
            wire.ask("QUIT")
            return messages

    def stored(self, address):
        """The messages of a mailbox as they were sent."""
        return [without_trace(self.suite.run_raw("message", "show", address, message["id"]).stdout)
                for message in self.suite.messages(address)]

    def assert_arrived(self, sent, got, sender=None):
        """`got` is `sent` with trace fields in front and nothing else changed. Gives back the trace fields."""
        if not got.endswith(sent):
            self.assertEqual(got[-len(sent) - 200:], sent)  # which is not so, and shows where
        trace = got[:-len(sent)].decode()
        self.assertEqual(re.findall(r"^([A-Za-z-]+):", trace, re.M), ["Return-Path", "Delivered-To", "Received"], trace)
        if sender:
            self.assertIn(f"Return-Path: <{sender}>\r\n", trace)
        return trace

    def assert_one_letter(self, sent, sender=STRANGER, **expected):
        """The mailbox holds this letter alone, and its Received field tells how it came."""
        messages = self.mailbox()
        self.assertEqual(len(messages), 1)
        trace = self.assert_arrived(sent, messages[0], sender)
        if "protocol" in expected:
            self.assertRegex(trace, rf"\bwith {expected['protocol']} id ")
        return trace

    def authenticated(self, mechanism, account=None):
        """The daemons' log has a log-in of this account by this mechanism."""
        line = re.compile(rf"auth\.ok account=\"?{re.escape(account or self.address)}\"? mechanism={mechanism} ")
        # Log lines are written behind the sessions' backs.
        return wait_for(lambda: line.search(self.suite.log("smtpd")), why=f"log-in by {mechanism} in the log")
