"""The daemons' life: starting, stopping, reloading, and what they refuse to start with."""

import os
import pathlib
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import unittest

from letters import ANN
from wire import Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import Suite, make_certificate  # noqa: E402


class Running(unittest.TestCase):
    def setUp(self):
        self.suite = Suite({"suite": {"log.level": "info"}})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.suite.add_mailbox(ANN)

    def wire(self, server):
        wire = Wire(self.suite.port(server), timeout=60)
        self.addCleanup(wire.close)
        return wire

    def in_data(self):
        """A session that has been told 354."""
        wire = self.wire("mx")
        wire.hear()
        wire.say("EHLO client.test")
        wire.reply()
        wire.say("MAIL FROM:<x@client.test>", f"RCPT TO:<{ANN}>", "DATA")
        self.assertEqual([wire.hear()[:3] for _ in range(3)], ["250", "250", "354"])
        return wire

    def test_sigterm_lets_work_finish_and_sends_idle_ones_away(self):
        idle, reader, working = self.wire("mx"), self.wire("pop3"), self.in_data()
        idle.hear()
        idle.say("EHLO client.test")
        idle.reply()
        reader.hear()
        for process in self.suite.processes.values():
            process.send_signal(signal.SIGTERM)
        self.assertRegex(idle.hear(), r"^421 4\.3\.2 ")
        self.assertEqual(idle.hear(), "")
        self.assertEqual(self.suite.processes["pop3d"].wait(timeout=40), 0)
        working.say("the rest of the letter", ".")
        self.assertRegex(working.hear(), r"^250 2\.0\.0 ")
        self.assertEqual(self.suite.processes["smtpd"].wait(timeout=40), 0)
        self.assertEqual(len(self.suite.messages(ANN)), 1)
        for name in ("smtpd", "pop3d"):
            self.assertFalse((self.suite.folder / "run" / f"{name}.pid").exists())

    def test_no_new_connections_while_stopping(self):
        port = self.suite.port("mx")
        working = self.in_data()
        self.suite.processes["smtpd"].send_signal(signal.SIGTERM)

        def refused():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return False
            except OSError:
                return True

        wait_for(refused, why="it goes on accepting")
        working.say(".")
        self.assertRegex(working.hear(), r"^250 ")

    def test_pid_file(self):
        for name, process in self.suite.processes.items():
            path = self.suite.folder / "run" / f"{name}.pid"
            self.assertEqual(int(path.read_text()), process.pid)

    def test_second_daemon_is_refused(self):
        before = self.suite.log("smtpd")
        second = subprocess.run([str(self.suite.build / "smtpd" / "smtpd"), "-c", str(self.suite.config)],
                                capture_output=True, text=True, timeout=60, env=self.suite.environment())
        self.assertEqual(second.returncode, 2, second.stderr)
        self.assertIn("smtpd", second.stderr)
        self.assertEqual(self.suite.processes["smtpd"].poll(), None, before)
        self.assertRegex(self.wire("mx").hear(), r"^220 ")

    def test_busy_port(self):
        port = self.suite.port("mx")
        other = Suite({"mx": {"listen": [f"127.0.0.1:{port}"]}}, start=False)
        with other:
            refused = subprocess.run([str(other.build / "smtpd" / "smtpd"), "-c", str(other.config)],
                                     capture_output=True, text=True, timeout=60, env=other.environment())
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertIn(f"127.0.0.1:{port}", refused.stderr)

    def test_reload_by_signal(self):
        wire = self.wire("mx")
        wire.hear()
        path = self.suite.servers / "mx.toml"
        before, port = path.read_text(), self.suite.port("mx")
        path.write_text(before + "\n[messages]\nsize = 4711\n")
        self.suite.processes["smtpd"].send_signal(signal.SIGHUP)

        def offered():
            fresh = Wire(port)
            self.addCleanup(fresh.close)
            fresh.hear()
            fresh.say("EHLO client.test")
            while (line := fresh.hear())[3:4] == "-":
                if line.startswith("250-SIZE"):
                    return line[9:]
            return ""

        wait_for(lambda: offered() == "4711", why="the new limit is not offered")
        # A broken one is reported, and all of the old one stays.
        path.write_text(before + "\n[messages]\nsize = 4712\ncolour = 1\n")
        self.suite.processes["smtpd"].send_signal(signal.SIGHUP)
        wait_for(lambda: "colour" in self.suite.log("smtpd"), why="the mistake is not reported")
        self.assertEqual(offered(), "4711")
        wire.say("NOOP")
        self.assertRegex(wire.hear(), r"^250 ")
        path.write_text(before)

    def test_new_certificate_by_reload(self):
        def shown():
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with socket.create_connection(("127.0.0.1", self.suite.port("pop3", tls=True)), timeout=30) as plain:
                with context.wrap_socket(plain) as wrapped:
                    return wrapped.getpeercert(binary_form=True)

        first = shown()
        certificate, key = make_certificate(self.suite.folder, "renewed", "renewed.test")
        os.replace(certificate, self.suite.certificate)
        os.replace(key, self.suite.key)
        self.assertEqual(shown(), first)
        self.suite.tool("reload")
        self.assertNotEqual(shown(), first)
        # A certificate without its key leaves the old one in force.
        second = shown()
        make_certificate(self.suite.folder, "stray")
        os.replace(self.suite.folder / "stray.pem", self.suite.certificate)
        self.assertNotEqual(self.suite.run_tool("reload").returncode, 0)
        self.assertEqual(shown(), second)

    def test_killed_and_started_again(self):
        wire = self.in_data()
        wire.say("kept", ".")
        self.assertRegex(wire.hear(), r"^250 ")
        half = self.in_data()
        half.say("not kept")
        for process in self.suite.processes.values():
            process.kill()
            process.wait()
        self.suite.processes.clear()
        self.suite.start()
        self.assertEqual(len(self.suite.messages(ANN)), 1)
        self.assertRegex(self.wire("mx").hear(), r"^220 ")


class Refusing(unittest.TestCase):
    """What they do not start with: exit status 2 and one sentence with the remedy."""

    def setUp(self):
        self.suite = Suite(start=False)
        self.suite.__enter__()
        self.addCleanup(self.suite.clean_up)

    def start(self, name="smtpd"):
        return subprocess.run([str(self.suite.build / name / name), "-c", str(self.suite.config)],
                              capture_output=True, text=True, timeout=60, env=self.suite.environment())

    def refused(self, *parts, name="smtpd"):
        done = self.start(name)
        self.assertEqual(done.returncode, 2, done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)
        return done.stderr

    def test_missing_store(self):
        for name in ("smtpd", "pop3d"):
            (self.suite.folder / "store").rename(self.suite.folder / "elsewhere")
            self.refused(str(self.suite.folder / "store"), "store init", name=name)
            # A daemon never makes one: an unmounted disk is not an empty store.
            self.assertFalse((self.suite.folder / "store").exists())
            (self.suite.folder / "elsewhere").rename(self.suite.folder / "store")

    def test_mistakes_in_the_configuration(self):
        path = self.suite.servers / "mx.toml"
        good = path.read_text()
        for change, line, key in (("colour = 1\n", 1, "colour"), ("hostname = 5\n", 1, "hostname")):
            with self.subTest(change=change):
                path.write_text(change + good.replace('hostname = "mx.example.test"\n', ""))
                said = self.refused(key)
                self.assertRegex(said, re.escape(str(path)) + rf":{line}: {key}: .+; .+")
                self.assertEqual(self.suite.run_tool("config", "check").returncode, 2)

    def test_two_servers_on_one_address(self):
        for name in ("mx", "submission"):
            self.suite.write_config({"mx": {"listen": ["127.0.0.1:2599"]}, "submission": {"listen": ["127.0.0.1:2599"]}})
        self.refused("127.0.0.1:2599")

    def test_missing_configuration(self):
        self.suite.config.unlink()
        self.refused(str(self.suite.config))

    def test_certificate_that_is_none(self):
        self.suite.certificate.write_text("nothing\n")
        self.refused(str(self.suite.certificate))
        self.refused(str(self.suite.certificate), name="pop3d")

    def test_wrong_usage(self):
        program = str(self.suite.build / "smtpd" / "smtpd")
        self.assertEqual(subprocess.run([program, "--colour"], capture_output=True, timeout=60).returncode, 2)
        for option in ("--version", "--help"):
            done = subprocess.run([program, option], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0)
        self.assertIn("0.1.0", subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout)

    @unittest.skipIf(os.getuid() != 0, "takes root to become somebody for whom a folder is read-only")
    def test_read_only_store(self):
        folder = self.suite.folder
        for path in (folder / "store").rglob("*"):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222 | (0o055 if path.is_dir() else 0o044))
        (folder / "store").chmod(0o555)
        folder.chmod(0o755)
        self.suite.key.chmod(0o644)
        (folder / "run").mkdir(exist_ok=True)
        (folder / "run").chmod(0o777)
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               str(self.suite.build / "smtpd" / "smtpd"), "-c", str(self.suite.config)],
                              capture_output=True, text=True, timeout=60, env=self.suite.environment())
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(str(folder / "store"), done.stderr)


if __name__ == "__main__":
    unittest.main()
