"""Mail in a mailbox: listed, shown octet for octet, deleted; nothing a sender wrote reaches a terminal as it is."""

import os
import pty
import re
import subprocess
import unittest

from post_office import PENNYPOST, PostOffice

MESSAGE = (
    b"From: Eve \x1b[31m <eve@client.test>\r\n"
    b"Subject: first\r\n"
    b"\tand second line\r\n"
    b"X-Octets: \xff\x00\xc2\x9b\r\n"
    b"\r\n"
    b".one dot\r\n"
    b"..two dots\r\n"
    b".\r\n"
    b"a lone \n. is no line end\r\n"
    b"\x1b]0;title\x07 \xe2\x80\xae gnp.exe\r\n"
)


class Messages(PostOffice):
    def setUp(self):
        super().setUp()
        self.add_mailbox("bob@example.test")

    def run_on_terminal(self, *words):
        """Standard output is a terminal."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen([PENNYPOST, "-c", str(self.config), *words], stdin=subprocess.DEVNULL, stdout=theirs)
        os.close(theirs)
        out = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when the last other end is closed
                break
            if not piece:
                break
            out += piece
        os.close(ours)
        self.assertEqual(process.wait(60), 0)
        return out.replace(b"\r\n", b"\n")

    def test_empty(self):
        self.assertEqual(self.done("message", "list", "bob@example.test"), "")
        self.assertEqual(self.done_json("message", "list", "bob@example.test"), [])
        self.assertEqual(self.run_on_terminal("message", "list", "bob@example.test"), b"no messages\n")

    def test_list(self):
        first = self.put_message("bob@example.test", MESSAGE)
        second = self.put_message("bob@example.test", b"no header at all\r\n", reverse_path="")
        rows = self.done_json("message", "list", "bob@example.test")
        self.assertEqual([row["id"] for row in rows], [first, second])
        self.assertRegex(rows[0]["received"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(rows[0]["from"], "Eve \x1b[31m <eve@client.test>")
        self.assertEqual(rows[0]["subject"], "first\tand second line")
        self.assertEqual((rows[0]["reverse_path"], rows[1]["reverse_path"]), ("sender@client.test", ""))
        self.assertEqual(rows[1]["subject"], "")
        text = self.done("message", "list", "bob@example.test")
        self.assertNotIn("\x1b", text)
        self.assertIn("Eve \\x1B[31m", text)
        answer = self.run_tool("--json", "message", "list", "bob@example.test")
        self.assertTrue(answer.octets.isascii())
        self.assertNotIn(b"\x1b", answer.octets)
        totals = self.done_json("mailbox", "stat", "example.test")[0]
        self.assertEqual((totals["messages"], totals["arrivals"]), (2, 2))
        self.assertEqual(totals["octets"], sum(row["octets"] for row in rows))

    def test_list_of_many(self):
        ids = [self.put_message("bob@example.test", b"Subject: %d\r\n\r\nx\r\n" % number) for number in range(70)]
        rows = self.done_json("message", "list", "bob@example.test")
        self.assertEqual([row["id"] for row in rows], ids)
        self.assertEqual([row["subject"] for row in rows], [str(number) for number in range(70)])

    def test_show_is_octet_for_octet(self):
        number = self.put_message("bob@example.test", MESSAGE)
        want = b"Return-Path: <sender@client.test>\r\nDelivered-To: bob@example.test\r\n" + MESSAGE
        self.assertEqual(self.run_tool("message", "show", "bob@example.test", number).octets, want)
        self.assertEqual(self.run_tool("message", "show", "--raw", "bob@example.test", number).octets, want)
        self.assertEqual(len(want), self.done_json("message", "list", "bob@example.test")[0]["octets"])

    def test_show_of_a_long_message(self):
        long = b"Subject: long\r\n\r\n" + b"".join(b".%06d\r\n" % number for number in range(100_000))
        number = self.put_message("bob@example.test", long)
        octets = self.run_tool("message", "show", "bob@example.test", number).octets
        self.assertTrue(octets.endswith(long))

    def test_show_on_a_terminal_is_escaped(self):
        number = self.put_message("bob@example.test", MESSAGE)
        text = self.run_on_terminal("message", "show", "bob@example.test", number)
        self.assertIsNone(re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", text), text)
        self.assertNotIn("\u202e".encode(), text)
        self.assertNotIn(b"\xc2\x9b", text)
        self.assertIn(b"\n.one dot\n..two dots\n.\n", text)
        self.assertIn(b"\\x1B]0;title\\x07", text)
        self.assertIn(b"\x1b]0;title", self.run_on_terminal("message", "show", "--raw", "bob@example.test", number))

    def test_show_in_json(self):
        number = self.put_message("bob@example.test", MESSAGE)
        shown = self.done_json("message", "show", "bob@example.test", number)
        self.assertEqual((shown["id"], shown["reverse_path"], shown["delivered_to"]), (number, "sender@client.test", "bob@example.test"))
        self.assertIn({"name": "Subject", "value": "first\tand second line"}, shown["header"])
        self.assertIn({"name": "Return-Path", "value": "<sender@client.test>"}, shown["header"])

    def test_delete(self):
        ids = [self.put_message("bob@example.test", b"Subject: x\r\n\r\n") for _ in range(4)]
        gone = "a" * 11 + "ba"
        self.refused(1, ["message", "delete", "bob@example.test", ids[0], gone], gone, "nothing was deleted")
        self.assertEqual(len(self.done_json("message", "list", "bob@example.test")), 4)
        self.assertIn("2 messages deleted", self.done("message", "delete", "bob@example.test", ids[0], ids[2], ids[0]))
        self.assertEqual([row["id"] for row in self.done_json("message", "list", "bob@example.test")], [ids[1], ids[3]])
        said = self.done_json("message", "delete", "bob@example.test", "--if-exists", ids[0], ids[1])
        self.assertEqual((said["changed"], said["messages"]), (True, 1))
        self.refused(1, ["message", "show", "bob@example.test", ids[0]], f"no message {ids[0]}")
        self.refused(2, ["message", "delete", "bob@example.test", "7"], "'7' is not a message id")
        self.refused(2, ["message", "show", "bob@example.test", "../x"], "not a message id")
        self.refused(1, ["message", "list", "ann@example.test"], "no mailbox ann@example.test here")

    def test_purge_takes_the_mail_along(self):
        self.put_message("bob@example.test", MESSAGE)
        self.assertIn("1 message", self.done("mailbox", "remove", "bob@example.test"))
        self.assertEqual(self.done_json("store", "stat")["entries"], 1)
        self.done("mailbox", "remove", "--purge", "bob@example.test")
        self.assertEqual(self.done_json("store", "stat")["entries"], 0)
        self.assertIn("is sound", self.done("store", "check"))


if __name__ == "__main__":
    unittest.main()
