"""A running suite that sends mail on to stubs: domains that lead to them, letters, what became of them."""

import email
import email.policy
import re

from client_case import ClientCase
from wire import Wire, wait_for

LETTER = b"From: Ann <ann@example.test>\r\nSubject: a letter\r\n\r\n.a dot\r\nthe end\r\n"
ANN = "ann@example.test"
# Attempts follow one another at once, where a test wants to see the next.
QUICK = {"delivery.retry": ["1s"], "delivery.jitter": 0}


class OutboundCase(ClientCase):
    people = (ANN,)

    def setUp(self):
        super().setUp()
        self.domains = 0

    def tearDown(self):
        # What still waits for a stub that is gone is no business of the next test.
        for row in self.queued():
            self.suite.run_tool("queue", "delete", row["id"])

    def lead(self, stub, *settings, name=None):
        """A remote domain of this test's own, to which anybody may send (S89); gives back its name."""
        self.domains += 1
        name = name or f"{self._testMethodName.removeprefix('test_').replace('_', '-')[:40]}-{self.domains}.test"
        self.suite.tool("domain", "add", name, "--remote", "--allow-relay", "--route", stub.route, *settings)
        return name

    def mail(self, *recipients, sender=ANN, letter=LETTER, options="", expect=rb"^250 2\.0\.0 (\S+)"):
        """By SMTP from outside; a recipient may have parameters behind a space. Gives back the id."""
        with Wire(self.mx) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            self.assertRegex(wire.ask(f"MAIL FROM:<{sender}>{options and ' ' + options}"), rb"^250")
            for recipient in recipients:
                address, _, parameters = recipient.partition(" ")
                self.assertRegex(wire.ask(f"RCPT TO:<{address}>{parameters and ' ' + parameters}"), rb"^250")
            self.assertRegex(wire.ask("DATA"), rb"^354")
            wire.send(re.sub(rb"(^|\r\n)\.", rb"\1..", letter) + b".\r\n")
            said = wire.reply()
            self.assertRegex(said, expect)
            wire.ask("QUIT")
            return re.match(expect, said)[1].decode()

    def queued(self, *words):
        return self.suite.json("queue", "list", *words)

    def why(self, number):
        return self.suite.json("queue", "why", number)

    def wait_left(self, number):
        """Until nobody of the message waits; the rows of what left, by recipient."""
        def left():
            rows = self.why(number)
            return rows if all(row["state"] in ("done", "failed") for row in rows) else None
        return {row["recipient"]: row for row in wait_for(left, why=f"{number} leaves the queue")}

    def wait_tried(self, number, times=1):
        """Until it was tried so often, and waits; its only row."""
        def tried():
            row = self.why(number)[0]
            waits = row["state"] == "waiting"
            return row if waits and row["last"] is not None and row["attempts"] + row.get("rounds", 0) >= times else None
        return wait_for(tried, why=f"{number} is tried")

    def wait_log(self, pattern):
        line = re.compile(pattern)
        return wait_for(lambda: line.search(self.suite.log("smtpd")), why=pattern)

    def reports(self, address=ANN, count=1):
        wait_for(lambda: len(self.suite.messages(address)) >= count, why="a report")
        return [email.message_from_bytes(self.suite.run_raw("message", "show", address, message["id"]).stdout,
                                         policy=email.policy.default) for message in self.suite.messages(address)]
