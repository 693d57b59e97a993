"""Programs of other mail systems, unpacked and never installed: Postfix's smtp-source sends, fetchmail fetches."""

import subprocess
import unittest

from client_case import PASSWORD, ClientCase
from letters import ANN, BOB, LETTER, without_trace
from suite import TOP

PEERS = TOP / "build" / "peers"


def unpack(*names):
    subprocess.run([str(TOP / "tools" / "unpack-packages"), *names], check=True)


class Peers(ClientCase):
    people = (ANN, BOB)

    @classmethod
    def setUpClass(cls):
        unpack("fetchmail", "postfix")
        super().setUpClass()

    def test_parallel_sessions_of_smtp_source(self):
        """Its own idea of pipelining and of line ends, in twenty sessions at a time."""
        root = PEERS / "postfix" / "usr"
        environment = self.suite.environment(LD_LIBRARY_PATH=str(root / "lib" / "postfix"))
        done = subprocess.run([str(root / "sbin" / "smtp-source"), "-s", "20", "-m", "200", "-l", "4096", "-f", ANN,
                               "-t", BOB, f"inet:127.0.0.1:{self.mx}"],
                              capture_output=True, text=True, timeout=120, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.suite.messages(BOB)), 200)

    def test_fetchmail(self):
        self.run_raw("curl", "-sS", f"smtp://127.0.0.1:{self.mx}/client.test", "--mail-from", ANN, "--mail-rcpt", BOB,
                        "--upload-file", "-", text_in=LETTER)
        mail = self.folder / "mail"
        # A delivery program of our own making: what fetchmail hands it is put into a file.
        script = self.folder / "put"
        script.write_text(f"#!/bin/sh\nexec cat >>{mail}\n")
        script.chmod(0o755)
        config = self.folder / "fetchmailrc"
        config.write_text(f'poll localhost protocol pop3 service {self.pop3} user "{BOB}" password "{PASSWORD}" '
                          f'sslproto "TLS1.2+" sslcertck sslcertfile "{self.ca}" no rewrite fetchall mda "{script}"\n')
        config.chmod(0o600)
        program = PEERS / "fetchmail" / "usr" / "bin" / "fetchmail"
        self.run_raw(str(program), "-f", config, "--pidfile", self.folder / "pid", "--idfile", self.folder / "ids",
                        "--nosyslog", "--invisible")
        got = mail.read_bytes()
        self.assertEqual(without_trace(got.replace(b"\n", b"\r\n")), LETTER)
        self.assertEqual(self.suite.messages(BOB), [])


if __name__ == "__main__":
    unittest.main()
