"""`route test`: what becomes of a recipient, which rule decides, and what a client would be told; with the daemons down."""

import pathlib
import sys
import unittest

from post_office import SERVER, PostOffice

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from dns_server import DnsServer  # noqa: E402

SUBMISSION = """\
kind = "smtp"
role = "submission"
listen = ["127.0.0.1:0"]
hostname = "submission.example.test"
default_domain = "example.test"
[auth]
require_tls = false
"""


class Route(PostOffice):
    """Answers that need no DNS."""

    def setUp(self):
        super().setUp()
        (self.config.parent / "servers" / "submission.toml").write_text(SUBMISSION)
        for name in ("ann", "bob", "Carl"):
            self.add_mailbox(f"{name}@example.test")

    def route(self, status, *words):
        answer = self.run_tool("--json", "route", "test", "--no-dns", *words)
        self.assertEqual((answer.status, answer.err), (status, ""), f"{words}: {answer.out}")
        found = answer.json()
        self.assertEqual(found["deliverable"], status == 0)
        self.assertEqual(found["reply"] is None, status == 0)
        return found

    def rules(self, found):
        return [(step["address"], step["rule"]) for step in found["steps"]]

    def refused_with(self, reply, *words):
        found = self.route(1, *words)
        self.assertTrue(found["reply"].startswith(reply), found)
        self.assertEqual((found["mailboxes"], found["remotes"]), ([], []))
        return found

    def remote(self, *words):
        (remote,) = self.route(0, *words)["remotes"]
        return remote

    def test_mailbox(self):
        found = self.route(0, "ANN@Example.test")
        self.assertEqual((found["server"], found["client"], found["mailboxes"]), ("mx", "a stranger", ["ann@example.test"]))
        self.assertEqual(self.rules(found), [("ann@example.test", "mailbox")])

    def test_bare_name(self):
        """S07"""
        found = self.route(0, "ann")
        self.assertEqual(found["mailboxes"], ["ann@example.test"])
        self.assertEqual(self.rules(found)[0], ("ann", "default domain"))
        self.write_config(server=SERVER.replace('default_domain = "example.test"\n', ""))
        self.refused_with("501 5.1.3", "ann")

    def test_aliases(self):
        self.done("alias", "add", "sales@example.test", "ann@example.test", "bob@example.test")
        self.done("alias", "add", "all@example.test", "sales@example.test", "Joe@far.test")
        found = self.route(0, "all@example.test")
        self.assertEqual(found["mailboxes"], ["ann@example.test", "bob@example.test"])
        self.assertEqual([remote["address"] for remote in found["remotes"]], ["joe@far.test"])
        rules = self.rules(found)
        self.assertEqual(rules.count(("all@example.test", "alias")), 2)
        self.assertEqual(rules.count(("sales@example.test", "alias")), 2)
        self.assertIn(("joe@far.test", "not ours"), rules)

    def test_plus_form_postmaster_and_catch_all(self):
        found = self.route(0, "ann+lists@example.test")
        self.assertEqual(self.rules(found)[0], ("ann+lists@example.test", "plus form"))
        self.done("domain", "add", "second.test")
        found = self.route(0, "postmaster@second.test")
        self.assertEqual((self.rules(found)[0], found["mailboxes"]),
                         (("postmaster@second.test", "postmaster"), ["postmaster@example.test"]))
        self.refused_with("550 5.1.1", "nobody@second.test")
        self.done("domain", "set", "second.test", "--catch-all", "bob@example.test")
        found = self.route(0, "nobody@second.test")
        self.assertEqual((self.rules(found)[0], found["mailboxes"]),
                         (("nobody@second.test", "catch-all"), ["bob@example.test"]))

    def test_alias_domain(self):
        """S85"""
        self.done("domain", "add", "other.test", "--alias-of", "example.test")
        found = self.route(0, "ann@other.test")
        self.assertEqual((self.rules(found)[0], found["mailboxes"]),
                         (("ann@other.test", "alias domain"), ["ann@example.test"]))

    def test_unknown_and_full(self):
        found = self.refused_with("550 5.1.1", "nobody@example.test")
        self.assertEqual(self.rules(found)[-1], ("nobody@example.test", "unknown"))
        self.done("mailbox", "set", "bob@example.test", "--max-messages", "1")
        self.put_message("bob@example.test", b"Subject: x\r\n\r\n")
        self.assertEqual(self.rules(self.refused_with("452 4.2.2", "bob@example.test"))[-1], ("bob@example.test", "quota"))

    def test_relaying(self):
        """S40, S41, S89"""
        found = self.refused_with("550 5.7.1 relaying denied", "x@far.test")
        self.assertIn("relaying to it is denied", found["steps"][-1]["what"])
        self.assertEqual(self.remote("x@far.test", "--server", "submission")["domain"], "far.test")
        self.assertEqual(self.route(0, "x@far.test", "--server", "submission")["client"], "somebody who has logged in")
        self.done("domain", "add", "backup.test", "--remote", "--allow-relay")
        found = self.route(0, "x@backup.test")
        self.assertIn("--allow-relay", found["steps"][0]["what"])
        self.assertEqual(found["remotes"][0]["remote_domain"], "backup.test")

    def test_sender(self):
        self.done("alias", "add", "sales@example.test", "ann@example.test", "bob@example.test")
        self.done("mailbox", "set", "carl@example.test", "--send-as", "sales@example.test")
        found = self.route(0, "x@far.test", "--sender", "sales@example.test")
        self.assertEqual(found["sender"]["accounts"], ["ann@example.test", "bob@example.test", "carl@example.test"])
        self.assertEqual(found["client"], "ann@example.test")
        self.assertEqual(found["remotes"][0]["address"], "x@far.test")
        # As a stranger's: taken for ours, not for others, and not at all where one must log in.
        self.assertEqual(self.route(0, "ann@example.test", "--sender", "x@far.test")["client"], "a stranger")
        self.refused_with("550 5.7.1 relaying", "y@far.test", "--sender", "x@far.test")
        found = self.refused_with("550 5.7.1 this sender", "ann@example.test", "--sender", "x@far.test",
                                  "--server", "submission")
        self.assertEqual(self.rules(found), [("x@far.test", "sender")])
        self.assertEqual(self.route(0, "ann@example.test", "--sender", "<>")["sender"]["address"], None)
        self.assertEqual(self.route(0, "ann", "--sender", "bob")["sender"]["address"], "bob@example.test")

    def test_who_logs_in_may_not_relay_where_it_is_off(self):
        """S41"""
        self.write_config(server=SERVER + "[relay]\nauthenticated = false\n")
        self.refused_with("550 5.7.1 relaying", "x@far.test", "--sender", "ann@example.test")

    def test_masquerade(self):
        """S65"""
        self.write_config(server=SERVER + '[messages]\nmasquerade = "face.test"\n')
        found = self.route(0, "x@far.test", "--sender", "ann@example.test")
        self.assertEqual(found["sender"]["leaves_as"], "ann@face.test")
        self.assertIn(("ann@example.test", "masquerade"), self.rules(found))
        self.assertIsNone(self.route(0, "bob@example.test", "--sender", "ann@example.test")["sender"]["leaves_as"])

    def test_remote_domains(self):
        """S86, S87, S90, S91, S92"""
        self.done("domain", "add", "*.far.test", "--remote", "--route", "relay.test:587", "--security", "verify")
        self.done("domain", "add", "*.a.far.test", "--remote", "--route", "dns", "--no-esmtp")
        self.done("domain", "add", "b.far.test", "--remote", "--route", "[192.0.2.9]", "--connections", "3", "--rate", "60")
        for recipient, settings, following in (
            ("x@c.far.test", "*.far.test", "relay.test:587"),
            ("x@c.a.far.test", "*.a.far.test", "DNS"),
            ("x@b.far.test", "b.far.test", "[192.0.2.9]:25"),
            ("x@far.test", None, "DNS"),
        ):
            remote = self.remote(recipient, "--server", "submission")
            self.assertEqual((remote["remote_domain"], remote["next"]), (settings, following), recipient)
        remote = self.remote("x@c.far.test", "--server", "submission")
        self.assertEqual((remote["security"], remote["esmtp"]), ("verify", True))
        self.assertFalse(self.remote("x@c.a.far.test", "--server", "submission")["esmtp"])
        remote = self.remote("x@b.far.test", "--server", "submission")
        self.assertEqual((remote["connections"], remote["rate"]), (3, 60))
        self.assertEqual(remote["hosts"], [{"preference": None, "host": "192.0.2.9", "port": 25,
                                            "addresses": ["192.0.2.9"], "trouble": None}])

    def test_smart_hosts(self):
        """S58, S63, S67, S68"""
        more = ('[outbound]\nport = 2525\nsmart_host = "relay.test"\nusername = "us"\npassword_file = "/p"\n'
                '[outbound.by_sender]\n"example.test" = "[192.0.2.7]:587"\n')
        server = self.config.parent / "servers" / "submission.toml"
        server.write_text(SUBMISSION + more)
        remote = self.remote("x@far.test", "--server", "submission")
        self.assertEqual((remote["next"], remote["username"]), ("relay.test:2525", "us"))
        self.assertIn("smart_host relay.test", remote["rule"])
        remote = self.remote("x@far.test", "--server", "submission", "--sender", "ann@example.test")
        self.assertEqual((remote["next"], remote["username"]), ("[192.0.2.7]:587", None))
        self.assertIn("by_sender", remote["rule"])
        server.write_text(SUBMISSION + more.replace("[outbound.by", 'smart_host_use = "fallback"\n[outbound.by'))
        remote = self.remote("x@far.test", "--server", "submission")
        self.assertEqual(remote["next"], "DNS, else relay.test:2525")

    def test_address_literal(self):
        remote = self.remote("x@[192.0.2.5]", "--server", "submission")
        self.assertEqual((remote["next"], remote["rule"]), ("[192.0.2.5]:25", "an address literal"))

    def test_wrong_usage(self):
        for words, piece in ((("a b@example.test",), "a b@example.test"), (("ann", "--server", "nobody"), "mx, submission"),
                             (("ann", "--sender", "a b"), "--sender a b")):
            answer = self.run_tool("route", "test", *words)
            self.assertEqual((answer.status, answer.out), (2, ""), words)
            self.assertIn(piece, answer.err)

    def test_text(self):
        out = self.done("route", "test", "--no-dns", "ann+x@example.test")
        self.assertIn("by the rules of server mx, handed in by a stranger", out)
        self.assertRegex(out, r"(?m)^ann\+x@example\.test +plus form +is the plus form of ann@example\.test$")
        self.assertTrue(out.endswith("delivered to: ann@example.test\n"), out)
        answer = self.run_tool("route", "test", "--no-dns", "x@far.test")
        self.assertEqual((answer.status, answer.err), (1, ""))
        self.assertTrue(answer.out.endswith("refused: 550 5.7.1 relaying denied\n"), answer.out)


ZONES = {
    "far.test": """
@ MX 20 second
@ MX 10 first
first A 192.0.2.1
first AAAA 2001:db8::1
second A 192.0.2.2
plain A 192.0.2.3
null MX 0 .
self MX 10 mx.example.test.
lost MX 10 nowhere
empty TXT "nothing"
""",
    "broken.test": None,
}


class RouteByDns(PostOffice):
    """RFC 5321 5.1, RFC 7505."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.names = cls.enterClassContext(DnsServer(ZONES))

    def setUp(self):
        super().setUp()
        self.add_mailbox("ann@example.test")
        with self.config.open("a") as config:
            config.write(f'[dns]\nservers = ["{self.names.address}"]\ninsecure = ["."]\n')

    def route(self, status, recipient):
        answer = self.run_tool("--json", "route", "test", recipient, "--sender", "ann@example.test")
        self.assertEqual((answer.status, answer.err), (status, ""), answer.out)
        (remote,) = answer.json()["remotes"]
        return remote

    def hosts(self, remote):
        return [(host["preference"], host["host"], host["port"], host["addresses"]) for host in remote["hosts"]]

    def test_exchangers_in_their_order(self):
        remote = self.route(0, "x@far.test")
        self.assertEqual((remote["fate"], remote["rule"]), ("sent", "by DNS"))
        self.assertEqual(self.hosts(remote), [(10, "first.far.test", 25, ["2001:db8::1", "192.0.2.1"]),
                                              (20, "second.far.test", 25, ["192.0.2.2"])])
        out = self.done("route", "test", "x@far.test", "--sender", "ann@example.test")
        self.assertIn("  MX 10 first.far.test port 25: 2001:db8::1, 192.0.2.1\n", out)

    def test_the_domain_itself_without_mx(self):
        self.assertEqual(self.hosts(self.route(0, "x@plain.far.test")), [(None, "plain.far.test", 25, ["192.0.2.3"])])

    def test_what_comes_back(self):
        for recipient, why in (("x@null.far.test", "556 5.1.10"), ("x@no.far.test", "5.1.2"), ("x@self.far.test", "5.4.6"),
                               ("x@lost.far.test", "5.1.2"), ("x@empty.far.test", "5.1.2")):
            remote = self.route(1, recipient)
            self.assertEqual(remote["fate"], "fails", recipient)
            self.assertIn(why, remote["why"])
        answer = self.run_tool("route", "test", "x@null.far.test", "--sender", "ann@example.test")
        self.assertIn("it comes back to its sender: 556 5.1.10", answer.out)

    def test_what_waits(self):
        remote = self.route(0, "x@broken.test")
        self.assertEqual(remote["fate"], "waits")
        self.assertIn("4.4.3", remote["why"])

    def test_smart_host_where_dns_knows_no_way(self):
        """S68: not where the domain wants no mail."""
        server = self.config.parent / "servers" / "mx.toml"
        server.write_text(SERVER + '[outbound]\nsmart_host = "plain.far.test:587"\nsmart_host_use = "fallback"\n')
        for recipient in ("x@no.far.test", "x@lost.far.test", "x@broken.test"):
            remote = self.route(0, recipient)
            self.assertEqual((remote["fate"], remote["by_fallback"]), ("sent", True), recipient)
            self.assertEqual(self.hosts(remote)[-1], (None, "plain.far.test", 587, ["192.0.2.3"]))
        self.assertEqual(self.route(0, "x@far.test")["by_fallback"], False)
        self.assertEqual(self.route(1, "x@null.far.test")["fate"], "fails")

    def test_families_of_the_source_addresses(self):
        server = self.config.parent / "servers" / "mx.toml"
        server.write_text(SERVER + '[outbound]\nbind = ["127.0.0.1"]\n')
        self.assertEqual(self.hosts(self.route(0, "x@far.test"))[0], (10, "first.far.test", 25, ["192.0.2.1"]))


if __name__ == "__main__":
    unittest.main()
