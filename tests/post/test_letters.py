"""Messages converted for 7-bit peers (RFC 6152) mean the same to Python's email package as before."""
import email
import email.policy
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest
from email.message import EmailMessage

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from stub_smtp import StubSmtp  # noqa: E402

POST = os.environ["POST"]
SMTP = email.policy.SMTPUTF8.clone(cte_type="8bit")


def stored(octets):
    """As the store keeps it: CRLF, dots stuffed."""
    lines = octets.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


def meaning(octets):
    """Structure and decoded contents of a message, without what conversion may change."""
    def of(part):
        if part.is_multipart():
            return (part.get_content_type(), [of(each) for each in part.get_payload()])
        return (part.get_content_type(), part.get_content_charset(), part.get_filename(), part.get_payload(decode=True))
    message = email.message_from_bytes(octets, policy=email.policy.compat32)
    return of(message), [(name, value) for name, value in message.items()
                         if name.lower() not in ("content-transfer-encoding", "mime-version")]


def part_of(content, kind, encoding="8bit"):
    """A leaf with raw octets, as mail programs write them."""
    return (f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n").encode() + content


def multipart(parts, boundary, kind="mixed", top=b""):
    head = top + f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return head + b"preamble\r\n" + body + b"--" + boundary.encode() + b"--\r\n"


HEAD = b"From: ann@us.test\r\nTo: bob@there.test\r\nSubject: a letter\r\nMIME-Version: 1.0\r\n"
TEXT = "Grüße aus dem Süden,\r\n.mit Punkt\r\n..und zweien \r\nx=y\t\r\n\r\n-- \r\nAnn".encode()
RUSSIAN = "Привет, мир. Это письмо.\r\n".encode() * 20


class Letters(unittest.TestCase):
    def setUp(self):
        self.stub = StubSmtp()
        self.addCleanup(self.stub.close)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def post(self, octets):
        path = os.path.join(self.folder.name, "letter")
        with open(path, "wb") as file:
            file.write(stored(octets))
        result = subprocess.run([POST, f"127.0.0.1:{self.stub.port}", path, "--from", "ann@us.test", "--to",
                                 "bob@there.test", "--8bit", "--security", "none"],
                                capture_output=True, text=True, timeout=60)
        return result

    def check(self, octets):
        result = self.post(octets)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        got = self.stub.messages[-1]
        self.assertTrue(got.isascii())
        self.assertTrue(all(len(line) <= 998 for line in got.split(b"\r\n")))
        self.assertEqual(meaning(got), meaning(octets))
        return got

    def test_single_parts(self):
        for content, kind in ((TEXT, "text/plain; charset=utf-8"), (RUSSIAN, 'text/plain; charset="utf-8"'),
                              ("Grüße".encode("latin-1") + b"\r\n", "text/plain; charset=iso-8859-1"),
                              (bytes(range(256)).replace(b"\r", b"").replace(b"\n", b""), "application/octet-stream"),
                              (b"x" * 5000 + "ä".encode() + b"\r\n", "text/html; charset=utf-8")):
            with self.subTest(kind=kind):
                self.check(HEAD + part_of(content + b"\r\n", kind))

    def test_parts_within_parts(self):
        inner = multipart([part_of(TEXT, "text/plain; charset=utf-8"), part_of(RUSSIAN, "text/html; charset=utf-8")],
                          "inner", "alternative")
        attached = b"Content-Type: message/rfc822\r\n\r\n" + HEAD + part_of(TEXT + b"\r\n", "text/plain; charset=utf-8")
        whole = multipart([inner, part_of(bytes([0, 200, 201, 255]), "image/x; name=\"a.x\"", "binary"),
                           part_of(b"QUJD", "application/x", "base64"), part_of(b"seven", "text/plain", "7bit"), attached],
                          "outer=1", top=HEAD)
        got = self.check(whole)
        self.assertIn(b"quoted-printable", got)
        self.assertIn(b"base64", got)

    def test_what_python_makes(self):
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Subject"] = "ann@us.test", "bob@there.test", "plain"
        message.set_content("Grüße, " * 200 + "\n.\n..\n", cte="8bit")
        message.add_alternative("<p>Grüße</p>\n" * 50, subtype="html", cte="8bit")
        message.add_attachment(bytes(range(256)) * 10, maintype="application", subtype="x", filename="x.bin")
        self.check(message.as_bytes(policy=SMTP))

    def test_random_structures(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)

        def leaf():
            alphabet = ["a", " ", ".", "=", "-", "--b0", "ä", "\r\n", "\t", "Z" * 80]
            content = "".join(chance.choice(alphabet) for _ in range(chance.randrange(1, 120)))
            # A trailing CR or a delimiter by accident would be another message.
            content = content.replace("\r\n--", "\r\nx--").strip() + "x"
            if content.startswith("--"):
                content = "x" + content
            return part_of(content.encode(), chance.choice(["text/plain; charset=utf-8", "text/html; charset=utf-8",
                                                            "application/x"]))

        def tree(depth):
            if depth == 0 or chance.random() < 0.4:
                return leaf()
            return multipart([tree(depth - 1) for _ in range(chance.randrange(1, 4))], f"b{depth}")

        for _ in range(40):
            octets = multipart([tree(3) for _ in range(2)], "top", top=HEAD)
            with self.subTest(seed=seed):
                self.check(octets)

    def test_what_is_signed_is_refused_with_its_reason(self):
        signed = multipart([part_of(TEXT, "text/plain; charset=utf-8"), part_of(b"x", "application/pgp-signature", "7bit")],
                           "s", "signed", HEAD)
        result = self.post(signed)
        self.assertEqual(result.returncode, 1)
        self.assertIn("permanent 5.6.3 ", result.stdout)
        self.assertIn("signed", result.stdout)
        self.assertEqual(self.stub.messages, [])


if __name__ == "__main__":
    unittest.main()
