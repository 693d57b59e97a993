"""Configuration: every mistake with file, line, key and remedy; what is in force; daemons that are not there."""

import tomllib
import unittest

from post_office import SERVER, PostOffice


class Config(PostOffice):
    with_store = False

    def test_check(self):
        answer = self.run_tool("config", "check")
        self.assertEqual(answer.status, 0)
        self.assertIn("in order, 1 server", answer.out)
        self.assertIn("warning", answer.err)  # there is no store yet
        self.assertIn("store.path", answer.err)
        self.done("store", "init")
        self.done("config", "check")
        self.assertEqual(self.done_json("config", "check"), [])

    def test_mistakes(self):
        self.write_config(server=SERVER + "colour = 3\n[messages]\nrecipients = -1\n")
        answer = self.run_tool("config", "check")
        self.assertEqual((answer.status, answer.out), (2, ""))
        self.assertEqual(answer.err.count("mx.toml:"), 2, answer.err)
        answer = self.run_tool("config", "check", "--json")
        self.assertEqual(answer.status, 2)
        mistakes = answer.json()
        self.assertEqual([mistake["line"] for mistake in mistakes], [7, 9])
        self.assertEqual({mistake["warning"] for mistake in mistakes}, {False})
        self.assertTrue(all(mistake["file"].endswith("servers/mx.toml") and mistake["remedy"] for mistake in mistakes), mistakes)
        answer = self.run_tool("domain", "list")
        self.assertEqual((answer.status, answer.out), (2, ""))
        self.assertIn("mx.toml:7", answer.err)

    def test_check_of_one_server(self):
        self.assertIn("mx.toml: in order", self.done("server", "check", "mx"))
        self.assertIn("in order, 1 server", self.run_tool("server", "check").out)
        (self.config.parent / "servers" / "other.toml").write_text("kind = 7\n")
        self.addCleanup((self.config.parent / "servers" / "other.toml").unlink)
        self.assertIn("mx.toml: in order", self.done("server", "check", "mx"))
        answer = self.run_tool("server", "check", "other")
        self.assertEqual((answer.status, answer.out), (2, ""))
        self.assertIn("other.toml:1", answer.err)
        answer = self.run_tool("server", "check", "no")
        self.assertEqual((answer.status, answer.out), (1, ""))
        self.assertIn('no server "no"', answer.err)
        self.assertEqual(self.run_tool("server", "check", "../servers/mx").status, 1)

    def test_keys_that_cannot_be_read(self):
        self.write_config(server=SERVER + f'[tls]\ncertificate = "{self.folder}/no.pem"\nkey = "{self.folder}/no.key"\n')
        answer = self.run_tool("config", "check")
        self.assertEqual(answer.status, 2)
        self.assertIn("no.pem", answer.err)

    def test_missing_file(self):
        answer = self.run_raw("-c", str(self.folder / "nothing.toml"), "config", "check")
        self.assertEqual(answer.status, 2)
        self.assertIn("nothing.toml", answer.err)

    def test_environment_names_the_file(self):
        answer = self.run_raw("config", "show", env={"PENNYPOST_CONFIG": str(self.config)})
        self.assertEqual(answer.status, 0)
        self.assertIn(str(self.folder / "store"), answer.out)

    def test_show(self):
        out = self.done("config", "show")
        self.assertEqual([line for line in out.splitlines() if line.startswith("# /")],
                         [f"# {self.config}", f"# {self.config.parent}/servers/mx.toml"])
        short, long = self.done_json("config", "show"), self.done_json("config", "show", "--defaults")
        for file in short + long:
            tomllib.loads(file["toml"])
        self.assertEqual(tomllib.loads(short[0]["toml"])["store"]["path"], f"{self.folder}/store")
        self.assertNotIn("log", tomllib.loads(short[0]["toml"]))
        self.assertEqual(tomllib.loads(long[0]["toml"])["log"]["level"], "info")

    def test_daemons_that_do_not_run(self):
        answer = self.run_tool("status")
        self.assertEqual(answer.status, 1)
        self.assertTrue(answer.out.startswith("smtpd is not running"), answer.out)
        self.assertNotIn("pop3d", answer.out, "no POP3 server is configured")
        answer = self.run_tool("status", "--json")
        self.assertEqual((answer.status, [(d["name"], d["running"]) for d in answer.json()]), (1, [("smtpd", False)]))
        answer = self.run_tool("reload")
        self.assertEqual((answer.status, answer.out), (1, ""))
        self.assertIn("smtpd is not running", answer.err)


if __name__ == "__main__":
    unittest.main()
