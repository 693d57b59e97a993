"""OpenSMTPD as the next server and as the one who hands mail to us. Unpacked, never installed: its folders and users are where its
makers put them, in a mount namespace of its own."""

import os
import pathlib
import re
import smtplib
import subprocess
import unittest

from client_case import main
from letters import letter
from outbound_case import ANN, OutboundCase
from postfix import free_port
from wire import wait_for

from suite import DOMAIN, TOP

ROOT = TOP / "build" / "peers" / "opensmtpd"
USERS = ("opensmtpd", "opensmtpq", "keeper")

CONFIG = """\
table people file:{folder}/people
pki here cert "{folder}/cert.pem"
pki here key "{folder}/key.pem"
listen on 127.0.0.1 port {port} tls pki here hostname there.test
action "keep" mda "umask 077; cat >{folder}/mail/$(date +%s%N)" virtual <people>
action "home" relay host smtp+tls://127.0.0.1:{mx} tls no-verify
match from any for domain "there.test" action "keep"
match from any for domain "{domain}" action "home"
"""


class OfOpenSmtpd(OutboundCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("OpenSMTPD starts as root only")
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            raise unittest.SkipTest("no mount namespaces here, in which OpenSMTPD finds its folders")
        subprocess.run([str(TOP / "tools" / "unpack-packages"), "opensmtpd"], check=True)
        absent = re.findall(r"(\S+) => not found",
                            subprocess.run(["ldd", ROOT / "usr/sbin/smtpd"], capture_output=True, text=True).stdout)
        if absent:
            raise unittest.SkipTest(f"OpenSMTPD needs libraries that are not here: {', '.join(absent)}")
        super().setUpClass()
        cls.suite.folder.chmod(0o711)
        folder = cls.place = cls.suite.folder / "opensmtpd"
        folder.mkdir(mode=0o711)
        (folder / "mail").mkdir()
        os.chown(folder / "mail", 65531, 65531)
        for name in ("passwd", "group"):
            known = [line for line in pathlib.Path("/etc", name).read_text().splitlines() if line.split(":")[0] not in USERS]
            tail = "::/nonexistent:/bin/sh" if name == "passwd" else ""
            for place, user in enumerate(USERS):
                known.append(f"{user}:x:{65533 - place}:" + (f"{65533 - place}{tail}" if tail else ""))
            (folder / name).write_text("\n".join(known) + "\n")
        (folder / "people").write_text("bob@there.test keeper\n")
        # Where no name server answers, the client's name is looked up in a file.
        (folder / "resolv.conf").write_text("lookup file\n")
        (folder / "hosts").write_text("127.0.0.1 localhost there.test\n")
        # Its own key is handled by a process of its own, which in this version knows RSA only.
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=there.test",
                        "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")], check=True, capture_output=True)
        (folder / "key.pem").chmod(0o600)
        cls.port = free_port()
        (folder / "smtpd.conf").write_text(CONFIG.format(folder=folder, port=cls.port, mx=cls.mx, domain=DOMAIN))
        binds = "".join(f"mount --bind {folder}/{name} $(readlink -f /etc/{name}) && " for name in ("passwd", "group", "resolv.conf", "hosts"))
        program = (f"mount --make-rprivate / && {binds}"
                   "mount -t tmpfs none /var/spool && mkdir -m 711 /var/spool/smtpd && mkdir -p /usr/libexec && "
                   "mount -t tmpfs none /usr/libexec && mkdir /usr/libexec/opensmtpd && "
                   f"mount --bind {ROOT}/usr/libexec/opensmtpd /usr/libexec/opensmtpd && "
                   "mount -t tmpfs none /var/lib && mkdir -p -m 755 /var/lib/opensmtpd/empty && mount -t tmpfs none /run && "
                   f"exec {ROOT}/usr/sbin/smtpd -d -f {folder}/smtpd.conf")
        cls.said = open(folder / "log", "w+b")
        cls.addClassCleanup(cls.said.close)
        cls.peer = subprocess.Popen(["unshare", "-m", "sh", "-c", program], stdin=subprocess.DEVNULL, stdout=cls.said, stderr=cls.said)
        cls.addClassCleanup(cls.stop_peer)
        wait_for(cls.answers, why="OpenSMTPD answers")

    @classmethod
    def stop_peer(cls):
        cls.peer.terminate()
        cls.peer.wait(30)

    @classmethod
    def answers(cls):
        if cls.peer.poll() is not None:
            raise AssertionError(f"OpenSMTPD ended: {(cls.place / 'log').read_text(errors='replace')}")
        try:
            with smtplib.SMTP("127.0.0.1", cls.port, timeout=5) as client:
                return client.noop()[0] == 250
        except OSError:
            return False

    def kept(self):
        files = sorted((self.place / "mail").iterdir())
        texts = [file.read_bytes() for file in files]
        for file in files:
            file.unlink()
        return texts

    def test_as_the_next_server(self):
        """S92, S59: by way of it; every octet arrives, and an unknown recipient comes back. Its STARTTLS fails in Debian 12 (with
        OpenSSL 3 it cannot sign): opportunistic TLS then goes without."""
        self.suite.tool("domain", "add", "there.test", "--remote", "--allow-relay", "--route", f"127.0.0.1:{self.port}",
                        "--if-not-exists")
        text = letter("bob@there.test")
        number = self.mail("bob@there.test", "nobody@there.test", letter=text, options="BODY=8BITMIME")
        left = self.wait_left(number)
        self.assertEqual(left["bob@there.test"]["state"], "done")
        self.assertEqual(left["nobody@there.test"]["state"], "failed")
        self.assertRegex(left["nobody@there.test"]["answer"], r"^5\d\d ")
        self.wait_log(rf"message\.delivered id={number} to=bob@there\.test ")
        texts = wait_for(self.kept, why="the letter in its mailbox")
        self.assertEqual(len(texts), 1)
        # Its mailboxes have line ends of Unix.
        self.assertTrue(texts[0].endswith(text.replace(b"\r\n", b"\n")), texts[0])
        report = self.reports()[0]
        self.assertIn("nobody@there.test", report.as_string())

    def test_as_the_one_who_hands_in(self):
        text = letter(ANN)
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            client.ehlo("client.test")
            client.sendmail("stranger@far.test", [ANN], text, mail_options=["BODY=8BITMIME"])
        wait_for(lambda: self.suite.messages(ANN), why="the letter")
        got = self.mailbox(ANN)
        self.assertEqual(len(got), 1)
        self.assertTrue(got[0].endswith(text), got[0])
        self.assertRegex(got[0].decode(errors="replace"), r"with ESMTPS id ")

    def test_there_and_back(self):
        """Handed to us for a domain that it serves, and by it to us for one of ours."""
        self.suite.tool("domain", "add", "by-way.test", "--remote", "--allow-relay", "--route", f"127.0.0.1:{self.port}",
                        "--if-not-exists")
        number = self.mail("someone@by-way.test")
        self.assertRegex(self.wait_left(number)["someone@by-way.test"]["answer"], r"^550 ")  # it relays for nobody
        self.assertEqual(len(self.reports()), 1)


if __name__ == "__main__":
    main()
