"""Exim as the one who hands mail on, in chunks (BDAT): to the mx, and by LMTP. Unpacked, never installed; it runs for one delivery
at a time and not as a daemon, and what it would say to the sender stays in its queue."""

import os
import pathlib
import re
import subprocess
import unittest

from client_case import ClientCase, main
from letters import STRANGER, letter, lf
from suite import DOMAIN, TOP

PROGRAM = TOP / "build" / "peers" / "exim4-daemon-light" / "usr" / "sbin" / "exim4"
ANN, BOB, FULL = f"ann@{DOMAIN}", f"bob@{DOMAIN}", f"full@{DOMAIN}"

CONFIG = """\
exim_user = nobody
exim_group = nogroup
exim_path = {program}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
primary_hostname = client.test
never_users =
queue_only = true
deliver_drop_privilege = true
keep_environment =
host_lookup =
message_size_limit = 100M
begin routers
handed_on:
  driver = manualroute
  transport = ${{if def:h_X-By:{{by_lmtp}}{{by_smtp}}}}
  route_list = * 127.0.0.1
  self = send
begin transports
by_smtp:
  driver = smtp
  port = {mx}
  hosts_require_tls = *
  tls_verify_certificates = {ca}
  tls_verify_cert_hostnames =
  tls_verify_hosts = *
by_lmtp:
  driver = smtp
  protocol = lmtp
  port = {lmtp}
  hosts_avoid_tls = *
begin retry
* * F,1h,1h
"""


class OfExim(ClientCase):
    settings = {"lmtp": {}}
    people = (ANN, BOB, FULL)

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("Exim takes a configuration of ours from root only")
        subprocess.run([str(TOP / "tools" / "unpack-packages"), "exim4-daemon-light"], check=True)
        absent = re.findall(r"(\S+) => not found", subprocess.run(["ldd", PROGRAM], capture_output=True, text=True).stdout)
        if absent:
            raise unittest.SkipTest(f"Exim needs libraries that are not here: {', '.join(absent)}")
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            raise unittest.SkipTest("no mount namespaces here, in which Exim finds the user that it was built for")
        super().setUpClass()
        cls.suite.tool("mailbox", "set", FULL, "--max-messages", "1")
        cls.suite.folder.chmod(0o755)
        cls.exim = cls.suite.folder / "exim"
        for name in ("spool", "log"):
            (cls.exim / name).mkdir(parents=True)
            subprocess.run(["chown", "nobody:nogroup", str(cls.exim / name)], check=True)
        # Debian's Exim does not start where the user is missing whom its package makes.
        for name, line in (("passwd", "Debian-exim:x:65533:65533::/nonexistent:/bin/false"), ("group", "Debian-exim:x:65533:")):
            known = [each for each in pathlib.Path("/etc", name).read_text().splitlines() if not each.startswith("Debian-exim:")]
            (cls.exim / name).write_text("\n".join([*known, line]) + "\n")
        cls.exim.joinpath("exim.conf").write_text(CONFIG.format(
            program=PROGRAM, folder=cls.exim, mx=cls.mx, lmtp=cls.suite.port("lmtp"), ca=cls.ca))

    def hand_in(self, octets, *recipients):
        """Delivers and waits; what Exim's log says of it."""
        (self.exim / "log" / "mainlog").unlink(missing_ok=True)
        program = (f"mount --bind {self.exim}/passwd /etc/passwd && mount --bind {self.exim}/group /etc/group && "
                   f'exec {PROGRAM} -C {self.exim}/exim.conf -odf -oi -f {STRANGER} "$@"')
        done = subprocess.run(["unshare", "-m", "sh", "-c", program, "sh", *recipients], input=lf(octets),
                              capture_output=True, timeout=60)
        log = self.exim / "log" / "mainlog"
        said = log.read_text(errors="backslashreplace") if log.exists() else ""
        self.assertEqual(done.returncode, 0, f"{done.stderr}\n{said}")
        return said

    def assert_one(self, octets, address=ANN):
        messages = self.mailbox(address)
        self.assertEqual(len(messages), 1)
        self.assertTrue(messages[0].endswith(octets), messages[0][-len(octets) - 200:])
        return messages[0][:-len(octets)].decode()

    def test_smtp_with_tls_in_chunks(self):
        text = letter(ANN)
        said = self.hand_in(text, ANN)
        # K: CHUNKING was used
        self.assertRegex(said, rf"=> {re.escape(ANN)} .* X=TLS1\.3:.* CV=yes K ")
        self.assertRegex(self.assert_one(text), r"with ESMTPS id ")

    def test_a_long_message_in_many_chunks(self):
        text = letter(ANN) + b"".join(b".%d\r\n" % i + b"x" * 70 + b"\r\n" for i in range(20_000))
        self.assertIn(" K ", self.hand_in(text, ANN))
        self.assert_one(text)

    def test_recipients_that_are_refused(self):
        text = letter(ANN)
        said = self.hand_in(text, ANN, f"nobody@{DOMAIN}", BOB)
        self.assertIn(f"=> {ANN} ", said)
        self.assertRegex(said, rf"\*\* nobody@{re.escape(DOMAIN)} .*: 550 5\.1\.1 ")
        self.assert_one(text)
        self.assert_one(text, BOB)

    def test_nobody_is_taken_and_the_chunk_is_on_its_way(self):
        """The chunk that was pipelined behind the last RCPT is read past, and the session goes on."""
        said = self.hand_in(letter(ANN), f"nobody@{DOMAIN}")
        self.assertRegex(said, rf"\*\* nobody@{re.escape(DOMAIN)} .*: 550 5\.1\.1 ")

    def test_lmtp_in_chunks(self):
        """An answer for each recipient behind the last chunk."""
        self.put(b"Subject: fills it\r\n\r\n", to=FULL)
        text = b"X-By: lmtp\r\n" + letter(ANN)
        said = self.hand_in(text, ANN, f"nobody@{DOMAIN}", FULL, BOB)
        for address in (ANN, BOB):
            self.assertRegex(said, rf"[-=]> {re.escape(address)} .* K ")
        self.assertRegex(said, rf"\*\* nobody@{re.escape(DOMAIN)} .*: 550 5\.1\.1 ")
        self.assertRegex(said, rf"== {re.escape(FULL)} .*: 452 4\.2\.2 ")
        self.assertRegex(self.assert_one(text), r"with LMTP id ")
        self.assert_one(text, BOB)


if __name__ == "__main__":
    main()
