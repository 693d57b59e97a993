"""Other people's filters (LEGACY S97): one written with libmilter that does all that a filter may, OpenDKIM that signs and
verifies, Rspamd that rejects GTUBE and adds header fields. OpenDKIM and Rspamd are unpacked, never installed."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import unittest

from client_case import ClientCase, main
from letters import STRANGER
from suite import DOMAIN, PASSWORD, TOP
from wire import Wire, wait_for

ANN, BOB, LATER = f"ann@{DOMAIN}", f"bob@{DOMAIN}", f"later@{DOMAIN}"


def unpacked(package, program):
    """The program of a package in build/peers; skips where it lacks libraries."""
    subprocess.run([str(TOP / "tools" / "unpack-packages"), package], check=True)
    root = TOP / "build" / "peers" / package
    environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "usr" / "lib" / package)}
    listed = subprocess.run(["ldd", str(root / program)], capture_output=True, text=True, env=environment).stdout
    absent = re.findall(r"(\S+) => not found", listed)
    if absent:
        raise unittest.SkipTest(f"{package} needs libraries that are not here: {', '.join(absent)}")
    return root, environment


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class ProgramCase(ClientCase):
    settings = {"lmtp": {}}
    people = (ANN, BOB)
    server = "mx"

    @classmethod
    def run_filter(cls, *command, name="filter", **more):
        log = open(cls.suite.folder / "log" / f"{name}.log", "ab")
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stderr=log,
                                   stdout=more.pop("stdout", log), **more)
        log.close()

        def end():
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()

        cls.addClassCleanup(end)
        return process

    @classmethod
    def ask(cls, **servers):
        """From now on these servers ask these filters: mx=[place, ...]."""
        cls.suite.write_config({"lmtp": {}, **{name: {"milters.use": places} for name, places in servers.items()}})
        cls.suite.tool("reload")

    def send(self, letter, sender=STRANGER, to=(ANN,), hello="EHLO client.test"):
        """All replies from HELO on."""
        with Wire(self.mx) as wire:
            wire.reply()
            replies = [wire.ask(hello), wire.ask(f"MAIL FROM:<{sender}>"), *(wire.ask(f"RCPT TO:<{each}>") for each in to)]
            replies.append(wire.ask("DATA"))
            if replies[-1].startswith(b"354"):
                wire.send(letter.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                replies.append(wire.reply())
            wire.ask("QUIT")
        return replies

    def assert_taken(self, letter, **more):
        reply = self.send(letter, **more)[-1]
        self.assertRegex(reply, rb"^250 2\.0\.0 \w{13} ")
        return reply.split()[2].decode()


class WithLibmilter(ProgramCase):
    @classmethod
    def setUpClass(cls):
        if "MILTER_FILTER" not in os.environ:
            raise unittest.SkipTest("libmilter-dev was not here when the tests were built")
        super().setUpClass()
        cls.suite.add_mailbox(LATER)
        place = f"unix:{cls.suite.folder}/run/filter"
        process = cls.run_filter(os.environ["MILTER_FILTER"], place, stdout=subprocess.PIPE)
        if process.stdout.readline() != b"ready\n":
            raise AssertionError("the filter does not start")
        cls.ask(mx=[place])

    def letter(self, wish, body=b"hello\r\n"):
        return f"From: x@client.test\r\nX-Old: 1\r\nSubject: {wish}\r\nX-Old: 2\r\n\r\n".encode() + body

    def test_header(self):
        message_id = self.assert_taken(self.letter("progress add insert change delete", b"0123456789\r\n" * 20_000))
        message = self.mailbox(ANN)[0]
        self.assertIn(f"X-Added: {message_id} 127.0.0.1 240000\r\n\r\n".encode(), message)
        self.assertRegex(message, rb"\+0000\r\nX-Inserted: in front\r\n\tof all\r\nFrom: ")
        self.assertIn(b"X-Old: changed\r\n", message)
        self.assertEqual(message.count(b"X-Old"), 1)

    def test_body(self):
        self.assert_taken(self.letter("body"))
        self.assertTrue(self.mailbox(ANN)[0].endswith(b"\r\n\r\nanother body\r\n.\r\nbehind a dot\r\n"))

    def test_envelope(self):
        self.assert_taken(self.letter("sender rcpt unrcpt"))
        self.assertEqual(self.mailbox(ANN), [])
        self.assertTrue(self.mailbox(BOB)[0].startswith(b"Return-Path: <new@sender.test>\r\n"))
        self.empty(BOB)
        self.assert_taken(self.letter("rcpt-parameters"))
        self.assertEqual((len(self.mailbox(ANN)), len(self.mailbox(BOB))), (1, 1))

    def test_quarantine(self):
        message_id = self.assert_taken(self.letter("quarantine"))
        self.assertEqual(self.mailbox(ANN), [])
        rows = json.loads(self.suite.tool("queue", "list", "--json"))
        self.assertEqual([(row["id"], row["state"], row["reason"]) for row in rows],
                         [(message_id, "held", "somebody should look")])
        self.suite.tool("queue", "release", message_id)
        wait_for(lambda: self.suite.messages(ANN), why="what was released is delivered")

    def test_refusals(self):
        for wish, want in (("reject", rb"^550 5\.7\.1 "), ("tempfail", rb"^451 4\.7\.1 "),
                           ("reply", rb"^554 5\.7\.9 100% not wanted\r\n"),
                           ("replies", rb"^451-4\.7\.9 not now\r\n451 4\.7\.9 but soon\r\n")):
            self.assertRegex(self.send(self.letter(wish))[-1], want)
        self.assert_taken(self.letter("discard"))
        self.assertEqual(self.mailbox(ANN), [])
        self.assertRegex(self.send(b"", hello="HELO refused.test")[0], rb"^550 5\.7\.1")
        self.assertRegex(self.send(b"", sender="refused@client.test")[1], rb"^550 5\.7\.1")
        replies = self.send(self.letter("accept"), to=(LATER, ANN))
        self.assertRegex(replies[2], rb"^450 4\.2\.0 later, please\r\n")
        self.assertRegex(replies[-1], rb"^250")
        self.assertEqual(len(self.mailbox(ANN)), 1)

    def test_many_messages_in_one_session_and_skip(self):
        with Wire(self.mx) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            for wish in ("reject", "add", "tempfail", "skip add", "discard", "plain", "body add"):
                wire.ask(f"MAIL FROM:<{STRANGER}>")
                wire.ask(f"RCPT TO:<{ANN}>")
                self.assertRegex(wire.ask("RSET" if wish == "plain" else "NOOP"), rb"^250")
                if wish == "plain":
                    wire.ask(f"MAIL FROM:<{STRANGER}>")
                    wire.ask(f"RCPT TO:<{ANN}>")
                wire.ask("DATA")
                wire.send(self.letter(wish, b"x" * 70 + b"\r\n" + b"0123456789\r\n" * 10_000) + b".\r\n")
                want = {"reject": rb"^550", "tempfail": rb"^451"}.get(wish, rb"^250")
                self.assertRegex(wire.reply(), want, wish)
        self.assertEqual(len(self.mailbox(ANN)), 4)


class WithOpenDkim(ProgramCase):
    @classmethod
    def setUpClass(cls):
        root, environment = unpacked("opendkim", "usr/sbin/opendkim")
        super().setUpClass()
        folder = cls.suite.folder / "opendkim"
        folder.mkdir()
        key = folder / "key.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        public = subprocess.run(["openssl", "rsa", "-in", str(key), "-pubout"], check=True, capture_output=True, text=True).stdout
        record = "v=DKIM1; k=rsa; p=" + "".join(public.splitlines()[1:-1])
        # In place of the DNS.
        (folder / "keys").write_text(f"mail._domainkey.{DOMAIN} {record}\n")
        common = "Syslog no\nBackground no\nCanonicalization relaxed/simple\nOversignHeaders From\nAutoRestart no\n"
        signer, verifier = cls.suite.folder / "run" / "signer", cls.suite.folder / "run" / "verifier"
        for name, place, more in (
                ("signer", signer, f"Mode s\nDomain {DOMAIN}\nSelector mail\nKeyFile {key}\nRequireSafeKeys no\n"
                                   "InternalHosts 127.0.0.1\n"),
                ("verifier", verifier, f"Mode v\nTestDNSData file:{folder}/keys\nAuthservID mx.example.test\n"
                                       "InternalHosts 192.0.2.1\nAlwaysAddARHeader yes\n")):
            config = folder / f"{name}.conf"
            config.write_text(common + more + f"Socket local:{place}\nPidFile {folder}/{name}.pid\n")
            process = cls.run_filter(root / "usr" / "sbin" / "opendkim", "-f", "-x", config, name=name, env=environment)
            wait_for(lambda: place.exists() or process.poll() is not None, why=f"{name} listens")
            if process.poll() is not None:
                raise AssertionError((cls.suite.folder / "log" / f"{name}.log").read_text())
        cls.signer, cls.usual = f"unix:{signer}", {"submission": [f"unix:{signer}"], "mx": [f"unix:{verifier}"]}
        cls.ask(**cls.usual)

    def submit(self, letter):
        """Signed on its way in; as it lies in the mailbox of the one to whom it went."""
        with Wire(self.suite.port("submission", tls=True), self.context) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            wire.ask("AUTH PLAIN " + base64.b64encode(f"\0{ANN}\0{PASSWORD}".encode()).decode())
            wire.ask(f"MAIL FROM:<{ANN}>")
            wire.ask(f"RCPT TO:<{BOB}>")
            wire.ask("DATA")
            wire.send(letter.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            self.assertRegex(wire.reply(), rb"^250")
        return self.mailbox(BOB)[0]

    def test_signs_and_verifies(self):
        body = b".a dot\r\n" + b"line\r\n" * 30_000
        signed = self.submit(b"From: Ann <ann@example.test>\r\nTo: b\r\nSubject: a\r\n\tfolded one\r\n\r\n" + body)
        # In front of our own Received, as behind Sendmail.
        self.assertRegex(signed[:300], rb"\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example\.test; s=mail;\r\n\tt=")
        letter = signed[signed.index(b"DKIM-Signature"):]
        self.assert_taken(letter)
        self.assertRegex(self.mailbox(ANN)[0][:1500], rb"Authentication-Results: mx\.example\.test;\s+dkim=pass")
        self.empty(ANN)
        self.assert_taken(letter.replace(b"folded one", b"other one"))
        self.assertRegex(self.mailbox(ANN)[0][:1500], rb"Authentication-Results: mx\.example\.test;\s+dkim=fail")

    def test_signs_what_programs_of_this_machine_send(self):
        """By the socket and through the spool alike."""
        self.ask(mx=[self.signer])
        self.addCleanup(self.ask, **self.usual)
        letter = f"From: Ann <{ANN}>\r\nTo: b\r\nSubject: a\r\n\r\nbody\r\n"
        subprocess.run([str(self.suite.build / "tools" / "pennypost-sendmail"), "-i", "-f", ANN, BOB], input=letter.encode(),
                       check=True, timeout=60, env=self.suite.environment())
        (self.folder / "file").write_text(f"MAIL FROM:<{ANN}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\n{letter}")
        (self.folder / "file").rename(self.suite.folder / "spool" / "file")
        wait_for(lambda: len(self.suite.messages(BOB)) == 2, why="both messages")
        for message in self.mailbox(BOB):
            self.assertRegex(message[:300], rb"\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example\.test; s=mail;\r\n\tt=")


class WithRspamd(ProgramCase):
    @classmethod
    def setUpClass(cls):
        root, environment = unpacked("rspamd", "usr/bin/rspamd")
        super().setUpClass()
        folder = cls.suite.folder / "rspamd"
        for name in ("db", "log", "run"):
            (folder / name).mkdir(parents=True)
        port = free_port()
        share = root / "usr" / "share" / "rspamd"
        config = folder / "rspamd.conf"
        (folder / "tlds").write_text("com\nnet\norg\ntest\n")
        # What Rspamd does without rules, maps and the network.
        config.write_text(f"""
options {{
  pidfile = "{folder}/run/rspamd.pid"; temp_dir = "{folder}/run"; control_socket = "{folder}/run/control mode=0600";
  url_tld = "{folder}/tlds"; cache_file = "{folder}/db/cache"; hs_cache_dir = "{folder}/db"; history_file = "{folder}/db/history";
  filters = ""; explicit_modules = []; disable_hyperscan = true;
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "file"; filename = "{folder}/log/rspamd.log"; level = "info"; }}
actions {{ reject = 15; add_header = 6; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}"; milter = yes; timeout = 20s; count = 1;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
""")
        variables = {"CONFDIR": root / "etc" / "rspamd", "LOCAL_CONFDIR": folder / "none", "RUNDIR": folder / "run",
                     "DBDIR": folder / "db", "LOGDIR": folder / "log", "SHAREDIR": share, "PLUGINSDIR": share / "plugins",
                     "RULESDIR": share / "rules", "LUALIBDIR": share / "lualib", "WWWDIR": share / "www"}
        words = [word for name, value in variables.items() for word in ("--var", f"{name}={value}")]
        extra = ["-i"] if os.geteuid() == 0 else []
        cls.run_filter(root / "usr" / "bin" / "rspamd", "-f", "-c", config, *extra, *words, name="rspamd",
                       env={**environment, "LUALIBDIR": str(share / "lualib")}, cwd=str(folder))

        def answers():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return True
            except OSError:
                return False

        try:
            wait_for(answers, seconds=60, why="Rspamd listens")
        except AssertionError as wrong:
            logs = [path.read_text(errors="replace")[-3000:] for path in
                    (cls.suite.folder / "log" / "rspamd.log", folder / "log" / "rspamd.log") if path.exists()]
            raise AssertionError(f"{wrong}\n" + "\n".join(logs)) from wrong
        cls.ask(mx=[f"inet:{port}@127.0.0.1"])

    def test_gtube_is_rejected_and_other_mail_is_not(self):
        header = (b"From: Xaver <x@client.test>\r\nTo: Ann <ann@example.test>\r\nSubject: hello\r\n"
                  b"Date: Wed, 25 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@client.test>\r\n\r\n")
        gtube = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
        reply = self.send(header + gtube)[-1]
        self.assertRegex(reply, rb"^554 5\.7\.1 .*(Gtube|GTUBE|[Ss]pam)")
        self.assertEqual(self.mailbox(ANN), [])
        self.assert_taken(header + b"How are you?\r\n.\r\nX.\r\n")
        self.assertTrue(self.mailbox(ANN)[0].endswith(b"\r\n\r\nHow are you?\r\n.\r\nX.\r\n"))


if __name__ == "__main__":
    main()
