"""Filters (LEGACY S97): what they are told at each step, what each of their answers does, and what becomes of mail when one
stalls, lies, dies or talks nonsense. The filters are the test's own; test_milter_programs.py has other people's."""

import base64
import contextlib
import json
import socket
import struct

import fake_filter
from client_case import ClientCase, main
from fake_filter import (ACCEPT, CHOOSE_MACROS, CONTINUE, DISCARD, HANG_UP, REJECT, SHUTDOWN, STALL, TEMPFAIL, FakeFilter,
                         negotiated, packet, say, text)
from letters import STRANGER
from suite import DOMAIN, PASSWORD, Raw
from wire import Wire, wait_for

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"
LETTER = b"From: x@client.test\r\nSubject: one\r\nX-Two: a\r\n\tb\r\n\r\nHello,\r\n.dot\r\nbye\r\n"


class FilterCase(ClientCase):
    """One suite, which is told by a reload which filters to ask."""

    settings = {"lmtp": {}}
    people = (ANN, BOB)

    def begin(self, *filters, server="mx", settings=None, **milters):
        """From now on `server` asks these filters, in this order, and the mailboxes are empty."""
        places = [each.place if isinstance(each, FakeFilter) else each for each in filters]
        configuration = {"lmtp": {}, server: {"milters.use": places, **{f"milters.{key}": value for key, value in milters.items()}}}
        for name, more in (settings or {}).items():
            configuration.setdefault(name, {}).update(more)
        self.suite.write_config(configuration)
        self.suite.tool("reload")
        self.port = self.suite.port(server)
        self.log_before = len(self.suite.log("smtpd"))
        for address in self.people:
            self.empty(address)

    def log(self):
        return self.suite.log("smtpd")[self.log_before:]

    @contextlib.contextmanager
    def session(self, hello="EHLO client.test"):
        with Wire(self.port) as wire:
            self.greeting = wire.reply()
            if hello:
                self.hello = wire.ask(hello)
            yield wire

    def offer(self, wire, letter=LETTER, sender=STRANGER, to=(ANN,)):
        """From MAIL to the reply to the message; the replies."""
        replies = [wire.ask(f"MAIL FROM:<{sender}>")]
        replies += [wire.ask(f"RCPT TO:<{each}>") for each in to]
        replies.append(wire.ask("DATA"))
        if replies[-1].startswith(b"354"):
            wire.send(letter.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            replies.append(wire.reply())
        return replies

    def send(self, letter=LETTER, **more):
        """The reply to a message in a session of its own; all before went well."""
        with self.session() as wire:
            replies = self.offer(wire, letter, **more)
            wire.ask("QUIT")
        for reply in replies[:-1]:
            self.assertRegex(reply, rb"^(250|354)")
        return replies[-1].decode()

    def held(self, address=ANN):
        """What the mailbox holds, without what we put in front."""
        return [message.split(b"+0000\r\n", 1)[1] for message in self.mailbox(address)]

    def assert_taken(self, reply):
        self.assertRegex(reply if isinstance(reply, str) else reply.decode(), r"^250 2\.0\.0 \w{13} ")

    def logged(self, words):
        return wait_for(lambda: words in self.log(), why=words)


class Told(FilterCase):
    def test_everything_in_order_with_macros(self):
        with FakeFilter() as one:
            self.begin(one)
            with self.session() as wire:
                wire.ask("NONSENSE here")
                replies = self.offer(wire, to=(ANN, BOB))
                self.assert_taken(replies[-1])
                wire.ask("QUIT")
            wait_for(lambda: one.heard and one.heard[-1][0] == b"Q", why="QUIT")
            self.assertEqual(one.commands(), b"CHUMRRTLLLNBEQ")
            version, actions, habits = one.offered
            self.assertEqual((version, actions), (6, 0x1FF))
            self.assertEqual(habits & 0x7FF, 0x7FF & ~0x800)
            host, rest = one.told(b"C")[0].split(b"\0", 1)
            self.assertEqual(host, b"[127.0.0.1]")
            self.assertEqual((rest[:1], rest[3:]), (b"4", b"127.0.0.1\0"))
            port = struct.unpack("!H", rest[1:3])[0]
            self.assertEqual(one.told(b"H"), [b"client.test\0"])
            self.assertEqual(one.told(b"U"), [b"NONSENSE here\0"])
            self.assertEqual(one.told(b"M"), [f"<{STRANGER}>\0".encode()])
            self.assertEqual(one.told(b"R"), [f"<{ANN}>\0".encode(), f"<{BOB}>\0".encode()])
            self.assertEqual(one.told(b"L"), [b"From\0x@client.test\0", b"Subject\0one\0", b"X-Two\0a\n\tb\0"])
            self.assertEqual(one.told(b"B"), [b"Hello,\r\n.dot\r\nbye\r\n"])
            connect = one.macros[b"C"]
            self.assertEqual((connect["j"], connect["{daemon_name}"], connect["{client_addr}"], connect["_"]),
                             ("mx.example.test", "mx", "127.0.0.1", "[127.0.0.1]"))
            self.assertEqual((connect["{client_port}"], connect["{client_name}"]), (str(port), "unknown"))
            self.assertEqual(connect["{daemon_port}"], str(self.port))
            self.assertEqual((one.macros[b"M"]["{mail_addr}"], one.macros[b"M"]["{mail_host}"]), (STRANGER, "client.test"))
            self.assertEqual((one.macros[b"R"]["{rcpt_addr}"], one.macros[b"R"]["{rcpt_mailer}"]), (BOB, "local"))
            message_id = replies[-1].split()[2].decode()
            self.assertEqual({command: one.macros[command]["i"] for command in (b"T", b"N", b"E")},
                             {command: message_id for command in (b"T", b"N", b"E")})
            self.assertEqual(self.held(), [LETTER])

    def test_parameters_tls_and_log_in(self):
        with FakeFilter() as one:
            self.begin(one, server="submission")
            with self.session() as wire:
                wire.ask("STARTTLS")
                wire.secure(self.context)
                wire.ask("EHLO again.test")
                wire.ask("AUTH PLAIN " + base64.b64encode(f"\0{ANN}\0{PASSWORD}".encode()).decode())
                self.assertRegex(wire.ask(f"MAIL FROM:<{ANN}> SIZE=100 BODY=8BITMIME"), rb"^250")
                self.assertRegex(wire.ask("RSET"), rb"^250")
                wire.ask("QUIT")
            wait_for(lambda: len(one.commands()) >= 5, why="the end of what RSET threw away")
            self.assertEqual(one.commands()[:5], b"CHHMA")
            self.assertEqual(one.told(b"M"), [f"<{ANN}>\0SIZE=100\0BODY=8BITMIME\0".encode()])
            self.assertRegex(one.macros[b"H"]["{tls_version}"], r"^TLSv1\.")
            self.assertEqual({key: one.macros[b"M"][key] for key in ("{auth_type}", "{auth_authen}")},
                             {"{auth_type}": "PLAIN", "{auth_authen}": ANN})
            self.assertGreater(int(one.macros[b"H"]["{cipher_bits}"]), 100)
            self.assertNotIn(PASSWORD.encode(), b"".join(data for _, data in one.heard))

    def test_what_it_does_not_want_is_not_sent(self):
        with FakeFilter(habits=fake_filter.ONLY_THE_END) as one:
            self.begin(one)
            self.assert_taken(self.send())
            self.assertEqual(one.commands().removesuffix(b"Q"), b"E")

    def test_silent_steps_are_not_waited_for(self):
        with FakeFilter(habits=fake_filter.SILENT) as one:
            self.begin(one, command_timeout="20s")
            self.assert_taken(self.send())
            self.assertEqual(one.commands().removesuffix(b"Q"), b"CHMRTLLLNBE")

    def test_its_own_macros(self):
        chosen = struct.pack("!I", 2) + text("{client_addr} j {nothing_known}")
        with FakeFilter(negotiation=negotiated(CHOOSE_MACROS, 0, 6, chosen)) as one:
            self.begin(one)
            self.assert_taken(self.send())
            # {client_addr} is known from the connection on.
            self.assertEqual(one.macros[b"M"], {"{client_addr}": "127.0.0.1", "j": "mx.example.test"})

    def test_leading_space_and_version_2(self):
        with FakeFilter(habits=fake_filter.LEADING_SPACE,
                        script={b"E": packet(b"h", text("X-New", "  wide")) + packet(b"c")}) as one:
            self.begin(one)
            self.assert_taken(self.send())
            self.assertEqual(one.told(b"L")[1], b"Subject\0 one\0")
            self.assertIn(b"X-New:  wide\r\n\r\nHello", self.held()[0])
        with FakeFilter(negotiation=negotiated(0x3F, 0, 2)) as old:
            self.begin(old)
            with self.session() as wire:
                wire.ask("NONSENSE")
                self.assert_taken(self.offer(wire)[-1])
            self.assertEqual(old.commands().removesuffix(b"Q"), b"CHMRLLLNBE")

    def test_long_body_in_pieces_until_it_has_enough(self):
        body = b"".join(b"%07d .\r\n.\r\n" % i for i in range(40_000))
        letter = b"Subject: long\r\n\r\n" + body
        with FakeFilter() as all_of_it, FakeFilter(habits=fake_filter.SKIP, script={b"B": b"s"}) as enough:
            self.begin(all_of_it, enough)
            self.assert_taken(self.send(letter))
            self.assertEqual(b"".join(all_of_it.told(b"B")), body)
            self.assertLessEqual(max(map(len, all_of_it.told(b"B"))), 65535)
            self.assertEqual(len(enough.told(b"B")), 1)
            self.assertEqual(self.held(), [letter])

    def test_chunks(self):
        with FakeFilter() as one:
            self.begin(one)
            with self.session() as wire:
                wire.ask(f"MAIL FROM:<{STRANGER}>")
                wire.ask(f"RCPT TO:<{ANN}>")
                wire.send(b"BDAT 20\r\n" + LETTER[:20])
                self.assertRegex(wire.reply(), rb"^250")
                wire.send(b"BDAT %d LAST\r\n" % len(LETTER[20:]) + LETTER[20:])
                self.assert_taken(wire.reply())
            self.assertEqual(one.commands().removesuffix(b"Q"), b"CHMRTLLLNBE")
            self.assertEqual(self.held(), [LETTER])

    def test_by_name(self):
        with FakeFilter() as one:
            self.begin(f"inet:{one.port}@filter.test", when_gone="reject",
                       settings={"suite": {"dns.hosts": Raw('{ "filter.test" = ["127.0.0.9", "127.0.0.1"] }')}})
            self.assert_taken(self.send())
            self.assertEqual(one.connections, 1)
            self.begin("inet:25@missing.test", when_gone="reject",
                       settings={"suite": {"dns.hosts": Raw('{ "missing.test" = [] }')}})
            with self.session() as wire:
                self.assertRegex(self.offer(wire)[0], rb"^554 5\.3\.0")

    def test_unix_socket_and_lmtp(self):
        with FakeFilter(script={b"E": [REJECT, CONTINUE]}, path=self.folder / "filter") as one:
            self.begin(one, server="lmtp")
            with self.session("LHLO client.test") as wire:
                replies = self.offer(wire, to=(ANN, BOB))
                self.assertRegex(replies[-1], rb"^550 5\.7\.1 refused")
                self.assertRegex(wire.reply(), rb"^550 5\.7\.1 refused")
                replies = self.offer(wire, to=(ANN, BOB))
                self.assert_taken(replies[-1])
                self.assert_taken(wire.reply())
            self.assertEqual((len(self.mailbox(ANN)), len(self.mailbox(BOB))), (1, 1))
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(30)
                peer.connect(f"{self.suite.folder}/run/lmtp")
                self.assertEqual(peer.recv(4), b"220 ")
            wait_for(lambda: b"localhost\0U" in one.told(b"C"), why="a client without an address")


class Answers(FilterCase):
    def test_connection_refused(self):
        for answer, greeting, mail in ((REJECT, rb"^554 5\.7\.1 refused", rb"^550 5\.7\.1 refused"),
                                       (say("550 5.7.0 go away 100%%"), rb"^554 5\.7\.0 go away 100%\r\n",
                                        rb"^550 5\.7\.0 go away 100%\r\n")):
            with FakeFilter(script={b"C": answer}) as one:
                self.begin(one)
                with self.session() as wire:
                    self.assertRegex(self.greeting, greeting)
                    self.assertRegex(self.hello, rb"^250")
                    self.assertRegex(wire.ask(f"MAIL FROM:<{STRANGER}>"), mail)
                    wire.send(b"BDAT 6 LAST\r\nQUIT\r\n")
                    self.assertRegex(wire.reply(), mail)
                    self.assertRegex(wire.ask("QUIT"), rb"^221")
        for answer in (TEMPFAIL, SHUTDOWN, say("421 4.7.0 later")):
            with FakeFilter(script={b"C": answer}) as one:
                self.begin(one)
                with Wire(self.port) as wire:
                    self.assertRegex(wire.rest(), rb"^421 4\.[37]\.\d [^\n]*\n$")

    def test_refused_at_each_step(self):
        steps = {b"H": 0, b"M": 1, b"R": 2, b"T": 3, b"L": 4, b"N": 4, b"B": 4, b"E": 4}
        answers = ((REJECT, rb"^550 5\.7\.1 refused"), (TEMPFAIL, rb"^451 4\.7\.1 not now"),
                   (say("554 5.6.1 no such\tthing"), rb"^554 5\.6\.1 no such\tthing\r\n"),
                   (say("450-4.1.1 one\r\n450 4.1.1 two"), rb"^450-4\.1\.1 one\r\n450 4\.1\.1 two\r\n"))
        with FakeFilter() as one:
            self.begin(one)
            for step, place in steps.items():
                for answer, want in answers:
                    one.script = {step: [answer, CONTINUE]}
                    one.forget()
                    with self.session() as wire:
                        replies = [self.hello] + self.offer(wire)
                        self.assertRegex(replies[place], want, (step, answer))
                        if step == b"H":  # the whole session
                            self.assertRegex(replies[1], want)
                            continue
                        for before in replies[:place]:
                            self.assertRegex(before, rb"^(250|354)")
                        # The next one goes.
                        wire.ask("RSET")
                        self.assert_taken(self.offer(wire)[-1])
            self.assertEqual(len(self.mailbox(ANN)), (len(steps) - 1) * len(answers))

    def test_one_recipient_refused(self):
        with FakeFilter(script={b"R": [REJECT, CONTINUE]}) as one:
            self.begin(one)
            with self.session() as wire:
                replies = self.offer(wire, to=(ANN, BOB))
                self.assertRegex(replies[1], rb"^550")
                self.assert_taken(replies[-1])
            self.assertEqual((len(self.mailbox(ANN)), len(self.mailbox(BOB))), (0, 1))

    def test_closes(self):
        for step in (b"H", b"M", b"R", b"T", b"E"):
            with FakeFilter(script={step: SHUTDOWN}) as one:
                self.begin(one)
                with Wire(self.port) as wire:
                    wire.send(f"EHLO c.test\r\nMAIL FROM:<{STRANGER}>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n".encode())
                    if step == b"E":
                        wire.until(b"354 ")
                        wire.send(LETTER.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                    self.assertRegex(wire.rest(), rb"421 4\.3\.0 mx\.example\.test not now, closing\r\n$")

    def test_discarded(self):
        with FakeFilter() as one:
            self.begin(one)
            for step in (b"M", b"R", b"T", b"L", b"N", b"B", b"E"):
                one.script = {step: [DISCARD, CONTINUE]}
                one.forget()
                with self.session() as wire:
                    self.assert_taken(self.offer(wire)[-1])
                    self.assertEqual(self.mailbox(ANN), [], step)
                    self.assert_taken(self.offer(wire)[-1])
                self.assertEqual(len(self.mailbox(ANN)), 1)
                self.empty(ANN)
            self.logged("message.discarded")

    def test_accepted_early(self):
        """No further looks: at the message, or from the greeting on at the whole connection."""
        for step, told in ((b"C", b"CQ"), (b"H", b"CHQ"), (b"M", b"CHMMQ")):
            with FakeFilter(script={step: ACCEPT}) as one, FakeFilter(habits=fake_filter.ONLY_THE_END) as other:
                self.begin(one, other)
                with self.session() as wire:
                    self.assert_taken(self.offer(wire)[-1])
                    self.assert_taken(self.offer(wire)[-1])
                    wire.ask("QUIT")
                wait_for(lambda: one.commands().endswith(b"Q"), why="QUIT")
                self.assertEqual(one.commands(), told)
                self.assertEqual(other.told(b"E"), [b"", b""])

    def test_accepted_within_a_message(self):
        """The first time it was told all at once, and nothing is known of where it stands; then it is asked step by step."""
        with FakeFilter(script={b"L": ACCEPT}) as one, FakeFilter(habits=fake_filter.ONLY_THE_END) as other:
            self.begin(one, other)
            with self.session() as wire:
                for _ in range(3):
                    self.assert_taken(self.offer(wire)[-1])
                wire.ask("QUIT")
            wait_for(lambda: one.commands().endswith(b"MRTLMRTLQ"), why="one field of each message, and QUIT")
            self.assertEqual(one.connections, 2)
            self.assertEqual(other.told(b"E"), [b"", b"", b""])
            self.assertEqual(len(self.mailbox(ANN)), 3)

    def test_progress(self):
        with FakeFilter(script={b"E": packet(b"p") + packet(b"p") + packet(b"c")}) as one:
            self.begin(one)
            self.assert_taken(self.send())


class Changes(FilterCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Nobody answers there: mail for it waits.
        cls.suite.tool("domain", "add", "away.test", "--remote", "--route", "[127.0.0.1]:1")

    def change(self, *packets, letter=LETTER, to=(ANN,), **more):
        with FakeFilter(script={b"E": b"".join(packets) + packet(b"c")}, **more) as one:
            self.begin(one)
            reply = self.send(letter, to=to)
            self.assert_taken(reply)
            return reply.split()[2]

    @staticmethod
    def at(index):
        return struct.pack("!I", index)

    def test_header(self):
        message_id = self.change(
            packet(b"h", text("X-Last", "one\n two\nthree")),
            packet(b"i", self.at(1) + text("X-First", "behind our Received")),
            packet(b"i", self.at(0) + text("X-Top", "in front of it")),
            packet(b"m", self.at(1) + text("subject", "other")),
            packet(b"m", self.at(1) + text("X-Two", "")),
            packet(b"m", self.at(3) + text("X-Three", "not there, so added")),
            packet(b"m", self.at(1) + text("X-Nothing", "")),
            packet(b"h", text(".dot", "stuffed")))
        message = self.mailbox(ANN)[0]
        self.assertRegex(message, rb"(?s)^Return-Path: [^\n]*\nDelivered-To: [^\n]*\nX-Top: in front of it\r\nReceived: ")
        self.assertIn(b"X-First: behind our Received\r\nFrom: x@client.test\r\nSubject: other\r\n"
                      b"X-Last: one\r\n two\r\n\tthree\r\nX-Three: not there, so added\r\n.dot: stuffed\r\n\r\n"
                      b"Hello,\r\n.dot\r\nbye\r\n", message)
        self.assertIn(message_id.encode(), message)
        self.assertEqual(len(self.suite.messages(ANN)), 1)

    def test_body_short_and_long(self):
        for body, letter in ((b"new\r\n.\r\nbody", LETTER), (b"x" * 60 + b"\r\n", b"Subject: only a header\r\n"),
                             (b"".join(b"%09d\n.\r\n" % i for i in range(100_000)), LETTER)):
            pieces = [packet(b"b", body[at:at + 50_000]) for at in range(0, len(body), 50_000)]
            self.change(*pieces, packet(b"h", text("X-New", "yes")), letter=letter)
            expected = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            if not expected.endswith(b"\r\n"):
                expected += b"\r\n"
            header, got = self.held()[0].split(b"\r\n\r\n", 1)
            self.assertTrue(header.endswith(b"X-New: yes"), header)
            self.assertEqual(got, expected)

    def test_header_of_a_long_message(self):
        """Longer than what is kept in memory: its file is written anew."""
        body = b"".join(b"%07d .\r\n.\r\n" % i for i in range(100_000))
        self.change(packet(b"i", self.at(1) + text("X-New", "yes")), letter=b"Subject: long\r\n\r\n" + body)
        self.assertEqual(self.held(), [b"X-New: yes\r\nSubject: long\r\n\r\n" + body])

    def test_each_sees_what_the_one_before_left(self):
        with FakeFilter(script={b"E": packet(b"h", text("X-One", "1")) + packet(b"b", b"other\r\n") + packet(b"c")}) as one, \
                FakeFilter(script={b"E": packet(b"m", self.at(1) + text("X-One", "2")) + packet(b"c")}) as two:
            self.begin(one, two)
            self.assert_taken(self.send())
            self.assertEqual(two.told(b"L")[-1], b"X-One\x001\0")
            self.assertEqual(two.told(b"B"), [b"other\r\n"])
            self.assertTrue(self.held()[0].endswith(b"X-One: 2\r\n\r\nother\r\n"))

    def test_envelope(self):
        self.change(packet(b"e", text("<other@sender.test>")), packet(b"+", text(f"<{BOB}>")), packet(b"-", text(f"<{ANN}>")))
        self.assertEqual(self.mailbox(ANN), [])
        self.assertRegex(self.mailbox(BOB)[0], rb"^Return-Path: <other@sender\.test>\r\nDelivered-To: " + BOB.encode())

    def test_no_recipient_is_left(self):
        self.change(packet(b"-", text(ANN)))
        self.assertEqual(self.mailbox(ANN), [])
        self.logged("filters left no recipient")

    def test_recipients_that_lead_to_one_mailbox(self):
        with FakeFilter(script={b"E": packet(b"-", text(f"<boss@{DOMAIN}>")) + packet(b"c")}) as one:
            self.begin(one)
            self.suite.tool("alias", "add", f"boss@{DOMAIN}", ANN, BOB)
            self.addCleanup(self.suite.tool, "alias", "remove", f"boss@{DOMAIN}")
            self.assert_taken(self.send(to=(f"boss@{DOMAIN}", ANN)))
        self.assertEqual((len(self.mailbox(ANN)), len(self.mailbox(BOB))), (1, 0))

    def test_addresses_that_are_none(self):
        self.change(packet(b"+", text("<nobody here>")), packet(b"2", text(f"<missing@{DOMAIN}>", "NOTIFY=NEVER")),
                    packet(b"e", text("<@>")))
        self.assertRegex(self.mailbox(ANN)[0], rf"^Return-Path: <{STRANGER}>".encode())
        wait_for(lambda: self.log().count("filter.bad_address") == 3, why="each is named")

    def test_null_sender(self):
        self.change(packet(b"e", text("<>")))
        self.assertRegex(self.mailbox(ANN)[0], rb"^Return-Path: <>\r\n")

    def queue(self):
        return json.loads(self.suite.tool("queue", "list", "--json"))

    def test_quarantine_and_release(self):
        message_id = self.change(packet(b"q", text("looks odd")), packet(b"2", text("<far@away.test>", "NOTIFY=NEVER")))
        self.assertEqual(self.mailbox(ANN), [])
        rows = {row["recipient"]: row for row in self.queue()}
        self.assertEqual(set(rows), {ANN, "far@away.test"})
        for row in rows.values():
            self.assertEqual((row["state"], row["reason"], row["id"]), ("held", "looks odd", message_id))
        self.logged("message.held")
        # It stays so over a restart.
        self.suite.stop("smtpd")
        self.suite.start("smtpd")
        self.suite.tool("queue", "delete", "--recipient", "far@away.test")
        self.suite.tool("queue", "release", message_id)
        wait_for(lambda: self.suite.messages(ANN), why="what was released is delivered")
        self.assertTrue(self.mailbox(ANN)[0].endswith(LETTER))

    def quarantine(self, *to, sender=STRANGER):
        """Held, and released by a person; the recipients that were held."""
        with FakeFilter(script={b"E": packet(b"q", text("looks odd")) + packet(b"c")}) as one:
            self.begin(one)
            reply = self.send(b"To: " + ANN.encode() + b"\r\n" + LETTER, to=to, sender=sender)
            self.assert_taken(reply)
        message_id = reply.split()[2]
        held = sorted(row["recipient"] for row in self.queue() if row["id"] == message_id)
        self.assertEqual((self.mailbox(ANN), self.mailbox(BOB)), ([], []))
        self.suite.tool("queue", "release", message_id)
        wait_for(lambda: not [row for row in self.queue() if row["id"] == message_id and row["recipient"].endswith(DOMAIN)],
                 why="it goes on")
        return held

    def assert_one_for_elsewhere(self, address):
        """It waits, and once; from now on it does not."""
        rows = [row["recipient"] for row in self.queue() if row["recipient"].endswith("away.test")]
        self.suite.tool("queue", "delete", "--recipient", address)
        self.assertEqual(rows, [address])

    def test_released_mail_is_forwarded_once(self):
        self.suite.tool("mailbox", "set", ANN, "--forward", BOB, "x@away.test", "--keep-copy")
        self.addCleanup(self.suite.tool, "mailbox", "set", ANN, "--no-forward")
        self.assertEqual(self.quarantine(ANN.upper()), [ANN.upper().replace(DOMAIN.upper(), DOMAIN)])
        self.assertEqual((len(self.mailbox(ANN)), len(self.mailbox(BOB))), (1, 1))
        self.assert_one_for_elsewhere("x@away.test")

    def test_released_mail_that_leads_to_somebody_twice_arrives_once(self):
        group = f"boss@{DOMAIN}"
        self.suite.tool("alias", "add", group, ANN, BOB, "x@away.test", "--owner", BOB)
        self.addCleanup(self.suite.tool, "alias", "remove", group)
        self.assertEqual(self.quarantine(group, ANN, group), [ANN, group])
        self.assertEqual((len(self.mailbox(ANN)), len(self.mailbox(BOB))), (1, 1))
        # What comes back is the owner's.
        self.suite.tool("queue", "bounce", "--recipient", "x@away.test")
        wait_for(lambda: len(self.suite.messages(BOB)) == 2, why="the owner is told")
        self.assertIn(b"Final-Recipient: rfc822;x@away.test", self.mailbox(BOB)[1])

    def test_copies_of_what_is_held_are_held_and_released_with_it(self):
        self.suite.tool("domain", "set", DOMAIN, "--journal", BOB)
        self.addCleanup(self.suite.tool, "domain", "set", DOMAIN, "--journal", "none")
        self.assertEqual(self.quarantine(ANN), [ANN, BOB])
        self.assertEqual((len(self.mailbox(ANN)), len(self.mailbox(BOB))), (1, 1))
        self.suite.tool("domain", "set", DOMAIN, "--journal", "archive@away.test")
        self.assertEqual(self.quarantine(ANN), [ANN, "archive@away.test"])
        self.assertEqual(len(self.mailbox(ANN)), 1)
        self.assert_one_for_elsewhere("archive@away.test")

    def test_released_mail_is_answered_automatically(self):
        self.suite.tool("mailbox", "set", ANN, "--auto-reply-subject", "Away")
        self.addCleanup(self.suite.tool, "mailbox", "set", ANN, "--no-auto-reply")
        self.quarantine(ANN, sender=BOB)
        wait_for(lambda: self.suite.messages(BOB), why="an answer")
        self.assertIn(b"Subject: Away\r\n", self.mailbox(BOB)[0])

    def test_copies_are_not_made_for_a_recipient_that_is_gone(self):
        self.suite.tool("domain", "add", "other.test")
        self.suite.add_mailbox("eve@other.test")
        self.suite.tool("domain", "set", DOMAIN, "--journal", BOB)
        self.addCleanup(self.suite.tool, "domain", "set", DOMAIN, "--journal", "none")
        self.change(packet(b"-", text(ANN)), to=(ANN, "eve@other.test"))
        self.assertEqual(len(self.suite.messages("eve@other.test")), 1)
        self.assertEqual(self.mailbox(BOB), [])

    def test_a_group_without_sender_has_no_owner_to_tell(self):
        group = f"boss@{DOMAIN}"
        self.suite.tool("alias", "add", group, ANN, "x@away.test", "--owner", BOB)
        self.addCleanup(self.suite.tool, "alias", "remove", group)
        self.change(packet(b"e", text("<>")), to=(group,))
        self.suite.tool("queue", "bounce", "--recipient", "x@away.test")
        wait_for(lambda: "held" in [row["state"] for row in self.queue() if row["recipient"] == "x@away.test"],
                 why="badmail: nobody is to be told")
        self.assertEqual(self.mailbox(BOB), [])
        self.suite.tool("queue", "delete", "--recipient", "x@away.test")


class Gone(FilterCase):
    """What a filter does wrong costs a message at the most what when_gone says, and never the message."""

    WANT = {"tempfail": rb"^451 4\.3\.0 mail cannot be looked at", "reject": rb"^554 5\.3\.0 mail cannot be looked at"}

    def assert_gone(self, replies, when_gone, why=""):
        if when_gone == "accept":
            self.assert_taken(replies[-1])
        else:
            refused = next(reply for reply in replies if not reply.startswith((b"250", b"354")))
            self.assertRegex(refused, self.WANT[when_gone], why)

    def test_nobody_there(self):
        for when_gone in ("accept", "tempfail", "reject"):
            for place in ("inet:1@127.0.0.1", "unix:/nonexistent/socket"):
                self.begin(place, when_gone=when_gone)
                with self.session() as wire:
                    self.assertRegex(self.greeting, rb"^220")
                    self.assertRegex(self.hello, rb"^250")
                    self.assert_gone(self.offer(wire), when_gone)
                self.logged("filter.gone")

    def test_stalls(self):
        with FakeFilter(negotiation=STALL) as one:
            self.begin(one, connect_timeout="1s")
            with self.session() as wire:
                self.assert_gone(self.offer(wire), "tempfail")
        with FakeFilter() as one:
            self.begin(one, command_timeout="1s", content_timeout="1s")
            for step in (b"H", b"R", b"L", b"B", b"E"):
                one.script = {step: [STALL, CONTINUE]}
                one.forget()
                with self.session() as wire:
                    replies = self.offer(wire)
                    if step == b"H":  # it is mail that filters are wanted for, and then it was back
                        self.assert_taken(replies[-1])
                        continue
                    self.assert_gone(replies, "tempfail", step)
                    wire.ask("RSET")
                    self.assert_taken(self.offer(wire)[-1])

    def test_progress_and_changes_without_end(self):
        endless = {"progress": packet(b"p") * 1000, "changes": packet(b"h", text("X-New", "")) * 1000,
                   "a body": packet(b"b", b"y" * 60_000) * 40}
        for name, answer in endless.items():
            with FakeFilter(script={b"E": answer}, endless=True) as one:
                self.begin(one, content_timeout="1s", settings={"mx": {"messages.size": 0}})
                with self.session() as wire:
                    self.assert_gone(self.offer(wire), "tempfail", name)
        self.assertEqual(self.mailbox(ANN), [])

    def test_one_session_at_a_time_looks_for_a_filter_that_says_nothing(self):
        with FakeFilter(negotiation=STALL) as one:
            self.begin(one, connect_timeout="1s")
            for _ in range(3):
                with self.session() as wire:
                    self.assert_gone(self.offer(wire), "tempfail")
            self.assertEqual(one.connections, 1)

    def test_breaks_off_or_the_protocol(self):
        wrong = {
            "hangs up": HANG_UP, "nonsense": b"GET / HTTP/1.1\r\n\r\n", "no command": b"\0\0\0\0",
            "too long": struct.pack("!I", 0x7FFFFFFF) + b"c", "unknown": packet(b"Z"), "no reason": packet(b"q"),
            "a reply without a code": say("hello"), "two codes": say("550-5.1.1 a\r\n450 5.1.1 b"), "2xx": say("250 fine"),
        }
        at_the_end = {
            "half a change": packet(b"b", b"evil\r\n") + packet(b"h", text("X-Evil", "1")),
            "a name that is none": packet(b"h", text("X Evil", "1")), "no value": packet(b"h", b"X-Evil\0"),
            "no index": packet(b"i", b"\0\0"), "no address": packet(b"+", b"\0"),
        }
        for when_gone in ("tempfail", "accept"):
            with FakeFilter() as one:
                self.begin(one, when_gone=when_gone, content_timeout="1s")
                count = 0
                for step in (b"R", b"L", b"E"):
                    for name, answer in {**wrong, **(at_the_end if step == b"E" else {})}.items():
                        one.script = {step: [answer, CONTINUE]}
                        one.forget()
                        with self.session() as wire:
                            self.assert_gone(self.offer(wire), when_gone, (step, name))
                            wire.ask("RSET")
                            # It was looked for again.
                            self.assert_taken(self.offer(wire)[-1])
                            count += 2 if when_gone == "accept" else 1
                messages = self.held()
                self.assertEqual(len(messages), count)
                self.assertEqual(set(messages), {LETTER})

    def test_changes_that_were_not_negotiated(self):
        at = struct.pack("!I", 1)
        changes = {packet(b"h", text("X", "1")): 1, packet(b"i", at + text("X", "1")): 1, packet(b"b", b"x"): 2,
                   packet(b"+", text(BOB)): 4 | 0x80, packet(b"-", text(ANN)): 8, packet(b"m", at + text("X", "1")): 0x10,
                   packet(b"q", text("why")): 0x20, packet(b"e", text(BOB)): 0x40, packet(b"2", text(BOB, "A=B")): 0x80}
        for change, action in changes.items():
            with FakeFilter(actions=0x1FF & ~action, script={b"E": change + packet(b"c")}) as one:
                self.begin(one)
                with self.session() as wire:
                    self.assert_gone(self.offer(wire), "tempfail", change)
            self.assertEqual(self.mailbox(ANN), [])
        for script in ({b"R": packet(b"h", text("X", "1")) + packet(b"c")}, {b"L": b"s"}, {b"C": DISCARD}):
            with FakeFilter(script=script) as one:
                self.begin(one)
                with self.session() as wire:
                    self.assert_gone(self.offer(wire), "tempfail", script)

    def test_negotiations_that_are_none(self):
        for answer in (packet(b"c"), packet(b"O", b"\0\0\0\6"), negotiated(0x1FF, 0, 7), negotiated(0x1FF, 0, 1),
                       negotiated(0x200), negotiated(0, 0x800), negotiated(macros=struct.pack("!I", 9) + b"j\0"),
                       negotiated(macros=b"\0\0"), b"\xff" * 40, b""):
            with FakeFilter(negotiation=answer) as one:
                self.begin(one, connect_timeout="2s", when_gone="reject")
                with self.session() as wire:
                    self.assert_gone(self.offer(wire), "reject", answer)

    def test_speaks_unasked(self):
        with FakeFilter(habits=fake_filter.SILENT_RCPT, script={b"R": 3 * packet(b"c")}) as one:
            self.begin(one)
            with self.session() as wire:
                # The first of them passes for the answer to DATA.
                self.assert_gone(self.offer(wire), "tempfail")
        self.logged("it spoke, or left, unasked")

    def test_chunks_of_a_message_that_is_refused_at_once(self):
        for answer, want in ((REJECT, rb"^550 5\.7\.1 refused"), (say("554 5.7.9 no"), rb"^554 5\.7\.9 no\r\n"),
                             (SHUTDOWN, rb"^421 4\.3\.0")):
            with FakeFilter(script={b"T": answer}) as one:
                self.begin(one)
                for last in ("", " LAST"):
                    with self.session() as wire:
                        wire.ask(f"MAIL FROM:<{STRANGER}>")
                        wire.ask(f"RCPT TO:<{ANN}>")
                        wire.send(f"BDAT 6{last}\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n".encode())
                        self.assertRegex(wire.reply(), want)
                        if answer is not SHUTDOWN:
                            self.assertRegex(wire.reply(), want if not last else rb"^503")
                            self.assertRegex(wire.ask("NOOP"), rb"^250")
                self.assertEqual(self.mailbox(ANN), [])

    def test_dies_and_comes_back(self):
        one = FakeFilter()
        one.start()
        self.addCleanup(lambda: one.stop())
        self.begin(one)
        with self.session() as wire:
            self.assert_taken(self.offer(wire)[-1])
            one.stop()
            self.assert_gone(self.offer(wire), "tempfail")
            one.start()
            one.forget()
            # Left alone for some seconds; another session looks at once.
            wire.ask("RSET")
            self.assert_gone(self.offer(wire), "tempfail")
            with self.session() as other:
                self.assert_taken(self.offer(other)[-1])

    def test_long_body_without_end(self):
        endless = b"".join(packet(b"b", b"y" * 60_000) for _ in range(40))
        with FakeFilter(script={b"E": endless}) as one:
            self.begin(one, settings={"mx": {"messages.size": "1MB"}})
            with self.session() as wire:
                self.assert_gone(self.offer(wire), "tempfail")
            self.assertEqual(self.mailbox(ANN), [])

    def test_reload_changes_filters(self):
        with FakeFilter(script={b"E": REJECT}) as one:
            self.begin(one)
            self.assertRegex(self.send(), r"^550 5\.7\.1")
            path = self.suite.servers / "mx.toml"
            path.write_text(path.read_text().replace(f'"{one.place}"', ""))
            self.suite.tool("reload")
            self.assert_taken(self.send())


if __name__ == "__main__":
    main()
