"""smtpd dies before every single call that changes the disk, on the way of a file through pickup and of a message into
drop: each comes through exactly once (LEGACY S12, S14)."""

import json
import os
import pathlib
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import DOMAIN, Suite  # noqa: E402

SHIM = os.environ["FOLDER_SHIM"]
BOB, DROPS = f"bob@{DOMAIN}", "programs.test"
MOST_STEPS = 200
TOGETHER = 8


def wait_for(what, why, seconds=30):
    deadline = time.monotonic() + seconds
    while not (result := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why}")
        time.sleep(0.005)
    return result


@unittest.skipIf(os.environ.get("PENNYPOST_SANITIZED") == "yes", "a sanitizer wants to be loaded first")
class FolderKills(unittest.TestCase):
    def setUp(self):
        self.suite = Suite(start=False)
        self.home = self.suite.folder / "home"
        self.suite.write_config({"mx": {"home": self.home}})
        self.arm = self.suite.folder / "arm"
        self.enterContext(self.suite)
        self.suite.add_mailbox(BOB, password=None)
        self.suite.tool("domain", "add", DROPS, "--drop")

    def smtpd(self):
        return self.suite.processes["smtpd"]

    def each_step(self, act, is_done, check, before=lambda tag: None):
        """Plays `before`, then `act` with a death one step later each time, until none is met. `check` looks at what came of
        the tag."""
        for step in range(1, MOST_STEPS):
            tag = f"tag-{step}-"
            self.arm.unlink(missing_ok=True)
            self.suite.start("smtpd", LD_PRELOAD=SHIM, SHIM_ARM=str(self.arm), SHIM_KILL_AT=str(step))
            [smtpd] = [daemon for daemon in json.loads(self.suite.run_tool("status", "--json").stdout) if daemon["running"]]
            [self.port] = [int(one["address"].rpartition(":")[2]) for one in smtpd["addresses"] if one["server"] == "mx"]
            before(tag)
            self.arm.touch()
            acknowledged = act(tag)
            wait_for(lambda: self.smtpd().poll() is not None or is_done(tag), f"step {step}")
            # What still goes on behind what can be seen dies, or has its time.
            survived = self.smtpd().poll() is None
            if survived:
                self.smtpd().terminate()
            status = self.smtpd().wait(60)
            self.assertIn(status, (0, 99))
            del self.suite.processes["smtpd"]
            self.suite.start("smtpd")
            with self.subTest(step=step):
                check(tag, acknowledged)
            self.suite.stop("smtpd")
            self.suite.check_store()
            if survived and status == 0:
                return step
        self.fail("no end of steps")

    def with_tag(self, tag):
        return [row["id"] for row in self.suite.messages(BOB)
                if tag.encode() in self.suite.run_raw("message", "show", BOB, row["id"]).stdout]

    def test_pickup(self):
        """S12"""
        pickup = self.home / "pickup"

        def act(tag):
            outside = self.suite.folder / "outside"
            outside.write_text(f"x-sender: <>\r\nx-receiver: {BOB}\r\nFrom: a@client.test\r\nSubject: {tag}\r\n\r\nx\r\n")
            outside.rename(pickup / "file.eml")
            return True

        def check(tag, _):
            wait_for(lambda: not [name for name in os.listdir(pickup)], "pickup to be empty")
            self.assertEqual(len(self.with_tag(tag)), 1)

        steps = self.each_step(act, lambda tag: not os.listdir(pickup), check)
        self.assertGreater(steps, 6)

    def dropped(self, tag):
        return [path for path in (self.home / "drop").iterdir() if not path.name.startswith(".") and tag in path.read_text()]

    def hand_in(self, tag, messages=1):
        """By SMTP, each for two recipients. True: all were acknowledged."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as wire:
                stream = wire.makefile("rwb")
                self.reply(stream)
                for line in ["EHLO x"] + messages * ["MAIL FROM:<a@client.test>", f"RCPT TO:<one@{DROPS}>", f"RCPT TO:<two@{DROPS}>",
                                                     "DATA", f"Subject: {tag}\r\n\r\nx\r\n."]:
                    stream.write(line.encode() + b"\r\n")
                    stream.flush()
                    if self.reply(stream)[:1] not in b"23":
                        return False
                return True
        except (OSError, EOFError):
            return False

    def check_dropped(self, tag, counts):
        wait_for(lambda: not self.suite.json("queue", "list"), "the queue to be empty")
        found = self.dropped(tag)
        self.assertIn(len(found), counts, found)
        for path in found:
            self.assertEqual(path.read_text().count("x-receiver: "), 2)
            self.assertTrue(path.read_text().endswith(f"Subject: {tag}\n\nx\n"), path.read_text())
        self.assertEqual([path.name for path in (self.home / "drop").iterdir() if path.name.startswith(".")], [])

    def test_drop(self):
        """S14: a file, synced by itself."""
        steps = self.each_step(self.hand_in, lambda tag: self.dropped(tag) and not self.suite.json("queue", "list"),
                               lambda tag, acknowledged: self.check_dropped(tag, (1,) if acknowledged else (0, 1)))
        self.assertGreater(steps, 10)

    def test_drop_together(self):
        """S14: so many at a time that the file system is synced for all of them."""
        def before(tag):
            self.suite.tool("queue", "suspend", DROPS)
            self.assertTrue(self.hand_in(tag, TOGETHER))

        def act(_):
            self.suite.tool("queue", "resume", DROPS)

        steps = self.each_step(act, lambda tag: len(self.dropped(tag)) == TOGETHER and not self.suite.json("queue", "list"),
                               lambda tag, _: self.check_dropped(tag, (TOGETHER,)), before)
        self.assertGreater(steps, 3 * TOGETHER + 8)

    @staticmethod
    def reply(stream):
        while True:
            line = stream.readline()
            if not line:
                raise EOFError
            if line[3:4] != b"-":
                return line


if __name__ == "__main__":
    unittest.main()
