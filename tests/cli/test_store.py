"""The store from its making on; the owner that root becomes."""

import os
import pwd
import shutil
import unittest

from post_office import PostOffice


class Store(PostOffice):
    with_store = False

    def test_init(self):
        self.refused(1, ["mailbox", "list"], str(self.folder / "store"), "pennypost store init")
        self.assertIn("made", self.done("store", "init"))
        self.refused(1, ["store", "init"], "--if-not-exists", "nothing was changed")
        self.assertIn("already there", self.done("store", "init", "--if-not-exists"))
        self.assertIs(self.done_json("store", "init", "--if-not-exists")["changed"], False)
        self.assertEqual((self.folder / "store").stat().st_mode & 0o077, 0)

    def test_init_keeps_its_hands_off_other_folders(self):
        (self.folder / "store").mkdir()
        (self.folder / "store" / "letter.txt").write_text("mine")
        self.refused(1, ["store", "init"], "not empty")
        self.refused(1, ["store", "init", "--if-not-exists"], "not empty")
        self.assertEqual([path.name for path in (self.folder / "store").iterdir()], ["letter.txt"])

    def test_init_makes_the_folders_above(self):
        text = self.config.read_text().replace("/store", "/var/lib/store")
        self.config.write_text(text)
        self.done("store", "init")
        self.assertTrue((self.folder / "var" / "lib" / "store").is_dir())

    def test_check_and_stat(self):
        self.done("store", "init")
        self.done("domain", "add", "example.test")
        self.assertIn("is sound", self.done("store", "check"))
        report = self.done_json("store", "check")
        self.assertEqual((report["sound"], report["problems"], report["mailboxes"]), (True, [], 1))
        stat = self.done_json("store", "stat")
        self.assertEqual((stat["domains"], stat["mailboxes"], stat["messages"]), (1, 1, 0))
        for key in ("segment_octets", "live_octets", "index_octets", "index_map", "free_octets"):
            self.assertIsInstance(stat[key], int)
        self.assertRegex(self.done("store", "stat"), r"(?m)^Domains +1$")

    def test_a_damaged_index_is_refused(self):
        self.done("store", "init")
        self.done("domain", "add", "example.test")
        index = max((path for path in (self.folder / "store").rglob("data.mdb")), default=None)
        self.assertIsNotNone(index)
        os.truncate(index, 4096)
        answer = self.run_tool("domain", "list")
        self.assertEqual((answer.status, answer.out), (1, ""))
        self.assertIn("store", answer.err)


@unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
class Owner(PostOffice):
    with_store = False
    user = "nobody"

    def setUp(self):
        super().setUp()
        os.chmod(self.folder, 0o755)
        self.nobody = pwd.getpwnam("nobody")

    def owners(self):
        return {path.stat().st_uid for path in [self.folder / "store", *(self.folder / "store").rglob("*")]}

    def test_root_becomes_the_owner(self):
        self.done("store", "init")
        self.done("domain", "add", "example.test")
        self.done("mailbox", "add", "bob@example.test", "--no-password")
        self.done("store", "check")
        self.done("message", "list", "bob@example.test")
        self.assertEqual(self.owners(), {self.nobody.pw_uid})
        self.refused(1, ["store", "init"], "--if-not-exists")
        self.done("store", "init", "--if-not-exists")

    def test_an_empty_folder_of_roots_is_given_away(self):
        (self.folder / "store").mkdir(mode=0o755)
        self.done("store", "init")
        self.assertEqual(self.owners(), {self.nobody.pw_uid})

    def test_a_store_of_roots_is_refused(self):
        self.write_config(user="")
        self.done("store", "init")
        self.write_config(user="nobody")
        self.refused(1, ["domain", "list"], "belongs to root", "nobody", "chown -R")

    def test_the_stores_owner_counts_and_not_the_user(self):
        self.done("store", "init")
        self.write_config(user="")
        self.done("domain", "add", "example.test")
        self.assertEqual(self.owners(), {self.nobody.pw_uid})

    def test_a_path_the_user_cannot_reach(self):
        os.chmod(self.folder, 0o700)
        self.refused(1, ["store", "init"], "nobody", "cannot reach")

    def test_an_unknown_user(self):
        self.write_config(user="no-such-user-here")
        self.refused(2, ["store", "init"], "no-such-user-here", "useradd")
        self.assertFalse((self.folder / "store").exists())

    def test_a_link_is_not_followed(self):
        target = self.folder / "precious"
        target.mkdir()
        os.symlink(target, self.folder / "store")
        self.refused(1, ["store", "init"])
        self.assertEqual(target.stat().st_uid, 0)
        shutil.rmtree(target)


if __name__ == "__main__":
    unittest.main()
