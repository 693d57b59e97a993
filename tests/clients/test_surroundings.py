"""Surroundings that go wrong under running daemons: a disk that fills up, no descriptors left. Refused for the moment, nothing
lost, service again when it is over."""

import os
import pathlib
import poplib
import resource
import socket
import subprocess
import sys
import unittest

from letters import ANN
from wire import Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import PASSWORD, Suite  # noqa: E402

LINE = b"x" * 76 + b"\r\n"


def send(port, octets):
    """The code of the answer to the whole message, or of what came before."""
    with Wire(port) as wire:
        wire.hear()
        wire.say("HELO client.test", "MAIL FROM:<x@client.test>", f"RCPT TO:<{ANN}>", "DATA")
        for wanted in ("250", "250", "250", "354"):
            answer = wire.hear()
            if not answer.startswith(wanted):
                return answer
        wire.send(b"Subject: room\r\n\r\n" + LINE * (octets // len(LINE)) + b".\r\n")
        return wire.hear()


class FullDisk(unittest.TestCase):
    def setUp(self):
        self.suite = Suite({"suite": {"store.reserve": "2MB"}, "pop3": {"auth.require_tls": False}}, start=False)
        self.disk = self.suite.folder / "disk"
        self.disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "store", str(self.disk)], capture_output=True)
        if mounted.returncode != 0:
            self.suite.clean_up()
            self.skipTest("a small disk can be mounted by root alone")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.disk)], check=True)
        self.suite.write_config({"suite": {"store.reserve": "2MB", "store.path": self.disk / "store"},
                                 "pop3": {"auth.require_tls": False}})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.suite.start()
        self.suite.add_mailbox(ANN)
        self.mx = self.suite.port("mx")

    def count(self):
        return len(self.suite.messages(ANN))

    def empty(self):
        box = poplib.POP3("127.0.0.1", self.suite.port("pop3"))
        box.user(ANN)
        box.pass_(PASSWORD)
        for number in range(1, box.stat()[0] + 1):
            box.dele(number)
        self.assertTrue(box.quit().startswith(b"+OK"))

    def taken_again(self):
        return send(self.mx, 1000).startswith("250 ")

    def test_the_reserve_is_kept_and_removals_make_room(self):
        accepted, answer = 0, ""
        for _ in range(400):
            answer = send(self.mx, 400_000 if accepted % 2 else 20_000)
            if not answer.startswith("250 "):
                break
            accepted += 1
        self.assertRegex(answer, r"^452 4\.3\.1 ")
        self.assertGreater(accepted, 10)
        self.assertEqual(self.count(), accepted)
        self.empty()
        wait_for(self.taken_again)
        self.assertRegex(self.suite.log("smtpd"), "down to \\[store\\] reserve")
        self.assertRegex(self.suite.log("smtpd"), "there is room on the disk again")

    def test_a_disk_without_any_room_costs_nothing_that_was_accepted(self):
        self.assertRegex(send(self.mx, 20_000), "^250 ")
        # Somebody else takes all, the reserve too, quicker than anybody looks.
        with open(self.disk / "filler", "wb", buffering=0) as filler:
            with self.assertRaises(OSError):
                while True:
                    filler.write(bytes(65536))
        codes = [send(self.mx, octets)[:9] for octets in (1000, 400_000, 1000, 20_000, 1000)]
        accepted = 1 + sum(code.startswith("250") for code in codes)
        for code in codes:
            self.assertRegex(code, r"^(250 |452 4\.3\.1|451 4\.)")
        self.assertIn("452 4.3.1", codes)
        self.assertEqual(self.count(), accepted)
        (self.disk / "filler").unlink()
        wait_for(self.taken_again)
        self.assertEqual(self.count(), accepted + 1)
        for process in self.suite.processes.values():
            self.assertIsNone(process.poll())


class NoDescriptors(unittest.TestCase):
    def setUp(self):
        self.suite = Suite({"suite": {"log.level": "info"}})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.suite.add_mailbox(ANN)

    def test_a_daemon_without_descriptors_waits_and_goes_on(self):
        process, port = self.suite.processes["smtpd"], self.suite.port("mx")
        self.assertRegex(send(port, 1000), "^250 ")
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        open_now = len(os.listdir(f"/proc/{process.pid}/fd"))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_now + 2, limits[1]))
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for one in crowd:
            self.addCleanup(one.close)
        wait_for(lambda: "accept-paused" in self.suite.log("smtpd"))

        def spent():
            times = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")

        # While most of the crowd waits in the listener's queue, nobody turns in a circle: thirty uses of the tool, which
        # take seconds, cost the daemon next to nothing.
        before = spent()
        for _ in range(30):
            self.suite.tool("mailbox", "list")
        self.assertLess(spent() - before, 0.3)
        for one in crowd:
            one.close()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        wait_for(lambda: send(port, 400_000).startswith("250 "))
        self.assertIsNone(process.poll())
        self.assertEqual(len(self.suite.messages(ANN)), 2)


if __name__ == "__main__":
    unittest.main()
