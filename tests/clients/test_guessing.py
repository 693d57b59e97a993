"""Guessing of passwords is slowed and then refused, at both daemons together; owners get in."""

import base64
import pathlib
import poplib
import smtplib
import socket
import sys
import unittest

from letters import ANN, BOB
from wire import Wire, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from suite import PASSWORD, Suite  # noqa: E402

EVERYWHERE = {"listen": ["0.0.0.0:0", "0.0.0.0:0,tls"], "auth.require_tls": False}
# Loopback has many addresses.
HOME, EVIL, OTHER = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def plain(account, password):
    return "AUTH PLAIN " + base64.b64encode(f"\0{account}\0{password}".encode()).decode()


class Guessing(unittest.TestCase):
    def start(self, **auth):
        auth = {"delay_max": "0", **auth}
        self.suite = Suite({"submission": EVERYWHERE, "pop3": EVERYWHERE,
                            "suite": {f"auth.{name}": value for name, value in auth.items()}})
        self.suite.__enter__()
        self.addCleanup(self.suite.__exit__, None, None, None)
        for address in (ANN, BOB):
            self.suite.add_mailbox(address)

    def pop3(self, source, account, password):
        """The answer to a log-in from an address, without its text."""
        pop = Pop3(self.suite.port("pop3"), source)
        try:
            pop.user(account)
            pop.pass_(password)
            pop.quit()
            return "ok"
        except poplib.error_proto as error:
            return error.args[0].split()[1].decode()
        finally:
            pop.close()

    def smtp(self, source, account, password):
        with smtplib.SMTP("127.0.0.1", self.suite.port("submission"), timeout=60, source_address=(source, 0)) as smtp:
            smtp.ehlo("client.test")
            code, text = smtp.docmd(plain(account, password))
            return f"{code} {text.decode().split()[0]}"

    def counters(self):
        return {daemon["name"]: daemon["log_ins"] for daemon in self.suite.json("status")}

    def test_refused_at_both_daemons_and_the_owner_is_not(self):
        self.start(failures=4)
        for number in range(2):
            self.assertEqual(self.smtp(EVIL, ANN, f"guess {number}"), "535 5.7.8")
            self.assertEqual(self.pop3(EVIL, ANN, f"guess {number}"), "[AUTH]")
        # Right ones are not looked at either: the answer tells nothing.
        for password in (PASSWORD, "guess"):
            self.assertEqual(self.smtp(EVIL, ANN, password), "454 4.7.0")
            self.assertEqual(self.pop3(EVIL, ANN, password), "[SYS/TEMP]")
        self.assertEqual(self.smtp(EVIL, BOB, PASSWORD), "235 2.7.0")
        self.assertEqual(self.smtp(HOME, ANN, PASSWORD), "235 2.7.0")
        self.assertEqual(self.pop3(HOME, ANN, PASSWORD), "ok")
        counters = self.counters()
        self.assertEqual([counters[name]["failed"] for name in ("smtpd", "pop3d")], [2, 2])
        self.assertEqual([counters[name]["refused"] for name in ("smtpd", "pop3d")], [2, 2])
        # The last of the guesses was pop3d's.
        wait_for(lambda: f"auth.barred account={ANN} peer={EVIL}" in self.suite.log("pop3d"), why="no line tells of it")
        self.assertNotIn("auth.barred", self.suite.log("smtpd"))
        # A start later, and after a reload with other limits.
        self.suite.stop()
        self.suite.start()
        self.assertEqual(self.smtp(EVIL, ANN, PASSWORD), "454 4.7.0")
        text = self.suite.config.read_text()
        self.suite.config.write_text(text.replace("failures = 4", f'trusted = ["{EVIL}/32"]'))
        self.suite.tool("reload")
        self.assertEqual(self.smtp(EVIL, ANN, PASSWORD), "235 2.7.0")
        self.assertEqual(self.pop3(EVIL, ANN, PASSWORD), "ok")

    def test_forgetting_by_the_tool(self):
        self.start(failures=2)
        for _ in range(2):
            self.assertEqual(self.smtp(EVIL, ANN, "guess"), "535 5.7.8")
        self.assertEqual(self.pop3(EVIL, ANN, PASSWORD), "[SYS/TEMP]")
        self.suite.tool("guard", "clear")
        self.assertEqual(self.pop3(EVIL, ANN, PASSWORD), "ok")

    def test_from_many_addresses(self):
        self.start(account_failures=6)
        self.assertEqual(self.pop3(HOME, ANN, PASSWORD), "ok")
        for number in range(6):
            self.assertEqual(self.smtp(f"127.0.1.{number + 1}", ANN, "guess"), "535 5.7.8")
        self.assertEqual(self.smtp(EVIL, ANN, "guess"), "454 4.7.0")
        self.assertEqual(self.smtp(HOME, ANN, PASSWORD), "235 2.7.0")
        self.assertEqual(self.smtp(EVIL, BOB, PASSWORD), "235 2.7.0")

    def test_many_accounts_from_one_address(self):
        self.start(address_failures=6)
        self.assertEqual(self.pop3(EVIL, ANN, PASSWORD), "ok")
        for number in range(6):
            self.assertEqual(self.pop3(EVIL, f"name {number}" if number % 2 else f"n{number}@example.test", "x"), "[AUTH]")
            self.assertEqual(self.pop3(EVIL, ANN, PASSWORD), "ok")
        self.assertEqual(self.pop3(EVIL, BOB, PASSWORD), "[SYS/TEMP]")
        self.assertEqual(self.pop3(EVIL, "nobody@example.test", PASSWORD), "[SYS/TEMP]")
        self.assertEqual(self.pop3(OTHER, BOB, PASSWORD), "ok")

    def test_answers_come_later_and_others_do_not_wait(self):
        self.start(failures=3, delay_max="30s")
        self.assertEqual(self.pop3(EVIL, ANN, "guess"), "[AUTH]")
        with Wire(self.suite.port("submission"), source=EVIL, timeout=60) as held:
            held.reply()
            held.ask("EHLO client.test")
            held.say(plain(ANN, "guess"))
            wait_for(lambda: self.counters()["smtpd"]["delayed"] == 1, why="nobody is held back")
            self.assertEqual(self.smtp(HOME, ANN, PASSWORD), "235 2.7.0")
            # Who is held back does not hold the daemon back.
            self.suite.processes["smtpd"].terminate()
            self.assertRegex(held.reply(), rb"^421 4\.3\.2 ")

    def test_the_last_error_of_a_connection_counts_too(self):
        self.start(failures=3)
        for _ in range(3):
            with Pop3(self.suite.port("pop3"), EVIL) as pop:
                for _ in range(19):
                    with self.assertRaises(poplib.error_proto):
                        pop._shortcmd("XYZZY")
                pop.user(ANN)
                with self.assertRaises(poplib.error_proto):
                    pop.pass_("guess")
        self.assertEqual(self.smtp(EVIL, ANN, PASSWORD), "454 4.7.0")


class Pop3(poplib.POP3):
    """From an address of one's choice."""

    def __init__(self, port, source):
        self.source = source
        super().__init__("127.0.0.1", port, timeout=60)

    def _create_socket(self, timeout):
        return socket.create_connection((self.host, self.port), timeout, (self.source, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == "__main__":
    unittest.main()
