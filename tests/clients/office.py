"""What the client tests share: one running suite for each test class, two people, and clients' command lines."""

import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import PASSWORD, Suite  # noqa: E402

ANN, BOB = "ann@example.test", "bob@example.test"

# A letter with what clients trip over: dots, an empty last line, a long line, 8-bit in base64.
LETTER = (b"From: Ann <ann@example.test>\r\nTo: Bob <bob@example.test>\r\nSubject: a letter\r\n"
          b"Date: Mon, 01 Jan 2024 12:00:00 +0000\r\nMessage-ID: <1@client.test>\r\nMIME-Version: 1.0\r\n\r\n"
          b".\r\n..\r\n.dot first\r\n" + b"x" * 900 + b"\r\nFrom the past\r\n\r\nend\r\n\r\n")


class OfficeTest(unittest.TestCase):
    """`settings` change the configuration, as in Suite. Each test begins with empty mailboxes of ann@ and bob@."""

    settings = {}
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.suite = Suite(cls.settings)
        cls.suite.__enter__()
        cls.addClassCleanup(cls.suite.__exit__, None, None, None)
        for address in (ANN, BOB):
            cls.suite.add_mailbox(address)
        cls.learn_ports()

    @classmethod
    def learn_ports(cls):
        port = cls.suite.port
        cls.mx, cls.submission, cls.submissions = port("mx"), port("submission"), port("submission", tls=True)
        cls.pop3, cls.pop3s = port("pop3"), port("pop3", tls=True)

    def setUp(self):
        for address in (ANN, BOB):
            self.empty(address)
        self.ca = str(self.suite.certificate)
        self.folder = self.suite.folder / self.id().rsplit(".", 1)[1]
        self.folder.mkdir(exist_ok=True)

    def empty(self, address):
        found = [message["id"] for message in self.suite.messages(address)]
        if found:
            self.suite.tool("message", "delete", address, *found)

    def run_client(self, *command, text_in=b"", status=0):
        """Runs a client program, which must end with `status`; gives back its standard output in octets."""
        if shutil.which(command[0]) is None and not command[0].startswith("/"):
            self.fail(f"{command[0]} is not installed; tools/install-packages --test does it")
        done = subprocess.run([str(word) for word in command], input=text_in, capture_output=True, timeout=120,
                              env=self.suite.environment(HOME=str(self.folder), LC_ALL="C"))
        self.assertEqual(done.returncode, status, f"{command}:\n{done.stdout.decode(errors='replace')}"
                                                  f"{done.stderr.decode(errors='replace')}")
        return done.stdout

    def stored(self, address):
        """The messages of a mailbox, without the lines that we put in front."""
        bodies = []
        for message in self.suite.messages(address):
            octets = self.suite.run_raw("message", "show", address, message["id"]).stdout
            bodies.append(without_trace(octets))
        return bodies


def without_trace(octets):
    """A message as it was sent: Return-Path, Delivered-To and our own Received line taken off."""
    for name in (b"Return-Path:", b"Delivered-To:", b"Received:"):
        assert octets.startswith(name), octets[:300]
        end = octets.index(b"\r\n") + 2
        while octets[end:end + 1] in (b" ", b"\t"):
            end = octets.index(b"\r\n", end) + 2
        octets = octets[end:]
    return octets
