"""The command line itself: options anywhere, help everywhere, exit status 2 with the way out; prompts on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
import unittest

from post_office import PENNYPOST, PostOffice

COMMANDS = {
    "domain": ["add", "remove", "list", "show", "lock", "unlock"],
    "mailbox": ["add", "set", "remove", "list", "stat", "show", "passwd", "lock", "unlock"],
    "alias": ["add", "remove", "list", "show"],
    "message": ["list", "show", "delete"],
    "route": ["test"],
    "store": ["init", "check", "stat"],
    "config": ["check", "show"],
    "status": [],
    "reload": [],
}


class Line(PostOffice):
    with_store = False

    def test_help_for_each_command(self):
        everything = self.run_raw("--help")
        self.assertEqual((everything.status, everything.err), (0, ""))
        for subject, commands in COMMANDS.items():
            self.assertIn(subject, everything.out)
            group = self.run_raw(subject, "--help")
            self.assertEqual((group.status, group.err), (0, ""), subject)
            for command in commands:
                self.assertIn(command, group.out)
                for words in ([subject, command, "--help"], ["-h", subject, command]):
                    answer = self.run_raw(*words)
                    self.assertEqual((answer.status, answer.err), (0, ""), words)
                    self.assertIn("Usage:", answer.out)

    def test_version(self):
        for words in (["--version"], ["domain", "list", "--version"]):
            self.assertRegex(self.run_raw(*words).out, r"^pennypost \d+\.\d+\.\d+\n$")

    def test_wrong_usage(self):
        self.refused(2, [], "a command is missing", "mailbox")
        self.refused(2, ["mailbox"], "mailbox: a command is missing", "passwd")
        self.refused(2, ["mail"], "mail: no such command")
        self.refused(2, ["mailbox", "create"], "mailbox create: no such command")
        self.refused(2, ["mailbox", "add"], "pennypost: mailbox add: ADDRESS is required", "pennypost mailbox add --help")
        self.refused(2, ["domain", "list", "--colour"], "--colour", "pennypost domain list --help")
        self.refused(2, ["domain", "list", "more"], "more", "pennypost domain list --help")
        self.refused(2, ["domain", "add", "a.test", "--alias-of"], "--alias-of")

    def test_options_stand_anywhere(self):
        self.done("store", "init")
        config = str(self.config)
        for words in (
            ["domain", "add", "a.test", "-c", config, "--if-not-exists"],
            ["--if-not-exists", "domain", "-c", config, "add", "a.test"],
            ["domain", "--if-not-exists", "--config", config, "add", "a.test"],
            ["domain", "add", f"--config={config}", "--if-not-exists", "--", "a.test"],
            ["-c", config, "domain", "add", "--if-not-exists", "list"],
            ["--alias-of", "a.test", "domain", "add", "b.test", f"-c{config}"],
        ):
            answer = self.run_raw(*words)
            self.assertEqual((answer.status, answer.err), (0, ""), words)
        names = [domain["name"] for domain in self.run_raw("domain", "list", "--json", "-c", config).json()]
        self.assertEqual(names, ["a.test", "b.test", "list"])

    def test_output_that_cannot_be_written(self):
        self.done("store", "init")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PENNYPOST, "-c", str(self.config), "store", "stat"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"could not be written", done.stderr)


class Prompts(PostOffice):
    def converse(self, words, answers, end=None):
        """Runs the tool on a terminal of its own and types an answer at each prompt; exit status (or -signal) and what was to see."""
        child, terminal = pty.fork()
        if child == 0:
            os.execv(PENNYPOST, [PENNYPOST, "-c", str(self.config), *words])
        seen, answered = b"", 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            seen += piece
            if seen.count(b": ") > answered and seen.endswith(b": "):
                if answered < len(answers):
                    os.write(terminal, answers[answered])
                answered += 1
        else:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(terminal)
        code = os.waitstatus_to_exitcode(status)
        return code, seen.decode().replace("\r\n", "\n")

    def test_asks_twice_without_echo(self):
        code, seen = self.converse(["mailbox", "add", "bob@example.test"], [b"open sesame\n", b"open sesame\n"])
        self.assertEqual(code, 0, seen)
        self.assertIn("New password for bob@example.test: \nOnce more: \n", seen)
        self.assertNotIn("sesame", seen)
        self.assertTrue(self.done_json("mailbox", "show", "bob@example.test")["password"])
        code, seen = self.converse(["mailbox", "passwd", "bob@example.test"], [b"another\n", b"another\n"])
        self.assertEqual(code, 0, seen)
        self.assertNotIn("another", seen)

    def test_two_that_differ_and_an_empty_one(self):
        code, seen = self.converse(["mailbox", "add", "bob@example.test"], [b"one\n", b"two\n"])
        self.assertEqual(code, 2)
        self.assertIn("differ", seen)
        code, seen = self.converse(["mailbox", "add", "bob@example.test"], [b"\n"])
        self.assertEqual(code, 2)
        self.assertIn("empty", seen)
        self.assertEqual(len(self.done_json("mailbox", "list")), 1)

    def test_nothing_is_asked_in_vain(self):
        code, seen = self.converse(["mailbox", "add", "bob@nowhere.test"], [])
        self.assertEqual(code, 1)
        self.assertNotIn("password", seen)

    def test_interrupted(self):
        code, seen = self.converse(["mailbox", "add", "bob@example.test"], [b"half\x03"])
        self.assertEqual(code, -signal.SIGINT, seen)
        self.assertEqual(len(self.done_json("mailbox", "list")), 1)

    def test_password_from_a_terminal_is_not_echoed_either(self):
        child, terminal = pty.fork()
        if child == 0:
            os.execv(PENNYPOST, [PENNYPOST, "-c", str(self.config), "mailbox", "add", "bob@example.test", "--password-stdin"])
        self.wait_for_silence_of(terminal)
        os.write(terminal, b"open sesame\n")
        seen = b""
        while True:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                break
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertIsNone(re.search(rb"sesame", seen), seen)

    def wait_for_silence_of(self, terminal):
        """Until the tool has turned the echo off."""
        deadline = time.monotonic() + 60
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            self.assertLess(time.monotonic(), deadline, "the echo stays on")
            time.sleep(0.01)


if __name__ == "__main__":
    unittest.main()
