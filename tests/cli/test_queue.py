"""The queue as people see it: lists, reasons, orders; with the daemons down."""

import os
import subprocess
import unittest

from post_office import PostOffice

SETTLE_QUEUE = os.environ["SETTLE_QUEUE"]

MESSAGE = (
    b"From: Ann <ann@example.test>\r\n"
    b"Subject: away \x1b[31m\r\n"
    b"\r\n"
    b".one dot\r\n"
    b"end\r\n"
)


class Queue(PostOffice):
    def queue_mail(self, *remotes, reverse_path="ann@example.test", mailbox="-"):
        return self.put_message(mailbox, MESSAGE, reverse_path=reverse_path, remotes=remotes)

    def settle(self, number, ordinal, outcome):
        subprocess.run([SETTLE_QUEUE, str(self.folder / "store"), number, str(ordinal), outcome], check=True, timeout=60)

    def listed(self, *words):
        return [row["recipient"] for row in self.done_json("queue", "list", *words)]

    def state(self, number, ordinal=0):
        return self.done_json("queue", "why", number)[ordinal]

    def test_empty(self):
        self.assertEqual(self.done("queue", "list"), "")
        self.assertEqual(self.done_json("queue", "list"), [])
        self.assertEqual(self.done_json("queue", "stat")["waiting"], 0)
        self.assertIsNone(self.done_json("queue", "stat")["oldest"])

    def test_list(self):
        self.add_mailbox("bob@example.test")
        first = self.queue_mail("a@far.test", "b@else.test", mailbox="bob@example.test")
        second = self.queue_mail("c@far.test", reverse_path="")
        rows = self.done_json("queue", "list")
        self.assertEqual([(row["id"], row["recipient"]) for row in rows],
                         [(first, "b@else.test"), (first, "a@far.test"), (second, "c@far.test")])
        self.assertEqual(rows[0]["octets"], len(MESSAGE))
        self.assertEqual((rows[0]["reverse_path"], rows[2]["reverse_path"]), ("ann@example.test", ""))
        self.assertEqual((rows[0]["state"], rows[0]["next"], rows[0]["attempts"]), ("active", "now", 0))
        self.assertRegex(rows[0]["accepted"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(len(self.done_json("message", "list", "bob@example.test")), 1)
        self.assertIn("a@far.test", self.done("queue", "list"))
        self.assertEqual(self.done_json("queue", "stat")["waiting"], 3)
        self.assertIn("is sound", self.done("store", "check"))

    def test_filters(self):
        number = self.queue_mail("a@far.test", "b@else.test")
        self.queue_mail("c@far.test", reverse_path="")
        self.settle(number, 0, "deferred")
        for words, want in (
            (("--domain", "FAR.test"), ["a@far.test", "c@far.test"]),
            (("--state", "waiting"), ["a@far.test"]),
            (("--state", "active"), ["b@else.test", "c@far.test"]),
            (("--state", "held"), []),
            (("--sender", "<>"), ["c@far.test"]),
            (("--sender", "ANN@"), ["b@else.test", "a@far.test"]),
            (("--recipient", "b@"), ["b@else.test"]),
            (("--error", "GREY"), ["a@far.test"]),
            (("--older", "1h"), []),
            (("--newer", "1h"), ["b@else.test", "a@far.test", "c@far.test"]),
            (("--domain", "far.test", "--recipient", "b@"), []),
        ):
            self.assertEqual(self.listed(*words), want, words)
        self.refused(2, ("queue", "list", "--state", "asleep"), "asleep", "waiting, active, held, done, failed")
        self.refused(2, ("queue", "list", "--older", "soon"), "--older soon")
        self.refused(2, ("queue", "list", "--domain", "a b"), "a b")

    def test_every_state_has_its_reason(self):
        number = self.queue_mail("a@far.test", "b@far.test")
        why = self.state(number)
        self.assertEqual((why["state"], why["cause"]), ("active", "it has not been tried yet"))
        self.assertIn("[outbound]", why["rule"])
        self.settle(number, 0, "round")
        why = self.state(number)
        self.assertEqual(why["state"], "waiting")
        self.assertIn("far.test could not be reached, 1 time in a row", why["cause"])
        self.assertEqual((why["answer"], why["peer"]), ("4.4.1 connection refused", "mx.far.test[192.0.2.1]:25"))
        self.assertIn("[delivery] retry", why["rule"])
        self.assertRegex(why["next"], r"Z$")
        self.settle(number, 0, "deferred")
        why = self.state(number)
        self.assertIn("an answer of its own, after 1 attempt", why["cause"])
        self.assertEqual((why["answer"], why["tls"]), ("451 4.7.1 greylisted", "TLSv1.3 verified"))
        self.done("queue", "retry", number)
        self.assertIn("another try was asked for", self.state(number)["cause"])
        self.done("queue", "suspend", "far.test", "--reason", "they are down")
        why = self.state(number)
        self.assertEqual((why["state"], why["next"], why["remedy"]), ("held", None, "pennypost queue resume far.test"))
        self.assertIn("they are down", why["cause"])
        self.done("queue", "resume", "far.test")
        self.done("queue", "suspend", "--all", "--reason", "no line")
        self.assertIn("no line", self.state(number)["cause"])
        self.assertTrue(self.done_json("queue", "stat")["all_held"])
        self.done("queue", "resume", "--all")
        self.done("queue", "hold", number, "--reason", "a look first")
        why = self.state(number)
        self.assertIn("a look first", why["cause"])
        self.assertEqual(why["remedy"], f"pennypost queue release {number}")
        self.done("queue", "bounce", number, "--reason", "no such person")
        why = self.state(number)
        self.assertEqual(why["state"], "active")
        self.assertIn("no such person", why["cause"])
        self.assertIn("tried next: now", self.done("queue", "why", number))

    def test_what_left_is_told(self):
        number = self.queue_mail("a@far.test", "b@far.test")
        self.settle(number, 0, "delivered")
        self.settle(number, 0, "failed")
        self.assertEqual(self.listed(), [])
        done = self.done_json("queue", "list", "--state", "done")
        self.assertEqual([(row["recipient"], row["outcome"], row["answer"]) for row in done],
                         [("a@far.test", "delivered", "250 2.0.0 taken")])
        failed = self.done_json("queue", "list", "--state", "failed")
        self.assertEqual([row["recipient"] for row in failed], ["b@far.test"])
        self.assertEqual([row["state"] for row in self.done_json("queue", "why", number)], ["done", "failed"])
        text = self.done("queue", "why", number)
        self.assertIn("a@far.test: delivered at", text)
        self.assertIn("nobody \\x1B[31m here", text)
        self.assertNotIn("\x1b", text + self.done("queue", "list", "--state", "failed"))
        self.assertEqual(self.done_json("queue", "list", "--state", "done", "--recipient", "b@"), [])
        self.refused(1, ("queue", "show", number), number, "queue why")
        self.refused(1, ("queue", "why", "aaaaaaaaaaabq"), "aaaaaaaaaaabq")
        self.refused(2, ("queue", "why", "short"), "short")

    def test_show_and_export(self):
        number = self.queue_mail("a@far.test", "b@else.test")
        self.settle(number, 0, "delivered")
        facts = self.done_json("queue", "show", number)
        self.assertEqual((facts["id"], facts["reverse_path"], facts["octets"]), (number, "ann@example.test", len(MESSAGE)))
        self.assertEqual([one["recipient"] for one in facts["remotes"]], ["a@far.test", "b@else.test"])
        self.assertEqual(facts["in_queue"], ["b@else.test"])
        self.assertEqual([field["name"] for field in facts["header"]], ["From", "Subject"])
        text = self.done("queue", "show", number)
        self.assertIn("Subject: away \\x1B[31m", text)
        self.assertEqual(self.run_tool("queue", "export", number).octets, MESSAGE)
        path = self.folder / "out.eml"
        self.done("queue", "export", number, "--output", str(path))
        self.assertEqual(path.read_bytes(), MESSAGE)
        self.refused(1, ("queue", "export", number, "--output", str(path)), str(path))

    def test_orders(self):
        number = self.queue_mail("a@far.test", "b@far.test", "c@else.test")
        self.assertEqual(self.done("queue", "hold", "--domain", "far.test"), "2 recipients held\n")
        self.assertEqual(self.done("queue", "hold", "--domain", "far.test"), "0 recipients held\n")
        self.assertEqual(self.listed("--state", "held"), ["a@far.test", "b@far.test"])
        self.assertEqual(self.done_json("queue", "release", number),
                         {"changed": True, "action": "released", "recipients": 2})
        before = self.done("queue", "list")
        self.assertEqual([row["recipient"] for row in self.done_json("queue", "delete", "--all", "--dry-run")],
                         ["c@else.test", "a@far.test", "b@far.test"])
        self.assertEqual(self.done("queue", "list"), before)
        self.done("queue", "reroute", number, "--to", "[192.0.2.9]:2525")
        self.assertEqual({row["reroute"] for row in self.done_json("queue", "list")}, {"[192.0.2.9]:2525"})
        self.done("queue", "reroute", number, "--to", "")
        self.assertEqual({row["reroute"] for row in self.done_json("queue", "list")}, {None})
        self.settle(number, 0, "round")
        self.assertEqual(self.done("queue", "retry", "--domain", "far.test"), "2 recipients due now\n")
        self.assertEqual(self.listed("--state", "active"), ["c@else.test", "a@far.test", "b@far.test"])
        self.settle(number, 0, "round")
        self.done("queue", "flush")
        self.assertEqual(self.listed("--state", "waiting"), [])
        self.done("queue", "flush", "far.test")
        self.assertEqual(self.done("queue", "delete", "--recipient", "c@"), "1 recipient deleted\n")
        self.assertEqual(self.done("queue", "delete", number), "2 recipients deleted\n")
        self.assertEqual(self.listed(), [])
        self.assertEqual({row["outcome"] for row in self.done_json("queue", "list", "--state", "done")}, {"deleted"})
        self.assertEqual(self.done_json("store", "stat")["messages"], 0)
        self.assertIn("is sound", self.done("store", "check"))

    def test_refusals_change_nothing(self):
        number = self.queue_mail("a@far.test")
        for command in ("hold", "release", "retry", "delete", "bounce"):
            self.refused(2, ("queue", command), "say which")
            self.refused(2, ("queue", command, number, "--all"), "not both")
            self.refused(2, ("queue", command, "--all", "--domain", "far.test"), "not both")
        self.refused(2, ("queue", "reroute", number), "--to")
        self.refused(2, ("queue", "reroute", number, "--to", "a b"), "a b")
        self.refused(1, ("queue", "hold", number, "aaaaaaaaaaabq"), "aaaaaaaaaaabq", "nothing was changed")
        self.refused(2, ("queue", "suspend"), "which domain")
        self.refused(2, ("queue", "suspend", "far.test", "--all"), "not both")
        self.refused(1, ("queue", "resume", "far.test"), "not suspended")
        self.refused(1, ("queue", "flush", "else.test"), "else.test")
        self.assertEqual(self.listed("--state", "active"), ["a@far.test"])

    def test_what_left_is_not_recorded_when_keep_done_is_none(self):
        self.config.write_text(self.config.read_text().replace("[store]\n", '[store]\nkeep_done = "0"\n', 1))
        number = self.queue_mail("a@far.test")
        self.done("queue", "delete", number)
        self.assertEqual(self.done_json("queue", "list", "--state", "done"), [])
        self.refused(1, ("queue", "why", number), number, "keep_done")

    def test_rebuild_holds_the_queue(self):
        number = self.queue_mail("a@far.test", "b@far.test")
        self.settle(number, 0, "delivered")
        self.assertIn("1 recipient in the queue, which is held", self.done("store", "rebuild"))
        self.assertEqual(self.listed("--state", "held"), ["b@far.test"])
        self.assertIn("rebuilt", self.state(number)["cause"])
        self.done("queue", "resume", "--all")
        self.assertEqual(self.listed("--state", "active"), ["b@far.test"])


if __name__ == "__main__":
    unittest.main()
