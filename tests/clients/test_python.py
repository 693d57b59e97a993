"""Python's smtplib and poplib, and the one mechanism that no packaged mail program speaks: SCRAM-SHA-256-PLUS."""

import base64
import email.message
import email.policy
import hashlib
import hmac
import os
import poplib
import smtplib
import ssl
import unittest

from client_case import DOMAIN, PASSWORD, ClientCase
from letters import STRANGER, letter
from wire import HOST, Wire, wait_for


class Smtplib(ClientCase):
    def smtp(self, port=None, tls=False):
        client = smtplib.SMTP_SSL(HOST, port or self.submissions, context=self.context, timeout=30) if tls else \
            smtplib.SMTP(HOST, port or self.mx, timeout=30)
        self.addCleanup(client.close)
        return client

    def test_in_the_clear(self):
        octets = letter(self.address)
        with self.smtp() as client:
            self.assertEqual(client.sendmail(STRANGER, [self.address], octets, mail_options=["BODY=8BITMIME"]), {})
        self.assert_one_letter(octets, protocol="ESMTP")

    def test_starttls_and_each_mechanism(self):
        for mechanism in ("PLAIN", "LOGIN"):
            with self.smtp(self.submission) as client:
                client.starttls(context=self.context)
                client.ehlo()
                self.assertTrue(client.has_extn("8bitmime"))
                self.assertFalse(client.has_extn("starttls"))
                client.user, client.password = self.address, PASSWORD
                code, _ = client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"),
                                      initial_response_ok=mechanism == "PLAIN")
                self.assertEqual(code, 235)
                client.sendmail(self.address, [self.address], letter(self.address, sender=self.address))
            self.assertTrue(self.authenticated(mechanism))
        self.assertEqual(len(self.mailbox()), 2)

    def test_report_of_success(self):
        """RFC 3461, RFC 3464: read by Python's email package."""
        sender = f"asks.for.reports@{DOMAIN}"
        self.suite.add_mailbox(sender)
        octets = letter(self.address, "hello", sender=sender)
        with self.smtp() as client:
            client.sendmail(sender, [self.address], octets, mail_options=["BODY=8BITMIME", "ENVID=e+2B1"],
                            rcpt_options=["NOTIFY=SUCCESS", f"ORCPT=rfc822;{self.address}"])
        self.assert_one_letter(octets, sender=sender, protocol="ESMTP")
        # It is there as soon as the message is acknowledged.
        (got,) = self.mailbox(sender)
        report = email.message_from_bytes(got, policy=email.policy.default)
        self.assertEqual(report.defects, [])
        self.assertEqual((report["Return-Path"], report["Auto-Submitted"]), ("<>", "auto-replied"))
        self.assertEqual((report.get_content_type(), report.get_param("report-type")),
                         ("multipart/report", "delivery-status"))
        text, status, returned = report.iter_parts()
        self.assertIn("was delivered", text.get_content())
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        message, recipient = status.get_payload()
        self.assertEqual(message["Original-Envelope-Id"], "e+1")
        self.assertTrue(message["Reporting-MTA"].startswith("dns; "))
        self.assertEqual((recipient["Action"], recipient["Status"]), ("delivered", "2.0.0"))
        self.assertEqual(recipient["Original-Recipient"], f"rfc822;{self.address}")
        self.assertEqual(recipient["Final-Recipient"], f"rfc822;{self.address}")
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
        self.assertIn(f"To: <{self.address}>\r\n", returned.get_payload())

    def test_tls_from_the_first_byte(self):
        octets = letter(self.address, sender=self.address)
        with self.smtp(tls=True) as client:
            client.login(self.address, PASSWORD)
            client.sendmail(self.address, [self.address], octets)
        self.assert_one_letter(octets, sender=self.address, protocol="ESMTPSA")

    def test_one_copy_for_several(self):
        second = f"second.of.several@{DOMAIN}"
        self.suite.add_mailbox(second)
        octets = letter(self.address)
        with self.smtp() as client:
            refused = client.sendmail(STRANGER, [self.address, f"nobody@{DOMAIN}", second], octets)
        self.assertEqual(list(refused), [f"nobody@{DOMAIN}"])
        self.assertEqual(refused[f"nobody@{DOMAIN}"][0], 550)
        self.assert_one_letter(octets)
        self.assertIn(f"Delivered-To: {second}\r\n".encode(), self.mailbox(second)[0])

    def test_many_on_one_connection(self):
        with self.smtp() as client:
            for number in range(50):
                client.sendmail(STRANGER, [self.address], letter(self.address, f"letter {number}"))
        got = self.mailbox()
        self.assertEqual([f"Subject: letter {number}\r\n".encode() in got[number] for number in range(50)], [True] * 50)

    def test_date_and_message_id_are_added_on_submission(self):
        with self.smtp(tls=True) as client:
            client.login(self.address, PASSWORD)
            client.sendmail(self.address, [self.address], b"Subject: bare\r\n\r\nhello\r\n")
        (got,) = self.mailbox()
        head, _, body = got.partition(b"\r\n\r\n")
        self.assertEqual(body, b"hello\r\n")
        parsed = email.message_from_bytes(got, policy=email.policy.default)
        self.assertIsNotNone(parsed["Date"].datetime)
        self.assertRegex(parsed["Message-ID"], r"^<\S+@mx\.example\.test>$")

    def test_too_large(self):
        with self.smtp() as client:
            client.ehlo("client.test")
            code, text = client.mail(STRANGER, ["SIZE=52428801"])
            self.assertEqual((code, text[:5]), (552, b"5.3.4"))

    def test_refused_passwords(self):
        with self.smtp(tls=True) as client:
            for account, password in ((self.address, "guess"), (f"nobody@{DOMAIN}", PASSWORD)):
                with self.assertRaises(smtplib.SMTPAuthenticationError) as refused:
                    client.login(account, password)
                self.assertEqual(refused.exception.smtp_code, 535)

    def test_vrfy_expn_help(self):
        with self.smtp() as client:
            client.ehlo("client.test")
            self.assertEqual(client.verify(self.address)[0], 252)
            self.assertEqual(client.expn("people")[0], 502)
            self.assertTrue(client.help())


class Poplib(ClientCase):
    def pop3(self):
        client = poplib.POP3_SSL(HOST, self.pop3s, context=self.context, timeout=30)
        self.addCleanup(client.close)
        return client

    def log_in(self):
        client = self.pop3()
        client.user(self.address)
        client.pass_(PASSWORD)
        return client

    # ClientCase has the port under this name.
    @classmethod
    def setUpClass(cls):
        method = cls.pop3
        super().setUpClass()
        cls.pop3_port, cls.pop3 = cls.pop3, method

    def test_everything(self):
        sent = [letter(self.address, f"letter {number}") for number in range(3)]
        self.put(*sent)
        client = self.log_in()
        count, octets = client.stat()
        self.assertEqual(count, 3)
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        self.assertEqual(sum(sizes), octets)
        ids = [line.split()[1].decode() for line in client.uidl()[1]]
        self.assertEqual(ids, [message["id"] for message in self.suite.messages(self.address)])
        got = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in (1, 2, 3)]
        for before, after in zip(sent, got):
            self.assert_arrived(before, after, STRANGER)
        top = b"\r\n".join(client.top(2, 3)[1]) + b"\r\n"
        self.assertTrue(got[1].startswith(top))
        self.assertTrue(top.endswith(b"\r\n\r\n.\r\n..\r\n.a line that begins with a dot\r\n"), top)
        client.dele(1)
        client.rset()
        client.dele(2)
        with self.assertRaises(poplib.error_proto):
            client.retr(2)
        client.noop()
        client.quit()
        self.assertEqual([message["id"] for message in self.suite.messages(self.address)], [ids[0], ids[2]])

    def test_gone_without_quit(self):
        """RFC 1939 6: without QUIT nothing is removed."""
        self.put(letter(self.address))
        client = self.log_in()
        client.dele(1)
        client.close()
        # The daemon lets the maildrop go as soon as it sees the end.
        wait_for(self.log_in_again, why="the maildrop is free")
        self.assertEqual(len(self.mailbox()), 1)

    def log_in_again(self):
        try:
            self.log_in().quit()
        except poplib.error_proto:
            return False
        return True

    def test_one_session_a_maildrop(self):
        first = self.log_in()
        with self.assertRaisesRegex(poplib.error_proto, "IN-USE"):
            self.log_in()
        first.quit()
        self.log_in().quit()

    def test_stls(self):
        client = poplib.POP3(HOST, self.pop3_port, timeout=30)
        self.addCleanup(client.close)
        self.assertIn("STLS", client.capa())
        client.stls(context=self.context)
        self.assertNotIn("STLS", client.capa())
        client.user(self.address)
        client.pass_(PASSWORD)
        self.assertEqual(client.stat(), (0, 0))
        client.quit()

    def test_no_password_in_the_clear(self):
        client = poplib.POP3(HOST, self.pop3_port, timeout=30)
        self.addCleanup(client.close)
        with self.assertRaises(poplib.error_proto):
            client.user(self.address)
            client.pass_(PASSWORD)

    def test_wrong_password(self):
        client = self.pop3()
        client.user(self.address)
        with self.assertRaisesRegex(poplib.error_proto, "AUTH"):
            client.pass_("guess")


def scram(account, password, binding, header, exchange):
    """RFC 5802 3 with SHA-256; `exchange` carries a message over and gives the answer. True: the server knew the
    keys too."""
    def base(octets):
        return base64.b64encode(octets).decode()

    nonce = base(os.urandom(18))
    bare = f"n={account},r={nonce}"
    server_first = exchange((header + bare).encode())
    values = dict(part.split("=", 1) for part in server_first.decode().split(","))
    if not values["r"].startswith(nonce):
        raise AssertionError("the server's nonce does not begin with ours")
    without_proof = f"c={base(header.encode() + binding)},r={values['r']}"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(values["s"]), int(values["i"]))
    signed = f"{bare},{server_first.decode()},{without_proof}".encode()

    def mac(key, text):
        return hmac.digest(key, text, "sha256")

    client_key = mac(salted, b"Client Key")
    proof = bytes(a ^ b for a, b in zip(client_key, mac(hashlib.sha256(client_key).digest(), signed)))
    server_final = exchange(f"{without_proof},p={base(proof)}".encode())
    return server_final == f"v={base(mac(mac(salted, b'Server Key'), signed))}".encode()


class ScramPlus(ClientCase):
    """With the channel binding that Python can tell: tls-unique, so TLS 1.2 (RFC 5929)."""

    class Refused(Exception):
        pass

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.context.maximum_version = ssl.TLSVersion.TLSv1_2

    def exchange_with(self, wire, mechanism, first_word, go_on, last):
        """The function that scram() wants, for one of the two protocols."""
        step = 0

        def exchange(message):
            nonlocal step
            text = base64.b64encode(message).decode()
            answer = wire.ask(f"AUTH {mechanism} {text}" if step == 0 else text)
            step += 1
            if not answer.startswith(go_on):
                raise self.Refused(answer)
            return base64.b64decode(answer[len(go_on):])
        return exchange

    def attempt(self, port, greeting, go_on, success, mechanism="SCRAM-SHA-256-PLUS", header="p=tls-unique,,", change=b"",
                password=PASSWORD):
        with Wire(port, self.context) as wire:
            wire.reply()
            wire.ask(greeting)
            if greeting == "CAPA":
                wire.until(b".\r\n")
            binding = wire.socket.get_channel_binding("tls-unique") + change if header.startswith("p") else b""
            known = scram(self.address, password, binding, header, self.exchange_with(wire, mechanism, None, go_on, success))
            self.assertTrue(known)
            self.assertTrue(wire.ask("").startswith(success))

    def smtp(self, **more):
        self.attempt(self.submissions, "EHLO client.test", b"334 ", b"235 2.7.0", **more)

    def post_office(self, **more):
        self.attempt(self.pop3s, "CAPA", b"+ ", b"+OK", **more)

    def test_bound(self):
        self.smtp()
        self.assertTrue(self.authenticated("SCRAM-SHA-256-PLUS"))
        self.post_office()

    def test_not_bound(self):
        for header in ("n,,", f"n,a={self.address},"):
            self.smtp(mechanism="SCRAM-SHA-256", header=header)
            self.post_office(mechanism="SCRAM-SHA-256", header=header)

    def test_bound_to_another_channel(self):
        """What a man in the middle would look like."""
        for way in (self.smtp, self.post_office):
            with self.assertRaisesRegex(self.Refused, r"535 5\.7\.8|-ERR \[AUTH\]"):
                way(change=b"x")

    def test_somebody_hid_the_plus(self):
        """RFC 5802 6: "y" says that the server did not offer PLUS, and it did."""
        for way in (self.smtp, self.post_office):
            with self.assertRaisesRegex(self.Refused, r"535 5\.7\.8|-ERR \[AUTH\]"):
                way(mechanism="SCRAM-SHA-256", header="y,,")

    def test_wrong_password(self):
        for way in (self.smtp, self.post_office):
            with self.assertRaisesRegex(self.Refused, r"535 5\.7\.8|-ERR \[AUTH\]"):
                way(password="guess")


if __name__ == "__main__":
    unittest.main()
