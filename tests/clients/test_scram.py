"""SCRAM-SHA-256 and -PLUS with gsasl, a client of another house (GnuTLS, channel binding)."""

import unittest

from office import ANN, PASSWORD, OfficeTest


class Scram(OfficeTest):
    def gsasl(self, mechanism, *options, password=PASSWORD, status=0):
        said = self.run_client("gsasl", "--smtp", "--connect", f"localhost:{self.submission}", "--mechanism", mechanism,
                               "--authentication-id", ANN, "--password", password, "--hostname", "localhost",
                               "--service", "smtp", "--x509-ca-file", self.ca, *options, status=status)
        return said.decode(errors="replace")

    def test_plain_scram(self):
        # --no-cb: without channel binding the server must not be told that the client could.
        self.assertIn("235 2.7.0", self.gsasl("SCRAM-SHA-256", "--starttls", "--no-cb"))
        self.assertIn("535 5.7.8", self.gsasl("SCRAM-SHA-256", "--starttls", "--no-cb", password="wrong", status=1))

    def test_in_the_clear(self):
        self.assertIn("235 2.7.0", self.gsasl("SCRAM-SHA-256", "--no-starttls"))

    def test_bound_to_the_channel(self):
        for version in ("VERS-TLS1.2", "VERS-TLS1.3"):
            with self.subTest(version=version):
                said = self.gsasl("SCRAM-SHA-256-PLUS", "--starttls", "--priority", f"NORMAL:-VERS-TLS-ALL:+{version}")
                self.assertIn("235 2.7.0", said)


if __name__ == "__main__":
    unittest.main()
