"""swaks sends letters every way it knows."""

import unittest

from client_case import PASSWORD, ClientCase
from letters import ANN, BOB


class Swaks(ClientCase):
    people = (ANN, BOB)

    def send(self, port, *options, sender=ANN, status=0):
        return self.run_program("swaks", "--server", "127.0.0.1", "--port", port, "--from", sender, "--to", BOB,
                               "--header", "Subject: from swaks", "--body", "hello", "--ehlo", "client.test", *options,
                               status=status)

    def test_plain_to_the_mx(self):
        self.send(self.mx, sender="x@client.test")
        self.assertIn(b"Subject: from swaks\r\n", self.stored(BOB)[0])

    def test_pipelined(self):
        self.send(self.mx, "--pipeline", sender="x@client.test")
        self.assertEqual(len(self.stored(BOB)), 1)

    def test_starttls_and_each_mechanism(self):
        for mechanism in ("PLAIN", "LOGIN"):
            for port, tls in ((self.submission, "--tls"), (self.submissions, "--tls-on-connect")):
                with self.subTest(mechanism=mechanism, tls=tls):
                    self.empty(BOB)
                    said = self.send(port, tls, "--auth", mechanism, "--auth-user", ANN, "--auth-password", PASSWORD)
                    self.assertIn("235 2.7.0", said)
                    self.assertEqual(len(self.stored(BOB)), 1)

    def test_tls_is_verified(self):
        self.send(self.mx, "--tls", "--tls-verify", "--tls-ca-path", self.ca, sender="x@client.test")

    def test_refusals(self):
        # swaks: 28 authentication failed, 23 MAIL refused, 24 no recipient taken
        self.send(self.submissions, "--tls-on-connect", "--auth", "PLAIN", "--auth-user", ANN, "--auth-password", "no",
                  status=28)
        self.send(self.submission, "--tls", status=23)
        self.run_program("swaks", "--server", "127.0.0.1", "--port", self.mx, "--from", "x@client.test",
                        "--to", "y@elsewhere.test", status=24)
        self.assertEqual(self.stored(BOB), [])


if __name__ == "__main__":
    unittest.main()
