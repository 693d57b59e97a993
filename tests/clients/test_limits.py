"""How many at a time, in a connection, and a minute."""

import threading

from client_case import main
from outbound_case import ANN, QUICK, OutboundCase
from stub import Stub
from wire import Wire, wait_for


class Limits(OutboundCase):
    settings = {"mx": {**QUICK, "outbound.per_domain": 3, "outbound.connections": 4, "connections.errors": 0}}

    def mail_many(self, addresses):
        """A message each, in one connection; gives back their ids."""
        ids = []
        with Wire(self.mx) as wire:
            wire.reply()
            wire.ask("EHLO client.test")
            for address in addresses:
                self.assertRegex(wire.ask(f"MAIL FROM:<{ANN}>"), rb"^250")
                self.assertRegex(wire.ask(f"RCPT TO:<{address}>"), rb"^250")
                wire.ask("DATA")
                wire.send(b"Subject: x\r\n\r\ntext\r\n.\r\n")
                ids.append(wire.reply().split()[2].decode())
            wire.ask("QUIT")
        return ids

    def wait_empty(self, seconds=30):
        wait_for(lambda: not self.queued(), seconds, "an empty queue")

    def test_messages_in_a_connection_s45_s11(self):
        with Stub() as stub:
            domain = self.lead(stub, "--connections", "1")
            # They wait together, so that none finds an empty queue behind it.
            self.suite.tool("queue", "suspend", domain)
            self.mail_many([f"bob{i}@{domain}" for i in range(45)])
            self.suite.tool("queue", "resume", domain)
            self.wait_empty()
            self.assertEqual(len(stub.messages), 45)
            self.assertEqual(stub.connections, 3)
            self.assertEqual(stub.most_at_once, 1)

    def test_connections_to_a_destination_s62(self):
        hold = threading.Semaphore(0)
        with Stub(hold=hold) as stub:
            domain = self.lead(stub)
            self.mail(f"first@{domain}")
            wait_for(lambda: len(stub.messages) == 1)
            self.mail_many([f"bob{i}@{domain}" for i in range(150)])
            hold.release()
            wait_for(lambda: stub.open == 3, why="three at a time")
            hold.release(1000)
            self.wait_empty()
            self.assertEqual(len(stub.messages), 151)
            self.assertEqual(stub.most_at_once, 3)

    def test_connections_in_all_s60(self):
        crowd, hold = Stub(), threading.Semaphore(0)
        stubs = [Stub(hold=hold, crowd=crowd) for _ in range(7)]
        for stub in stubs:
            stub.__enter__()
            self.addCleanup(stub.__exit__)
        self.addCleanup(crowd._socket.close)
        domains = [self.lead(stub) for stub in stubs]
        self.mail_many([f"bob{i}@{domain}" for i in range(10) for domain in domains])
        wait_for(lambda: crowd.open == 4, why="four at a time")
        hold.release(1000)
        self.wait_empty()
        self.assertEqual(sum(len(stub.messages) for stub in stubs), 70)
        # Those that rest count too.
        self.assertEqual(crowd.most_at_once, 4)

    def test_rate(self):
        with Stub() as stub:
            domain = self.lead(stub, "--rate", "5")
            ids = self.mail_many([f"bob{i}@{domain}" for i in range(8)])
            wait_for(lambda: len(self.queued()) == 3 and len(stub.messages) == 5, why="five in this minute")
            row = next(row for number in ids for row in self.why(number) if row["state"] not in ("done", "failed"))
            self.assertIn("rate", str(row))
            self.assertEqual(len(stub.messages), 5)

    def test_a_peer_that_wants_less_gets_less(self):
        with Stub(most=1) as stub:
            domain = self.lead(stub)
            self.mail(f"first@{domain}")
            wait_for(lambda: len(stub.messages) == 1)
            self.mail_many([f"bob{i}@{domain}" for i in range(60)])
            self.wait_empty(60)
            self.assertEqual(len(stub.messages), 61)
            # Each that took twenty, and few that were refused.
            self.assertLess(stub.connections, 30)

    def test_one_that_stalls_holds_up_nobody_else(self):
        with Stub({"GREETING": "!stall"}) as stuck, Stub() as stub:
            slow, quick = self.lead(stuck), self.lead(stub)
            self.mail_many([f"bob{i}@{slow}" for i in range(20)])
            wait_for(lambda: stuck.stalled == 1)
            self.mail_many([f"bob{i}@{quick}" for i in range(50)])
            wait_for(lambda: len(stub.messages) == 50)
            # Nobody knows yet whether there is anybody: one asks.
            self.assertEqual(stuck.connections, 1)


if __name__ == "__main__":
    main()
