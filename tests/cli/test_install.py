"""What `meson install` puts where, and that it runs from there."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ["PENNYPOST"]).resolve().parents[1]

# Under the prefix; libraries' own files there are none.
EXPECTED = """\
bin/pennypost
bin/pennypost-sendmail
lib/systemd/system/pennypost-pop3d.service
lib/systemd/system/pennypost-pop3d.socket
lib/systemd/system/pennypost-smtpd.service
lib/systemd/system/pennypost-smtpd.socket
lib/sysusers.d/pennypost.conf
lib/tmpfiles.d/pennypost.conf
sbin/pennypost-pop3d
sbin/pennypost-smtpd
share/bash-completion/completions/pennypost
share/bash-completion/completions/pennypost-sendmail
share/doc/pennypost/examples/pennypost.toml
share/doc/pennypost/examples/servers/mx.toml
share/doc/pennypost/examples/servers/pop3.toml
share/doc/pennypost/examples/servers/submission.toml
share/man/man1/pennypost-sendmail.1
share/man/man1/pennypost.1
share/man/man5/pennypost.toml.5
share/man/man8/pennypost-pop3d.8
share/man/man8/pennypost-smtpd.8
""".splitlines()


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="pp.")))
        done = subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--destdir", str(cls.folder)],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        cls.prefix = next(path.parent.parent for path in cls.folder.rglob("pennypost") if path.parent.name == "bin")

    def test_list(self):
        found = sorted(str(path.relative_to(self.prefix)) for path in self.prefix.rglob("*") if not path.is_dir())
        self.assertEqual(found, EXPECTED)
        self.assertEqual([path for path in self.folder.rglob("*") if not path.is_dir() and self.prefix not in path.parents], [])

    def test_programs_run(self):
        for name in ("bin/pennypost", "bin/pennypost-sendmail", "sbin/pennypost-smtpd", "sbin/pennypost-pop3d"):
            done = subprocess.run([str(self.prefix / name), "--version"], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, r"[0-9]+\.[0-9]+\.[0-9]+$")

    def test_units_start_what_is_there(self):
        for name in ("smtpd", "pop3d"):
            unit = (self.prefix / f"lib/systemd/system/pennypost-{name}.service").read_text()
            start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
            program = self.folder / start.removeprefix("ExecStart=/")
            self.assertEqual(program, self.prefix / f"sbin/pennypost-{name}")
            self.assertTrue(os.access(program, os.X_OK))

    def test_examples_are_right(self):
        place = self.folder / "examples"
        shutil.copytree(self.prefix / "share/doc/pennypost/examples", place)
        self.addCleanup(shutil.rmtree, place)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=mail.example.org", "-keyout", str(place / "mail.key"), "-out", str(place / "mail.pem")],
                       check=True, capture_output=True)
        for file in place.rglob("*.toml"):
            text = file.read_text().replace("/etc/pennypost/tls", str(place)).replace('user = "pennypost"', 'user = ""')
            file.write_text(text.replace("/var/lib/pennypost", str(place)).replace("/run/pennypost", str(place / "run")))
        done = subprocess.run([str(self.prefix / "bin/pennypost"), "-c", str(place / "pennypost.toml"), "config", "check"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("in order, 3 servers", done.stdout)


if __name__ == "__main__":
    unittest.main()
