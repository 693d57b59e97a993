"""The letter of the first day: with an attachment, over STARTTLS with AUTH, read over TLS, octet for octet."""

import poplib
import smtplib
import subprocess
import unittest
from email.message import EmailMessage
from email.policy import SMTP

from client_case import PASSWORD, ClientCase
from letters import ANN, BOB, without_trace


def letter_with_attachment():
    letter = EmailMessage(policy=SMTP)
    letter["From"], letter["To"], letter["Subject"] = ANN, BOB, "Grüße mit Anhang"
    letter["Date"], letter["Message-ID"] = "Mon, 01 Jan 2024 12:00:00 +0000", "<2@client.test>"
    letter.set_content("Siehe Anhang.\n.\n..\n.ende\n")
    letter.add_attachment(bytes(range(256)) * 3000, maintype="application", subtype="octet-stream",
                          filename="all-octets.bin")
    return letter.as_bytes()


class Letter(ClientCase):
    people = (ANN, BOB)

    def reader(self, who, password=PASSWORD):
        box = poplib.POP3_SSL("localhost", self.pop3s, timeout=60, context=self.context)
        self.addCleanup(box.close)
        box.user(who)
        box.pass_(password)
        return box

    def test_with_python(self):
        sent = letter_with_attachment()
        with smtplib.SMTP("localhost", self.submission, timeout=60) as client:
            client.starttls(context=self.context)
            client.login(ANN, PASSWORD)
            client.sendmail(ANN, [BOB], sent)
        box = self.reader(BOB)
        count, octets = box.stat()
        _, lines, _ = box.retr(1)
        got = b"\r\n".join(lines) + b"\r\n"
        self.assertEqual((count, octets), (1, len(got)))
        self.assertEqual(without_trace(got), sent)
        box.dele(1)
        box.quit()
        self.assertEqual(self.stored(BOB), [])

    def test_with_programs(self):
        """msmtp sends it, curl reads it."""
        sent = letter_with_attachment()
        config = self.folder / "msmtprc"
        config.write_text(f"account default\nhost localhost\nport {self.submission}\ntls on\ntls_starttls on\n"
                          f"tls_trust_file {self.ca}\nauth scram-sha-256\nuser {ANN}\npassword {PASSWORD}\nfrom {ANN}\n")
        config.chmod(0o600)
        self.run_raw("msmtp", "-C", config, BOB, text_in=sent.replace(b"\r\n", b"\n"))
        got = self.run_raw("curl", "-sS", "--cacert", self.ca, "--user", f"{BOB}:{PASSWORD}",
                              f"pop3s://localhost:{self.pop3s}/1")
        self.assertEqual(without_trace(got), sent)

    def test_a_changed_password_counts_at_once(self):
        self.suite.tool("mailbox", "passwd", ANN, "--password-stdin", text_in="another\n")
        try:
            with self.assertRaises(poplib.error_proto):
                self.reader(ANN)
            self.reader(ANN, "another").quit()
        finally:
            self.suite.tool("mailbox", "passwd", ANN, "--password-stdin", text_in=PASSWORD + "\n")
        self.reader(ANN).quit()

    def test_an_imported_hash(self):
        hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input="old system\n", text=True,
                                capture_output=True, check=True).stdout.strip()
        self.suite.tool("mailbox", "add", "old@example.test", "--hash", hashed)
        self.reader("old@example.test", "old system").quit()
        with self.assertRaises(poplib.error_proto):
            self.reader("old@example.test", "old System")


if __name__ == "__main__":
    unittest.main()
