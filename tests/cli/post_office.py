"""A post office in a folder of its own, and the tool run on it. For the tests beside this file."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

PENNYPOST = os.environ["PENNYPOST"]
PUT_MESSAGE = os.environ.get("PUT_MESSAGE", "")

SUITE = """\
[store]
path = "{folder}/store"
map_size = "{map_size}"
reserve = "1MB"
[run]
user = "{user}"
directory = "{folder}/run"
"""

SERVER = """\
kind = "smtp"
listen = ["127.0.0.1:0"]
hostname = "mx.example.test"
default_domain = "example.test"
[auth]
require_tls = false
"""


class Answer:
    """What the tool said: `status`, `out`, `err` (text), `octets` (of standard output)."""

    def __init__(self, done):
        self.status = done.returncode
        self.octets = done.stdout
        self.out = done.stdout.decode("utf-8", "surrogateescape")
        self.err = done.stderr.decode("utf-8", "surrogateescape")

    def json(self):
        return json.loads(self.octets)


class PostOffice(unittest.TestCase):
    """Each test gets a fresh folder with a configuration, and (`with_store`) a store with the domain example.test."""

    with_store = True
    user = ""
    maxDiff = None

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pennypost-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = self.folder / "etc" / "pennypost.toml"
        (self.config.parent / "servers").mkdir(parents=True)
        self.write_config()
        if self.with_store:
            self.done("store", "init")
            self.done("domain", "add", "example.test")

    def write_config(self, server=SERVER, user=None):
        text = SUITE.format(
            folder=self.folder,
            map_size=os.environ.get("PENNYPOST_TEST_MAP_SIZE", "1GB"),
            user=self.user if user is None else user,
        )
        self.config.write_text(text)
        (self.config.parent / "servers" / "mx.toml").write_text(server)

    def run_raw(self, *words, stdin=b"", env=None):
        """Without -c."""
        surroundings = {name: value for name, value in os.environ.items() if name != "PENNYPOST_CONFIG"}
        done = subprocess.run(
            [PENNYPOST, *words], input=stdin, capture_output=True, env=surroundings | (env or {}), timeout=120, check=False
        )
        answer = Answer(done)
        self.assertIn(answer.status, (0, 1, 2), f"{words}: {answer.err}")
        return answer

    def run_tool(self, *words, stdin=b""):
        return self.run_raw("-c", str(self.config), *words, stdin=stdin)

    def done(self, *words, stdin=b""):
        """It works and has nothing to complain of; what it said."""
        answer = self.run_tool(*words, stdin=stdin)
        self.assertEqual((answer.status, answer.err), (0, ""), f"{words}: {answer.out}")
        return answer.out

    def done_json(self, *words, stdin=b""):
        return json.loads(self.done("--json", *words, stdin=stdin))

    def refused(self, status, words, *pieces, stdin=b""):
        """It ends with that status, changes nothing it boasts of, and says all the pieces in one line on standard error."""
        answer = self.run_tool(*words, stdin=stdin)
        self.assertEqual(answer.status, status, f"{words}: {answer.out}{answer.err}")
        self.assertEqual(answer.out, "", words)
        self.assertTrue(answer.err.startswith("pennypost: "), answer.err)
        self.assertEqual(answer.err.count("\n"), 1, answer.err)
        for piece in pieces:
            self.assertIn(piece, answer.err, words)
        return answer.err

    def add_mailbox(self, address):
        self.done("mailbox", "add", address, "--no-password")

    def put_message(self, address, text, reverse_path="sender@client.test", remotes=()):
        """Puts a message (octets, CRLF line ends) into a mailbox ("-": none) and the queue as smtpd would; its id."""
        done = subprocess.run(
            [PUT_MESSAGE, str(self.folder / "store"), address, reverse_path, *remotes],
            input=text, capture_output=True, timeout=60, check=True
        )
        return done.stdout.decode().strip()
