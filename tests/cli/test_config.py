"""Configuration: every mistake with file, line, key and remedy; what is in force; daemons that are not there."""

import os
import pwd
import subprocess
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

    def test_password_file_that_is_not_there(self):
        """S58"""
        account = '[outbound]\nsmart_host = "relay.test"\nusername = "us"\npassword_file = "{}/password"\n'
        self.write_config(server=SERVER + account.format(self.folder), user="")
        self.done("store", "init")
        answer = self.run_tool("config", "check")
        self.assertEqual(answer.status, 2)
        self.assertIn("mx.toml: outbound.password_file: cannot read", answer.err)
        (self.folder / "password").write_text("secret\n")
        self.done("config", "check")

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


@unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
class RunUser(PostOffice):
    """Keys and paths are tried as the user that the daemons become."""

    with_store = False
    user = "nobody"

    def setUp(self):
        super().setUp()
        os.chmod(self.folder, 0o755)
        self.nobody = pwd.getpwnam("nobody")
        self.done("store", "init")
        self.done("config", "check")

    def found(self, status):
        answer = self.run_tool("config", "check", "--json")
        self.assertEqual(answer.status, status, answer.err)
        return [(one["key"], one["warning"], one["what"]) for one in answer.json()]

    def one(self, status, key, warning, *parts):
        found = self.found(status)
        self.assertEqual([(each[0], each[1]) for each in found], [(key, warning)], found)
        for part in ("user nobody", *parts):
            self.assertIn(part, found[0][2])

    def test_key_that_root_alone_can_read(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=mx", "-keyout", f"{self.folder}/key.pem", "-out", f"{self.folder}/cert.pem"],
                       check=True, capture_output=True)
        self.write_config(server=SERVER + f'[tls]\ncertificate = "{self.folder}/cert.pem"\nkey = "{self.folder}/key.pem"\n')
        os.chmod(self.folder / "key.pem", 0o600)
        self.one(0, "tls", True, "key.pem", "Permission denied")
        os.chown(self.folder / "key.pem", self.nobody.pw_uid, -1)
        self.assertEqual(self.found(0), [])

    def test_store_of_somebody_else(self):
        os.chown(self.folder / "store", 1, 1)
        self.one(2, "store.path", False, f"{self.folder}/store", "Permission denied")

    def test_run_directory_of_somebody_else(self):
        (self.folder / "run").mkdir(mode=0o755)
        self.one(2, "run.directory", False, f"{self.folder}/run", "Permission denied")
        os.chown(self.folder / "run", self.nobody.pw_uid, -1)
        self.assertEqual(self.found(0), [])

    def test_log(self):
        log = self.folder / "log" / "mail.log"
        log.parent.mkdir(mode=0o755)
        self.config.write_text(self.config.read_text() + f'[log]\ntarget = "{log}"\n')
        self.one(2, "log.target", False, f"{log.parent}", "Permission denied")
        log.touch()
        self.one(2, "log.target", False, f"{log}", "Permission denied")
        os.chown(log, self.nobody.pw_uid, -1)
        self.assertEqual(self.found(0), [])

    def test_configuration_that_a_reload_cannot_read(self):
        os.chmod(self.config, 0o600)
        self.one(0, None, True, str(self.config), "Permission denied")

    def test_folder_of_a_unix_socket(self):
        (self.folder / "sockets").mkdir(mode=0o755)
        self.write_config(server=SERVER.replace('"127.0.0.1:0"', f'"unix:{self.folder}/sockets/smtp"'))
        self.one(0, "listen", True, f"{self.folder}/sockets", "Permission denied")

    def test_without_root_it_is_tried_as_that_user(self):
        (self.folder / "run").mkdir(mode=0o755)
        done = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", os.environ["PENNYPOST"],
                               "-c", str(self.config), "config", "check"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("run.directory: cannot write to", done.stderr)


if __name__ == "__main__":
    unittest.main()
