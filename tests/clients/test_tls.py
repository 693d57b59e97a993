"""openssl s_client: versions, STARTTLS in both protocols, resumption, certificates."""

import re
import socket
import unittest

from client_case import PASSWORD, ClientCase
from letters import ANN
from suite import make_certificate


class Tls(ClientCase):
    people = (ANN,)

    def s_client(self, port, *options, text_in=b"QUIT\r\n", status=0):
        # -ign_eof: waits for the server's end instead of hanging up behind the last line.
        return self.run_program("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.ca, "-ign_eof",
                               "-verify_return_error", "-crlf", "-servername", "mx.example.test", *options,
                               text_in=text_in.replace(b"\r\n", b"\n"), status=status)

    def doors(self):
        return [("smtp", self.mx, ("-starttls", "smtp")), ("smtps", self.submissions, ()),
                ("pop3", self.pop3, ("-starttls", "pop3")), ("pop3s", self.pop3s, ())]

    def test_both_versions_through_every_door(self):
        for name, port, options in self.doors():
            for version, shown in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
                with self.subTest(door=name, version=version):
                    said = self.s_client(port, *options, version)
                    self.assertRegex(said, rf"New, {shown}|Protocol *: {shown}")
                    self.assertIn("Verification: OK", said)
                    self.assertRegex(said, r"221 2\.0\.0|\+OK bye")

    def test_older_versions_are_refused(self):
        for version in ("-tls1", "-tls1_1"):
            with self.subTest(version=version):
                self.s_client(self.pop3s, version, "-cipher", "ALL:@SECLEVEL=0", status=1)

    def test_resumption(self):
        for name, port, options in self.doors():
            for version in ("-tls1_2", "-tls1_3"):
                with self.subTest(door=name, version=version):
                    session = self.folder / f"{name}{version}.pem"
                    # NOOP: with TLS 1.3 the ticket comes behind the handshake.
                    first = self.s_client(port, *options, version, "-sess_out", session)
                    self.assertIn("New, ", first)
                    second = self.s_client(port, *options, version, "-sess_in", session)
                    self.assertIn("Reused, ", second)

    def test_log_in_after_resumption(self):
        session = self.folder / "session.pem"
        self.s_client(self.pop3s, "-sess_out", session)
        said = self.s_client(self.pop3s, "-sess_in", session,
                             text_in=f"USER {ANN}\r\nPASS {PASSWORD}\r\nSTAT\r\nQUIT\r\n".encode())
        self.assertRegex(said, r"\+OK 0 0")

    def test_half_a_handshake_hurts_nobody(self):
        for port in (self.pop3s, self.submissions):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as half:
                half.sendall(bytes.fromhex("16030100c8010000c40303"))
            with socket.create_connection(("127.0.0.1", port), timeout=30) as noise:
                noise.sendall(b"EHLO client.test\r\n")
                noise.settimeout(30)
                while noise.recv(1000):
                    pass
            self.s_client(port)

    def test_certificates_by_name(self):
        certificate, key = make_certificate(self.suite.folder, "other", "mail.other.test")
        path = self.suite.servers / "pop3.toml"
        before = path.read_text()
        self.addCleanup(path.write_text, before)
        path.write_text(before + f'\n[[tls.sni]]\nname = "mail.other.test"\ncertificate = "{certificate}"\nkey = "{key}"\n')
        self.suite.tool("reload")
        show = ("-showcerts", "-CAfile", certificate)
        named = self.run_program("openssl", "s_client", "-connect", f"127.0.0.1:{self.pop3s}", "-servername",
                                "mail.other.test", *show, text_in=b"")
        self.assertTrue(re.search(r"subject=CN = mail\.other\.test", named), named)
        other = self.run_program("openssl", "s_client", "-connect", f"127.0.0.1:{self.pop3s}", "-servername",
                                "unknown.test", *show, text_in=b"")
        self.assertTrue(re.search(r"subject=CN = localhost", other), other)


if __name__ == "__main__":
    unittest.main()
