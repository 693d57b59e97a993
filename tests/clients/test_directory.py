"""The directory is live: what the tool changes holds at the next log-in and at the next RCPT, and what is removed goes in its time."""

import os
import pathlib
import poplib
import random
import smtplib
import ssl
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import PASSWORD, Suite  # noqa: E402

ANN = "ann@example.test"
ROUNDS = int(os.environ.get("PENNYPOST_CHANGES", "60"))


class Live(unittest.TestCase):
    def start(self, settings=None):
        self.suite = Suite(settings or {})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)

    def test_every_change_is_in_force_at_once(self):
        """PENNYPOST_CHANGES of them, 60 if it is not set: locks, passwords, removals and their opposites, in any order."""
        self.start({"pop3": {"connections.errors": 0}, "mx": {"connections.errors": 0}})
        self.suite.add_mailbox(ANN)
        context = ssl.create_default_context(cafile=self.suite.certificate)
        pop3s, smtp = self.suite.port("pop3", tls=True), smtplib.SMTP("127.0.0.1", self.suite.port("mx"), timeout=60)
        self.addCleanup(smtp.close)
        smtp.ehlo()
        seed = int(os.environ.get("SEED", random.randrange(10**6)))
        chance = random.Random(seed)
        password, there, locked = PASSWORD, True, False
        for number in range(ROUNDS):
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
