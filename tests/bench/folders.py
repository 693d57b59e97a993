"""How fast files are taken from pickup and put into drop, beside Postfix: its sendmail(1) taking messages one call each, and virtual(8)
delivering to Maildirs. Files of 4 KiB, all of it durable, on one disk, and each from the first octet in until the last message is where it
belongs: in the mailbox and in a file. Run as root:

    tests/bench/folders.py [FILES] [RUNS] [SESSIONS]      10000, best of 3, 64; Postfix has a fifth and a tenth of the files

`flushes` are the disk's own count of what it was asked to flush, by anybody. ext4 passes over the inodes that were given back within the last
minutes one by one, which can cost more than the rest of a file: so each run has a folder whose subfolders begin in other parts of the disk
(chattr +T), and nothing of any run is removed before the last has ended."""

import os
import pathlib
import pwd
import re
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "support"), str(TOP / "tests" / "clients")]

from postfix import OWNER, ROOT, Postfix  # noqa: E402
from sender import MAIL  # noqa: E402
from suite import DOMAIN, Suite  # noqa: E402

FILES = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
SESSIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 64
BOB = f"bob@{DOMAIN}"
DROPS = "programs.test"
TEXT = (MAIL % BOB.encode()).replace(b"\r\n", b"\n")
TICKS = os.sysconf("SC_CLK_TCK")


def until(what):
    while not what():
        time.sleep(0.02)


def flushes():
    """Of the disk under the folder for temporary files; None: it keeps no count."""
    device = os.stat(tempfile.gettempdir()).st_dev
    try:
        fields = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return int(fields[15])
    except (OSError, IndexError):
        return None


def cpu_of(session):
    """Seconds of all processes of a session (setsid), and of those of its leader's children that have ended."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += sum(map(int, fields[11:15]))
    return total / TICKS


class Measured:
    """`with Measured(files, cpu) as one:` and then one.rate, one.text."""

    def __init__(self, files, cpu):
        self.files, self.cpu = files, cpu

    def __enter__(self):
        self.before = flushes(), self.cpu(), time.monotonic()
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        self.rate = self.files / (time.monotonic() - self.before[2])
        used = (self.cpu() - self.before[1]) / self.files * 1000
        self.text = f"{self.rate:.0f} a second, {used:.2f} ms of CPU each"
        if (now := flushes()) is not None:
            self.text += f", {(now - self.before[0]) / self.files:.2f} flushes each"


def hand_in(port, recipient, count):
    subprocess.run([sys.executable, str(TOP / "tests" / "bench" / "sender.py"), str(port), recipient, str(count), str(SESSIONS)], check=True,
                   stdout=subprocess.DEVNULL)


def shown(folder):
    return sum(not name.startswith(".") for name in os.listdir(folder)) if folder.exists() else 0


def ours():
    suite = Suite(start=False)
    home = suite.folder / "home"
    suite.write_config({"suite": {"log.level": "info"}, "mx": {"home": home, "messages.drop_quota": "0"}})
    with suite:
        suite.add_mailbox(BOB, password=None)
        suite.tool("domain", "add", DROPS, "--drop")
        suite.start()
        port = suite.port("mx")
        smtpd = suite.processes["smtpd"].pid

        def cpu():
            return sum(map(int, pathlib.Path(f"/proc/{smtpd}/stat").read_text().rpartition(")")[2].split()[11:13])) / TICKS
        outside = suite.folder / "outside"
        outside.mkdir()
        for number in range(FILES):
            (outside / str(number)).write_bytes(TEXT)
        with Measured(FILES, cpu) as pickup:
            for number in range(FILES):
                os.rename(outside / str(number), home / "pickup" / str(number))
            until(lambda: not os.listdir(home / "pickup"))
        assert len(suite.messages(BOB)) == FILES
        with Measured(FILES, cpu) as drop:
            hand_in(port, f"one@{DROPS}", FILES)
            until(lambda: shown(home / "drop") == FILES)
        return pickup, drop


def theirs():
    submissions, deliveries = FILES // 10, FILES // 5
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    if True:
        # What the documentation has for a busy host; all to one mailbox, so as many to one address at a time as may be.
        peer = Postfix(pathlib.Path(folder) / "postfix", {
            "default_process_limit": "300", "in_flow_delay": "0", "initial_destination_concurrency": "20", "default_destination_concurrency_limit": "20",
            "smtpd_client_connection_rate_limit": "0", "smtpd_client_connection_count_limit": "0",
            "qmgr_message_active_limit": "40000", "qmgr_message_recipient_limit": "40000"}, mailboxes=(BOB,))
        with peer:
            new = peer.folder / "mail" / BOB / "new"
            environment = {**os.environ, "MAIL_CONFIG": str(peer.etc), "LD_LIBRARY_PATH": str(ROOT / "usr/lib/postfix")}
            mail = pathlib.Path(folder) / "mail"
            mail.write_bytes(TEXT)
            hand_in(peer.port, BOB, 100)  # its processes are there
            until(lambda: shown(new) == 100)

            def cpu():
                spent = os.times()
                return cpu_of(peer.process.pid) + spent.children_user + spent.children_system
            with Measured(submissions, cpu) as submitted:
                # Two at a time, for two cores.
                subprocess.run(["sh", "-c", f"seq {submissions} | xargs -P2 -n1 sh -c 'exec {ROOT}/usr/sbin/sendmail -f a@client.test "
                                f"{BOB} <{mail}'"], env=environment, check=True)
            until(lambda: shown(new) == 100 + submissions)
            with Measured(deliveries, lambda: cpu_of(peer.process.pid)) as delivered:
                hand_in(peer.port, BOB, deliveries)
                until(lambda: shown(new) == 100 + submissions + deliveries)
            assert not re.search(r"status=(deferred|bounced)", peer.log())
            return submitted, delivered


def main():
    best = {}
    with tempfile.TemporaryDirectory(prefix="pp.") as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["chattr", "+T", folder], check=False)
        tempfile.tempdir = folder
        for _ in range(RUNS):
            for name, one in zip(("pickup", "drop", "sendmail", "Maildir"), (*ours(), *theirs())):
                print(f"{name}: {one.text}", flush=True)
                best[name] = max(one.rate, best.get(name, 0))
    print(f"pickup is {best['pickup'] / best['sendmail']:.1f} times sendmail, drop {best['drop'] / best['Maildir']:.1f} times Maildir")


if __name__ == "__main__":
    main()
