"""Domains, mailboxes, aliases: their whole life, said twice, and refused with a remedy."""

import os
import re
import subprocess
import unittest

from post_office import PostOffice

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


class Domains(PostOffice):
    def test_life_of_a_domain(self):
        self.assertIn("domain second.test added", self.done("domain", "add", "Second.TEST"))
        self.refused(1, ["domain", "add", "second.test"], "second.test is already here", "--if-not-exists")
        self.assertIn("already here", self.done("domain", "add", "second.test", "--if-not-exists"))
        self.assertEqual([d["name"] for d in self.done_json("domain", "list")], ["example.test", "second.test"])
        self.assertIn("domain second.test removed", self.done("domain", "remove", "second.test"))
        self.refused(1, ["domain", "remove", "second.test"], "no domain second.test here", "pennypost domain add second.test")
        self.assertIn("not here", self.done("domain", "remove", "--if-exists", "second.test"))

    def test_the_first_domain_brings_postmaster(self):
        self.assertEqual([m["address"] for m in self.done_json("mailbox", "list")], ["postmaster@example.test"])
        self.done("domain", "add", "second.test")
        self.assertEqual(self.done_json("mailbox", "list", "second.test"), [])

    def test_national_names_are_kept_as_a_labels(self):
        self.done("domain", "add", "Grüße.example")
        self.assertIn("xn--gre-6ka8l.example", [d["name"] for d in self.done_json("domain", "list")])
        self.assertEqual(self.done_json("domain", "show", "GRÜßE.example")["name"], "xn--gre-6ka8l.example")

    def test_show(self):
        shown = self.done_json("domain", "show", "example.test")
        self.assertRegex(shown.pop("created"), RFC3339)
        self.assertEqual(
            shown,
            {"name": "example.test", "kind": "local", "alias_of": None, "locked": False, "mailboxes": 1,
             "catch_all": None, "quota": 0, "plus_addressing": True, "fetch": None, "journal": None, "route": None,
             "security": None, "username": None, "esmtp": None, "allow_relay": None, "rate": None, "connections": None,
             "hold": None, "dequeue_accounts": None},
        )
        self.assertRegex(self.done("domain", "show", "example.test"), r"(?m)^Locked +no$")

    def test_remote_domains(self):
        """S86, S87, S89 to S92: what is set is shown, and changed one by one."""
        secret = self.folder / "secret"
        secret.write_text("pass word\n")
        self.done("domain", "add", "*.far.test", "--remote", "--allow-relay", "--route", "relay.far.test:587", "--no-esmtp",
                  "--security", "verify", "--username", "we", "--password-file", str(secret), "--rate", "60", "--connections", "2")
        shown = self.done_json("domain", "show", "*.far.test")
        self.assertEqual(
            {key: shown[key] for key in ("kind", "route", "security", "username", "esmtp", "allow_relay", "rate", "connections")},
            {"kind": "remote", "route": "relay.far.test:587", "security": "verify", "username": "we", "esmtp": False,
             "allow_relay": True, "rate": 60, "connections": 2})
        self.assertNotIn("pass word", self.done("domain", "show", "*.far.test"))
        self.done("domain", "set", "*.far.test", "--no-allow-relay", "--esmtp")
        shown = self.done_json("domain", "show", "*.far.test")
        self.assertEqual((shown["allow_relay"], shown["esmtp"], shown["rate"]), (False, True, 60))
        self.refused(2, ["domain", "add", "a.test", "--route", "dns"], "--remote")
        self.refused(2, ["domain", "add", "a.test", "--remote", "--security", "maybe"], "maybe")
        self.refused(2, ["domain", "add", "a.test", "--remote", "--route", "a b"], "a b")
        self.refused(2, ["domain", "add", "a.test", "--remote", "--route", "h", "--username", "we"], "--password-file")
        self.refused(2, ["domain", "add", "a.test", "--remote", "--rate", "many"], "many")
        self.refused(2, ["domain", "add", "x*.far.test", "--remote"], "x*.far.test")

    def test_lock(self):
        self.assertIn("locked", self.done("domain", "lock", "example.test"))
        self.assertTrue(self.done_json("domain", "show", "example.test")["locked"])
        self.assertIn("already locked", self.done("domain", "lock", "example.test"))
        self.assertIs(self.done_json("domain", "lock", "example.test")["changed"], False)
        self.assertIn("unlocked", self.done("domain", "unlock", "example.test"))
        self.assertFalse(self.done_json("domain", "show", "example.test")["locked"])

    def test_settings(self):
        self.refused(2, ["domain", "set", "example.test"], "nothing to set")
        self.refused(2, ["domain", "set", "example.test", "--quota", "much"], "not a size")
        self.refused(2, ["domain", "set", "example.test", "--plus-addressing", "maybe"], "on or off")
        self.refused(2, ["domain", "set", "example.test", "--catch-all", "bob"], "has no domain")
        self.refused(1, ["domain", "set", "example.test", "--catch-all", "bob@example.test"], "nobody has this address",
                     "mailbox add bob@example.test")
        self.refused(1, ["domain", "set", "nowhere.test", "--quota", "1"], "no domain nowhere.test here")
        self.add_mailbox("bob@example.test")
        said = self.done("domain", "set", "example.test", "--catch-all", "Bob@Example.test", "--quota", "2MB", "--plus-addressing", "off")
        self.assertIn("catch-all bob@example.test, quota 2.0 MB, plus addressing off", said)

        def settings(name="example.test"):
            shown = self.done_json("domain", "show", name)
            return shown["catch_all"], shown["quota"], shown["plus_addressing"]

        self.assertEqual(settings(), ("bob@example.test", 2097152, False))
        self.assertIn("has that already", self.done("domain", "set", "example.test", "--plus-addressing", "off"))
        self.assertTrue(self.done_json("domain", "set", "example.test", "--catch-all", "none", "--plus-addressing", "on")["changed"])
        self.assertEqual(settings(), (None, 2097152, True))
        self.done("domain", "add", "second.test", "--catch-all", "bob@example.test", "--quota", "1KB", "--plus-addressing", "off")
        self.assertEqual(settings("second.test"), ("bob@example.test", 1024, False))
        self.assertRegex(self.done("domain", "show", "second.test"), r"(?m)^Catch-all +bob@example.test$")
        self.refused(1, ["domain", "add", "third.test", "--catch-all", "x@third.test"], "nobody has this address")
        self.refused(2, ["domain", "add", "alias.test", "--alias-of", "example.test", "--quota", "1KB"], "set them there")
        self.done("domain", "add", "alias.test", "--alias-of", "example.test")
        self.refused(1, ["domain", "set", "alias.test", "--quota", "1KB"], "an alias of example.test")
        self.done("domain", "remove", "second.test")
        self.done("domain", "remove", "alias.test")
        self.done("domain", "remove", "example.test", "--purge")
        self.done("domain", "add", "first.test", "--catch-all", "postmaster@first.test")
        self.assertEqual(settings("first.test")[0], "postmaster@first.test")

    def test_mail_that_is_asked_for(self):
        """S93, S95: who may take a remote domain's mail, and how a domain of ours takes its own."""
        self.add_mailbox("ann@example.test")
        self.add_mailbox("bob@example.test")
        self.done("domain", "add", "far.test", "--remote", "--hold", "--dequeue-account", "Ann@example.test", "bob@example.test")

        def settings():
            shown = self.done_json("domain", "show", "far.test")
            return shown["hold"], shown["dequeue_accounts"]

        self.assertEqual(settings(), (True, "ann@example.test, bob@example.test"))
        self.done("domain", "set", "far.test", "--no-dequeue-account", "ann@example.test", "--no-hold")
        self.assertEqual(settings(), (False, "bob@example.test"))
        self.done("domain", "set", "far.test", "--no-dequeue-account", "all", "--hold")
        self.assertEqual(settings(), (True, None))
        self.assertIn("has that already", self.done("domain", "set", "far.test", "--hold"))
        self.refused(1, ["domain", "set", "far.test", "--dequeue-account", "nobody@example.test"], "no such mailbox",
                     "mailbox add nobody@example.test")
        self.refused(2, ["domain", "set", "far.test", "--dequeue-account", "ann"], "ann")
        self.refused(2, ["domain", "add", "local.test", "--hold"], "say --remote")

        self.refused(2, ["domain", "set", "example.test", "--fetch", "etrn"], "--fetch-from HOST")
        self.refused(2, ["domain", "set", "example.test", "--fetch-from", "a b"], "--fetch-from a b")
        self.refused(2, ["domain", "set", "example.test", "--fetch-from", "provider.test", "--every", "59s"], "from 1m to 7d")
        self.refused(2, ["domain", "set", "example.test", "--fetch-from", "provider.test", "--fetch", "pop"], "etrn or atrn")
        self.refused(2, ["domain", "set", "example.test", "--fetch-from", "provider.test", "--fetch", "atrn"], "--username")
        self.refused(2, ["domain", "set", "far.test", "--fetch-from", "provider.test", "--hold"], "a domain is one of them")
        self.done("domain", "set", "example.test", "--fetch-from", "provider.test")
        fetched = lambda: self.done_json("domain", "show", "example.test")["fetch"]
        self.assertEqual(fetched(), "from provider.test by ETRN every 15m, security opportunistic")
        secret = self.folder / "secret"
        secret.write_text("pencil\n")
        self.done("domain", "set", "example.test", "--fetch", "atrn", "--every", "1h", "--security", "verify", "--username", "us",
                  "--password-file", str(secret))
        self.assertEqual(fetched(), "from provider.test by ATRN every 1h, security verify, as us")
        self.done("domain", "set", "example.test", "--security", "tls")
        self.assertEqual(fetched(), "from provider.test by ATRN every 1h, security tls, as us")
        self.done("domain", "set", "example.test", "--fetch-from", "none")
        self.assertIsNone(fetched())

    def test_journal(self):
        journal = lambda: self.done_json("domain", "show", "example.test")["journal"]
        self.assertIn("copies of all mail to x@far.test", self.done("domain", "set", "example.test", "--journal", "X@far.test"))
        self.assertEqual(journal(), "x@far.test")
        self.assertIn("has that already", self.done("domain", "set", "example.test", "--journal", "x@far.test"))
        self.add_mailbox("bob@example.test")
        self.done("domain", "set", "example.test", "--journal", "bob@example.test")
        self.done("mailbox", "rename", "bob@example.test", "bill@example.test")
        self.assertEqual(journal(), "bill@example.test")
        self.refused(1, ["domain", "set", "example.test", "--journal", "nobody@example.test"], "nobody has the address")
        self.done("domain", "set", "example.test", "--journal", "none")
        self.assertIsNone(journal())

    def test_alias_domain(self):
        self.done("domain", "add", "alias.test", "--alias-of", "example.test")
        self.assertEqual(self.done_json("domain", "show", "alias.test")["alias_of"], "example.test")
        self.refused(1, ["mailbox", "add", "bob@alias.test", "--no-password"], "alias of example.test")
        self.refused(1, ["domain", "add", "more.test", "--alias-of", "alias.test"], "alias of example.test")
        self.refused(1, ["domain", "add", "more.test", "--alias-of", "nowhere.test"], "no domain nowhere.test here")
        self.refused(1, ["domain", "add", "alias.test", "--if-not-exists"], "already here as an alias of example.test")
        self.refused(2, ["domain", "add", "self.test", "--alias-of", "self.test"], "its own alias")
        self.refused(1, ["domain", "remove", "example.test", "--purge"], "alias.test", "domain remove alias.test")
        self.assertEqual(len(self.done_json("mailbox", "list", "example.test")), 1, "nothing was purged before the refusal")

    def test_domain_with_mailboxes_is_kept_without_purge(self):
        self.add_mailbox("bob@example.test")
        self.refused(1, ["domain", "remove", "example.test"], "2 mailboxes", "--purge")
        self.assertIn("removed with 2 mailboxes", self.done("domain", "remove", "example.test", "--purge"))
        self.assertEqual(self.done_json("domain", "list"), [])
        self.assertEqual(self.done_json("mailbox", "list"), [])

    def test_drop_domain(self):
        self.assertIn("drop folder", self.done("domain", "add", "other.test", "--drop"))
        self.assertEqual(self.done_json("domain", "show", "other.test")["kind"], "drop")
        self.refused(1, ["domain", "add", "other.test", "--drop"], "already here")
        self.done("domain", "add", "other.test", "--drop", "--if-not-exists")
        self.refused(1, ["domain", "add", "other.test", "--if-not-exists"], "already here as a domain of kind drop")
        self.refused(1, ["mailbox", "add", "bob@other.test", "--no-password"], "its mail goes elsewhere")
        self.refused(1, ["domain", "add", "alias.test", "--alias-of", "other.test"], "its mail goes elsewhere")
        self.refused(1, ["domain", "set", "other.test", "--quota", "1KB"], "its mail goes elsewhere")
        self.refused(2, ["domain", "add", "third.test", "--drop", "--quota", "1KB"], "--drop", "no mailboxes")
        self.refused(2, ["domain", "add", "third.test", "--drop", "--remote"], "--remote")
        self.refused(2, ["domain", "add", "third.test", "--drop", "--route", "dns"], "say --remote")
        self.done("domain", "remove", "other.test")

    def test_bad_names(self):
        for name in ("", "a b.test", "-a.test", "a..test", "[192.0.2.1]", "x" * 64 + ".test", "a.test\n", "\x1b[31m.test"):
            err = self.refused(2, ["domain", "add", "--", name], "not a domain name" if not name.startswith("[") else name)
            self.assertNotIn("\x1b", err)


class Mailboxes(PostOffice):
    def test_life_of_a_mailbox(self):
        out = self.done("mailbox", "add", "Bob@Example.test", "--password-stdin", stdin=b"secret word\nnot this\n")
        self.assertIn("mailbox bob@example.test added", out)
        self.refused(1, ["mailbox", "add", "bob@example.test", "--no-password"], "already here", "--if-not-exists")
        self.assertIn("already here", self.done("mailbox", "add", "bob@example.test", "--no-password", "--if-not-exists"))
        shown = self.done_json("mailbox", "show", "BOB@example.test")
        self.assertRegex(shown.pop("created"), RFC3339)
        self.assertEqual(
            shown,
            {
                "address": "bob@example.test",
                "display": "Bob@example.test",
                "locked": False,
                "password": True,
                "password_scheme": "argon2id",
                "scram_sha256": True,
                "apop": False,
                "send_as": [],
                "forward": [],
                "keep_copy": False,
                "auto_reply": False,
                "auto_reply_from": None,
                "auto_reply_until": None,
                "auto_reply_subject": None,
                "auto_reply_text": None,
                "messages": 0,
                "octets": 0,
                "arrivals": 0,
                "quota": 0,
                "quota_of_domain": True,
                "max_messages": 0,
                "used_percent": None,
            },
        )
        self.assertIn("removed", self.done("mailbox", "remove", "bob@example.test"))
        self.refused(1, ["mailbox", "show", "bob@example.test"], "no mailbox bob@example.test here")
        self.refused(1, ["mailbox", "remove", "bob@example.test"], "no mailbox bob@example.test here")
        self.assertIn("not here", self.done("mailbox", "remove", "bob@example.test", "--if-exists"))

    def test_a_removed_address_is_given_to_nobody_else(self):
        self.add_mailbox("bob@example.test")
        self.done("mailbox", "remove", "bob@example.test")
        self.refused(1, ["mailbox", "add", "bob@example.test", "--no-password"], "restore", "--purge")
        self.done("mailbox", "remove", "bob@example.test", "--purge")
        self.add_mailbox("bob@example.test")
        self.done("mailbox", "remove", "bob@example.test", "--purge")
        self.refused(1, ["mailbox", "remove", "bob@example.test", "--purge"], "no mailbox bob@example.test here")
        self.assertIn("not here", self.done("mailbox", "remove", "bob@example.test", "--purge", "--if-exists"))

    def test_unknown_domain_names_the_remedy(self):
        err = self.refused(1, ["mailbox", "add", "bob@nowhere.test", "--no-password"])
        self.assertEqual(
            err,
            "pennypost: mailbox add: no domain nowhere.test here; add it with 'pennypost domain add nowhere.test' or check the spelling\n",
        )

    def test_passwords(self):
        self.refused(2, ["mailbox", "add", "bob@example.test"], "no terminal", "--password-stdin")
        self.refused(2, ["mailbox", "add", "bob@example.test", "--password-stdin"], "empty password", stdin=b"\n")
        self.refused(2, ["mailbox", "add", "bob@example.test", "--password-stdin"], "empty password", stdin=b"")
        self.refused(2, ["mailbox", "add", "bob@example.test", "--password-stdin"], "cannot be used", stdin=b"a\x01b\n")
        self.refused(2, ["mailbox", "add", "bob@example.test", "--password-stdin"], "longer", stdin=b"a" * 5000 + b"\n")
        self.refused(2, ["mailbox", "add", "bob@example.test", "--password-stdin", "--no-password"], "excludes")
        self.assertEqual(len(self.done_json("mailbox", "list")), 1)
        self.add_mailbox("bob@example.test")
        self.assertIsNone(self.done_json("mailbox", "show", "bob@example.test")["password_scheme"])
        self.refused(2, ["mailbox", "passwd", "bob@example.test", "--password-stdin"], "empty password", stdin=b"\r\n")
        self.assertIn("new password", self.done("mailbox", "passwd", "bob@example.test", "--password-stdin", stdin="pässword\r\n".encode()))
        self.assertTrue(self.done_json("mailbox", "show", "bob@example.test")["scram_sha256"])
        self.refused(1, ["mailbox", "passwd", "ann@example.test", "--password-stdin"], "no mailbox ann@example.test", stdin=b"x\n")

    def test_imported_hashes(self):
        crypted = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
        self.done("mailbox", "add", "bob@example.test", "--hash", crypted)
        shown = self.done_json("mailbox", "show", "bob@example.test")
        self.assertEqual((shown["password"], shown["password_scheme"], shown["scram_sha256"]), (True, "sha512-crypt", False))
        for broken in ("", "secret", "$9$x$y", crypted[:-1]):
            self.refused(2, ["mailbox", "add", "ann@example.test", "--hash", broken], "--hash")

    def test_limits(self):
        self.refused(2, ["mailbox", "set", "postmaster@example.test", "--quota", "much"], "not a size")
        self.refused(2, ["mailbox", "set", "postmaster@example.test", "--quota", "99999999999GB"], "not a size")
        self.refused(2, ["mailbox", "set", "postmaster@example.test", "--max-messages", "-1"], "not a number")
        self.refused(2, ["mailbox", "set", "postmaster@example.test"], "nothing to set")
        self.refused(2, ["mailbox", "add", "bob@example.test", "--no-password", "--quota", "1TB"], "not a size")
        self.assertEqual(len(self.done_json("mailbox", "list")), 1)
        self.done("mailbox", "add", "bob@example.test", "--no-password", "--quota", "1KB", "--max-messages", "4")

        def limits(address="bob@example.test"):
            shown = self.done_json("mailbox", "show", address)
            return shown["quota"], shown["quota_of_domain"], shown["max_messages"], shown["used_percent"]

        self.assertEqual(limits(), (1024, False, 4, 0))
        self.put_message("bob@example.test", b"Subject: x\r\n\r\n" + b"x" * 400 + b"\r\n")
        used = self.done_json("mailbox", "stat")[0]
        self.assertEqual((used["address"], used["quota"], used["max_messages"]), ("bob@example.test", 1024, 4))
        self.assertEqual(used["used_percent"], used["octets"] * 100 // 1024)
        self.assertGreater(used["used_percent"], 39)
        self.assertEqual(self.done_json("mailbox", "list")[0]["used_percent"], used["used_percent"])
        self.assertIsNone(self.done_json("mailbox", "list")[1]["used_percent"])
        self.assertRegex(self.done("mailbox", "stat"), r"(?m)^bob@example.test +1 +.*%")
        self.assertRegex(self.done("mailbox", "show", "bob@example.test"), r"(?m)^Quota +1\.0 KB$")

        self.assertIn("2 messages at most", self.done("mailbox", "set", "bob@example.test", "--max-messages", "2"))
        self.assertEqual(limits()[3], 50, "the limit that is nearer counts")
        self.assertIn("has that already", self.done("mailbox", "set", "bob@example.test", "--quota", "1024"))
        self.done("domain", "set", "example.test", "--quota", "1MB")
        self.assertEqual(limits()[:2], (1024, False))
        self.assertEqual(limits("postmaster@example.test")[:2], (1048576, True))
        self.done("mailbox", "set", "bob@example.test", "--quota", "default")
        self.assertEqual(limits()[:2], (1048576, True))
        self.assertIn("no quota", self.done("mailbox", "set", "bob@example.test", "--quota", "0", "--max-messages", "0"))
        self.assertEqual(limits(), (0, False, 0, None))

    def test_secret_for_apop(self):
        self.done("mailbox", "add", "bob@example.test", "--password-stdin", stdin=b"secret word\n")
        set_secret = ["mailbox", "set", "bob@example.test", "--apop-secret-stdin"]
        self.assertIn("a secret for APOP", self.done(*set_secret, stdin=b"tanstaaf\n"))
        self.assertIs(self.done_json("mailbox", "show", "bob@example.test")["apop"], True)
        self.assertRegex(self.done("mailbox", "show", "bob@example.test"), r"(?m)^APOP +yes$")
        self.assertNotIn("tanstaaf", self.done("mailbox", "show", "bob@example.test", "--json"))
        self.assertIn("a secret for APOP", self.done("mailbox", "set", "bob@example.test", "--quota", "1MB"))
        self.assertNotIn("APOP", self.done("mailbox", "set", "bob@example.test", "--no-apop-secret"))
        self.assertIn("has that already", self.done("mailbox", "set", "bob@example.test", "--no-apop-secret"))
        self.assertIs(self.done_json("mailbox", "show", "bob@example.test")["apop"], False)
        self.refused(2, [*set_secret, "--no-apop-secret"], "--no-apop-secret")

    def test_send_as(self):
        self.add_mailbox("bob@example.test")
        grants = lambda: self.done_json("mailbox", "show", "bob@example.test")["send_as"]
        out = self.done("mailbox", "set", "bob@example.test", "--send-as", "Boss@other.test", "--send-as", "@Third.test")
        self.assertIn("sends as boss@other.test, @third.test", out)
        self.assertEqual(grants(), ["boss@other.test", "@third.test"])
        self.assertIn("has that already", self.done("mailbox", "set", "bob@example.test", "--send-as", "@third.test"))
        self.done("mailbox", "set", "bob@example.test", "--no-send-as", "boss@other.test", "--quota", "1MB")
        self.assertEqual(grants(), ["@third.test"])
        self.assertRegex(self.done("mailbox", "show", "bob@example.test"), r"(?m)^Sends as +@third\.test$")
        self.done("mailbox", "set", "bob@example.test", "--no-send-as", "all")
        self.assertEqual(grants(), [])
        self.refused(2, ["mailbox", "set", "bob@example.test", "--send-as", "nobody"], "nobody")
        many = [word for i in range(17) for word in ("--send-as", f"a{i}@other.test")]
        self.refused(1, ["mailbox", "set", "bob@example.test", *many], "16 others")

    def test_forward(self):
        for name in ("bob", "ann"):
            self.add_mailbox(f"{name}@example.test")
        shown = lambda: [self.done_json("mailbox", "show", "bob@example.test")[key] for key in ("forward", "keep_copy")]
        set_bob = ["mailbox", "set", "bob@example.test"]
        out = self.done(*set_bob, "--forward", "Ann@example.test", "x@far.test", "ann@EXAMPLE.test", "--keep-copy")
        self.assertIn("forwards to ann@example.test, x@far.test, and keeps a copy", out)
        self.assertEqual(shown(), [["ann@example.test", "x@far.test"], True])
        self.assertIn("has that already", self.done(*set_bob, "--keep-copy"))
        self.done(*set_bob, "--no-keep-copy")
        self.assertEqual(shown(), [["ann@example.test", "x@far.test"], False])
        self.done(*set_bob, "--forward", "y@far.test")
        self.assertEqual(shown(), [["y@far.test"], False])
        self.done("mailbox", "rename", "ann@example.test", "anna@example.test")
        self.done(*set_bob, "--forward", "anna@example.test")
        self.done("mailbox", "rename", "anna@example.test", "ann@example.test")
        self.assertEqual(shown(), [["ann@example.test"], False])
        self.refused(1, ["mailbox", "set", "ann@example.test", "--forward", "bob@example.test"], "loop")
        self.refused(2, [*set_bob, "--forward", "BOB@example.test"], "--keep-copy")
        self.refused(2, [*set_bob, "--forward", "nobody"], "nobody")
        self.refused(2, [*set_bob, "--forward", "x@y.test", "--no-forward"], "--no-forward")
        self.refused(1, [*set_bob, "--forward", *(f"a{i}@far.test" for i in range(17))], "16 addresses")
        self.done(*set_bob, "--no-forward")
        self.assertEqual(shown(), [[], False])
        self.refused(2, [*set_bob, "--keep-copy"], "--forward")

    def test_auto_reply(self):
        self.add_mailbox("bob@example.test")
        set_bob = ["mailbox", "set", "bob@example.test"]
        shown = lambda: {key.removeprefix("auto_reply"): value
                         for key, value in self.done_json("mailbox", "show", "bob@example.test").items() if key.startswith("auto_reply")}
        none = {"": False, "_from": None, "_until": None, "_subject": None, "_text": None}
        self.assertEqual(shown(), none)
        self.refused(2, [*set_bob, "--auto-reply-until", "2030-01-01"], "--auto-reply-file")
        text = self.folder / "text"
        text.write_text("Zur\u00fcck am Montag.\n")
        self.assertIn("answers by itself", self.done(*set_bob, "--auto-reply-file", str(text), "--auto-reply-from", "2030-01-02Z",
                                                     "--auto-reply-until", "2030-02-28Z"))
        self.assertEqual(shown(), {"": True, "_from": "2030-01-02T00:00:00Z", "_until": "2030-03-01T00:00:00Z", "_subject": None,
                                   "_text": text.read_text()})
        self.assertIn("has that already", self.done(*set_bob, "--auto-reply-file", str(text)))
        self.done(*set_bob, "--auto-reply-subject", "Away", "--auto-reply-from", "none", "--auto-reply-until", "2030-01-02T18:30Z")
        self.assertEqual(shown(), {"": True, "_from": None, "_until": "2030-01-02T18:30:00Z", "_subject": "Away", "_text": text.read_text()})
        for date in ("tomorrow", "2030-02-30", "2030-13-01", "2030-1-1x", "2030-01-01T25:00"):
            self.refused(2, [*set_bob, "--auto-reply-from", date], date, "2026-12-24")
        self.refused(2, [*set_bob, "--auto-reply-from", "2031-01-01"], "--auto-reply-until")
        self.refused(2, [*set_bob, "--auto-reply-file", str(self.folder / "missing")], "missing")
        text.write_bytes(b"\xff\xfe")
        self.refused(2, [*set_bob, "--auto-reply-file", str(text)], "UTF-8")
        text.write_text("x" * 20000)
        self.refused(2, [*set_bob, "--auto-reply-file", str(text)], "16384")
        self.refused(2, [*set_bob, "--auto-reply-subject", "x" * 201], "200")
        self.done(*set_bob, "--no-auto-reply")
        self.assertEqual(shown(), none)
        self.assertIn("has that already", self.done(*set_bob, "--no-auto-reply"))

    def test_restore(self):
        self.add_mailbox("bob@example.test")
        self.put_message("bob@example.test", b"Subject: before\r\n\r\nx\r\n")
        self.assertIs(self.done_json("mailbox", "restore", "bob@example.test")["changed"], False)
        self.assertIn("mailbox restore bob@example.test", self.done("mailbox", "remove", "bob@example.test"))
        self.refused(1, ["mailbox", "show", "bob@example.test"], "it was removed", "mailbox restore bob@example.test", "--purge")
        self.refused(1, ["mailbox", "add", "bob@example.test", "--no-password"], "mailbox restore bob@example.test",
                     "mailbox remove --purge bob@example.test")
        removed = self.done_json("mailbox", "list", "--removed")
        self.assertRegex(removed[0].pop("removed"), RFC3339)
        self.assertGreater(removed[0].pop("octets"), 20)
        self.assertEqual(removed, [{"address": "bob@example.test", "messages": 1}])
        self.assertEqual([m["address"] for m in self.done_json("mailbox", "list")], ["postmaster@example.test"])
        self.assertIn("restored with 1 message", self.done("mailbox", "restore", "bob@example.test"))
        self.assertEqual(self.done_json("mailbox", "show", "bob@example.test")["messages"], 1)
        self.assertEqual(self.done_json("mailbox", "list", "--removed"), [])
        self.done("mailbox", "remove", "bob@example.test", "--purge")
        self.refused(1, ["mailbox", "restore", "bob@example.test"], "no removed mailbox bob@example.test", "list --removed")
        self.refused(1, ["mailbox", "restore", "eve@example.test"], "no removed mailbox eve@example.test")

    def test_rename(self):
        self.done("mailbox", "add", "bob@example.test", "--password-stdin", stdin=b"secret word\n")
        self.add_mailbox("ann@example.test")
        self.put_message("bob@example.test", b"Subject: to bob\r\n\r\nx\r\n")
        self.done("alias", "add", "sales@example.test", "bob@example.test", "ann@example.test")
        self.refused(1, ["mailbox", "rename", "eve@example.test", "x@example.test"], "no mailbox eve@example.test")
        self.refused(1, ["mailbox", "rename", "bob@example.test", "ann@example.test"], "ann@example.test is there already")
        self.refused(1, ["mailbox", "rename", "bob@example.test", "sales@example.test"], "is an alias")
        self.refused(1, ["mailbox", "rename", "bob@example.test", "bob@nowhere.test"], "no domain nowhere.test here")
        self.refused(2, ["mailbox", "rename", "bob@example.test", "bob"], "has no domain")
        answer = self.done_json("mailbox", "rename", "bob@example.test", "Robert@example.test")
        self.assertEqual((answer["changed"], answer["mailbox"]), (True, "robert@example.test"))
        shown = self.done_json("mailbox", "show", "robert@example.test")
        self.assertEqual((shown["display"], shown["messages"], shown["scram_sha256"]), ("Robert@example.test", 1, True))
        self.assertEqual(self.done_json("alias", "show", "sales@example.test")["targets"], ["robert@example.test", "ann@example.test"])
        ident = self.done_json("message", "list", "robert@example.test")[0]["id"]
        self.assertIn("Delivered-To: bob@example.test", self.done("message", "show", "robert@example.test", ident))
        self.refused(1, ["mailbox", "show", "bob@example.test"], "no mailbox bob@example.test")
        self.assertIs(self.done_json("mailbox", "rename", "robert@example.test", "Robert@example.test")["changed"], False)
        self.add_mailbox("bob@example.test")

    def test_lock(self):
        self.add_mailbox("bob@example.test")
        self.assertIn("locked", self.done("mailbox", "lock", "bob@example.test"))
        self.assertEqual([m["locked"] for m in self.done_json("mailbox", "list")], [True, False])
        self.assertIn("already locked", self.done("mailbox", "lock", "bob@example.test"))
        self.assertIn("unlocked", self.done("mailbox", "unlock", "bob@example.test"))
        self.assertEqual([m["locked"] for m in self.done_json("mailbox", "list")], [False, False])

    def test_bad_addresses(self):
        self.refused(2, ["mailbox", "add", "bob", "--no-password"], "'bob' has no domain", "bob@example.org")
        for address in ("", "@", "@example.test", "bob@", "a b@example.test", "bob@[192.0.2.1]", "x" * 65 + "@example.test",
                        "bob@" + "x." * 130 + "test", "bob@example.test>", "<bob@example.test>", "b\x07b@example.test"):
            err = self.refused(2, ["mailbox", "add", "--no-password", "--", address])
            self.assertNotIn("\x07", err)
        self.add_mailbox("x" * 64 + "@example.test")

    def test_lists_are_sorted_and_may_be_long(self):
        for domain in ("zeta.test", "alpha.test"):
            self.done("domain", "add", domain)
        for address in ("al.x@alpha.test", "al@alpha.test", "al@zeta.test", "b@example.test"):
            self.add_mailbox(address)
        everyone = [m["address"] for m in self.done_json("mailbox", "list")]
        self.assertEqual(everyone, ["al@alpha.test", "al.x@alpha.test", "b@example.test", "postmaster@example.test", "al@zeta.test"])
        self.assertEqual([m["address"] for m in self.done_json("mailbox", "stat", "alpha.test")], everyone[:2])
        self.refused(1, ["mailbox", "list", "nowhere.test"], "no domain nowhere.test here")
        lines = self.done("mailbox", "list").splitlines()
        self.assertTrue(lines[0].startswith("MAILBOX "), lines)
        self.assertEqual({line.find(word) for line, word in zip(lines, ["LOCKED"] + ["no"] * 5)}, {lines[0].find("LOCKED")})
        self.assertEqual(self.done("mailbox", "list", "example.test").count("\n"), 3)


    def test_a_list_of_several_pages(self):
        self.done("domain", "add", "zeta.test")
        subprocess.run([os.environ["ADD_MAILBOXES"], str(self.folder / "store"), "example.test", "2001"], timeout=120, check=True)
        self.add_mailbox("ann@zeta.test")
        want = [f"p{number:06}@example.test" for number in range(2001)] + ["postmaster@example.test", "ann@zeta.test"]
        self.assertEqual([m["address"] for m in self.done_json("mailbox", "list")], want)
        self.assertEqual([m["address"] for m in self.done_json("mailbox", "stat", "example.test")], want[:-1])
        self.assertEqual([line.split()[0] for line in self.done("mailbox", "list").splitlines()], ["MAILBOX", *want])
        self.assertEqual(self.done_json("domain", "show", "example.test")["mailboxes"], 2002)


class Aliases(PostOffice):
    def setUp(self):
        super().setUp()
        self.add_mailbox("ann@example.test")
        self.add_mailbox("bob@example.test")

    def test_life_of_an_alias(self):
        out = self.done("alias", "add", "Sales@example.test", "BOB@example.test", "ann@example.test", "bob@example.test")
        self.assertIn("alias sales@example.test added: to bob@example.test, ann@example.test", out)
        self.refused(1, ["alias", "add", "sales@example.test", "ann@example.test"], "already here", "--replace")
        self.assertIn("already here", self.done("alias", "add", "sales@example.test", "ann@example.test", "--if-not-exists"))
        self.assertEqual(
            self.done_json("alias", "list"),
            [{"address": "sales@example.test", "targets": ["bob@example.test", "ann@example.test"]}],
        )
        self.assertIn("replaced", self.done("alias", "add", "--replace", "sales@example.test", "ann@example.test"))
        self.assertEqual(self.done_json("alias", "show", "sales@example.test")["targets"], ["ann@example.test"])
        self.assertIn("removed", self.done("alias", "remove", "sales@example.test"))
        self.refused(1, ["alias", "remove", "sales@example.test"], "no alias sales@example.test here")
        self.assertIn("not here", self.done("alias", "remove", "sales@example.test", "--if-exists"))
        self.assertEqual(self.done_json("alias", "list", "example.test"), [])

    def test_an_address_is_a_mailbox_or_an_alias(self):
        self.refused(1, ["alias", "add", "ann@example.test", "bob@example.test"], "is a mailbox already")
        self.done("alias", "add", "sales@example.test", "ann@example.test")
        self.refused(1, ["mailbox", "add", "sales@example.test", "--no-password"], "is an alias")
        self.refused(1, ["mailbox", "show", "sales@example.test"], "is an alias, not a mailbox")
        self.refused(1, ["alias", "show", "ann@example.test"], "is a mailbox, not an alias")

    def test_owner(self):
        owner = lambda: self.done_json("alias", "show", "team@example.test")["owner"]
        out = self.done("alias", "add", "team@example.test", "ann@example.test", "x@far.test", "--owner", "Bob@example.test")
        self.assertIn("owned by bob@example.test", out)
        self.assertEqual(owner(), "bob@example.test")
        self.done("alias", "add", "--replace", "team@example.test", "ann@example.test")
        self.assertEqual(owner(), "bob@example.test", "other targets are no other owner")
        self.done("mailbox", "rename", "bob@example.test", "bill@example.test")
        self.assertEqual(owner(), "bill@example.test")
        self.assertIs(self.done_json("alias", "set", "team@example.test", "--owner", "bill@example.test")["changed"], False)
        self.done("alias", "set", "team@example.test", "--owner", "x@far.test")
        self.assertEqual(owner(), "x@far.test")
        self.done("alias", "set", "team@example.test", "--no-owner")
        self.assertIsNone(owner())
        self.refused(2, ["alias", "set", "team@example.test"], "--owner")
        self.refused(2, ["alias", "set", "team@example.test", "--owner", "Team@example.test"], "itself")
        self.refused(1, ["alias", "set", "nobody@example.test", "--no-owner"], "no alias nobody@example.test")

    def test_loops_are_refused(self):
        answer = self.run_tool("alias", "add", "a@example.test", "b@example.test")
        self.assertEqual(answer.status, 0)
        self.assertIn("warning: nobody has the address b@example.test yet", answer.err)
        answer = self.run_tool("alias", "add", "b@example.test", "a@example.test")
        self.assertEqual(answer.status, 1)
        self.assertIn("loop", answer.err)
        answer = self.run_tool("alias", "add", "c@example.test", "c@example.test")
        self.assertEqual(answer.status, 1)
        self.assertIn("loop", answer.err)

    def test_targets(self):
        self.done("alias", "add", "both@example.test", "ann@example.test", "x@elsewhere.test")
        self.assertEqual(self.done_json("alias", "show", "both@example.test")["targets"], ["ann@example.test", "x@elsewhere.test"])
        self.done("alias", "remove", "both@example.test")
        self.refused(2, ["alias", "add", "sales@example.test", "ann"], "has no domain")
        self.refused(2, ["alias", "add", "sales@example.test"], "TARGET")
        self.assertEqual(self.done_json("alias", "list"), [])


if __name__ == "__main__":
    unittest.main()
