"""The directory is live: what the tool changes holds at the next log-in and at the next RCPT, and what is removed goes in its time."""

import base64
import os
import pathlib
import poplib
import random
import smtplib
import ssl
import subprocess
import sys
import time
import unittest

from wire import Wire

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import PASSWORD, Suite  # noqa: E402

ANN = "ann@example.test"
ROUNDS = int(os.environ.get("PENNYPOST_CHANGES", "300"))
BY_TOOL = 40
# MD5-crypt is quick to check: the changes are what is tested.
HASHES = {"one": "$1$saltsalt$e6Tp.CsfN0eElmaoD0tBJ.", "two": "$1$saltsalt$whmtCIIV4J7cMeMUfb0gi0"}


def auth_plain(account, password):
    return "AUTH PLAIN " + base64.b64encode(f"\0{account}\0{password}".encode()).decode()


class Live(unittest.TestCase):
    def start(self, settings=None):
        self.suite = Suite(settings or {})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        self.ports = {}

    def test_every_change_is_in_force_at_once(self):
        """By the tool: locks, passwords, removals and their opposites, in any order."""
        # A mailbox that is locked for long gathers wrong passwords meanwhile.
        self.start({"pop3": {"connections.errors": 0}, "mx": {"connections.errors": 0}, "suite": {"auth.failures": 0}})
        self.suite.add_mailbox(ANN)
        context = ssl.create_default_context(cafile=self.suite.certificate)
        pop3s, smtp = self.suite.port("pop3", tls=True), smtplib.SMTP("127.0.0.1", self.suite.port("mx"), timeout=60)
        self.addCleanup(smtp.close)
        smtp.ehlo()
        seed = int(os.environ.get("SEED", random.randrange(10**6)))
        chance = random.Random(seed)
        password, there, locked = PASSWORD, True, False
        for number in range(BY_TOOL):
            change = chance.choice(["lock", "password", "remove"]) if there else "restore"
            if change == "lock":
                locked = not locked
                self.suite.tool("mailbox", "lock" if locked else "unlock", ANN)
            elif change == "password":
                password = f"pass word {number}"
                self.suite.tool("mailbox", "passwd", ANN, "--password-stdin", text_in=password + "\n")
            else:
                there = not there
                self.suite.tool("mailbox", "restore" if there else "remove", ANN)
            what = f"SEED={seed}, change {number}: {change}, there={there}, locked={locked}"
            smtp.rset()
            smtp.mail("x@client.test")
            self.assertEqual(smtp.rcpt(ANN)[0], 250 if there else 550, what)
            self.assertEqual(self.log_in(pop3s, context, password), there and not locked, what)
            if number % 8 == 0:
                self.assertFalse(self.log_in(pop3s, context, password + "x"), what)

    def test_none_of_many_changes_is_missed(self):
        """PENNYPOST_CHANGES of them, 300 if it is not set, by another process over the store's interface: each is in force at the
        next RCPT and at the next log-in of either daemon."""
        settings = {"connections.errors": 0, "auth.require_tls": False}
        self.start({"pop3": settings, "mx": settings,
                    "suite": {"auth.failures": 0, "auth.address_failures": 0, "auth.account_failures": 0}})
        self.suite.tool("mailbox", "add", ANN, "--hash", HASHES["one"])
        seed = int(os.environ.get("SEED", random.randrange(10**6)))
        chance = random.Random(seed)
        changer = subprocess.Popen([os.environ["CHANGE_MAILBOXES"], str(self.suite.folder / "store")], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.suite.environment())
        self.addCleanup(changer.communicate)
        mx, pop3 = self.wire("mx"), self.wire("pop3")
        mx.ask("EHLO client.test")
        password, there, locked, missed = "one", True, False, []
        for number in range(ROUNDS):
            change = chance.choice(["lock", "hash", "remove"]) if there else "restore"
            if change == "lock":
                locked = not locked
                line = f"{'lock' if locked else 'unlock'} {ANN}"
            elif change == "hash":
                password = "two" if password == "one" else "one"
                line = f"hash {ANN} {HASHES[password]}"
            else:
                there = not there
                line = f"{change} {ANN}"
            print(line, file=changer.stdin, flush=True)
            self.assertEqual(changer.stdout.readline(), "done\n", line)
            seen = []
            mx.ask("MAIL FROM:<x@client.test>")
            seen.append(mx.ask(f"RCPT TO:<{ANN}>").startswith(b"250") == there)
            mx.ask("RSET")
            for tried in HASHES:
                may = there and not locked and tried == password
                # Who is in by AUTH stays in, so it takes a session for each that gets in.
                got_in = mx.ask(auth_plain(ANN, tried)).startswith(b"235")
                seen.append(got_in == may)
                if got_in:
                    mx.ask("QUIT")
                    mx = self.wire("mx")
                    mx.ask("EHLO client.test")
                pop3.ask(f"USER {ANN}")
                got_in = pop3.ask(f"PASS {tried}").startswith(b"+OK")
                seen.append(got_in == may)
                if got_in:
                    pop3.ask("QUIT")
                    pop3 = self.wire("pop3")
            if not all(seen):
                missed.append((number, line, seen))
        self.assertEqual(missed, [], f"SEED={seed}")

    def wire(self, server):
        if server not in self.ports:
            self.ports[server] = self.suite.port(server)
        wire = Wire(self.ports[server], timeout=60)
        self.addCleanup(wire.close)
        wire.reply()
        return wire

    def log_in(self, port, context, password):
        pop = poplib.POP3_SSL("localhost", port, context=context, timeout=60)
        try:
            pop.user(ANN)
            pop.pass_(password)
            pop.quit()
            return True
        except poplib.error_proto:
            return False
        finally:
            pop.close()

    def test_a_removed_mailbox_is_purged_when_its_time_is_over(self):
        self.start({"suite": {"store.keep_removed": "3s"}})
        self.suite.add_mailbox(ANN)
        self.suite.tool("mailbox", "remove", ANN)
        self.suite.tool("mailbox", "restore", ANN)
        self.suite.tool("mailbox", "remove", ANN)
        deadline = time.monotonic() + 30
        while self.suite.json("mailbox", "list", "--removed"):
            self.assertLess(time.monotonic(), deadline, "it was never purged")
            time.sleep(0.2)
        self.assertEqual(self.suite.run_tool("mailbox", "restore", ANN).returncode, 1)
        # The line follows the commit that everybody sees at once.
        while f"mailbox={ANN}" not in self.suite.log("pop3d"):
            self.assertLess(time.monotonic(), deadline, "the log does not say that it was purged")
            time.sleep(0.05)
        self.suite.add_mailbox(ANN)

    def test_messages_expire_once_they_were_retrieved(self):
        """Of two, the one that was read, by a session that ended well, goes when its time is over."""
        self.start({"pop3": {"pop3.expire": "2s"}})
        self.suite.add_mailbox(ANN)
        with smtplib.SMTP("127.0.0.1", self.suite.port("mx"), timeout=60) as smtp:
            for subject in ("one", "two"):
                smtp.sendmail("x@client.test", [ANN], f"Subject: {subject}\r\n\r\nx\r\n")
        first, second = (message["id"] for message in self.suite.messages(ANN))
        context = ssl.create_default_context(cafile=self.suite.certificate)
        for number, end in ((2, "close"), (1, "quit")):
            pop = poplib.POP3_SSL("localhost", self.suite.port("pop3", tls=True), context=context, timeout=60)
            self.assertEqual(pop.capa()["EXPIRE"], ["0"])   # whole days
            pop.user(ANN)
            pop.pass_(PASSWORD)
            pop.retr(number)
            getattr(pop, end)()
        deadline = time.monotonic() + 30
        while len(left := self.suite.messages(ANN)) == 2:
            self.assertLess(time.monotonic(), deadline, "it never went")
            time.sleep(0.2)
        self.assertEqual([message["id"] for message in left], [second])
        while f"ids={first}" not in self.suite.log("pop3d"):
            self.assertLess(time.monotonic(), deadline, "the log does not say that it went")
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
