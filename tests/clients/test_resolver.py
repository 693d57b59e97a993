"""The daemons' resolver against a real name server: nsd with good, broken and silent zones, and a signed one."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from dns_server import DnsServer, sign_zone  # noqa: E402
from suite import SANITIZERS, build_folder  # noqa: E402

ZONES = {
    "example.test": r"""
@ MX 20 second
@ MX 10 First.example.test.
null MX 0 .
host A 192.0.2.1
host A 192.0.2.2
host AAAA 2001:db8::1
alias CNAME host
far CNAME www.other.test.
lost CNAME nobody.other.test.
round CNAME about
about CNAME round
text TXT "no address"
odd MX 5 a\013\010b.example.test.
half MX 5 a\013\010b.example.test.
half MX 6 host
ip MX 5 192.0.2.1.
slowly MX 10 mx.slow.test.
""" + "many A 192.0.2.%d\n" * 120 % tuple(range(120)),
    "other.test": "www A 192.0.2.5\n",
    "127.in-addr.arpa": "2.0.0 PTR host.example.test.\n",
    "10.in-addr.arpa": "1.0.0 PTR inside.example.test.\n",
    "broken.test": None,
}


class Resolver(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="pp-zones.")))
        signed, key = sign_zone(cls.folder, "signed.test", "www A 192.0.2.1\n@ MX 10 www\n")
        _, other_key = sign_zone(cls.folder / "other", "signed.test", "www A 192.0.2.1\n")
        (cls.folder / "anchors").write_text("; a comment\n" + key)
        (cls.folder / "wrong").write_text(other_key)
        cls.server = cls.enterClassContext(DnsServer({**ZONES, "signed.test": signed}, silent=["slow.test"]))

    def ask(self, *words, timeout=20000, server=None):
        program = build_folder() / "tests" / "support" / "dns_lookup"
        done = subprocess.run([str(program), "--server", server or self.server.address, "--timeout", str(timeout), *words],
                              capture_output=True, text=True, timeout=120, env={**os.environ, **SANITIZERS})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.told = done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return answers[0] if len(answers) == 1 else answers

    def assert_error(self, code, *words, **more):
        answer = self.ask(*words, **more)
        self.assertEqual(answer.get("error"), code, answer)

    def test_mail_exchangers(self):
        answer = self.ask("mx:Example.TEST")
        self.assertEqual(sorted(answer["records"]), [[10, "first.example.test"], [20, "second.example.test"]])
        self.assertEqual((answer["null"], answer["ttl"], answer["secure"]), (False, 300, False))

    def test_null_mx(self):
        answer = self.ask("mx:null.example.test")
        self.assertEqual((answer["records"], answer["null"]), ([[0, ""]], True))

    def test_addresses(self):
        four, six = self.ask("a:host.example.test", "aaaa:host.example.test")
        self.assertEqual(sorted(four["records"]), ["192.0.2.1", "192.0.2.2"])
        self.assertEqual(six["records"], ["2001:db8::1"])

    def test_aliases_are_followed(self):
        near, far, lost = self.ask("aaaa:alias.example.test", "a:far.example.test", "a:lost.example.test")
        self.assertEqual((near["records"], near["name"]), (["2001:db8::1"], "host.example.test"))
        self.assertEqual((far["records"], far["name"]), (["192.0.2.5"], "www.other.test"))
        self.assertEqual(lost["error"], "no_name")

    def test_aliases_in_a_circle(self):
        self.assert_error("temporary", "a:round.example.test")

    def test_no_such_name_and_no_such_record(self):
        none, no_data = self.ask("a:nobody.example.test", "a:text.example.test")
        self.assertEqual((none["error"], no_data["error"]), ("no_name", "no_data"))

    def test_names_that_are_none(self):
        odd, half, number = self.ask("mx:odd.example.test", "mx:half.example.test", "mx:ip.example.test")
        self.assertEqual((odd["error"], number["error"]), ("malformed", "malformed"))
        self.assertEqual(half["records"], [[6, "host.example.test"]])

    def test_more_records_than_anybody_needs(self):
        """Too long for UDP; of what came by TCP a hundred are kept."""
        answer = self.ask("a:many.example.test", server=self.server.direct)
        self.assertEqual(len(answer["records"]), 100)

    def test_reverse_zones_of_private_sites(self):
        loopback, inside = self.ask("ptr:127.0.0.2", "ptr:10.0.0.1")
        self.assertEqual(loopback["records"], ["host.example.test"])
        self.assertEqual(inside["records"], ["inside.example.test"])

    def test_a_server_that_fails(self):
        self.assert_error("temporary", "a:www.broken.test")

    def test_a_server_that_is_silent(self):
        began = time.monotonic()
        self.assert_error("timeout", "a:www.slow.test", timeout=300)
        self.assertLess(time.monotonic() - began, 10)

    def test_answers_are_kept(self):
        self.server.asked.clear()
        self.ask("a:www.other.test", "a:WWW.other.test", "a:www.other.test")
        self.assertEqual(self.server.asked.count("www.other.test"), 1)

    def test_signatures_are_checked(self):
        good = self.ask("--anchors", str(self.folder / "anchors"), "a:www.signed.test", "mx:signed.test",
                        "a:x.signed.test")
        self.assertEqual([answer.get("secure") for answer in good], [True, True, None], good)
        self.assertEqual(good[2]["error"], "no_name")
        self.assertEqual(self.told, "")

    def test_without_trust_anchors(self):
        """Nothing is secure, and the log says so, once."""
        answers = self.ask("a:www.signed.test", "mx:signed.test")
        self.assertEqual([answer["secure"] for answer in answers], [False, False])
        self.assertEqual(self.told.count("warning"), 1, self.told)
        self.assertIn("dns.not-validated", self.told)

    def test_a_false_signature(self):
        wrong = ["--anchors", str(self.folder / "wrong")]
        self.assert_error("bogus", *wrong, "a:www.signed.test")
        self.assertRegex(self.told, "dns.bogus name=www.signed.test why=.*dns.insecure")
        self.assertEqual(self.ask(*wrong, "--insecure", "www.signed.test", "a:www.signed.test")["secure"], False)
        self.assertEqual(self.ask(*wrong, "--insecure", ".", "a:www.signed.test")["secure"], False)


if __name__ == "__main__":
    unittest.main()
