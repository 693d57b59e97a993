"""A Postfix of the test's own: unpacked, never installed, with configuration and queue in a folder of the test's, on loopback."""

import ctypes
import grp
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import unittest

from suite import TOP
from wire import wait_for

ROOT = TOP / "build" / "peers" / "postfix"
# Users that every Debian has: Postfix wants two that are nobody else's, and a group.
OWNER, OTHER, GROUP = "nobody", "daemon", "mail"
PR_SET_CHILD_SUBREAPER = 36
# The master ends when its standard input does, and so with a test that is killed; its own children end when it does.
GUARDED = '"$@" </dev/null & read -r _; kill "$!" 2>/dev/null; wait "$!"'

MASTER = """\
{listeners}
pickup    unix  n - n 1    1 pickup
cleanup   unix  n - n -    0 cleanup
qmgr      unix  n - n 1    1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -    - trivial-rewrite
bounce    unix  - - n -    0 bounce
defer     unix  - - n -    0 bounce
trace     unix  - - n -    0 bounce
verify    unix  - - n -    1 verify
proxymap  unix  - - n -    - proxymap
smtp      unix  - - n -    - smtp
virtual   unix  - n n -    - virtual
lmtp      unix  - - n -    - lmtp
error     unix  - - n -    - error
retry     unix  - - n -    - error
discard   unix  - - n -    - discard
anvil     unix  - - n -    1 anvil
scache    unix  - - n -    1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def missing():
    """Why it cannot run here; None: it can."""
    if os.geteuid() != 0:
        return "Postfix starts as root only"
    for find, name in ((pwd.getpwnam, OWNER), (pwd.getpwnam, OTHER), (grp.getgrnam, GROUP)):
        try:
            find(name)
        except KeyError:
            return f"no {name} on this system, whom Postfix would run as"
    subprocess.run([str(TOP / "tools" / "unpack-packages"), "postfix"], check=True)
    libraries = subprocess.run(["ldd", str(ROOT / "usr/lib/postfix/sbin/smtpd")], capture_output=True, text=True,
                               check=True, env={**os.environ, "LD_LIBRARY_PATH": str(ROOT / "usr/lib/postfix")}).stdout
    absent = [line.split()[0] for line in libraries.splitlines() if "not found" in line]
    return f"Postfix needs libraries that are not here: {', '.join(absent)}" if absent else None


def adopt():
    """Children that ours leave behind become ours, so that they can be waited for."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Postfix:
    """Use as a context manager. `settings` are lines of main.cf. Mail is handed to it at `port`, of 127.0.0.1 or of the
    addresses in `listeners`, each with settings of its own. What is for `mailboxes` lies in Maildirs."""

    def __init__(self, folder, settings, listeners=None, mailboxes=()):
        reason = missing()
        if reason:
            raise unittest.SkipTest(reason)
        self.folder = pathlib.Path(folder)
        self.etc, self.queue = self.folder / "etc", self.folder / "queue"
        self.logfile = self.folder / "log"
        self.port = free_port()
        self.listeners = listeners or {"127.0.0.1": {}}
        self.mailboxes = mailboxes
        self.process = None
        self._write(settings)

    def _write(self, settings):
        owner = pwd.getpwnam(OWNER).pw_uid
        for folder in (self.etc, self.queue, self.folder / "data"):
            folder.mkdir(parents=True, exist_ok=True)
        # What postfix-script makes of a queue directory.
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved",
                     "trace", "public", "maildrop"):
            (self.queue / name).mkdir(mode=0o700)
            os.chown(self.queue / name, owner, -1)
        (self.queue / "pid").mkdir()
        os.chown(self.folder / "data", owner, -1)
        (self.folder / "mail").mkdir()
        os.chown(self.folder / "mail", owner, -1)
        base = {
            "compatibility_level": "3.6", "queue_directory": self.queue, "data_directory": self.folder / "data",
            "command_directory": ROOT / "usr/sbin", "daemon_directory": ROOT / "usr/lib/postfix/sbin",
            "shlib_directory": ROOT / "usr/lib/postfix", "meta_directory": ROOT / "etc/postfix",
            "mail_owner": OWNER, "default_privs": OTHER, "setgid_group": GROUP,
            "maillog_file": self.logfile, "maillog_file_prefixes": self.folder,
            "import_environment": "MAIL_CONFIG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH",
            "myhostname": "client.test", "mydestination": "", "mynetworks": "127.0.0.0/8", "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4", "alias_maps": "", "alias_database": "", "local_recipient_maps": "",
            "smtpd_relay_restrictions": "permit_mynetworks, reject", "smtpd_peername_lookup": "no",
            "disable_dns_lookups": "yes", "smtputf8_enable": "yes", "enable_long_queue_ids": "no",
            "smtpd_tls_security_level": "none", "local_header_rewrite_clients": "", "minimal_backoff_time": "1h",
        }
        if self.mailboxes:
            base.update({
                "virtual_mailbox_domains": ", ".join(sorted({address.partition("@")[2] for address in self.mailboxes})),
                "virtual_mailbox_maps": "inline:{ " + ", ".join(f"{{ {each} = {each}/ }}" for each in self.mailboxes) + " }",
                "virtual_mailbox_base": self.folder / "mail", "virtual_mailbox_limit": "0", "virtual_minimum_uid": "1",
                "virtual_uid_maps": f"static:{owner}", "virtual_gid_maps": f"static:{pwd.getpwnam(OWNER).pw_gid}",
            })
        base.update(settings)
        (self.etc / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in base.items()))
        listeners = []
        for address, own in self.listeners.items():
            listeners.append(f"{address}:{self.port} inet n - n - - smtpd")
            listeners += [f"  -o {{ {key} = {value} }}" for key, value in own.items()]
        (self.etc / "master.cf").write_text(MASTER.format(listeners="\n".join(listeners)))

    def __enter__(self):
        adopt()
        # -d: stays in the foreground. The command line names the folder, by which run-tests finds what a dead run left.
        with open(self.folder / "stderr", "wb") as errors:
            self.process = subprocess.Popen(
                ["sh", "-c", GUARDED, "sh", str(ROOT / "usr/lib/postfix/sbin/master"), "-c", str(self.etc), "-d"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors,
                env={"PATH": os.environ["PATH"], "MAIL_CONFIG": str(self.etc),
                     "LD_LIBRARY_PATH": str(ROOT / "usr/lib/postfix")},
                start_new_session=True)
        try:
            wait_for(self.answers, why="Postfix answers")
        except BaseException as trouble:
            self.__exit__()
            raise AssertionError(f"Postfix did not start: {self.said()}") from trouble
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        try:
            wait_for(self.alone, why="all of Postfix has ended")
        except AssertionError:
            os.killpg(self.process.pid, signal.SIGKILL)
            wait_for(self.alone, why="all of Postfix has ended")
        shutil.rmtree(self.queue, ignore_errors=True)

    def alone(self):
        """Nobody is left of the master's session."""
        try:
            os.waitpid(-self.process.pid, os.WNOHANG)
        except ChildProcessError:
            return True
        return False

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Postfix ended with {self.process.returncode}: {self.said()}")
        try:
            for address in self.listeners:
                with socket.create_connection((address, self.port), timeout=5) as probe:
                    if not probe.recv(100).startswith(b"220 "):
                        return False
            return True
        except OSError:
            return False

    def said(self):
        return self.log() + (self.folder / "stderr").read_text(errors="backslashreplace")

    def log(self):
        return self.logfile.read_text(errors="backslashreplace") if self.logfile.exists() else ""

    def mail(self, address, count=0, seconds=30):
        """What lies in a mailbox as it is stored, with LF, once there are so many; the oldest first."""
        folder = self.folder / "mail" / address / "new"
        def listed():
            return sorted(folder.iterdir()) if folder.exists() else []
        try:
            wait_for(lambda: len(listed()) >= count, seconds, f"{count} messages for {address}")
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}; there are {len(listed())}\n{self.said()[-3000:]}") from None
        return [path.read_bytes() for path in listed()]

    def empty(self):
        for path in (self.folder / "mail").glob("*/new/*"):
            path.unlink()

    def fates(self, recipients, seconds=60):
        """address -> (status, what the next server said), once all of these have one: reports of failures are on their way too."""
        def read():
            found = {}
            for line in self.log().splitlines():
                if ": to=<" in line and " status=" in line:
                    address = line.split(": to=<", 1)[1].split(">", 1)[0]
                    status, _, text = line.split(" status=", 1)[1].partition(" ")
                    if address in recipients:
                        found[address] = (status, text)
            return found if len(found) == len(recipients) else None
        try:
            return wait_for(read, seconds, f"{len(recipients)} recipients with a fate")
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}\n{self.said()[-3000:]}") from None
