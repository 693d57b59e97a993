"""What peers may do to a server that means them well: honest clients are served meanwhile, memory stays bounded, and the
store is sound afterwards."""

import base64
import contextlib
import os
import pathlib
import resource
import socket
import ssl
import struct
import sys
import threading
import unittest

from client_case import ClientCase
from letters import STRANGER, letter
from wire import HOST, Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import PASSWORD  # noqa: E402

# What a daemon may have more than at rest, in KiB: about twice what the worst of these needs, 700 handshakes under way.
GROWTH = 24 * 1024
CROWD = 1000  # connections of each kind


class Abuse(ClientCase):
    # Floods of log-ins are to reach the pool that hashes, so nobody is held back here; test_guessing.py has that.
    settings = {"suite": {"log.level": "warning", "auth.failures": 0, "auth.address_failures": 0, "auth.account_failures": 0},
                "mx": {"connections.limit": 3 * CROWD}, "pop3": {"connections.limit": 3 * CROWD}}

    @classmethod
    def setUpClass(cls):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.ends = contextlib.ExitStack()
        self.addCleanup(self.ends.close)
        self.serve_honestly()  # whatever is made once has been made
        self.before = {name: self.memory(name) for name in self.suite.processes}

    def memory(self, name):
        """The daemon's share of memory in KiB; None: with a sanitizer in it, whose own memory says nothing."""
        folder = pathlib.Path("/proc") / str(self.suite.processes[name].pid)
        maps = (folder / "maps").read_text()
        if "libasan" in maps or "libtsan" in maps:
            return None
        # Anonymous: the index's pages in the page cache are not the daemon's to bound.
        fields = dict(line.split(":", 1) for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
        return int(fields["Pss_Anon"].split()[0])

    def serve_honestly(self):
        """A letter goes in and comes out, with everybody else still there."""
        sent = letter(self.address, subject="honest")
        before = len(self.mailbox())
        self.put(sent)
        got = self.mailbox()
        self.assertEqual(len(got), before + 1)
        self.assert_arrived(sent, got[-1], STRANGER)

    def assert_bounded(self):
        self.serve_honestly()
        for name, before in self.before.items():
            if before is not None:
                self.assertLess(self.memory(name) - before, GROWTH, f"KiB, {name}")

    def wire(self, port, context=None):
        return self.ends.enter_context(Wire(port, context, timeout=60))

    def session(self, port, *commands):
        """A connection that has been greeted and has had answers to these."""
        wire = self.wire(port)
        wire.reply()
        for command in commands:
            self.assertRegex(wire.ask(command), rb"^(2|3|\+OK)", command)
        return wire

    def open_connections(self):
        return sum(daemon["connections"]["open"] for daemon in self.suite.json("status"))

    def nonblocking(self, wire, octets):
        """As much as the peer's and our kernel take."""
        wire.socket.setblocking(False)
        view = memoryview(octets)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while view:
                view = view[wire.socket.send(view):]
        return len(octets) - len(view)

    def test_thousands_of_connections(self):
        for port in (self.mx, self.pop3):
            for _ in range(CROWD):
                self.wire(port)
        wait_for(lambda: self.open_connections() == 2 * CROWD, seconds=60, why="not all are let in")
        self.assert_bounded()
        self.ends.close()
        wait_for(lambda: self.open_connections() == 0, seconds=60, why="some stay")

    def test_peers_that_do_not_read(self):
        # Long answers to short commands: what cannot be sent must not pile up.
        for _ in range(30):
            wire = self.session(self.mx)
            self.nonblocking(wire, b"EHLO client.test\r\n" * 200_000)
        for _ in range(30):
            wire = self.session(self.pop3)
            self.nonblocking(wire, b"CAPA\r\n" * 500_000)
        self.assert_bounded()

    def test_readers_that_stop(self):
        others = [f"stopped{number}@example.test" for number in range(6)]
        for address in others:
            self.suite.add_mailbox(address)
        body = b"Subject: long\r\n\r\n" + b"a line of a long letter, as there are many\r\n" * 100_000
        with Wire(self.mx) as wire:
            wire.reply()
            for command in ("EHLO client.test", f"MAIL FROM:<{STRANGER}>", *(f"RCPT TO:<{one}>" for one in others), "DATA"):
                wire.ask(command)
            wire.send(body + b".\r\n")
            self.assertRegex(wire.reply(), rb"^250 2\.0\.0 ")
        for number, address in enumerate(others):
            wire = self.wire(self.pop3s, self.context)
            wire.reply()
            wire.ask(f"USER {address}")
            self.assertRegex(wire.ask(f"PASS {PASSWORD}"), rb"^\+OK 1 ")
            wire.say(*["RETR 1"] * (20 if number % 2 else 1))
        self.assert_bounded()

    def test_lines_and_headers_without_end(self):
        octets = b"x" * (4 << 20)
        for port in (self.mx, self.pop3):
            for _ in range(10):
                wire = self.session(port)
                self.nonblocking(wire, octets)
        for _ in range(10):
            wire = self.in_data()
            self.nonblocking(wire, octets)
        self.assert_bounded()
        wire = self.in_data()
        wire.send(b"X-Filler: " + b"y" * 60 + b"\r\n")
        for _ in range(20):
            wire.send(b"X-Filler: and so on and so on and so on and so on and so on\r\n" * 1000)
        wire.send(b"\r\nbody\r\n.\r\n")
        self.assertRegex(wire.reply(), rb"^552 5\.3\.4 ")

    def in_data(self):
        return self.session(self.mx, "EHLO client.test", f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{self.address}>", "DATA")

    def test_recipients_without_end(self):
        wire = self.session(self.mx, "EHLO client.test", f"MAIL FROM:<{STRANGER}>")
        answers = set()
        for number in range(3000):
            to = f"nobody{number}@example.test" if number % 2 else self.address.replace("@", f"+{number}@")
            answers.add(wire.ask(f"RCPT TO:<{to}>")[:9])
        self.assertEqual(answers, {b"250 2.1.5", b"550 5.1.1", b"452 4.5.3"})
        self.assert_bounded()

    def test_a_message_in_a_message_in_a_message(self):
        depth = 20_000
        front = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(depth))
        bomb = b"From: <a@client.test>\r\n" + front + b"\r\nend\r\n" + b"".join(b"--%d--\r\n" % n for n in reversed(range(depth)))
        before = len(self.mailbox())
        self.put(bomb)
        self.assert_arrived(bomb, self.mailbox()[before], STRANGER)
        self.assert_bounded()

    def test_handshakes_that_go_nowhere(self):
        hello = self.client_hello()
        for number in range(300):
            for port in (self.submissions, self.pop3s):
                wire = self.wire(port)
                wire.send(hello[:1 + number % len(hello)])
        for number in range(50):
            wire = self.session(self.mx, "EHLO client.test", "STARTTLS")
            wire.send(hello[:60])
        self.assert_bounded()
        # What no handshake begins with, and a record that holds no message of one.
        noise = [b"GET / HTTP/1.1\r\n\r\n" * 100, b"\xff" * 5000, b"\x16\x03\x01\x10\x00\x7f" + os.urandom(4095)]
        for number in range(60):
            for port in (self.submissions, self.pop3s):
                wire = self.wire(port)
                with contextlib.suppress(ConnectionError):
                    wire.send(noise[number % len(noise)])
                    self.assertNotIn(b"220 ", wire.rest())
        self.assert_bounded()

    @staticmethod
    def client_hello():
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        half = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            half.do_handshake()
        return outgoing.read()

    def test_floods_of_log_ins(self):
        """More at once than may wait for a hash: each is answered, the owner among them."""
        wires = [self.session(self.mx, "EHLO client.test") for _ in range(20)]
        for wire in wires:
            wire.ask("STARTTLS")
            wire.secure(self.context)
            wire.ask("EHLO client.test")
        more = [self.wire(self.pop3s, self.context) for _ in range(280)]
        for number, wire in enumerate(wires):
            name = base64.b64encode(f"\0n{number}@example.test\0guess".encode()).decode()
            wire.say(f"AUTH PLAIN {name}")
        for number, wire in enumerate(more):
            wire.reply()
            wire.say(f"USER m{number}@example.test", "PASS guess")
        self.assert_bounded()
        for wire in wires:
            self.assertRegex(wire.reply(), rb"^(535 5\.7\.8|454 4\.7\.0) ")
        answers = set()
        for wire in more:
            wire.reply()
            answers.add(wire.reply().split()[1])
        self.assertLessEqual(answers, {b"[AUTH]", b"[SYS/TEMP]"})
        self.assertIn(b"[AUTH]", answers)

    def test_senders_that_vanish(self):
        body = b"Subject: half\r\n\r\n" + b"half of a letter that never ends\r\n" * 10_000
        count = len(self.mailbox())
        for number in range(100):
            wire = self.in_data()
            wire.send(body[:len(body) * (1 + number % 4) // 4])
            if number % 2:
                # A reset in place of an end.
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                wire.close()
        self.assert_bounded()
        self.ends.close()
        wait_for(lambda: self.open_connections() == 0, seconds=60, why="some stay")
        self.assertEqual(len(self.mailbox()), count + 1)
        self.assert_bounded()

    def test_writers_that_trickle(self):
        """Octet by octet, from many: each of them costs what a connection costs."""
        wires = [self.in_data() for _ in range(100)] + [self.session(self.pop3) for _ in range(100)]
        over = threading.Event()

        def trickle():
            while not over.is_set():
                for wire in wires:
                    wire.send(b"N")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            self.assert_bounded()
        finally:
            over.set()
            thread.join()


if __name__ == "__main__":
    unittest.main()
