"""What the client tests share: a suite with both daemons, letters, running a program, reading a mailbox octet by octet."""

import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import DOMAIN, PASSWORD, TOP, Suite  # noqa: E402

HOST = "127.0.0.1"
STRANGER = "stranger@client.test"


def letter(to, subject="A letter", sender=STRANGER):
    """A complete letter in wire form, with what is easily damaged: dots, spaces at line ends, empty lines, 8-bit, a
    line of 900 octets."""
    return (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n"
            "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <letter.1@client.test>\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            ".\r\n..\r\n.a line that begins with a dot\r\n\r\ntrailing spaces  \r\n\tand a tab\t\r\n"
            "gr\u00fc\u00dfe\r\n" + "x" * 900 + "\r\nFrom here on nothing\r\n\r\n.\r\nend\r\n").encode()


def lf(octets):
    """With the line ends of a Unix file, as programs read it from standard input."""
    return octets.replace(b"\r\n", b"\n")


def crlf(octets):
    return octets.replace(b"\n", b"\r\n")


class Wire:
    """A conversation by hand."""

    def __init__(self, port, context=None, timeout=30):
        self.socket = socket.create_connection((HOST, port), timeout=timeout)
        self.held = b""
        if context:
            self.secure(context)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def secure(self, context):
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets):
        self.socket.sendall(octets)

    def until(self, mark):
        """Everything up to and with the mark; less when the peer closed."""
        while mark not in self.held:
            more = self.socket.recv(65536)
            if not more:
                got, self.held = self.held, b""
                return got
            self.held += more
        end = self.held.index(mark) + len(mark)
        got, self.held = self.held[:end], self.held[end:]
        return got

    def line(self):
        return self.until(b"\r\n")

    def reply(self):
        """An SMTP reply whole, or a POP3 status line."""
        got = line = self.line()
        while len(line) > 3 and line[:3].isdigit() and line[3:4] == b"-":
            line = self.line()
            got += line
        return got

    def ask(self, text):
        self.send(text.encode() + b"\r\n")
        return self.reply()

    def rest(self):
        """All that comes until the peer closes."""
        got, self.held = self.held, b""
        while True:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                return got
            if not more:
                return got
            got += more


def wait_for(what, seconds=20, why=""):
    """Polls until `what()` is true; what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why}")
        time.sleep(0.01)


def find_program(name):
    """On the machine, or unpacked by tools/unpack-packages."""
    return shutil.which(name) or shutil.which(name, path=str(TOP / "build" / "peers" / name / "usr" / "bin"))


class ClientCase(unittest.TestCase):
    """One suite for the class, a mailbox for each test."""

    settings = {}
    needs = ()  # programs
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        for name in cls.needs:
            if not find_program(name):
                raise unittest.SkipTest(f"{name} is not here; tools/install-packages --test")
        cls.suite = cls.enterClassContext(Suite(cls.settings))
        cls.folder = cls.suite.folder
        cls.mx = cls.suite.port("mx")
        cls.submission, cls.submissions = cls.suite.port("submission"), cls.suite.port("submission", tls=True)
        cls.pop3, cls.pop3s = cls.suite.port("pop3"), cls.suite.port("pop3", tls=True)
        # The one reader of the tests themselves.
        cls.context = ssl.create_default_context(cafile=str(cls.suite.certificate))

    def setUp(self):
        self.address = self._testMethodName.removeprefix("test_").replace("_", ".")[:60] + "@" + DOMAIN
        self.suite.add_mailbox(self.address)

    def run_program(self, *command, status=0, text_in=b"", timeout=30):
        """The program's output and errors together; it must end with `status` (None: with any but 0)."""
        done = subprocess.run([str(word) for word in command], input=text_in, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout,
                              env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "http_proxy": "",
                                   "all_proxy": "", "ALL_PROXY": ""})
        output = done.stdout.decode(errors="backslashreplace")
        if status is None:
            self.assertNotEqual(done.returncode, 0, output)
        else:
            self.assertEqual(done.returncode, status, output)
        return output

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
