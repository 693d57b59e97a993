"""Outgoing mail to a real Postfix, unpacked and never installed: in the clear and over TLS, by DATA and by BDAT, refusals."""
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
POST = os.environ["POST"]
ROOT = TOP / "build" / "peers" / "postfix" / "usr"
OWNER = "nobody"

MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
command_directory = {root}/sbin
daemon_directory = {root}/lib/postfix/sbin
shlib_directory = {root}/lib/postfix
mail_owner = {owner}
setgid_group = mail
default_privs = daemon
import_environment = LD_LIBRARY_PATH={root}/lib/postfix TZ MAIL_CONFIG={dir}/etc
maillog_file = {dir}/log
maillog_file_prefixes = {dir}
myhostname = mx.there.test
mydestination =
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = there.test
virtual_mailbox_maps = inline:{{ bob@there.test=bob/, eve@there.test=eve/ }}
virtual_mailbox_base = {dir}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {dir}/key.pem, {dir}/cert.pem
message_size_limit = 2000000
smtpd_discard_ehlo_keywords = {discard}
smtpd_client_connection_count_limit = 0
local_header_rewrite_clients =
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance on a port of loopback, its mail in Maildirs."""

    def __init__(self, discard=""):
        self._folder = tempfile.TemporaryDirectory(prefix="postfix-")
        self.dir = pathlib.Path(self._folder.name)
        self.dir.chmod(0o755)
        owner = pwd.getpwnam(OWNER)
        for name in ("etc", "mail", "data", "spool"):
            (self.dir / name).mkdir()
        for name in ("pid", "private", "public", "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold",
                     "incoming", "maildrop", "saved", "trace"):
            (self.dir / "spool" / name).mkdir()
            if name != "pid":
                os.chown(self.dir / "spool" / name, owner.pw_uid, -1)
        for name in ("mail", "data"):
            os.chown(self.dir / name, owner.pw_uid, owner.pw_gid)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=mx.there.test", "-addext", "subjectAltName=DNS:mx.there.test", "-keyout",
                        str(self.dir / "key.pem"), "-out", str(self.dir / "cert.pem")], check=True, capture_output=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        (self.dir / "etc" / "main.cf").write_text(MAIN.format(dir=self.dir, root=ROOT, owner=OWNER, uid=owner.pw_uid,
                                                              gid=owner.pw_gid, discard=discard))
        (self.dir / "etc" / "master.cf").write_text(MASTER.format(port=self.port))
        self._process = subprocess.Popen(
            [str(ROOT / "lib" / "postfix" / "sbin" / "master"), "-c", str(self.dir / "etc"), "-d"],
            env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(ROOT / "lib" / "postfix"),
                 "MAIL_CONFIG": str(self.dir / "etc")}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(self._greets, self)

    def _greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as probe:
                return probe.recv(3) == b"220"
        except OSError:
            return False

    def log(self):
        path = self.dir / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def mail(self, name, count):
        """What is in a Maildir once there are so many."""
        new = self.dir / "mail" / name / "new"
        wait_for(lambda: new.exists() and len(list(new.iterdir())) >= count, self)
        return [path.read_bytes() for path in new.iterdir()]

    def close(self):
        self._process.terminate()
        self._process.wait(timeout=30)
        self._process.stderr.close()
        self._folder.cleanup()


def wait_for(condition, postfix, limit=60):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("Postfix did not do it:\n" + postfix.log()[-3000:])
        time.sleep(0.05)


def usable():
    if os.geteuid() != 0 or not shutil.which("openssl"):
        return False
    subprocess.run([str(TOP / "tools" / "unpack-packages"), "postfix"], check=True)
    return True


LETTER = (b"From: ann@us.test\r\nTo: bob@there.test\r\nSubject: a letter\r\nMIME-Version: 1.0\r\n"
          b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
          b"Gr\xc3\xbc\xc3\x9fe\r\n.\r\n..\r\n.dot\r\nend\r\n")
PLAIN = LETTER.replace(b".\r\n..\r\n.dot\r\n", b"")


def stored(octets):
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in octets.split(b"\r\n"))


class ToPostfix(unittest.TestCase):
    discard = ""

    @classmethod
    def setUpClass(cls):
        if not usable():
            raise unittest.SkipTest("Postfix's master runs as root only")
        cls.postfix = Postfix(cls.discard)
        cls.addClassCleanup(cls.postfix.close)
        cls.count = 0

    def post(self, octets, *options, to="bob@there.test", status=0, host="mx.there.test"):
        path = self.postfix.dir / "letter"
        path.write_bytes(stored(octets))
        done = subprocess.run([POST, f"{host}:{self.postfix.port}", str(path), "--from", "ann@us.test", "--to", to,
                               "--8bit", "--issuers", str(self.postfix.dir / "cert.pem"), *options],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr + self.postfix.log()[-2000:])
        return done.stdout

    def arrived(self, octets, more):
        type(self).count += more
        got = self.postfix.mail("bob", self.count)
        self.assertEqual(len(got), self.count)
        return sum(letter.endswith(octets.replace(b"\r\n", b"\n")) for letter in got)

    def test_letters_arrive_octet_by_octet(self):
        for octets in (LETTER, PLAIN, PLAIN + b"a long line\r\n" * 20000):
            for level, secure in (("none", False), ("opportunistic", True), ("tls", True), ("verify", True)):
                with self.subTest(level=level, size=len(octets)):
                    said = self.post(octets, "--security", level)
                    self.assertRegex(said, r"bob@there.test delivered 250 2\.0\.0 Ok")
                    self.assertEqual("tls none" not in said, secure)
                    self.assertGreaterEqual(self.arrived(octets, 1), 1)

    def test_a_name_that_does_not_fit(self):
        said = self.post(LETTER, "--security", "verify", status=1, host="other.there.test")
        self.assertIn("temporary 4.7.5 TLS failed: certificate verify failed: hostname mismatch", said)

    def test_refusals_in_postfix_words(self):
        self.assertRegex(self.post(LETTER, to="nobody@there.test", status=1), r"permanent 550 5\.1\.1 .*User unknown")
        self.assertRegex(self.post(LETTER, to="x@elsewhere.test", status=1), r"permanent 554 5\.7\.1 .*Relay access denied")
        self.assertIn("permanent 5.3.4 ", self.post(b"a: b\r\n\r\n" + b"x" * 70 + b"\r\n" * 2_000_000, status=1))

    def test_many_by_few_connections(self):
        said = self.post(LETTER, "--times", "200", "--parallel", "5", "--security", "none", to="eve@there.test")
        self.assertIn("200 messages, 0 failed, ", said)
        connections = int(re.search(r"(\d+) connections", said).group(1))
        self.assertGreaterEqual(connections, 10)  # 20 messages each (S45)
        self.assertLessEqual(connections, 15)
        self.assertEqual(len(self.postfix.mail("eve", 200)), 200)


class ToOldPostfix(ToPostfix):
    """The same without the extensions of the last thirty years."""

    discard = "pipelining, chunking, 8bitmime, dsn"

    def test_letters_arrive_octet_by_octet(self):
        said = self.post(LETTER, "--security", "tls")
        self.assertIn("bob@there.test delivered 250 2.0.0 Ok", said)
        self.arrived(b"", 1)
        got = self.postfix.mail("bob", 1)[-1]
        self.assertIn(b"Content-Transfer-Encoding: quoted-printable\n", got)
        self.assertTrue(got.endswith(b"Gr=C3=BC=C3=9Fe\n=2E\n=2E.\n=2Edot\nend\n"), got)


if __name__ == "__main__":
    unittest.main()
