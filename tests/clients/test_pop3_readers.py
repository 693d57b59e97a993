"""fetchmail, getmail and mutt read mail by POP3: byte for byte, in the clear and over TLS, kept and known again by UIDL,
deleted, and a thousand messages in one go."""

import os
import pathlib
import pty
import pwd
import shutil
import subprocess
import tempfile
import time
import unittest

from client_case import PASSWORD, ClientCase
from letters import crlf, letter, without_trace

MANY = 1000


def many_letters(address):
    """Small ones, each with dots where they hurt."""
    return [f"Subject: number {number}\r\nTo: <{address}>\r\nMessage-ID: <{number}@client.test>\r\n\r\n"
            f".\r\n..{number}\r\n.end\r\n".encode() for number in range(MANY)]


class Readers(ClientCase):
    needs = ("fetchmail", "getmail", "mutt")

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)   # what holds a password is read by nobody else
        return path

    def maildir(self, name="maildir"):
        place = self.folder / name
        for part in ("", "cur", "new", "tmp"):
            (place / part).mkdir(exist_ok=True)
        return place

    def taken(self, place):
        """The messages of a Maildir since the last time, in wire form, as they were sent."""
        found = []
        for folder in ("new", "cur"):
            for path in sorted((place / folder).iterdir()):
                found.append(without_trace(crlf(path.read_bytes())))
                path.unlink()
        return found

    def assert_same(self, found, sent):
        self.assertEqual(len(found), len(sent))
        for one, other in zip(sorted(found), sorted(sent), strict=True):
            self.assertEqual(one, other)

    # ---- fetchmail

    def fetchmail(self, *options, server="", user="", status=0):
        """It hands each message to a program, here one that puts it into a folder."""
        place = self.maildir()
        rc = self.write("fetchmailrc", "set no syslog\nset invisible\n"
                        f"poll localhost protocol pop3 service {self.pop3} uidl timeout 60 {server}\n"
                        f'  user "{self.address}" password "{PASSWORD}" no rewrite {user}\n'
                        f"  mda \"sh -c 'cat > {place}/new/$$'\"\n")
        return self.run_program("fetchmail", "-f", rc, "--pidfile", self.folder / "fetchmail.pid", "-i",
                                self.folder / "fetchids", "--nodetach", *options, status=status)

    def tls(self):
        return f'ssl sslcertck sslcertfile "{self.ca}"'

    def test_fetchmail_in_the_clear_is_refused(self):
        self.put(letter(self.address))
        self.fetchmail(user="sslproto ''", status=3)
        self.assertEqual(self.taken(self.maildir()), [])

    def test_fetchmail_stls(self):
        sent = [letter(self.address), letter(self.address, "another")]
        self.put(*sent)
        self.fetchmail(user=f'sslproto TLS1.2+ sslcertck sslcertfile "{self.ca}" no keep')
        self.assert_same(self.taken(self.maildir()), sent)
        self.assertEqual(self.mailbox(), [])

    def test_fetchmail_pop3s_keeps_and_knows_again(self):
        sent = [letter(self.address), letter(self.address, "another")]
        self.put(*sent)
        tls = f"{self.tls()} keep"
        server = f"service {self.pop3s}"
        self.fetchmail(server=server, user=tls)
        self.assert_same(self.taken(self.maildir()), sent)
        self.fetchmail(server=server, user=tls, status=1)   # no new mail
        self.assertEqual(self.taken(self.maildir()), [])
        third = letter(self.address, "a third")
        self.put(third)
        self.fetchmail(server=server, user=tls)
        self.assert_same(self.taken(self.maildir()), [third])
        self.assertEqual(len(self.mailbox()), 3)

    # ---- getmail

    def getmail(self, **options):
        """It delivers nothing as root, so it is somebody else then, in a folder of its own."""
        if not hasattr(self, "own"):
            self.own = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="getmail.")))
            place = self.own / "maildir"
            for part in ("", "cur", "new", "tmp"):
                (place / part).mkdir()
            shutil.copy(self.ca, self.own / "ca.pem")
        rc = self.own / "getmailrc"
        rc.write_text(f"[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {self.pop3s}\n"
                      f"username = {self.address}\npassword = {PASSWORD}\nca_certs = {self.own}/ca.pem\n"
                      f"[destination]\ntype = Maildir\npath = {self.own}/maildir/\n"
                      "[options]\ndelivered_to = false\nreceived = false\nread_all = false\nverbose = 0\n"
                      + "".join(f"{key} = {value}\n" for key, value in options.items()))
        command = ["getmail", "--getmaildir", self.own, "--rcfile", rc]
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self.own, *self.own.rglob("*")):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
            command = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *command]
        self.run_program(*command, timeout=240)
        return self.taken(self.own / "maildir")

    def test_getmail_keeps_and_knows_again(self):
        sent = [letter(self.address), letter(self.address, "another")]
        self.put(*sent)
        self.assert_same(self.getmail(), sent)
        self.assertEqual(self.getmail(), [])
        third = letter(self.address, "a third")
        self.put(third)
        self.assert_same(self.getmail(delete="true"), [third])
        self.assertEqual(self.mailbox(), [])   # the two that it kept were old, and go as well

    def test_getmail_many(self):
        sent = many_letters(self.address)
        self.put(*sent)
        self.assert_same(self.getmail(delete="true"), sent)
        self.assertEqual(self.suite.messages(self.address), [])

    # ---- mutt

    # Debian's mutt 2.2 with libgsasl picks SCRAM-SHA-256-PLUS, has no channel binding for it, gives up and then takes our answer
    # to that for the answer to its next command. pennypost-pop3d(8) tells the way out: name the mechanisms.
    SCRAM, USER = 'set pop_authenticators="scram-sha-256"', 'set pop_authenticators="user"'

    def mutt(self, keys, port, *settings, scheme="pops"):
        """mutt wants a terminal; what it is to do is typed ahead."""
        rc = self.write("muttrc", "\n".join([
            f'set ssl_ca_certificates_file="{self.ca}" certificate_file="{self.folder}/certificates"', "set wait_key=no",
            f'set header_cache="" message_cachedir="" tmpdir="{self.folder}" mbox_type=Maildir', "set confirmappend=no", f'set folder="{self.folder}"',
            "set confirmcreate=no copy=no sleep_time=0 quit=yes move=no beep=no resume_edited_draft_files=no",
            f'set pop_user="{self.address}" pop_pass="{PASSWORD}" pop_checkinterval=0 pop_reconnect=no',
            *settings, f'push "{keys}"']) + "\n")
        controller, terminal = pty.openpty()
        process = subprocess.Popen(["mutt", "-n", "-F", str(rc), "-f", f"{scheme}://localhost:{port}/"], stdin=terminal,
                                   stdout=terminal, stderr=terminal, start_new_session=True,
                                   env={**os.environ, "HOME": str(self.folder), "TERM": "vt100", "LC_ALL": "C.UTF-8"})
        os.close(terminal)
        os.set_blocking(controller, False)
        screen = b""
        try:
            deadline = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    screen += os.read(controller, 65536)
                except (BlockingIOError, OSError):
                    time.sleep(0.01)
            self.assertEqual(process.poll(), 0, screen[-1500:])
        finally:
            process.kill()
            process.wait()
            os.close(controller)

    def copy_all(self, place, then):
        return f"<tag-pattern>.<enter><tag-prefix><copy-message><kill-line>{place}<enter>{then}<quit>"

    def test_mutt_pops_reads_and_keeps(self):
        sent = [letter(self.address), letter(self.address, "another")]
        self.put(*sent)
        place = self.maildir()
        self.mutt(self.copy_all(place, ""), self.pop3s, self.SCRAM, "set pop_delete=no delete=no")
        self.assert_same([self.without_mutt(octets) for octets in self.taken(place)], sent)
        self.assertEqual(len(self.mailbox()), 2)

    def test_mutt_stls_reads_and_deletes(self):
        sent = [letter(self.address, str(number)) for number in range(20)]
        self.put(*sent)
        place = self.maildir()
        self.mutt(self.copy_all(place, "<delete-pattern>.<enter>"), self.pop3,
                  self.USER, "set ssl_starttls=yes ssl_force_tls=yes delete=yes", scheme="pop")
        self.assert_same([self.without_mutt(octets) for octets in self.taken(place)], sent)
        self.assertEqual(self.mailbox(), [])

    @staticmethod
    def without_mutt(octets):
        """mutt writes a header field of its own into what it copies."""
        head, empty, body = octets.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith((b"Status:", b"Content-Length:", b"Lines:"))]
        return b"\r\n".join(lines) + empty + body


if __name__ == "__main__":
    unittest.main()
