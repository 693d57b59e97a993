"""status and reload, with the daemons running."""

import os
import socket
import subprocess
import time
import unittest

from post_office import SERVER, PostOffice

POP3 = SERVER.replace('"smtp"', '"pop3"').replace("mx.", "pop3.")


class Daemons(PostOffice):
    def setUp(self):
        super().setUp()
        (self.config.parent / "servers" / "pop3.toml").write_text(POP3)
        for name in ("smtpd", "pop3d"):
            self.start(name)

    def start(self, name):
        log = open(self.folder / f"{name}.log", "wb")
        self.addCleanup(log.close)
        process = subprocess.Popen([os.environ[name.upper()], "-c", str(self.config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(self.stop, process)
        deadline = time.monotonic() + 60
        while not (self.folder / "run" / f"{name}.pid").exists():
            self.assertIsNone(process.poll(), (self.folder / f"{name}.log").read_text())
            self.assertLess(time.monotonic(), deadline, f"{name} does not start")
            time.sleep(0.02)

    def stop(self, process):
        process.terminate()
        self.assertEqual(process.wait(60), 0)

    def test_status_tells_where_they_listen(self):
        daemons = self.done_json("status")
        self.assertEqual([(d["name"], d["running"]) for d in daemons], [("smtpd", True), ("pop3d", True)])
        for daemon, greeting in zip(daemons, (b"220 ", b"+OK")):
            self.assertIsInstance(daemon["pid"], int)
            (address,) = daemon["addresses"]
            host, port = address["address"].rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                self.assertEqual(connection.recv(4)[: len(greeting)], greeting)
        text = self.done("status")
        self.assertIn("smtpd: runs since 20", text)
        self.assertIn("listens on", text)
        self.assertRegex(text, r"connections open +\d")

    def test_reload(self):
        self.assertEqual(self.done("reload"), "smtpd: configuration read again\npop3d: configuration read again\n")
        self.config.write_text(self.config.read_text() + "threads = 1\n")
        self.assertIn("run.threads: needs a restart", self.done("reload"))
        (self.config.parent / "servers" / "pop3.toml").write_text(POP3 + "colour = 1\nsound = 2\n")
        # The tool itself refuses a broken configuration; a daemon asked by a tool with a good one says so too.
        answer = self.run_tool("reload")
        self.assertEqual((answer.status, answer.out), (2, ""))
        self.assertEqual(answer.err.count("pop3.toml:"), 2)
        good = self.folder / "good.toml"
        good.write_text(self.config.read_text())
        (self.folder / "servers").mkdir()
        (self.folder / "servers" / "mx.toml").write_text(SERVER)
        answer = self.run_raw("-c", str(good), "reload")
        self.assertEqual((answer.status, answer.out), (1, ""))
        self.assertEqual(answer.err.count("pop3.toml:"), 4, answer.err)
        self.assertIn("smtpd goes on as before", answer.err)

    def test_the_directory_is_live_beside_them(self):
        self.done("mailbox", "add", "bob@example.test", "--password-stdin", stdin=b"secret\n")
        self.put_message("bob@example.test", b"Subject: x\r\n\r\n")
        (address,) = [d["addresses"] for d in self.done_json("status") if d["name"] == "pop3d"][0]
        host, port = address["address"].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            lines = connection.makefile("rwb", buffering=0)
            lines.readline()
            for command in (b"USER bob@example.test\r\n", b"PASS secret\r\n"):
                lines.write(command)
                self.assertTrue(lines.readline().startswith(b"+OK"))
            number = self.done_json("message", "list", "bob@example.test")[0]["id"]
            self.refused(1, ["message", "delete", "bob@example.test", number], "bob@example.test is in use", "logged in")
            self.refused(1, ["mailbox", "remove", "--purge", "bob@example.test"], "somebody is reading it")
            lines.write(b"QUIT\r\n")
            lines.readline()
        self.done("mailbox", "remove", "--purge", "bob@example.test")
        self.assertIn("is sound", self.done("store", "check"))


if __name__ == "__main__":
    unittest.main()
