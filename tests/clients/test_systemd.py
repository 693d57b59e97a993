"""Under a service manager: sockets that it opened, what it is told, the watchdog, and how hardened our units are."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from letters import ANN
from wire import Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import TOP, Suite, build_folder  # noqa: E402

# Puts descriptors where sd_listen_fds(3) looks for them, says so, and becomes the program: the process id must be its own.
HAND_OVER = """
import fcntl, os, sys
held = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for place, descriptor in enumerate(held, start=3):
    os.dup2(descriptor, place, inheritable=True)
    os.close(descriptor)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(held)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


class Managed(unittest.TestCase):
    def setUp(self):
        self.suite = Suite({"suite": {"log.level": "info", "run.threads": 3}}, start=False)
        (self.suite.servers / "pop3.toml").unlink()  # smtpd alone
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.suite.add_mailbox(ANN)

    def launch(self, sockets, **more):
        """smtpd with {name: socket} handed over."""
        log = self.suite.folder / "log" / "smtpd.log"
        self.suite.logs["smtpd"] = log
        numbers = [one.fileno() for one in sockets.values()]
        with open(log, "ab") as out:
            self.suite.processes["smtpd"] = subprocess.Popen(
                [sys.executable, "-c", HAND_OVER, ",".join(map(str, numbers)), ":".join(sockets),
                 str(self.suite.build / "smtpd" / "smtpd"), "-c", str(self.suite.config)],
                pass_fds=numbers, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=self.suite.environment(**more))
        self.suite.wait_ready("smtpd")

    def listening(self, family=socket.AF_INET, name=("127.0.0.1", 0)):
        opened = socket.socket(family)
        self.addCleanup(opened.close)
        opened.bind(name)
        opened.listen(64)
        return opened

    def listen_on(self, *addresses):
        path = self.suite.servers / "mx.toml"
        text = re.sub(r"listen = .*", "listen = [" + ", ".join(f'"{address}"' for address in addresses) + "]", path.read_text())
        path.write_text(text)

    def addresses(self):
        smtpd = next(one for one in self.suite.json("status") if one["name"] == "smtpd")
        return [one["address"] for one in smtpd["addresses"] if one["server"] == "mx"]

    def deliver(self, port):
        with Wire(port) as wire:
            wire.reply()
            for line in ("EHLO client.test", "MAIL FROM:<x@client.test>", f"RCPT TO:<{ANN}>"):
                self.assertRegex(wire.ask(line), rb"^250")
            self.assertRegex(wire.ask("DATA"), rb"^354")
            wire.send(b"a letter\r\n.\r\n")
            self.assertRegex(wire.reply(), rb"^250 2\.0\.0 ")

    def test_sockets_are_taken_by_their_address(self):
        tcp, spare = self.listening(), self.listening()
        path = str(self.suite.folder / "handed")
        unix = self.listening(socket.AF_UNIX, path)
        port, spare_port = tcp.getsockname()[1], spare.getsockname()[1]
        self.listen_on(f"127.0.0.1:{port}", "127.0.0.1:0", f"unix:{path}")
        self.launch({"smtp": tcp, "spare": spare, "lmtp": unix})
        addresses = self.addresses()
        self.assertEqual((addresses[0], addresses[2]), (f"127.0.0.1:{port}", f"unix:{path}"))
        self.assertNotIn(addresses[1], ("127.0.0.1:0", addresses[0]))
        for _ in range(12):  # each of the workers gets its turn
            self.deliver(port)
        self.assertEqual(len(self.suite.messages(ANN)), 12)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(30)
            peer.connect(path)
            self.assertEqual(peer.recv(4), b"220 ")
        self.assertRegex(self.suite.log("smtpd"), rf"warning smtpd socket-unused socket=\"?spare \(127.0.0.1:{spare_port}\)")

        # The sockets are the manager's: what connects while no daemon runs is served by the next one.
        self.suite.stop("smtpd")
        self.assertTrue(os.path.exists(path))
        with socket.create_connection(("127.0.0.1", port), timeout=60) as early:
            self.launch({"smtp": tcp, "spare": spare, "lmtp": unix})
            self.assertEqual(early.recv(4), b"220 ")

    def test_an_address_taken_away_and_brought_back(self):
        tcp = self.listening()
        port = tcp.getsockname()[1]
        self.listen_on(f"127.0.0.1:{port}", "127.0.0.1:0")
        self.launch({"smtp": tcp})
        self.listen_on("127.0.0.1:0")
        self.suite.tool("reload")
        self.assertNotIn(f"127.0.0.1:{port}", self.addresses())
        self.listen_on("127.0.0.1:0", f"127.0.0.1:{port}")
        self.suite.tool("reload")
        self.deliver(port)

    def test_what_the_manager_is_told(self):
        path = str(self.suite.folder / "notify")
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(told.close)
        told.bind(path)
        told.settimeout(60)

        def hear():
            return told.recv(4096).decode().split("\n")

        self.suite.start("smtpd", NOTIFY_SOCKET=path)
        self.assertEqual(hear(), ["READY=1", "STATUS=serving at 3 addresses"])
        smtpd = self.suite.processes["smtpd"]
        smtpd.send_signal(signal.SIGHUP)
        reloading = hear()
        self.assertEqual(reloading[0], "RELOADING=1")
        self.assertRegex(reloading[1], r"^MONOTONIC_USEC=[0-9]+$")
        self.assertEqual(hear(), ["READY=1", "STATUS=serving at 3 addresses"])
        mx = self.suite.servers / "mx.toml"
        text = mx.read_text()
        mx.write_text("colour = 1\n" + text)
        smtpd.send_signal(signal.SIGHUP)
        hear()
        ready, status = hear()
        self.assertEqual(ready, "READY=1")
        self.assertRegex(status, "^STATUS=serving as before, .*colour")
        mx.write_text(text)
        smtpd.send_signal(signal.SIGTERM)
        self.assertEqual(hear()[0], "STOPPING=1")
        self.assertEqual(smtpd.wait(timeout=60), 0)

    def test_watchdog(self):
        path = str(self.suite.folder / "notify")
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(told.close)
        told.bind(path)
        told.settimeout(60)
        self.suite.start("smtpd", NOTIFY_SOCKET=path, WATCHDOG_USEC="200000")
        self.assertRegex(told.recv(4096), rb"^READY=1")
        for _ in range(3):
            self.assertEqual(told.recv(4096), b"WATCHDOG=1")
        # Meant for another process.
        self.suite.stop("smtpd")
        told.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                told.recv(4096)
        self.suite.start("smtpd", NOTIFY_SOCKET=path, WATCHDOG_USEC="20000", WATCHDOG_PID="1")
        self.deliver(self.suite.port("mx"))
        self.assertRegex(told.recv(4096), rb"^READY=1")
        self.suite.stop("smtpd")
        self.assertRegex(told.recv(4096), rb"^STOPPING=1")


class Units(unittest.TestCase):
    def analyze(self, *words):
        """systemd-analyze of this machine, else one that is unpacked and not installed."""
        program, environment = shutil.which("systemd-analyze"), dict(os.environ)
        if program is None:
            subprocess.run([str(TOP / "tools" / "unpack-packages"), "systemd", "libsystemd-shared"], check=True)
            peers = TOP / "build" / "peers"
            program = str(peers / "systemd" / "usr" / "bin" / "systemd-analyze")
            libraries = (peers / "libsystemd-shared").rglob("libsystemd-shared-*.so")
            environment["LD_LIBRARY_PATH"] = str(next(libraries).parent)
        return subprocess.run([program, *words], capture_output=True, text=True, timeout=60, env=environment)

    def test_exposure(self):
        for name in ("smtpd", "pop3d"):
            unit = build_folder() / "tools" / "systemd" / f"pennypost-{name}.service"
            self.assertNotIn("@sbindir@", unit.read_text())
            done = self.analyze("security", "--offline=true", "--no-pager", str(unit))
            self.assertEqual(done.returncode, 0, done.stderr)
            exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
            self.assertIsNotNone(exposure, done.stdout)
            self.assertLess(float(exposure[1]), 2.0, done.stdout)

    def test_setgid_is_allowed(self):
        """The folders of a home have that bit (make_folder.cpp); with RestrictSUIDSGID=yes chmod says EPERM."""
        unit = build_folder() / "tools" / "systemd" / "pennypost-smtpd.service"
        self.assertRegex(unit.read_text(), r"(?m)^RestrictSUIDSGID=no$")


if __name__ == "__main__":
    unittest.main()
