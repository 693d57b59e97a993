"""SCRAM-SHA-256 and -PLUS with gsasl, a client of another house (GnuTLS, channel binding)."""

import unittest

from client_case import PASSWORD, ClientCase
from letters import ANN


class Scram(ClientCase):
    people = (ANN,)

    def gsasl(self, mechanism, *options, password=PASSWORD, status=0):
        return self.run_program("gsasl", "--smtp", "--verbose", "--connect", f"localhost:{self.submission}",
                               "--mechanism", mechanism, "--authentication-id", ANN, "--password", password,
                               "--x509-ca-file", self.ca, *options, status=status)

    def test_without_binding(self):
        # --no-cb: else gsasl says that it could have bound, and a server that offers it must refuse (RFC 5802 6).
        self.assertIn("235 2.7.0", self.gsasl("SCRAM-SHA-256", "--no-cb"))
        self.assertIn("235 2.7.0", self.gsasl("SCRAM-SHA-256", "--no-cb", "--no-starttls"))

    def test_wrong_password(self):
        self.assertIn("535 5.7.8", self.gsasl("SCRAM-SHA-256", "--no-cb", password="wrong", status=1))

    def test_bound_to_the_channel(self):
        """With TLS 1.3 by tls-exporter (RFC 9266)."""
        self.assertIn("235 2.7.0", self.gsasl("SCRAM-SHA-256-PLUS"))
        self.assertIn("535 5.7.8", self.gsasl("SCRAM-SHA-256-PLUS", password="wrong", status=1))


if __name__ == "__main__":
    unittest.main()
