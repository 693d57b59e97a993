"""msmtp sends and mpop fetches, with each log-in method that both sides know."""

import unittest

from client_case import DOMAIN, PASSWORD, ClientCase
from letters import STRANGER, crlf, letter, lf
from wire import HOST


class MsmtpMpop(ClientCase):
    needs = ("msmtp", "mpop")

    def configuration(self, name, settings):
        path = self.folder / f"{self._testMethodName}.{name}"
        path.write_text("account default\n" + "".join(f"{key} {value}\n" for key, value in settings.items() if value is not None))
        path.chmod(0o600)  # both refuse what others may read
        return path

    # ---- msmtp

    def msmtp(self, *options, octets, status=0, **changes):
        settings = {"host": "localhost", "port": self.submission, "domain": "client.test", "tls": "on", "tls_starttls": "on",
                    "tls_trust_file": self.suite.certificate, "auth": "on", "user": self.address, "password": PASSWORD,
                    "from": self.address, "set_msgid_header": "off", **changes}
        return self.run_program("msmtp", "-C", self.configuration("msmtprc", settings), *options, self.address,
                                text_in=lf(octets), status=status)

    def submit(self, method, **changes):
        octets = letter(self.address, sender=self.address)
        self.msmtp(octets=octets, auth=method, **changes)
        self.assert_one_letter(octets, sender=self.address, protocol="ESMTPSA")
        self.assertTrue(self.authenticated(method.upper()))

    def test_starttls_plain(self):
        self.submit("plain")

    def test_starttls_login(self):
        self.submit("login")

    def test_starttls_scram_sha_256(self):
        self.submit("scram-sha-256")

    def test_tls_at_once_plain(self):
        self.submit("plain", port=self.submissions, tls_starttls="off")

    def test_tls_at_once_login(self):
        self.submit("login", port=self.submissions, tls_starttls="off")

    def test_tls_at_once_scram_sha_256(self):
        self.submit("scram-sha-256", port=self.submissions, tls_starttls="off")

    def test_what_msmtp_likes_best(self):
        octets = letter(self.address, sender=self.address)
        self.msmtp(octets=octets)
        self.assert_one_letter(octets, sender=self.address, protocol="ESMTPSA")

    def test_scram_in_the_clear(self):
        """SCRAM sends no password: it is offered without TLS."""
        octets = letter(self.address, sender=self.address)
        self.msmtp(octets=octets, auth="scram-sha-256", tls="off", tls_starttls=None, tls_trust_file=None)
        self.assert_one_letter(octets, sender=self.address, protocol="ESMTPA")

    def test_from_outside(self):
        octets = letter(self.address)
        self.msmtp(octets=octets, port=self.mx, auth="off", user=None, password=None, **{"from": STRANGER})
        self.assert_one_letter(octets, sender=STRANGER, protocol="ESMTPS")

    def test_wrong_password(self):
        for method in ("plain", "login", "scram-sha-256"):
            said = self.msmtp(octets=letter(self.address), auth=method, password="guess", status=77)
            self.assertIn("535 5.7.8", said)

    def test_not_ones_own_address(self):
        said = self.msmtp(octets=letter(self.address), status=65, **{"from": f"postmaster@{DOMAIN}"})
        self.assertRegex(said, r"55[03] 5\.7\.1")

    def test_certificate_of_somebody_else(self):
        said = self.msmtp(octets=letter(self.address), tls_trust_file="system", status=None)
        self.assertIn("certificate", said)

    def test_server_info(self):
        said = self.run_program("msmtp", "-C", "/dev/null", "--serverinfo", "--host=localhost", f"--port={self.submission}",
                                "--tls=on", "--tls-starttls=on", f"--tls-trust-file={self.suite.certificate}")
        for word in ("SIZE 52428800", "PIPELINING", "SCRAM-SHA-256 ", "PLAIN", "LOGIN"):
            self.assertIn(word, said)

    # ---- mpop

    def mpop(self, *options, status=0, **changes):
        settings = {"host": "localhost", "port": self.pop3, "tls": "on", "tls_starttls": "on",
                    "tls_trust_file": self.suite.certificate, "auth": "on", "user": self.address, "password": PASSWORD,
                    "delivery": f"mda cat >> {self.folder}/{self._testMethodName}.$$", "received_header": "off",
                    "uidls_file": self.folder / f"{self._testMethodName}.uidls", "keep": "off", **changes}
        return self.run_program("mpop", "-C", self.configuration("mpoprc", settings), *options, status=status)

    def fetched(self):
        """What mpop gave to its delivery program since the last time, a message a file."""
        files = sorted(self.folder.glob(f"{self._testMethodName}.[0-9]*"), key=lambda path: int(path.suffix[1:]))
        octets = [crlf(path.read_bytes()) for path in files]
        for path in files:
            path.unlink()
        return octets

    def fetch(self, method, **changes):
        octets = letter(self.address)
        self.put(octets)
        self.mpop(auth=method, **changes)
        (got,) = self.fetched()
        self.assert_arrived(octets, got, STRANGER)
        self.assertEqual(self.mailbox(), [])

    def test_stls_user(self):
        self.fetch("user")

    def test_stls_plain(self):
        self.fetch("plain")

    def test_stls_login(self):
        self.fetch("login")

    def test_stls_scram_sha_256(self):
        self.fetch("scram-sha-256")

    def test_pop3s_user(self):
        self.fetch("user", port=self.pop3s, tls_starttls="off")

    def test_pop3s_plain(self):
        self.fetch("plain", port=self.pop3s, tls_starttls="off")

    def test_pop3s_scram_sha_256(self):
        self.fetch("scram-sha-256", port=self.pop3s, tls_starttls="off")

    def test_pop3_scram_in_the_clear(self):
        self.fetch("scram-sha-256", tls="off", tls_starttls=None, tls_trust_file=None)

    def test_without_pipelining(self):
        self.fetch("user", pipelining="off")

    def test_many_with_pipelining(self):
        sent = [letter(self.address, f"letter {number}") for number in range(60)]
        self.put(*sent)
        self.mpop(pipelining="on")
        got = self.fetched()
        self.assertEqual(len(got), 60)
        for octets in sent:
            self.assertEqual(sum(message.endswith(octets) for message in got), 1)
        self.assertEqual(self.mailbox(), [])

    def test_kept_and_known_again(self):
        """keep: the messages stay, and UIDL tells mpop the next time which ones it has."""
        self.put(letter(self.address, "first"), letter(self.address, "second"))
        self.mpop(keep="on")
        self.assertEqual(len(self.fetched()), 2)
        self.mpop(keep="on")
        self.assertEqual(self.fetched(), [])
        self.put(letter(self.address, "third"))
        self.mpop(keep="on")
        (third,) = self.fetched()
        self.assertIn(b"Subject: third\r\n", third)
        self.assertEqual(len(self.mailbox()), 3)
        self.mpop(keep="off")
        self.assertEqual(self.fetched(), [])
        self.assertEqual(self.mailbox(), [])

    def test_maildir(self):
        octets = letter(self.address)
        self.put(octets)
        place = self.folder / "maildir"
        for name in ("", "cur", "new", "tmp"):
            (place / name).mkdir()
        self.mpop(delivery=f"maildir {place}")
        (path,) = (place / "new").iterdir()
        self.assert_arrived(octets, crlf(path.read_bytes()), STRANGER)

    def test_mpop_wrong_password(self):
        for method in ("user", "plain", "scram-sha-256"):
            said = self.mpop(auth=method, password="guess", status=None)
            self.assertIn("authentication failed", said)

    def test_mpop_server_info(self):
        said = self.run_program("mpop", "-C", "/dev/null", "--serverinfo", f"--host={HOST}", f"--port={self.pop3}")
        for word in ("PIPELINING", "TOP", "UIDL", "SCRAM-SHA-256"):
            self.assertIn(word, said)


if __name__ == "__main__":
    unittest.main()
