"""Next servers that lie, stall, hang up, refuse and lack what the mail needs: temporary stays, permanent goes back with
their words, nothing is sent twice but where a reply was lost."""

import email
import email.policy
import re

from client_case import main
from outbound_case import ANN, LETTER, QUICK, OutboundCase
from stub import EXTENSIONS, Stub
from wire import wait_for

WHOLE_LETTER = re.compile(rb"(?s)\AReceived: .*?\r\n" + re.escape(LETTER) + rb"\Z")


class NextServer(OutboundCase):
    """Mail that waits is not tried again while a test looks."""
    settings = {"mx": {"delivery.jitter": 0, "outbound.idle_timeout": "1s"},
                "submission": {"auth.require_tls": False}}

    def assert_waits(self, answers, answer, settings=(), **stub_settings):
        with Stub(answers, **stub_settings) as stub:
            number = self.mail("bob@" + self.lead(stub, *settings))
            row = wait_for(lambda: next((row for row in self.why(number) if row["last"]), None), why=f"{answers}")
            self.assertEqual(row["recipient"].partition("@")[0], "bob")
            self.assertIn(answer, row["answer"], answers)
            self.assertNotIn(row["state"], ("done", "failed"), answers)
            return stub, number

    def assert_fails(self, answers, status, words, **stub_settings):
        letter = stub_settings.pop("letter", LETTER)
        sender = stub_settings.pop("sender", ANN)
        options = stub_settings.pop("options", "")
        self.empty(ANN)
        with Stub(answers, **stub_settings) as stub:
            address = "bob@" + self.lead(stub)
            number = self.mail(address, letter=letter, sender=sender, options=options)
            row = self.wait_left(number)[address]
            self.assertEqual(row["state"], "failed")
            report = self.reports()[0]
        self.assertEqual(report.get_content_type(), "multipart/report")
        status_part = report.get_payload(1)
        if status_part.get_content_type() == "message/global-delivery-status":  # RFC 6533; one leaf to this library
            about = email.message_from_bytes(status_part.get_content().split(b"\n\n")[1])
        else:
            about = status_part.get_payload(1)
        self.assertEqual(about["Action"], "failed")
        self.assertEqual(about["Status"], status)
        self.assertEqual(about["Final-Recipient"], f"rfc822;{address}")
        self.assertIn(words, report.as_string())
        return stub, report, about

    def test_odd_answers_keep_mail_waiting(self):
        endless = "250-" + "x" * 900
        for answers, answer in (
            ({"GREETING": "!close"}, "4.4.2"),
            ({"GREETING": "22!close"}, "4.4.2"),
            ({"GREETING": "!reset"}, "4.4.2"),
            ({"GREETING": "hello there"}, "4.5.0"),
            ({"GREETING": "x" * 5000}, "4.5.0"),
            ({"GREETING": "\n".join([endless] * 1000) + "\n250 end"}, "4.5.0"),
            ({"GREETING": "421 4.3.2 busy"}, "421 4.3.2 busy"),
            ({"EHLO": "421 4.3.2 busy"}, "421 4.3.2 busy"),
            ({"EHLO": "250-a\n251 b"}, "4.5.0"),
            ({"EHLO": "\0\1\2\3"}, "4.5.0"),
            ({"EHLO": "250-half!close"}, "4.4.2"),
            ({"EHLO": "450 4.3.0 later"}, "450 4.3.0 later"),
            ({"MAIL": "421 4.7.0 enough"}, "421 4.7.0 enough"),
            ({"MAIL": "451 4.7.1 greylisted"}, "451 4.7.1 greylisted"),
            ({"MAIL": "354 what"}, "4.5.0"),
            ({"RCPT": "421 4.7.0 enough"}, "421 4.7.0 enough"),
            ({"RCPT": "450 4.2.1 later"}, "450 4.2.1 later"),
            ({"RCPT": "45!close"}, "4.4.2"),
            ({"RCPT": "1"}, "4.5.0"),
            ({"DATA": "421 4.3.2 no"}, "421 4.3.2 no"),
            ({"DATA": "451 4.3.0 no"}, "451 4.3.0 no"),
            ({"DATA": "250 sure"}, "4.5.0"),
            ({"DATA": "!close"}, "4.4.2"),
            ({"END": "421 4.3.2 no"}, "421 4.3.2 no"),
            ({"END": "451 4.3.0 no room"}, "451 4.3.0 no room"),
        ):
            with self.subTest(answers={key: value[:40] for key, value in answers.items()}):
                stub, number = self.assert_waits(answers, answer)
                self.assertNotIn(f"outbound.reply_lost id={number}", self.suite.log("smtpd"))
                self.assertLessEqual(len(stub.messages), 1)
        self.assertEqual(self.suite.messages(ANN), [])

    def test_silence_ends_by_time_s61(self):
        for moment in ("GREETING", "EHLO", "MAIL", "RCPT", "DATA"):
            with self.subTest(moment=moment):
                self.assert_waits({moment: "!stall"}, "no answer in time")

    def test_a_lost_reply_is_told_in_the_log(self):
        for event in ("!close", "25!close", "!reset", "!stall", "what?"):
            with self.subTest(event=event):
                stub, number = self.assert_waits({"END": event}, "4.")
                self.assertEqual(len(stub.messages), 1)
                self.assertRegex(stub.messages[0], WHOLE_LETTER)
                self.wait_log(rf"outbound\.reply_lost id={number} to=\S+ host=127\.0\.0\.1 ")

    def test_permanent_goes_back_with_their_words(self):
        for answers, status, words in (
            ({"GREETING": "554 5.7.1 no mail from you"}, "5.7.1", "554 5.7.1 no mail from you"),
            ({"MAIL": "550 5.7.1 no such sender"}, "5.7.1", "550 5.7.1 no such sender"),
            ({"RCPT": "550 5.1.1 who is bob"}, "5.1.1", "550 5.1.1 who is bob"),
            ({"RCPT": "550 nobody"}, "5.0.0", "550 5.0.0 nobody"),
            ({"DATA": "554 5.6.0 no"}, "5.6.0", "554 5.6.0 no"),
            ({"END": "554 5.6.0 a virus"}, "5.6.0", "554 5.6.0 a virus"),
            ({"END": "550-5.7.1 two\n550 5.7.1 lines"}, "5.7.1", "two"),
        ):
            with self.subTest(answers=answers):
                _, report, about = self.assert_fails(answers, status, words)
                self.assertEqual(about["Remote-MTA"], "dns; [127.0.0.1]")
                self.assertIn(words, about["Diagnostic-Code"])
                self.assertIn("the end", report.get_payload(2).as_string())

    def test_early_refusal_in_the_middle_of_a_message(self):
        letter = LETTER + b"line of a long message\r\n" * 300000
        self.assert_fails({"HALF": "552 5.3.4 too long\n!close"}, "5.3.4", "too long", letter=letter)

    def test_helo_where_ehlo_is_refused_s90(self):
        for code in ("500", "502", "504", "550"):
            with Stub({"EHLO": f"{code} what"}) as stub:
                number = self.mail("bob@" + self.lead(stub))
                self.wait_left(number)
                self.assertEqual(stub.lines[:4], ["EHLO mx.example.test", "HELO mx.example.test", f"MAIL FROM:<{ANN}>",
                                                  f"RCPT TO:<bob@{self.why(number)[0]['recipient'][4:]}>"])
                self.assertRegex(stub.messages[0], WHOLE_LETTER)

    def test_no_esmtp_s90(self):
        with Stub() as stub:
            self.wait_left(self.mail("bob@" + self.lead(stub, "--no-esmtp"), options="SIZE=100 BODY=8BITMIME RET=HDRS"))
            self.assertEqual(stub.lines[0], "HELO mx.example.test")
            self.assertEqual(stub.lines[1], f"MAIL FROM:<{ANN}>")
            self.assertEqual(stub.said("EHLO"), [])

    def test_each_recipient_has_its_own_answer(self):
        self.empty(ANN)
        with Stub() as stub:
            domain = self.lead(stub)
            stub.answers = {f"RCPT TO:<no@{domain}>": ["550 5.1.1 unknown"], f"RCPT TO:<later@{domain}>": ["450 4.2.2 full"]}
            number = self.mail(*(f"{name}@{domain}" for name in ("yes", "no", "later", "too")))
            self.reports()
            answers = {row["recipient"].partition("@")[0]: row["answer"] for row in self.why(number)}
            self.assertEqual(answers,
                             {"yes": "250 2.0.0 taken", "too": "250 2.0.0 taken", "no": "550 5.1.1 unknown",
                              "later": "450 4.2.2 full"})
            self.assertEqual(len(stub.messages), 1)
            self.assertEqual(len(self.reports()), 1)

    def test_peers_without_pipelining_and_with_chunking(self):
        plain = LETTER.replace(b".a dot", b"a dot")
        for extensions, letter in (((), LETTER), (("8BITMIME", "CHUNKING"), LETTER), (("8BITMIME", "CHUNKING"), plain),
                                   (("PIPELINING", "8BITMIME", "CHUNKING"), plain)):
            with self.subTest(extensions=extensions, letter=letter), Stub(extensions=extensions) as stub:
                self.wait_left(self.mail("bob@" + self.lead(stub), letter=letter))
                self.assertTrue(stub.messages[0].endswith(letter))
                # RFC 3030: only where the octets on disk are the message.
                self.assertEqual(len(stub.said("BDAT")), "CHUNKING" in extensions and letter is plain)

    def test_size_is_known_before_anything_is_sent(self):
        stub, _, _ = self.assert_fails({}, "5.3.4", "larger than the 100 octets", extensions=("SIZE 100",))
        self.assertEqual((stub.messages, stub.said("MAIL")), ([], []))

    def test_limits_are_kept(self):
        with Stub(extensions=(*EXTENSIONS, "LIMITS RCPTMAX=2 MAILMAX=3")) as stub:
            domain = self.lead(stub, "--connections", "1")
            self.wait_left(self.mail(*(f"bob{i}@{domain}" for i in range(9))))
            verbs = "".join(line[0] for line in stub.lines if line[:4] in ("MAIL", "RCPT"))
            self.assertEqual(verbs, "MRR" * 4 + "MR")
            self.assertEqual(stub.connections, 2)

    def test_recipients_over_an_unspoken_limit_follow(self):
        with Stub() as stub:
            domain = self.lead(stub)
            stub.answers = {f"RCPT TO:<bob{i}@{domain}>": ["452 4.5.3 too many", "250 ok"] for i in (3, 4)}
            self.wait_left(self.mail(*(f"bob{i}@{domain}" for i in range(5))))
            self.assertEqual(len(stub.messages), 2)
            self.assertEqual(stub.connections, 1)

    def test_seven_bit_peers_get_what_they_can_take(self):
        letter = "From: Ann <ann@example.test>\r\nSubject: x\r\n\r\nGrüße\r\n".encode()
        with Stub(extensions=("PIPELINING",)) as stub:
            self.wait_left(self.mail("bob@" + self.lead(stub), letter=letter, options="BODY=8BITMIME"))
            got = stub.messages[0]
        self.assertTrue(got.isascii())
        self.assertEqual(email.message_from_bytes(got, policy=email.policy.default).get_content(), "Grüße\r\n")
        signed = (b"From: Ann <ann@example.test>\r\nContent-Type: multipart/signed; boundary=b; protocol=\"a/b\"\r\n\r\n"
                  b"--b\r\n\r\n\xc3\xa4\r\n--b\r\n\r\nsignature\r\n--b--\r\n")
        stub, _, _ = self.assert_fails({}, "5.6.3", "7-bit", letter=signed, options="BODY=8BITMIME", extensions=())
        self.assertEqual(stub.messages, [])

    def test_peers_without_smtputf8_get_nothing_that_needs_it(self):
        letter = "From: Ann <ann@example.test>\r\nSubject: Grüße\r\n\r\nx\r\n".encode()
        stub, report, _ = self.assert_fails({}, "5.6.7", "UTF-8", letter=letter, options="SMTPUTF8 BODY=8BITMIME",
                                            extensions=("PIPELINING", "8BITMIME"))
        self.assertEqual(stub.messages, [])
        with Stub() as stub:
            self.wait_left(self.mail("bob@" + self.lead(stub), letter=letter, options="SMTPUTF8 BODY=8BITMIME"))
            self.assertIn("SMTPUTF8", stub.said("MAIL")[0])
            self.assertTrue(stub.messages[0].endswith(letter))

    def test_dsn_is_passed_on_s49(self):
        with Stub() as stub:
            address = "bob@" + self.lead(stub)
            number = self.mail(f"{address} NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@there.test",
                               options="RET=HDRS ENVID=a+2Bb")
            row = self.wait_left(number)[address]
            self.assertEqual(row["cause"], "delivered")
            self.assertRegex(stub.said("MAIL")[0], r" RET=HDRS ENVID=a\+2Bb$")
            self.assertEqual(stub.said("RCPT")[0],
                             f"RCPT TO:<{address}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@there.test")
        self.assertEqual(self.suite.messages(ANN), [])

    def test_a_peer_without_dsn_is_reported_as_relayed_s49(self):
        self.empty(ANN)
        with Stub(extensions=("PIPELINING",)) as stub:
            address = "bob@" + self.lead(stub)
            number = self.mail(f"{address} NOTIFY=SUCCESS ORCPT=rfc822;Bob+2Bx@there.test", options="RET=FULL ENVID=a+2Bb")
            self.wait_left(number)
            self.assertEqual((stub.said("MAIL")[0], stub.said("RCPT")[0]), (f"MAIL FROM:<{ANN}>", f"RCPT TO:<{address}>"))
        report = self.reports()[0]
        message, recipient = report.get_payload(1).get_payload()
        self.assertEqual(recipient["Action"], "relayed")
        self.assertEqual(recipient["Status"], "2.0.0")
        self.assertEqual(recipient["Original-Recipient"], "rfc822;Bob+x@there.test")
        self.assertEqual(message["Original-Envelope-Id"], "a+b")
        # Only a failure brings the whole message back (RFC 3461 4.3).
        self.assertEqual(report.get_payload(2).get_content_type(), "text/rfc822-headers")

    def test_the_null_sender_gets_no_report_s16(self):
        with Stub({"RCPT": "550 5.1.1 nobody"}) as stub:
            number = self.mail("bob@" + self.lead(stub), sender="")
            row = wait_for(lambda: next((row for row in self.why(number) if row["state"] == "held"), None))
            self.assertIn("badmail", str(row))
            self.assertEqual(row["answer"], "550 5.1.1 nobody")
        self.suite.tool("queue", "delete", number)

    # ---- TLS

    def test_levels_of_tls_s59_s91(self):
        ours = (self.suite.certificate, self.suite.key)
        for level, tls, waits in (
            ("none", ours, None), ("opportunistic", None, None), ("opportunistic", ours, None),
            ("tls", ours, None), ("tls", None, "4.7."), ("verify", ours, "4.7."), ("verify", None, "4.7."),
        ):
            with self.subTest(level=level, tls=tls is not None):
                if waits:
                    stub, _ = self.assert_waits({}, waits, ("--security", level), tls=tls)
                    self.assertEqual((stub.messages, stub.said("MAIL")), ([], []))
                    continue
                with Stub(tls=tls) as stub:
                    address = "bob@" + self.lead(stub, "--security", level)
                    row = self.wait_left(self.mail(address))[address]
                    secured = tls is not None and level != "none"
                    self.assertEqual(row["tls"].startswith("TLSv1.3"), secured)
                    self.assertEqual(len(stub.said("STARTTLS")), secured)
                    self.assertEqual(len(stub.said("EHLO")), 1 + secured)

    def test_tls_that_breaks_s59(self):
        tls = (self.suite.certificate, self.suite.key)
        # Opportunistic: the next connection goes without.
        for answers in ({"TLS": "nonsense!close"}, {"STARTTLS": "454 4.7.0 not now"}):
            with self.subTest(answers=answers), Stub(answers, tls=tls) as stub:
                address = "bob@" + self.lead(stub)
                row = self.wait_left(self.mail(address))[address]
                self.assertFalse(row["tls"].startswith("TLSv1"))
                self.assertRegex(stub.messages[0], WHOLE_LETTER)

    # ---- SASL (S58)

    def test_sasl_at_a_route_s58_s91(self):
        tls = (self.suite.certificate, self.suite.key)
        secret = self.folder / "secret"
        secret.write_text("open sesame\n")
        for mechanisms in (("PLAIN",), ("LOGIN",), ("SCRAM-SHA-256", "PLAIN"), ("SCRAM-SHA-256",)):
            with self.subTest(mechanisms=mechanisms), Stub(tls=tls, users={"us": "open sesame"}, mechanisms=mechanisms) as stub:
                domain = self.lead(stub, "--security", "tls", "--username", "us", "--password-file", secret)
                self.wait_left(self.mail("bob@" + domain))
                self.assertTrue(stub.said("AUTH")[0].startswith("AUTH " + mechanisms[0]))
                self.assertEqual(len(stub.messages), 1)
        self.assertNotIn("open sesame", self.suite.log("smtpd"))

    def test_sasl_that_fails_keeps_mail_waiting_s58(self):
        tls = (self.suite.certificate, self.suite.key)
        secret = self.folder / "secret"
        secret.write_text("wrong\n")
        for stub, answer in ((Stub(tls=tls, users={"us": "right"}, mechanisms=("SCRAM-SHA-256", "PLAIN")), "5.7.8"),
                             (Stub(tls=tls), "4.7.0"),
                             (Stub(users={"us": "wrong"}), "4.7.4")):  # never in the clear
            with self.subTest(answer=answer), stub:
                domain = self.lead(stub, "--username", "us", "--password-file", secret)
                number = self.mail("bob@" + domain)
                row = wait_for(lambda: next((row for row in self.why(number) if row["last"]), None))
                self.assertIn(answer, row["answer"])
                self.assertNotIn(row["state"], ("done", "failed"))
                self.assertEqual((stub.messages, stub.said("MAIL")), ([], []))


if __name__ == "__main__":
    main()
