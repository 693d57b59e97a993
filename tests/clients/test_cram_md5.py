"""CRAM-MD5 by other people's programs, sending and fetching, with the secret that APOP has; in the clear too, for no password is sent."""

import smtplib

from client_case import PASSWORD, ClientCase, main
from letters import ANN, BOB, LETTER, crlf, lf, without_trace
from wire import HOST, wait_for

SECRET = "tanstaaf by another name"
MECHANISMS = ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]


class CramMd5(ClientCase):
    settings = {name: {"auth.mechanisms": MECHANISMS} for name in ("mx", "submission", "pop3")}
    # These fail on purpose; how many may is tests/clients/test_guessing.py's.
    settings["suite"] = {"auth.failures": 0, "auth.address_failures": 0, "auth.account_failures": 0}
    people = (ANN, BOB)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.suite.tool("mailbox", "set", ANN, "--apop-secret-stdin", text_in=SECRET + "\n")

    def settings_file(self, name, settings):
        path = self.folder / name
        path.write_text("account default\n" + "".join(f'{key} "{value}"\n' for key, value in settings.items()))
        path.chmod(0o600)
        return path

    def log_ins(self, daemon):
        return self.suite.log(daemon).count("mechanism=CRAM-MD5")

    def by_cram_md5(self, daemon, act):
        """`act` logs in once by CRAM-MD5, as the log tells. Gives back its result."""
        before = self.log_ins(daemon)
        result = act()
        wait_for(lambda: self.log_ins(daemon) == before + 1, why=f"CRAM-MD5 in the log of {daemon}")
        return result

    # ---- sending

    def curl(self, *words, text_in=b"", status=0):
        return self.run_raw("curl", "-sS", "--max-time", "60", "--cacert", self.ca, "--login-options", "AUTH=CRAM-MD5", *words,
                            text_in=text_in, status=status)

    def curl_send(self, url, secret, *words, status=0):
        return self.curl(url, "--user", f"{ANN}:{secret}", "--mail-from", ANN, "--mail-rcpt", BOB, "--upload-file", "-", *words,
                         text_in=LETTER, status=status)

    def test_curl_sends(self):
        for url, words in ((f"smtp://{HOST}:{self.submission}/client.test", ()),
                           (f"smtps://localhost:{self.submissions}/client.test", ())):
            with self.subTest(url=url):
                self.empty(BOB)
                self.by_cram_md5("smtpd", lambda: self.curl_send(url, SECRET, *words))
                self.assertEqual(self.stored(BOB), [LETTER])
        # The password is another thing.
        self.curl_send(f"smtp://{HOST}:{self.submission}/client.test", PASSWORD, status=67)

    def swaks(self, name, secret, status=0):
        return self.run_program("swaks", "--server", HOST, "--port", self.submission, "--from", ANN, "--to", BOB, "--ehlo",
                                "client.test", "--auth", "CRAM-MD5", "--auth-user", name, "--auth-password", secret, status=status)

    def test_swaks(self):
        self.assertIn("235 2.7.0", self.by_cram_md5("smtpd", lambda: self.swaks(ANN, SECRET)))
        self.assertEqual(len(self.stored(BOB)), 1)
        wrong = [line for name, secret in ((ANN, "guess"), (BOB, PASSWORD), ("nobody@example.test", SECRET))
                 for line in self.swaks(name, secret, status=28).splitlines() if line.startswith("<** 535")]
        self.assertEqual(wrong, ["<** 535 5.7.8 authentication credentials invalid"] * 3)

    def test_smtplib(self):
        def send():
            with smtplib.SMTP(HOST, self.submission, timeout=30) as client:
                client.ehlo()
                client.user, client.password = ANN, SECRET
                self.assertEqual(client.auth("CRAM-MD5", client.auth_cram_md5, initial_response_ok=False)[0], 235)
                client.sendmail(ANN, [BOB], LETTER)
        self.by_cram_md5("smtpd", send)
        self.assertEqual(self.stored(BOB), [LETTER])
        with smtplib.SMTP(HOST, self.submission, timeout=30) as client:
            client.ehlo()
            client.user, client.password = ANN, "guess"
            with self.assertRaises(smtplib.SMTPAuthenticationError) as raised:
                client.auth("CRAM-MD5", client.auth_cram_md5, initial_response_ok=False)
            self.assertEqual(raised.exception.smtp_code, 535)

    def test_msmtp(self):
        def send():
            settings = {"host": "localhost", "port": self.submission, "domain": "client.test", "tls": "off", "auth": "cram-md5",
                        "user": ANN, "password": SECRET, "from": ANN, "set_msgid_header": "off"}
            self.run_program("msmtp", "-C", self.settings_file("msmtprc", settings), BOB, text_in=lf(LETTER))
        self.by_cram_md5("smtpd", send)
        self.assertEqual(self.stored(BOB), [LETTER])

    # ---- fetching

    def test_curl_fetches(self):
        for url in (f"pop3://{HOST}:{self.pop3}", f"pop3s://localhost:{self.pop3s}"):
            with self.subTest(url=url):
                self.empty(ANN)
                self.put(LETTER, to=ANN)
                got = self.by_cram_md5("pop3d", lambda: self.curl(f"{url}/1", "--user", f"{ANN}:{SECRET}"))
                self.assertEqual(without_trace(got), LETTER)
        self.curl(f"pop3://{HOST}:{self.pop3}/", "--user", f"{ANN}:{PASSWORD}", status=67)
        self.curl(f"pop3://{HOST}:{self.pop3}/", "--user", f"{BOB}:{PASSWORD}", status=67)

    def test_mpop(self):
        self.put(LETTER, to=ANN)
        got = self.folder / "got"
        settings = {"host": "localhost", "port": self.pop3, "tls": "off", "auth": "cram-md5", "user": ANN, "password": SECRET,
                    "delivery": f"mda cat > {got}", "received_header": "off", "uidls_file": self.folder / "uidls", "keep": "off"}
        # mpop's word for a delivery program needs no quotes.
        path = self.settings_file("mpoprc", settings)
        path.write_text(path.read_text().replace(f'"mda cat > {got}"', f"mda cat > {got}"))
        self.by_cram_md5("pop3d", lambda: self.run_program("mpop", "-C", path))
        self.assert_arrived(LETTER, crlf(got.read_bytes()))
        self.assertEqual(self.suite.messages(ANN), [])


if __name__ == "__main__":
    main()
