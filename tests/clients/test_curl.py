"""curl sends by smtp: and smtps:, and reads by pop3: and pop3s:."""

import unittest

from client_case import PASSWORD, ClientCase
from letters import ANN, BOB, LETTER, without_trace


class Curl(ClientCase):
    people = (ANN, BOB)

    def curl(self, *options, text_in=b"", status=0):
        return self.run_raw("curl", "-sS", "--max-time", "60", "--cacert", self.ca, *options,
                               text_in=text_in, status=status)

    def send(self, url, *options, sender=ANN, status=0):
        return self.curl(url, "--mail-from", sender, "--mail-rcpt", BOB, "--upload-file", "-", *options,
                         text_in=LETTER, status=status)

    def test_every_way_in(self):
        login = ("--user", f"{ANN}:{PASSWORD}")
        ways = [
            (f"smtp://127.0.0.1:{self.mx}/client.test", ()),
            (f"smtp://localhost:{self.mx}/client.test", ("--ssl-reqd",)),
            (f"smtp://localhost:{self.submission}/client.test", ("--ssl-reqd", *login)),
            (f"smtps://localhost:{self.submissions}/client.test", login),
            (f"smtps://localhost:{self.submissions}/client.test", (*login, "--login-options", "AUTH=PLAIN")),
            (f"smtps://localhost:{self.submissions}/client.test", (*login, "--login-options", "AUTH=LOGIN")),
            (f"smtps://localhost:{self.submissions}/client.test", (*login, "--sasl-ir")),
        ]
        for url, options in ways:
            with self.subTest(url=url, options=options):
                self.empty(BOB)
                self.send(url, *options)
                self.assertEqual(self.stored(BOB), [LETTER])

    def test_refused_log_in(self):
        self.send(f"smtps://localhost:{self.submissions}/", "--user", f"{ANN}:wrong", status=67)

    def test_every_way_out(self):
        self.send(f"smtp://127.0.0.1:{self.mx}/client.test")
        login = ("--user", f"{BOB}:{PASSWORD}")
        ways = [
            (f"pop3://localhost:{self.pop3}", ("--ssl-reqd", *login)),
            (f"pop3s://localhost:{self.pop3s}", login),
            (f"pop3s://localhost:{self.pop3s}", (*login, "--login-options", "AUTH=PLAIN")),
            (f"pop3s://localhost:{self.pop3s}", (*login, "--login-options", "AUTH=LOGIN")),
            (f"pop3s://localhost:{self.pop3s}", (*login, "--sasl-ir")),
        ]
        for url, options in ways:
            with self.subTest(url=url, options=options):
                got = self.curl(f"{url}/1", *options)
                self.assertEqual(without_trace(got), LETTER)
                self.assertEqual(self.curl(f"{url}/", *options).split()[0], b"1")

    def test_no_password_in_the_clear(self):
        self.curl(f"pop3://127.0.0.1:{self.pop3}/", "--user", f"{BOB}:{PASSWORD}", status=67)

    def test_delete(self):
        self.send(f"smtp://127.0.0.1:{self.mx}/client.test")
        self.curl(f"pop3s://localhost:{self.pop3s}/1", "--user", f"{BOB}:{PASSWORD}", "-X", "DELE", "--list-only")
        self.assertEqual(self.stored(BOB), [])


if __name__ == "__main__":
    unittest.main()
