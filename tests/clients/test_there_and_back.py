"""Mail from a client through smtpd to a real Postfix, and from there back: by DNS and by smart host, in the clear and over TLS,
over a restart in the middle. What arrives is what was sent, octet by octet."""

import os
import pathlib
import re
import smtplib
import ssl
import subprocess
import tempfile
import threading
import unittest
from unittest import mock

from client_case import PASSWORD, ClientCase, main
from letters import ANN, crlf, letter
from postfix import Postfix, free_port
from wire import wait_for

from dns_server import DnsServer
from suite import TOP, make_certificate

PEERS = TOP / "build" / "peers"
ACCOUNT, SECRET = "pennypost", "a word between servers"
# Of one Postfix, each with a certificate and manners of its own.
GOOD, UNKNOWN_ISSUER, CLEAR, RELAY, SCRAM, PLAIN, LOGIN, NOBODY = (f"127.0.0.{last}" for last in range(2, 10))

ZONE = f"""
good.hosts A {GOOD}
also.hosts A {GOOD}
unknown.hosts A {UNKNOWN_ISSUER}
clear.hosts A {CLEAR}
relay.hosts A {RELAY}
scram.hosts A {SCRAM}
plain.hosts A {PLAIN}
login.hosts A {LOGIN}
nobody.hosts A {NOBODY}
there MX 10 nobody.hosts
there MX 20 good.hosts
there MX 30 clear.hosts
unknown MX 10 unknown.hosts
misnamed MX 10 also.hosts
clear MX 10 clear.hosts
"""
LEVELS = ("opportunistic", "tls", "verify")
PEOPLE = [f"{name}@{domain}.test" for name in ("bob", "jörg") for domain in ("there", "far", "scram", "plain", "login")]
PEOPLE += [f"bob@{level}.{domain}.test" for domain in ("there", "unknown", "misnamed", "clear") for level in LEVELS]
ZONE += "".join(f"{level}.{domain} MX 10 {host}.hosts\n" for level in LEVELS
                for domain, host in (("there", "good"), ("unknown", "unknown"), ("misnamed", "also"), ("clear", "clear")))
MANY = [f"r{number}@there.test" for number in range(75)]


def make_account(folder):
    """A database of accounts for Postfix' SASL, which is Cyrus', and the settings that name it."""
    subprocess.run([str(TOP / "tools" / "unpack-packages"), "libsasl2-modules", "libsasl2-modules-db", "sasl2-bin"], check=True)
    (folder / "postfix/etc/sasl").mkdir(parents=True)
    (folder / "postfix/etc/sasl/smtpd.conf").write_text("pwcheck_method: auxprop\nauxprop_plugin: sasldb\n"
                                       f"sasldb_path: {folder}/accounts\nmech_list: PLAIN LOGIN SCRAM-SHA-256\n")
    subprocess.run([str(PEERS / "sasl2-bin/usr/sbin/saslpasswd2"), "-p", "-c", "-f", str(folder / "accounts"),
                    "-u", "there.test", ACCOUNT], input=SECRET, text=True, check=True, capture_output=True,
                   env={**os.environ, "SASL_PATH": sasl_plugins()})
    (folder / "accounts").chmod(0o644)


def sasl_plugins():
    return ":".join(str(folder) for folder in PEERS.glob("libsasl2-modules*/usr/lib/*/sasl2"))


def make_identity(folder, name, *hosts):
    """A certificate that vouches for itself; what Postfix takes as smtpd_tls_chain_files."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=" + ",".join(f"DNS:{host}" for host in hosts),
                    "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return f"{key}, {certificate}"


class ThereAndBack(ClientCase):
    people = (ANN,)

    @classmethod
    def setUpClass(cls):
        cls.place = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="pp-there.")))
        cls.place.chmod(0o755)
        make_account(cls.place)
        proper = make_identity(cls.place, "proper", *(f"{name}.hosts.test" for name in ("good", "relay", "scram", "plain", "login")))
        strange = make_identity(cls.place, "strange", "unknown.hosts.test")
        own, _ = make_certificate(cls.place, "own")
        (cls.place / "issuers").write_text((cls.place / "proper.pem").read_text() + own.read_text())
        (cls.place / "password").write_text(SECRET + "\n")
        mx = free_port()

        def relay(mechanism):
            return {"smtpd_tls_chain_files": proper, "smtpd_sasl_auth_enable": "yes", "smtpd_tls_auth_only": "yes",
                    "smtpd_sasl_mechanism_filter": mechanism, "smtpd_client_restrictions": "permit_sasl_authenticated, reject"}

        cls.postfix = cls.enterClassContext(Postfix(cls.place / "postfix", {
            "myhostname": "mx.there.test",
            "transport_maps": f"inline:{{ {{example.test=smtp:[127.0.0.1]:{mx}}} }}",
            # What comes for echo goes back to Ann.
            "virtual_alias_maps": "inline:{ " + ", ".join(f"{{ {name}@there.test = {ANN} }}" for name in ("echo", "öcho")) + " }",
            "smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1", "smtpd_tls_received_header": "yes",
            "smtpd_sasl_authenticated_header": "yes", "smtpd_sasl_path": "smtpd",
            "smtpd_sasl_local_domain": "there.test", "smtp_tls_security_level": "may", "message_size_limit": "100000000",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
            "import_environment": "MAIL_CONFIG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH "
                                  f"SASL_PATH={sasl_plugins()}",
            # It finds us away for a moment.
            "minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "queue_run_delay": "1s", "transport_retry_time": "1s",
            "smtpd_recipient_limit": "50", "smtpd_client_connection_count_limit": "0",
        }, listeners={
            GOOD: {"smtpd_tls_chain_files": proper}, UNKNOWN_ISSUER: {"smtpd_tls_chain_files": strange},
            CLEAR: {"smtpd_tls_security_level": "none"}, RELAY: relay("scram-sha-256, plain"),
            SCRAM: relay("scram-sha-256"), PLAIN: relay("plain"), LOGIN: relay("login"),
        }, mailboxes=[*PEOPLE, *MANY]))
        server = cls.enterClassContext(DnsServer({"test": ZONE}))
        port = {"outbound.port": cls.postfix.port, "messages.size": "100MB"}
        cls.settings = {
            "suite": {"dns.servers": [server.address], "dns.insecure": ["."], "log.level": "info"},
            "mx": {"listen": [f"127.0.0.1:{mx}"], **port}, "submission": port,
            "smart": {"kind": "smtp", "role": "submission", "listen": ["127.0.0.1:0"], "hostname": "mx.example.test", **port,
                      "outbound.smart_host": f"relay.hosts.test:{cls.postfix.port}", "outbound.security": "verify",
                      "outbound.username": ACCOUNT, "outbound.password_file": cls.place / "password"},
        }
        # The issuers that smtpd trusts: the system's, which OpenSSL lets the environment name.
        cls.enterClassContext(mock.patch.dict(os.environ, SSL_CERT_FILE=str(cls.place / "issuers")))
        super().setUpClass()
        cls.smart = cls.suite.port("smart")
        for level in LEVELS:
            cls.suite.tool("domain", "add", f"*.{level}.test", "--remote", "--security", level)
            for domain in ("there", "unknown", "misnamed", "clear"):
                cls.suite.tool("domain", "add", f"{level}.{domain}.test", "--remote", "--security", level)
        for name in ("scram", "plain", "login"):
            cls.suite.tool("domain", "add", f"{name}.test", "--remote", "--route", f"{name}.hosts.test:{cls.postfix.port}",
                           "--security", "tls", "--username", ACCOUNT, "--password-file", str(cls.place / "password"))

    def setUp(self):
        super().setUp()
        self.postfix.empty()

    def send(self, octets, *recipients, port=None, sender=ANN, options=("BODY=8BITMIME",)):
        """By smtplib, logged in over TLS."""
        with smtplib.SMTP("localhost", port or self.submission, timeout=60) as client:
            client.starttls(context=self.context)
            client.login(ANN, PASSWORD)
            self.assertEqual(client.sendmail(sender, list(recipients), octets, mail_options=list(options)), {})

    def arrived(self, octets, address):
        """One message lies there at Postfix, and is this one. Gives back what stands in front of it."""
        stored = self.postfix.mail(address, 1)
        self.assertEqual(len(stored), 1)
        got = crlf(stored[0])
        self.assertTrue(got.endswith(octets), got[:1500])
        return got[:-len(octets)].decode()

    def came_back(self, octets, address=ANN):
        messages = wait_for(lambda: self.mailbox(address), 30, f"a message for {address}")
        self.assertEqual(len(messages), 1)
        self.assertTrue(messages[0].endswith(octets), messages[0][:1500])
        self.empty(address)
        return messages[0][:-len(octets)].decode()

    def why(self, domain):
        """What the queue says of the one recipient there, once it has been tried."""
        def tried():
            rows = self.suite.json("queue", "list", "--domain", domain)
            return rows if rows and rows[0]["state"] == "waiting" else None
        row = wait_for(tried, why=f"mail for {domain} was tried")[0]
        return self.suite.json("queue", "why", row["id"])[0]

    # ---- by DNS

    def test_from_swaks_and_back(self):
        text = letter("echo@there.test", sender=ANN)
        path = self.folder / "letter"
        path.write_bytes(text.removesuffix(b"\r\n"))  # swaks ends the last line itself
        self.run_program("swaks", "--server", "127.0.0.1", "--port", self.submission, "--tls", "--auth", "PLAIN", "--auth-user", ANN,
                         "--auth-password", PASSWORD, "--from", ANN, "--to", "echo@there.test", "--data", f"@{path}", "--ehlo", "me.test")
        front = self.came_back(text)
        self.assertEqual(re.findall(r"^([A-Za-z-]+):", front, re.M), ["Return-Path", "Delivered-To", *["Received"] * 3], front)
        self.assertIn(f"Return-Path: <{ANN}>\r\n", front)
        # There over TLS to the second exchanger, since nobody listens at the first, and back over TLS.
        self.assertRegex(front, r"from mx\.example\.test .*\r\n\t\(using TLSv1\.3 ")
        self.assertRegex(front, r"by mx\.example\.test with ESMTPS id ")
        self.assertIn(f"peer=good.hosts.test[{GOOD}]:{self.postfix.port}", self.suite.log("smtpd"))

    def test_from_curl_and_back(self):
        text = letter("echo@there.test", sender=ANN).replace(b"\r\n.", b"\r\n")  # no dot to be stuffed: it goes by BDAT
        self.run_raw("curl", "-sS", f"smtp://localhost:{self.submission}/me.test", "--ssl-reqd", "--cacert", self.ca, "--user",
                     f"{ANN}:{PASSWORD}", "--mail-from", ANN, "--mail-rcpt", "echo@there.test", "--upload-file", "-", text_in=text)
        self.came_back(text)

    def test_eight_bit_and_international(self):
        text = letter("öcho@there.test", subject="Grüße", sender=ANN)
        self.send(text, "öcho@there.test", "jörg@there.test", options=("BODY=8BITMIME", "SMTPUTF8"))
        self.assertRegex(self.came_back(text), r"by mx\.example\.test with UTF8SMTPS id ")
        self.arrived(text, "jörg@there.test")

    def test_nothing_but_dots(self):
        text = b"Subject: dots\r\nFrom: ann@example.test\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@y.test>\r\n\r\n"
        text += b"".join(b"." * count + b"\r\n" for count in range(1, 60)) + b"y" * 990 + b"\r\n"
        self.send(text, "echo@there.test", "bob@there.test")
        self.arrived(text, "bob@there.test")
        self.came_back(text)

    def test_twenty_megabytes(self):
        text = letter("echo@there.test", sender=ANN) + b"0123456789" * 97 + b"\r\n"
        text += b"".join(b".%d" % number + b"x" * 900 + b"\r\n" for number in range(22500))
        self.assertGreater(len(text), 20_000_000)
        self.send(text, "echo@there.test", "bob@there.test")
        self.arrived(text, "bob@there.test")
        self.came_back(text)

    def test_many_recipients(self):
        """More than the peer takes at a time (S46): the rest goes in a transaction of its own."""
        text = letter("everybody@there.test", sender=ANN)
        self.send(text, *MANY)
        for address in MANY:
            self.arrived(text, address)
        wait_for(lambda: self.suite.json("queue", "stat")["waiting"] == 0, why="the queue is empty")

    # ---- TLS

    def test_levels_with_a_proper_certificate(self):
        for level in LEVELS:
            with self.subTest(level=level):
                text = letter(f"bob@{level}.there.test", sender=ANN)
                self.send(text, f"bob@{level}.there.test")
                self.assertIn("(using TLSv1.3 ", self.arrived(text, f"bob@{level}.there.test"))

    def test_levels_with_a_certificate_of_nobody(self):
        for domain, why in (("unknown", "self-signed certificate"), ("misnamed", "hostname mismatch")):
            for level in LEVELS:
                with self.subTest(level=level, domain=domain):
                    to = f"bob@{level}.{domain}.test"
                    text = letter(to, sender=ANN)
                    self.send(text, to)
                    if level != "verify":
                        self.assertIn("(using TLSv1.3 ", self.arrived(text, to))
                        continue
                    told = self.why(f"{level}.{domain}.test")
                    self.assertIn("4.7.5 ", told["answer"])
                    self.assertIn(why, told["answer"])
        for domain in ("unknown", "misnamed"):
            # The setting is corrected, and the mail that waits goes.
            self.suite.tool("domain", "set", f"verify.{domain}.test", "--security", "tls")
            self.suite.tool("queue", "flush", f"verify.{domain}.test")
            self.postfix.mail(f"bob@verify.{domain}.test", 1)
            self.suite.tool("domain", "set", f"verify.{domain}.test", "--security", "verify")

    def test_levels_without_tls(self):
        for level in LEVELS:
            with self.subTest(level=level):
                to = f"bob@{level}.clear.test"
                text = letter(to, sender=ANN)
                self.send(text, to)
                if level == "opportunistic":
                    self.assertNotIn("(using TLS", self.arrived(text, to))
                    continue
                told = self.why(f"{level}.clear.test")
                self.assertRegex(told["answer"], r"4\.7\.\d+ ")
                self.assertEqual(self.postfix.mail(to), [])
                self.suite.tool("queue", "delete", *(row["id"] for row in self.suite.json("queue", "list")))

    # ---- by smart host

    def test_smart_host(self):
        """All mail of one virtual server goes there, with a password, over TLS that was checked; echo comes back."""
        text = letter("bob@far.test", sender=ANN)
        self.send(text, "bob@far.test", "echo@there.test", port=self.smart)
        front = self.arrived(text, "bob@far.test")
        self.assertRegex(front, rf"\(using TLSv1\.3 [^$]*\(Authenticated sender: {ACCOUNT}@?[a-z.]*\)")
        self.assertIn("sasl_method=SCRAM-SHA-256, ", self.postfix.log())
        self.came_back(text)
        # far.test is not in the DNS: without a smart host it goes back.
        self.send(text, "bob@far.test")
        report = wait_for(lambda: self.mailbox(ANN), why="a report")[0]
        self.assertIn(b"\r\nStatus: 5.1.2\r\n", report)

    def test_each_mechanism(self):
        for name, mechanism in (("scram", "SCRAM-SHA-256"), ("plain", "PLAIN"), ("login", "LOGIN")):
            with self.subTest(mechanism=mechanism):
                text = letter(f"bob@{name}.test", sender=ANN)
                self.send(text, f"bob@{name}.test")
                self.assertIn("Authenticated sender", self.arrived(text, f"bob@{name}.test"))
                self.assertIn(f"sasl_method={mechanism}, ", self.postfix.log())

    # ---- what happens meanwhile

    def test_a_restart_in_the_middle(self):
        """Whatever was accepted arrives once, though smtpd ends and comes again while mail goes both ways."""
        text = letter("echo@there.test", sender=ANN)
        accepted, wrong = [], []

        def client(name):
            for number in range(30):
                octets = text.replace(b"Subject: A letter", f"Subject: {name}-{number}".encode())
                taken = False
                while not taken:
                    try:
                        with smtplib.SMTP("localhost", self.submission, timeout=60) as wire:
                            wire.starttls(context=ssl.create_default_context(cafile=self.ca))
                            wire.login(ANN, PASSWORD)
                            wire.sendmail(ANN, ["bob@there.test", "echo@there.test"], octets)
                            taken = True  # whatever is said to QUIT
                    except OSError as trouble:  # smtplib's errors are of this kind
                        if getattr(trouble, "smtp_code", 421) != 421:
                            wrong.append(trouble)
                            return
                accepted.append(octets)

        # The port stays: the client has it in its settings.
        path = self.suite.servers / "submission.toml"
        kept = path.read_text()
        path.write_text(kept.replace('listen = ["127.0.0.1:0", ', f'listen = ["127.0.0.1:{self.submission}", '))
        self.addCleanup(path.write_text, kept)
        people = [threading.Thread(target=client, args=(name,)) for name in ("a", "b", "c")]
        for person in people:
            person.start()
        for count in (10, 40):
            wait_for(lambda: len(accepted) >= count or wrong, 60, f"{count} were accepted")
            self.suite.stop("smtpd")
            self.suite.start("smtpd")
        for person in people:
            person.join()
        self.assertEqual(wrong, [])
        self.learn_ports()
        type(self).smart = self.suite.port("smart")
        at_bob = self.postfix.mail("bob@there.test", len(accepted), 120)
        self.assertEqual(len(at_bob), len(accepted))
        wait_for(lambda: len(self.suite.messages(ANN)) >= len(accepted), 120, "all echoes")
        back = self.mailbox(ANN)
        self.assertEqual(len(back), len(accepted))
        for octets in accepted:
            self.assertEqual(sum(crlf(message).endswith(octets) for message in at_bob), 1)
            self.assertEqual(sum(message.endswith(octets) for message in back), 1)


if __name__ == "__main__":
    main()
