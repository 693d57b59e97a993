"""Shut in by Landlock and seccomp: what a daemon may still do, and what a reload cannot give it any more."""

import ctypes
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import unittest

from letters import ANN
from wire import Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import Suite, make_certificate  # noqa: E402


def landlock_version():
    """0: the kernel has none."""
    return max(ctypes.CDLL(None).syscall(444, None, 0, 1), 0)


def statuses(pid):
    """What /proc says of each thread: {"Seccomp": "2", ...}."""
    return [dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]


class Shut(unittest.TestCase):
    def start(self, **more):
        self.suite = Suite({"suite": {"log.level": "info", "run.sandbox": "required", **more}})
        try:
            self.suite.__enter__()
        except Exception as wrong:
            if landlock_version() == 0:
                self.skipTest("this kernel has no Landlock")
            raise wrong
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.suite.add_mailbox(ANN)

    def shown(self, server="pop3"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.suite.port(server, tls=True)), timeout=30) as plain:
            with context.wrap_socket(plain) as wrapped:
                return wrapped.getpeercert(binary_form=True)

    def change(self, server, old, new):
        path = self.suite.servers / f"{server}.toml"
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new))
        self.addCleanup(path.write_text, text)

    def reload_refused(self, *parts):
        answer = self.suite.run_tool("reload")
        self.assertNotEqual(answer.returncode, 0, answer.stdout)
        for part in parts:
            self.assertIn(part, answer.stdout + answer.stderr)

    def test_every_thread_is_shut_in(self):
        self.start()
        for name, process in self.suite.processes.items():
            threads = statuses(process.pid)
            self.assertGreater(len(threads), 3)
            for thread in threads:
                self.assertEqual((thread["Seccomp"], thread["NoNewPrivs"]), ("2", "1"), (name, thread["Name"]))
            self.assertIn("sandbox landlock=", self.suite.log(name))

    def test_off(self):
        self.start(**{"run.sandbox": "off"})
        for name, process in self.suite.processes.items():
            self.assertEqual({thread["Seccomp"] for thread in statuses(process.pid)}, {"0"})
            self.assertIn("warning " + name + " sandbox-off", self.suite.log(name))
        text = self.suite.config.read_text()
        self.assertIn('sandbox = "off"', text)
        self.suite.config.write_text(text.replace('sandbox = "off"', 'sandbox = "auto"'))
        self.assertIn("run.sandbox: needs a restart", self.suite.tool("reload"))

    def test_certificate_of_an_acme_client(self):
        """Links from `live` lead into `archive`, and a renewal changes them."""
        self.start()
        archive, live = self.suite.folder / "archive", self.suite.folder / "live"
        archive.mkdir()
        live.mkdir()

        def renew(number):
            for made, name in zip(make_certificate(archive, f"mail{number}", f"mail{number}.test"), ("cert", "key")):
                (live / "new").symlink_to(f"../archive/{made.name}")
                (live / "new").rename(live / f"{name}.pem")

        renew(1)
        for server in ("mx", "submission", "pop3"):
            for old, name in ((self.suite.certificate, "cert"), (self.suite.key, "key")):
                self.change(server, str(old), str(live / f"{name}.pem"))
        self.suite.stop()
        self.suite.start()
        first = self.shown()
        renew(2)
        self.suite.tool("reload")
        second = self.shown()
        self.assertNotEqual(first, second)
        renew(3)
        for process in self.suite.processes.values():
            process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.shown() not in (first, second), why="the third certificate is not shown")
        wait_for(lambda: self.shown("submission") not in (first, second), why="the third certificate is not shown")

    def test_a_path_outside_needs_a_restart(self):
        self.start()
        before = self.shown()
        with Suite(start=False) as other:
            for old, new in ((self.suite.certificate, other.certificate), (self.suite.key, other.key)):
                self.change("pop3", str(old), str(new))
            self.reload_refused("pop3.toml: tls.certificate: ", str(other.folder), "needs a restart")
            self.assertEqual(self.shown(), before)
            # It says so of the daemon that would need it, and the other takes the same configuration.
            self.assertIn("smtpd: configuration read again", self.suite.run_tool("reload").stdout)
            self.suite.stop()
            self.suite.start()
            self.assertNotEqual(self.shown(), before)

    def test_log_file_in_another_folder_needs_a_restart(self):
        self.start(**{"log.target": "stderr"})
        (self.suite.folder / "elsewhere").mkdir()
        text = self.suite.config.read_text()
        self.suite.config.write_text(text.replace('target = "stderr"', f'target = "{self.suite.folder}/elsewhere/log"'))
        self.reload_refused("log.target: ", "needs a restart")
        self.suite.config.write_text(text)
        self.suite.tool("reload")

    def test_log_file_that_is_rotated(self):
        self.suite = Suite({"suite": {"log.level": "info"}}, start=False)
        path = self.suite.folder / "log" / "mail.log"
        self.suite.write_config({"suite": {"log.level": "info", "log.target": path}})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.suite.start()
        path.rename(path.with_suffix(".1"))
        self.suite.tool("reload")
        wait_for(lambda: path.exists() and "reloaded" in path.read_text(), why="no new log file")

    def test_unix_socket_by_reload(self):
        self.start()
        path = self.suite.servers / "lmtp.toml"
        text = f'kind = "lmtp"\nlisten = ["unix:{self.suite.folder}/run/lmtp"]\nhostname = "mx.example.test"\n'
        path.write_text(text)
        self.addCleanup(path.unlink)
        self.suite.tool("reload")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(30)
            peer.connect(f"{self.suite.folder}/run/lmtp")
            self.assertEqual(peer.recv(4), b"220 ")
        (self.suite.folder / "elsewhere").mkdir()
        path.write_text(text.replace("/run/", "/elsewhere/"))
        self.reload_refused("lmtp.toml: listen: ", "needs a restart")

    @unittest.skipIf(os.geteuid() != 0, "takes root to bind a low port and to become somebody else")
    def test_low_port_needs_a_restart(self):
        lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if lowest < 2:
            self.skipTest("every user may bind low ports here")
        self.suite = Suite({"suite": {"log.level": "info"}}, start=False)
        self.suite.folder.chmod(0o755)
        (self.suite.folder / "run").mkdir()
        os.chown(self.suite.folder / "run", 65534, 65534)
        os.chown(self.suite.key, 65534, 65534)
        self.suite.write_config({"suite": {"log.level": "info", "run.user": "nobody"}})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.suite.start()
        # 127.5.0.0/16 is nobody's; whether somebody listens on the port does not matter, since the right to it comes first.
        port = lowest - 1
        self.change("mx", '"127.0.0.1:0"', f'"127.0.0.1:0", "127.5.0.9:{port}"')
        self.reload_refused(f"127.5.0.9:{port}", "needs a restart")
        with Wire(self.suite.port("mx")) as wire:
            self.assertRegex(wire.reply(), rb"^220 ")
        self.suite.stop("smtpd")
        self.suite.start("smtpd")
        with socket.create_connection(("127.5.0.9", port), timeout=30) as peer:
            self.assertEqual(peer.recv(4), b"220 ")

    @unittest.skipIf(os.geteuid() != 0, "takes root to hand out capabilities")
    def test_capability_is_given_up_once_it_is_used(self):
        self.suite = Suite(start=False)
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        for path in [self.suite.folder, *self.suite.folder.rglob("*")]:
            os.chown(path, 65534, 65534)
        port = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) - 1
        self.change("mx", '"127.0.0.1:0"', f'"127.5.0.10:{port}"')
        log = self.suite.folder / "log" / "smtpd.log"
        with open(log, "ab") as out:
            self.suite.logs["smtpd"] = log
            self.suite.processes["smtpd"] = subprocess.Popen(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+net_bind_service",
                 "--ambient-caps=+net_bind_service", str(self.suite.build / "smtpd" / "smtpd"), "-c",
                 str(self.suite.config)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.suite.environment())
        self.suite.wait_ready("smtpd")
        for thread in statuses(self.suite.processes["smtpd"].pid):
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(thread[kind], 16), 0, kind)
        with socket.create_connection(("127.5.0.10", port), timeout=30) as peer:
            self.assertEqual(peer.recv(4), b"220 ")


if __name__ == "__main__":
    unittest.main()
