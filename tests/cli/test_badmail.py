"""Badmail as people see it, with the daemons down: S16, S17."""

import os
import unittest

from post_office import SERVER, PostOffice

MESSAGE = b"From: Ann <ann@example.test>\r\nSubject: away \x1b[31m\r\n\r\n.one dot\r\nend\r\n"
NOTE = "Cause: no-recipients\nReason: it names no recipient\nFile: odd \\x1b name\nServer: mx\n"


class Badmail(PostOffice):
    def setUp(self):
        super().setUp()
        self.home = self.folder / "home"
        self.write_config(server=SERVER.replace("hostname", f'home = "{self.home}"\nhostname', 1))
        for name in ("pickup", "badmail"):
            (self.home / name).mkdir(parents=True)

    def put_aside(self, *remotes, reverse_path="ann@example.test"):
        number = self.put_message("-", MESSAGE, reverse_path=reverse_path, remotes=remotes)
        self.done("badmail", "add", number, "--reason", "virus")
        return number

    def put_file(self, number="baaaaaaaaaaaa", octets=b"no mail", note=NOTE):
        (self.home / "badmail" / f"{number}.BAD").write_bytes(octets)
        if note:
            (self.home / "badmail" / f"{number}.BDR").write_text(note)
        return number

    def listed(self, *words):
        return [(row["id"], row["recipient"]) for row in self.done_json("badmail", "list", *words)]

    def test_empty(self):
        self.assertEqual(self.done("badmail", "list"), "")
        self.assertEqual(self.done_json("badmail", "list"), [])

    def test_list_and_filters(self):
        kept = self.put_message("-", MESSAGE, remotes=("held@far.test",))
        self.done("queue", "hold", kept)
        number = self.put_aside("a@far.test", "b@else.test")
        null = self.put_aside("c@far.test", reverse_path="")
        file = self.put_file()
        self.put_file("no id at all")
        both = [(number, "a@far.test"), (number, "b@else.test")]
        for words, want in (((), [(file, None), *sorted(both), (null, "c@far.test")]),
                            (("--cause", "by-event"), [*sorted(both), (null, "c@far.test")]),
                            (("--cause", "no-recipients"), [(file, None)]),
                            (("--cause", "hop-count"), []),
                            (("--sender", "<>"), [(null, "c@far.test")]),
                            (("--recipient", "b@"), [both[1]]),
                            (("--server", "mx", "--cause", "no-recipients"), [(file, None)]),
                            (("--server", "other"), []),
                            (("--older", "1h"), [(file, None)])):
            self.assertEqual(sorted(self.listed(*words), key=str), sorted(want, key=str), words)
        [row] = self.done_json("badmail", "list", "--cause", "no-recipients")
        self.assertEqual((row["file"], row["why"], row["octets"]), ("odd \\x1b name", "it names no recipient", 7))
        self.assertIn("by-event", self.done("badmail", "list"))
        self.assertIn("virus", self.done("badmail", "show", number))
        self.assertIn("Subject: away", self.done("badmail", "show", number))
        self.assertNotIn("\x1b", self.done("badmail", "show", number) + self.done("badmail", "list"))
        self.assertEqual(self.done_json("badmail", "show", file)["cause"], "no-recipients")
        self.refused(2, ("badmail", "list", "--cause", "hunger"), "--cause hunger", "ndr-of-dsn")
        self.refused(2, ("badmail", "list", "--older", "soon"), "--older soon")
        self.refused(1, ("badmail", "show", kept), f"no badmail {kept}")
        self.refused(2, ("badmail", "show", "x"), "not a message id")

    def test_orders(self):
        number = self.put_aside("a@far.test", "b@else.test")
        file = self.put_file()
        for command in ("retry", "purge", "export"):
            self.refused(2, ("badmail", command), "say which")
            self.refused(2, ("badmail", command, number, "--all"), "not both")
        self.assertEqual(len(self.done_json("badmail", "purge", "--all", "--dry-run")), 3)
        self.assertEqual(len(self.listed()), 3)
        self.done("badmail", "retry", "--all")
        self.assertEqual(self.listed(), [])
        self.assertEqual([row["state"] for row in self.done_json("queue", "list")], ["active", "active"])
        self.assertEqual(os.listdir(self.home / "badmail"), [])
        self.assertEqual((self.home / "pickup" / f"{file}.eml").read_bytes(), b"no mail")
        self.put_file()
        self.refused(1, ("badmail", "retry", file), "could not be moved")  # one of that name waits there
        self.done("badmail", "add", number)
        self.done("badmail", "purge", number)
        self.assertEqual(self.done_json("queue", "list"), [])
        self.done("badmail", "purge", file)
        self.assertEqual(os.listdir(self.home / "badmail"), [])
        self.assertIn("is sound", self.done("store", "check"))

    def test_export(self):
        number = self.put_aside("a@far.test")
        file = self.put_file()
        out = self.folder / "out"
        out.mkdir()
        self.done("badmail", "export", "--all", "--output", str(out))
        self.assertEqual((out / f"{number}.BAD").read_bytes(), MESSAGE)
        self.assertIn("Sender: <ann@example.test>\nRecipient: <a@far.test>\n", (out / f"{number}.BDP").read_text())
        self.assertIn("Cause: by-event\n", (out / f"{number}.BDR").read_text())
        self.assertEqual((out / f"{file}.BAD").read_bytes(), b"no mail")
        self.assertEqual(len(os.listdir(out)), 6)
        self.refused(1, ("badmail", "export", number, "--output", str(out)), "could not be made")

    def test_what_others_put_there(self):
        """A link in the folder leads nowhere."""
        (self.home / "badmail" / "bbaaaaaaaaaaa.BAD").symlink_to("/etc/passwd")
        os.mkfifo(self.home / "badmail" / "bcaaaaaaaaaaa.BAD")
        for number in ("bbaaaaaaaaaaa", "bcaaaaaaaaaaa"):
            self.refused(1, ("badmail", "export", number, "--output", str(self.folder)), number)
            self.refused(1, ("badmail", "retry", number), "no plain file")
            self.assertNotIn("root", self.done("badmail", "show", number))
            self.done("badmail", "purge", number)
            (self.folder / f"{number}.BAD").unlink(missing_ok=True)


if __name__ == "__main__":
    unittest.main()
