"""Mail that waits until somebody asks for it: ETRN, ATRN and TURN, as the server and as the one who asks (S93, S94, S95). Other
people's programs: fetchmail's ETRN mode asks us, and we ask Postfix."""

import base64
import os
import signal
import socket
import sys
import threading

from client_case import PASSWORD, ClientCase, main
from letters import STRANGER, letter
from postfix import Postfix
from suite import DOMAIN, TOP, Suite
from wire import Wire, wait_for

sys.path.insert(0, str(TOP / "tests" / "post"))

from stub_smtp import StubSmtp  # noqa: E402

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"


def plain(account, password=PASSWORD):
    return "AUTH PLAIN " + base64.b64encode(f"\0{account}\0{password}".encode()).decode()


def take_mail(wire, stop_at=None, freeze=None):
    """The server's side of a conversation: gives back the messages, and the domains of their recipients. `stop_at`: hangs up at
    this command of the first message. `freeze`: called when the first message is there, which is then taken, and that is all."""
    messages, recipients = [], []
    wire.say("220 customer.test ready")
    while True:
        line = wire.hear()
        verb = line.split(" ")[0].upper()
        if verb == stop_at:
            wire.close()
            return messages, recipients
        if verb == "EHLO":
            wire.say("250-customer.test", "250 8BITMIME")
        elif verb == "RCPT":
            recipients.append(line.split("<")[1].split(">")[0])
            wire.say("250 ok")
        elif verb == "DATA":
            wire.say("354 go")
            messages.append(wire.until(b"\r\n.\r\n")[:-3].replace(b"\r\n.", b"\r\n"))
            if freeze:
                freeze()
            wire.say("250 2.0.0 taken")
            if freeze:
                return messages, recipients
        elif verb == "QUIT":
            wire.say("221 bye")
            return messages, recipients
        elif not verb:
            return messages, recipients
        else:
            wire.say("250 ok")


class Provider(threading.Thread):
    """Another server that holds mail, on loopback: answers as ODMR providers do and then sends `letters` to the recipients."""

    def __init__(self, letters=(), answer="250 OK now reversing the connection", address=("127.0.0.1", 0)):
        super().__init__(daemon=True)
        self.letters, self.answer = letters, answer
        self.lines, self.heard = [], []
        self.calls = 0
        self.socket = socket.create_server(address)
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                try:
                    self.serve(stream)
                except OSError:
                    pass
            self.calls += 1

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.join()

    def serve(self, stream):
        def say(text):
            stream.write(text.encode() + b"\r\n")
            stream.flush()

        say("220 provider.test")
        for raw in stream:
            line = raw.decode().strip()
            self.lines.append(line)
            verb = line.split(" ")[0].upper()
            if verb == "EHLO":
                say("250-provider.test\r\n250-AUTH PLAIN LOGIN\r\n250-ETRN\r\n250 ATRN")
            elif verb == "AUTH":
                say("235 now authenticated")
            elif verb == "ATRN":
                say(self.answer)
                if self.answer.startswith("250"):
                    return self.reverse(stream, say)
            elif verb == "QUIT":
                say("221 bye")
                return None
            else:
                say("250 ok")
        return None

    def reverse(self, stream, say):
        def ask(text):
            say(text)
            return hear()

        def hear():
            while True:
                line = stream.readline().decode().strip()
                self.heard.append(line)
                if line[3:4] != "-":
                    return line

        hear()
        ask("EHLO provider.test")
        for octets, recipients in self.letters:
            ask(f"MAIL FROM:<{STRANGER}>")
            for recipient in recipients:
                ask(f"RCPT TO:<{recipient}>")
            if ask("DATA").startswith("354"):
                stream.write(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                stream.flush()
                hear()
        ask("QUIT")


class Triggered(ClientCase):
    settings = {"mx": {"auth.require_tls": False, "auth.mechanisms": ["PLAIN", "CRAM-MD5"]}}
    people = (ANN, BOB)

    def setUp(self):
        super().setUp()
        self.stub = StubSmtp()
        self.addCleanup(self.stub.close)
        # A domain of its own, so that what one test leaves is nothing to the others.
        self.far = self._testMethodName.removeprefix("test_").replace("_", "-")[:50] + ".test"

    def add_remote(self, *options, name=None):
        name = name or self.far
        self.suite.tool("domain", "add", name, "--remote", "--allow-relay", "--route", f"[127.0.0.1]:{self.stub.port}", *options)
        self.addCleanup(self.remove, name)

    def remove(self, name):
        self.suite.tool("queue", "delete", "--domain", name.removeprefix("*."))
        self.suite.tool("domain", "remove", name)

    def send(self, *recipients, octets=None):
        """From a stranger; gives back the id."""
        with Wire(self.mx) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            wire.ask(f"MAIL FROM:<{STRANGER}>")
            for recipient in recipients:
                self.assertRegex(wire.ask(f"RCPT TO:<{recipient}>"), rb"^250")
            wire.ask("DATA")
            wire.send((octets or letter(*recipients)).replace(b"\r\n.", b"\r\n..") + b".\r\n")
            answer = wire.reply()
            self.assertRegex(answer, rb"^250 2\.0\.0 ")
            wire.ask("QUIT")
            return answer.split()[2].decode()

    def hello(self, port=None, account=None, secure=False):
        wire = Wire(port or self.mx)
        self.addCleanup(wire.close)
        wire.reply()
        wire.ask("EHLO customer.test")
        if secure:
            self.assertRegex(wire.ask("STARTTLS"), rb"^220")
            wire.secure(self.context)
            wire.ask("EHLO customer.test")
        if account:
            self.assertRegex(wire.ask(plain(account)), rb"^235")
        return wire

    def waiting(self, domain=None):
        return [one["recipient"] for one in self.suite.json("queue", "list", "--domain", domain or self.far)]

    def let_the_scheduler_work(self):
        """A message for another domain, accepted later, has arrived."""
        name = "sooner-" + self.far
        self.add_remote(name=name)
        before = len(self.stub.messages)
        self.send(f"x@{name}")
        wait_for(lambda: len(self.stub.messages) > before, why="ordinary mail")

    # ---- ETRN, the server's side

    def test_held_until_etrn(self):
        """S93, S94"""
        self.add_remote("--hold", "--dequeue-account", ANN)
        held = self.send(f"a@{self.far}")
        self.let_the_scheduler_work()
        self.assertEqual(self.waiting(), [f"a@{self.far}"])
        self.assertNotIn(f"RCPT TO:<a@{self.far}>", self.stub.lines)
        why = self.suite.json("queue", "why", held)[0]
        self.assertEqual(why["state"], "held")
        self.assertEqual(why["cause"], f"it is held until ETRN for {self.far}, or ATRN by {ANN}")
        self.assertEqual([one["id"] for one in self.suite.json("queue", "list", "--domain", self.far, "--state", "held")],
                         [held])
        wire = self.hello()
        self.assertIn(b"250 2.0.0 OK, queuing for node started"[:3], wire.ask("NOOP"))
        self.assertEqual(wire.ask(f"ETRN {self.far}"), b"253 2.0.0 OK, 1 pending messages for node started\r\n")
        wait_for(lambda: f"RCPT TO:<a@{self.far}>" in self.stub.lines, why="held mail at its server")
        wait_for(lambda: not self.waiting(), why="it left the queue")
        self.assertRegex(wire.ask(f"ETRN {self.far}"), rb"^251 ")
        # Held again, and let go by a person: one message, then all.
        first = self.send(f"b@{self.far}")
        self.send(f"c@{self.far}")
        self.suite.tool("queue", "retry", first)
        wait_for(lambda: self.waiting() == [f"c@{self.far}"], why="what a person ordered has left")
        self.suite.tool("domain", "set", self.far, "--no-hold")
        wait_for(lambda: not self.waiting(), why="nothing holds it any more")

    def test_etrn_of_others(self):
        """S94: for domains that we send on to, and for no others."""
        self.add_remote("--hold")
        self.add_remote("--hold", name=f"*.sub.{self.far}")
        wire = self.hello()
        for name, code in ((DOMAIN, b"459"), ("unknown.test", b"459"), ("#queue", b"459"), (self.far, b"251"),
                           (f"a.sub.{self.far}", b"251"), (f"@sub.{self.far}", b"251"), (f"@{self.far}", b"251"),
                           ("@unknown.test", b"459"), ("..", b"501"), ("", b"501")):
            with self.subTest(name=name):
                self.assertEqual(wire.ask(f"ETRN {name}"[:5 + len(name)].rstrip())[:3], code)

    def test_etrn_of_subdomains(self):
        """S94: @ stands for a domain and all below it."""
        self.add_remote("--hold")
        self.add_remote("--hold", name=f"*.{self.far}")
        self.add_remote("--hold", name="not" + self.far)
        for domain in (self.far, "a." + self.far, "b.c." + self.far, "not" + self.far):
            self.send(f"x@{domain}")
        wire = self.hello()
        self.assertRegex(wire.ask(f"ETRN @{self.far}"), rb"^253 2\.0\.0 OK, 3 pending")
        for domain in (self.far, "a." + self.far, "b.c." + self.far):
            wait_for(lambda: not self.waiting(domain), why=domain)
        self.assertEqual(self.waiting("not" + self.far), [f"x@not{self.far}"])

    def test_etrn_too_often(self):
        """S94: a stranger may ask, and not without end."""
        self.add_remote("--hold")
        wire = self.hello()
        answers = [wire.ask(f"ETRN {self.far}")[:3] for _ in range(8)]
        self.assertEqual(answers, [b"251"] * 6 + [b"458"] * 2)
        self.assertEqual(wire.ask("NOOP")[:3], b"250")

    def test_etrn_while_held_by_a_person(self):
        """S94: an order of a person is stronger."""
        self.add_remote("--hold")
        self.send(f"a@{self.far}")
        self.suite.tool("queue", "suspend", self.far)
        wire = self.hello()
        self.assertRegex(wire.ask(f"ETRN {self.far}"), rb"^458 4\.3\.0 ")
        self.suite.tool("queue", "resume", self.far)
        self.assertRegex(wire.ask(f"ETRN {self.far}"), rb"^253 ")
        wait_for(lambda: not self.waiting(), why="it left")

    def test_fetchmail_etrn(self):
        """S94: fetchmail -p ETRN asks, and tells its user."""
        self.add_remote("--hold")
        self.send(f"a@{self.far}")
        said = self.run_program("fetchmail", "-f", "/dev/null", "--protocol", "ETRN", "--service", str(self.mx), "--fetchdomains",
                                self.far, "--smtphost", "localhost", "--sslproto", "", "--nosyslog", "-v", "127.0.0.1",
                                status=0)
        self.assertIn(self.far, said)
        wait_for(lambda: not self.waiting(), why="what fetchmail asked for has left")

    # ---- ATRN, the provider's side

    def test_fetchmail_odmr(self):
        """S95: fetchmail -p ODMR, which knows CRAM-MD5 alone, takes what is held and gives it to the server beside it."""
        secret = "tanstaaf by another name"
        self.suite.tool("mailbox", "set", ANN, "--apop-secret-stdin", text_in=secret + "\n")
        self.add_remote("--hold", "--dequeue-account", ANN)
        listener = StubSmtp(("PIPELINING", "8BITMIME"))
        self.addCleanup(listener.close)
        path = self.folder / "fetchmailrc"

        def fetchmail(password, status):
            path.write_text(f'set no syslog\npoll 127.0.0.1 protocol ODMR service {self.mx} user "{ANN}" '
                            f'password "{password}" fetchdomains "{self.far}" smtphost "127.0.0.1/{listener.port}" sslproto \'\'\n')
            path.chmod(0o600)
            return self.run_program(*named, "fetchmail", "-f", path, "--pidfile", self.folder / "pid", "-vv", status=status)

        # It wants a name of its own with a dot, or to find one, which not every machine has.
        named = ["unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--uts", "sh", "-c",
                 'hostname client.test && exec "$@"', "sh"]

        sent = [letter(f"{n}@{self.far}") for n in range(3)] + [b"Subject: dots\r\n\r\n" + b".dots\r\n" * 20_000]
        for n, octets in enumerate(sent):
            self.send(f"{n}@{self.far}", octets=octets)
        fetchmail("guess", None)
        self.assertEqual((len(self.waiting()), listener.lines), (len(sent), []))
        said = fetchmail(secret, 0)
        wait_for(lambda: not self.waiting(), why=f"what fetchmail asked for has left: {said}")
        recipients = [line.split("<")[1].split(">")[0] for line in listener.lines if line.startswith("RCPT")]
        self.assertEqual(sorted(recipients), [f"{n}@{self.far}" for n in range(len(sent))])
        self.assertEqual(len(listener.messages), len(sent))
        for octets in sent:
            self.assertEqual(sum(got.endswith(octets) for got in listener.messages), 1)
        # The domain's own way was not taken, and there is no more.
        self.assertEqual(self.stub.lines, [])
        self.assertRegex(self.suite.log("smtpd"), rf"auth\.ok account={ANN} mechanism=CRAM-MD5 ")
        self.assertIn("You have no mail.", fetchmail(secret, 0))

    def test_atrn(self):
        """S95: over the connection of who asks, one message after the other, in the clear and over TLS."""
        self.add_remote("--hold", "--dequeue-account", ANN)
        for secure in (False, True):
            with self.subTest(secure=secure):
                sent = [letter(f"{n}@{self.far}") for n in range(3)]
                for n, octets in enumerate(sent):
                    self.send(f"{n}@{self.far}", octets=octets)
                wire = self.hello(account=ANN, secure=secure)
                self.assertEqual(wire.ask(f"ATRN {self.far}"), b"250 2.0.0 OK now reversing the connection\r\n")
                messages, recipients = take_mail(wire)
                self.assertEqual(sorted(recipients), [f"{n}@{self.far}" for n in range(3)])
                for octets, got in zip(sent, messages, strict=True):
                    self.assertTrue(got.endswith(octets), got)
                wait_for(lambda: not self.waiting(), why="all of it left the queue")
        self.assertEqual(self.stub.lines, [])
        done = self.suite.json("queue", "list", "--state", "done", "--domain", self.far)
        self.assertEqual({one["outcome"] for one in done}, {"relayed"})
        self.assertEqual({one["tls"].split(" ")[0] for one in done}, {"none", "TLSv1.3"})

    def test_atrn_of_all(self):
        """S95: without a list, all domains of the account; others' mail stays."""
        for name, account in ((self.far, ANN), ("two-" + self.far, ANN), ("three-" + self.far, BOB)):
            self.add_remote("--hold", "--dequeue-account", account, name=name)
            self.send(f"x@{name}")
        wire = self.hello(account=ANN)
        self.assertRegex(wire.ask("ATRN"), rb"^250 ")
        messages, recipients = take_mail(wire)
        self.assertEqual(sorted(recipients), sorted([f"x@{self.far}", f"x@two-{self.far}"]))
        wait_for(lambda: not self.waiting() and not self.waiting("two-" + self.far), why="they left the queue")
        self.assertEqual(self.waiting("three-" + self.far), [f"x@three-{self.far}"])

    def test_turn(self):
        """S95: TURN is ATRN without a list."""
        self.add_remote("--hold", "--dequeue-account", ANN)
        self.send(f"x@{self.far}")
        with self.subTest("not known"):
            self.assertRegex(self.hello().ask("TURN"), rb"^530 5\.7\.0 ")
        with self.subTest("not listed"):
            self.assertRegex(self.hello(account=BOB).ask("TURN"), rb"^450 4\.7\.1 ")
        wire = self.hello(account=ANN)
        self.assertRegex(wire.ask("TURN"), rb"^250 ")
        self.assertEqual(take_mail(wire)[1], [f"x@{self.far}"])
        wait_for(lambda: not self.waiting(), why="it left the queue")

    def test_turn_over_tls(self):
        """S95: what asks for TLS gets it by TURN too."""
        self.add_remote("--hold", "--dequeue-account", ANN, "--security", "tls")
        self.send(f"x@{self.far}")
        self.assertRegex(self.hello(account=ANN).ask("TURN"), rb"^530 5\.7\.0 ")
        wire = self.hello(account=ANN, secure=True)
        self.assertRegex(wire.ask("TURN"), rb"^250 ")
        self.assertEqual(take_mail(wire)[1], [f"x@{self.far}"])
        wait_for(lambda: not self.waiting(), why="it left the queue")

    def test_atrn_killed_before_it_was_written_down(self):
        """S95: the customer has taken the message and the daemon dies before it heard of that: it comes twice, and never not at all."""
        self.add_remote("--hold", "--dequeue-account", ANN)
        self.send(f"x@{self.far}")
        wire = self.hello(account=ANN)
        self.assertRegex(wire.ask(f"ATRN {self.far}"), rb"^250 ")
        smtpd = self.suite.processes["smtpd"]

        def freeze():
            smtpd.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, smtpd.pid, os.WSTOPPED | os.WNOWAIT)

        messages, _ = take_mail(wire, freeze=freeze)
        self.assertEqual(len(messages), 1)
        smtpd.kill()
        smtpd.wait()
        self.suite.processes.pop("smtpd")
        self.suite.start("smtpd")
        self.learn_ports()
        self.assertEqual(self.waiting(), [f"x@{self.far}"])
        wire = self.hello(account=ANN)
        self.assertRegex(wire.ask(f"ATRN {self.far}"), rb"^250 ")
        again, _ = take_mail(wire)
        self.assertEqual(again, messages)
        wait_for(lambda: not self.waiting(), why="it left the queue")
        self.suite.check_store()

    def test_atrn_refused(self):
        """S95: who is not known, not listed, or asks for somebody else's; who has no mail; who sends on without waiting."""
        self.add_remote("--hold", "--dequeue-account", ANN)
        self.add_remote("--hold", "--dequeue-account", BOB, name="other-" + self.far)
        self.send(f"x@other-{self.far}")
        self.assertRegex(self.hello().ask(f"ATRN {self.far}"), rb"^530 5\.7\.0 ")
        wire = self.hello(account=ANN)
        for domains in (f"other-{self.far}", f"{self.far},other-{self.far}", DOMAIN, "unknown.test"):
            with self.subTest(domains=domains):
                self.assertRegex(wire.ask(f"ATRN {domains}"), rb"^450 4\.7\.1 ")
        self.assertRegex(wire.ask(f"ATRN {self.far}"), rb"^453 4\.2\.0 ")
        self.send(f"x@{self.far}")
        wire.say(f"ATRN {self.far}", "NOOP")
        self.assertRegex(wire.reply(), rb"^503 5\.5\.1 ")
        self.assertRegex(wire.reply(), rb"^250 ")
        self.assertEqual(self.waiting(), [f"x@{self.far}"])
        self.assertEqual(self.waiting("other-" + self.far), [f"x@other-{self.far}"])

    def test_atrn_needs_tls(self):
        """S95: the security of the domain holds for this way too."""
        self.add_remote("--hold", "--dequeue-account", ANN, "--security", "tls")
        self.send(f"x@{self.far}")
        self.assertRegex(self.hello(account=ANN).ask(f"ATRN {self.far}"), rb"^530 5\.7\.0 ")
        wire = self.hello(account=ANN, secure=True)
        self.assertRegex(wire.ask(f"ATRN {self.far}"), rb"^250 ")
        self.assertEqual(take_mail(wire)[1], [f"x@{self.far}"])
        wait_for(lambda: not self.waiting(), why="it left the queue")

    def test_atrn_customer_vanishes(self):
        """S95: what was not taken waits on, and goes with the next call."""
        self.add_remote("--hold", "--dequeue-account", ANN)
        for n in range(3):
            self.send(f"{n}@{self.far}")
        before = self.count_turns()
        for where in ("EHLO", "MAIL", "RCPT", "DATA"):
            with self.subTest(where=where):
                wire = self.hello(account=ANN)
                self.assertRegex(wire.ask(f"ATRN {self.far}"), rb"^250 ")
                take_mail(wire, stop_at=where)
                # The scheduler has noticed when the next one is let in.
                wait_for(lambda: self.count_turns() == before, why="the domain is free again")
                self.assertEqual(len(self.waiting()), 3)
        wire = self.hello(account=ANN)
        self.assertRegex(wire.ask(f"ATRN {self.far}"), rb"^250 ")
        self.assertEqual(len(take_mail(wire)[0]), 3)
        wait_for(lambda: not self.waiting(), why="all of it left the queue")

    def count_turns(self):
        """Those of which the log tells no end, of earlier tests too."""
        log = self.suite.log("smtpd")
        return log.count("turn.asked") - log.count("granted=no") - log.count("turn.done") - log.count("turn.failed")

    def test_atrn_beside_a_round(self):
        """S95: what an ordinary round has in hand does not go twice."""
        stalled, go = threading.Event(), threading.Event()
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        taken = []

        def stall():
            connection, _ = server.accept()
            with connection:
                wire = Wire.__new__(Wire)
                wire.socket, wire.held = connection, b""
                wire.say("220 stub.test")
                while True:
                    line = wire.hear()
                    if line.startswith("DATA"):
                        wire.say("354 go")
                        taken.append(wire.until(b"\r\n.\r\n"))
                        stalled.set()
                        go.wait(30)
                        wire.say("250 taken")
                    elif line.startswith("QUIT") or not line:
                        return
                    else:
                        wire.say("250 ok")

        thread = threading.Thread(target=stall, daemon=True)
        thread.start()
        self.add_remote("--hold", "--dequeue-account", ANN)
        self.suite.tool("domain", "set", self.far, "--route", f"[127.0.0.1]:{server.getsockname()[1]}")
        self.send(f"x@{self.far}")
        self.assertRegex(self.hello().ask(f"ETRN {self.far}"), rb"^253 ")
        self.assertTrue(stalled.wait(20))
        wire = self.hello(account=ANN)
        self.assertRegex(wire.ask(f"ATRN {self.far}"), rb"^250 ")
        self.assertEqual(take_mail(wire), ([], []))
        go.set()
        wait_for(lambda: not self.waiting(), why="it left the queue")
        self.assertEqual(len(taken), 1)
        done = self.suite.json("queue", "list", "--state", "done", "--domain", self.far)
        self.assertEqual(len(done), 1)

    def test_atrn_one_at_a_time(self):
        """S95: a second caller hears 451 while the first is served."""
        self.add_remote("--hold", "--dequeue-account", ANN)
        self.send(f"x@{self.far}")
        first, second = self.hello(account=ANN), self.hello(account=ANN)
        self.assertRegex(first.ask(f"ATRN {self.far}"), rb"^250 ")
        self.assertRegex(second.ask(f"ATRN {self.far}"), rb"^451 4\.3\.2 ")
        self.assertEqual(take_mail(first)[1], [f"x@{self.far}"])
        wait_for(lambda: not self.waiting(), why="it left the queue")

    # ---- the tool

    def test_queue_etrn(self):
        """S94: `pennypost queue etrn`, towards ourselves."""
        self.add_remote("--hold")
        self.send(f"x@{self.far}")
        host = f"127.0.0.1:{self.mx}"
        said = self.suite.tool("queue", "etrn", host, self.far)
        self.assertEqual(said, f"{host}: 253 2.0.0 OK, 1 pending messages for node started\n")
        wait_for(lambda: not self.waiting(), why="it left the queue")
        refused = self.suite.run_tool("queue", "etrn", host, "unknown.test")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("459 4.7.1 node not allowed", refused.stderr)
        self.assertEqual(self.suite.run_tool("queue", "etrn", host, "no domain").returncode, 2)
        self.assertEqual(self.suite.run_tool("queue", "etrn", host, self.far, "--security", "verify").returncode, 1)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        gone = self.suite.run_tool("queue", "etrn", f"127.0.0.1:{port}", self.far)
        self.assertEqual(gone.returncode, 1)
        self.assertIn("was not asked", gone.stderr)

    def test_queue_etrn_of_postfix(self):
        """S94: Postfix holds mail for our domain until we ask for it, and its answers."""
        for folder in (self.suite.folder, self.folder):
            folder.chmod(0o755)
        settings = {"fast_flush_domains": DOMAIN, "relay_domains": DOMAIN, "defer_transports": "smtp",
                    "transport_maps": f"inline:{{ {{ {DOMAIN} = smtp:[127.0.0.1]:{self.mx} }} }}"}
        with Postfix(self.folder / "postfix", settings) as postfix:
            with Wire(postfix.port) as wire:
                wire.reply()
                wire.ask("EHLO client.test")
                wire.ask(f"MAIL FROM:<{STRANGER}>")
                self.assertRegex(wire.ask(f"RCPT TO:<{ANN}>"), rb"^250")
                wire.ask("DATA")
                wire.send(letter(ANN).replace(b"\r\n.", b"\r\n..") + b".\r\n")
                self.assertRegex(wire.reply(), rb"^250")
                wire.ask("QUIT")
            self.assertEqual(postfix.fates([ANN])[ANN][0], "deferred")
            self.assertEqual(self.suite.messages(ANN), [])
            host = f"127.0.0.1:{postfix.port}"
            self.assertIn("250 2.0.0 Queuing started", self.suite.tool("queue", "etrn", host, DOMAIN))
            wait_for(lambda: self.suite.messages(ANN), why="what Postfix held arrives")
            self.assertTrue(self.mailbox(ANN)[0].endswith(letter(ANN)))
            refused = self.suite.run_tool("queue", "etrn", host, "unknown.test")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("459", refused.stderr)


class Customer(ClientCase):
    """We are the one who asks: the domain says where, and smtpd does at its times."""

    people = (ANN, BOB)

    def settle_fetch(self, *options, password="secret"):
        (self.folder / "password").write_text(password + "\n")
        self.suite.tool("domain", "set", DOMAIN, "--every", "1m", *options)
        self.addCleanup(self.suite.tool, "domain", "set", DOMAIN, "--fetch-from", "none")
        # It looks at the directory when it starts.
        self.suite.stop("smtpd")
        self.suite.start("smtpd")
        self.learn_ports()

    def test_atrn(self):
        """S95: the reversed session takes mail for the domain, and for nobody else."""
        sent = letter(ANN)
        provider = Provider([(sent, [ANN, "x@far.test", f"nobody@{DOMAIN}"]), (sent, ["x@far.test"])])
        self.addCleanup(provider.close)
        self.settle_fetch("--fetch-from", f"127.0.0.1:{provider.port}", "--fetch", "atrn", "--security", "none",
                          "--username", "us", "--password-file", self.folder / "password")
        wait_for(lambda: provider.calls, why="the provider was called")
        self.assertEqual(provider.lines[1:], [plain("us", "secret"), f"ATRN {DOMAIN}"])
        codes = [line.split(" ")[0] for line in provider.heard if line[3:4] == " "]
        self.assertEqual(codes, ["220", "250", "250", "250", "550", "550", "354", "250", "250", "550", "503", "221"])
        self.assertEqual(self.stored(ANN), [sent])

    def test_atrn_without_mail(self):
        """S95: the usual answer, and the connection ends politely."""
        provider = Provider(answer="453 You have no mail")
        self.addCleanup(provider.close)
        self.settle_fetch("--fetch-from", f"127.0.0.1:{provider.port}", "--fetch", "atrn", "--security", "none",
                          "--username", "us", "--password-file", self.folder / "password")
        wait_for(lambda: provider.calls, why="the provider was called")
        self.assertEqual(provider.lines[-1], "QUIT")
        wait_for(lambda: "453" in self.suite.log("smtpd"), why="the answer in the log")

    def test_atrn_at_its_port(self):
        """S95: 366, where no other is given."""
        # An address that no other run has.
        place = f"127.45.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
        try:
            provider = Provider(answer="453 You have no mail", address=(place, 366))
        except PermissionError:
            self.skipTest("no right to listen at port 366")
        self.addCleanup(provider.close)
        self.settle_fetch("--fetch-from", place, "--fetch", "atrn", "--security", "none", "--username", "us",
                          "--password-file", self.folder / "password")
        wait_for(lambda: provider.calls, why="the provider was called")
        self.assertEqual(provider.lines[-2:], [f"ATRN {DOMAIN}", "QUIT"])

    def test_atrn_by_cram_md5(self):
        """S95: a provider who wants CRAM-MD5, as RFC 2645 has it, hears no password."""
        secret = "tanstaaf by another name"
        with Suite({"mx": {"auth.mechanisms": ["CRAM-MD5"]}}, domain="provider.test") as provider:
            provider.add_mailbox("customer@provider.test")
            provider.tool("mailbox", "set", "customer@provider.test", "--apop-secret-stdin", text_in=secret + "\n")
            provider.tool("domain", "add", DOMAIN, "--remote", "--allow-relay", "--hold", "--dequeue-account",
                          "customer@provider.test", "--security", "none")
            self.settle_fetch("--fetch-from", f"127.0.0.1:{provider.port('mx')}", "--fetch", "atrn", "--security", "none",
                              "--username", "customer@provider.test", "--password-file", self.folder / "password",
                              password=secret)
            wait_for(lambda: "turn.asked" in provider.log("smtpd"), why="the provider was asked")
            self.assertRegex(provider.log("smtpd"), r"auth\.ok account=customer@provider\.test mechanism=CRAM-MD5 ")

    def test_etrn(self):
        """S94: on a schedule."""
        provider = Provider()
        self.addCleanup(provider.close)
        self.settle_fetch("--fetch-from", f"127.0.0.1:{provider.port}", "--fetch", "etrn")
        wait_for(lambda: provider.calls, why="the provider was called")
        self.assertEqual(provider.lines[1:], [f"ETRN {DOMAIN}", "QUIT"])

    def test_no_credentials_in_the_clear(self):
        """S95: with TLS asked for, a provider without it hears no password."""
        provider = Provider()
        self.addCleanup(provider.close)
        self.settle_fetch("--fetch-from", f"127.0.0.1:{provider.port}", "--fetch", "atrn", "--security", "tls",
                          "--username", "us", "--password-file", self.folder / "password")
        wait_for(lambda: provider.calls, why="the provider was called")
        self.assertEqual([line.split(" ")[0] for line in provider.lines], ["EHLO", "QUIT"])

    def test_both_sides(self):
        """S93, S95: one Pennypost holds, another asks, over TLS."""
        with Suite({}, domain="provider.test") as provider:
            provider.add_mailbox("customer@provider.test")
            provider.tool("domain", "add", DOMAIN, "--remote", "--allow-relay", "--hold", "--dequeue-account",
                          "customer@provider.test", "--security", "tls")
            sent = [letter(ANN), letter(BOB), b"Subject: x\r\n\r\n" + b".dots\r\n" * 100_000]
            for octets, recipient in zip(sent, (ANN, BOB, ANN), strict=True):
                with Wire(provider.port("mx")) as wire:
                    wire.reply()
                    wire.ask("EHLO client.test")
                    wire.ask(f"MAIL FROM:<{STRANGER}>")
                    self.assertRegex(wire.ask(f"RCPT TO:<{recipient}>"), rb"^250")
                    wire.ask("DATA")
                    wire.send(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                    self.assertRegex(wire.reply(), rb"^250")
            self.settle_fetch("--fetch-from", f"127.0.0.1:{provider.port('mx')}", "--fetch", "atrn", "--security", "tls",
                              "--username", "customer@provider.test", "--password-file", self.folder / "password", password=PASSWORD)
            wait_for(lambda: len(self.suite.messages(ANN)) == 2 and len(self.suite.messages(BOB)) == 1,
                     why="all of it arrived")
            wait_for(lambda: not provider.json("queue", "list"), why="nothing waits any more")
            for octets, got in zip([sent[0], sent[2]], self.mailbox(ANN), strict=True):
                self.assertTrue(got.endswith(octets))
                self.assertIn(b" with ESMTPS id ", got[:1000])


if __name__ == "__main__":
    main()
