"""How fast files are taken from pickup and put into drop, beside Postfix: its sendmail(1) taking messages one call each, and virtual(8)
delivering to a Maildir. Files of 4 KiB, all of it durable, on one disk. Run as root:

    tests/bench/folders.py [FILES] [RUNS]        10000 files, best of 3 runs; Postfix has a fifth of them, its sendmail a tenth

pickup and sendmail: from the first call until the last message is where it is safe, our mailbox and its queue.
drop and Maildir: by SMTP in so many sessions, from the first octet in until the last message is in a file; and all of it from a full queue, from the first
file to the last.

`flushes` are the disk's own count of what it was asked to flush, by anybody. ext4 passes over the inodes that were given back within the last
minutes one by one, which can cost more than the rest of a file: so all lies in a folder whose subfolders begin in parts of the disk of their
own (chattr +T), and Postfix's is removed with the last run."""

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
SESSIONS = (64, 256)
BOB = f"bob@{DOMAIN}"
DROPS = "programs.test"
TEXT = (MAIL % BOB.encode()).replace(b"\r\n", b"\n")
TICKS = os.sysconf("SC_CLK_TCK")


def until(what):
    """Seldom, since who lists a folder keeps others from changing it; `changes` says when it was."""
    while not what():
        time.sleep(0.25)


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
    """`with Measured(name, files, cpu) as one:` prints what it was, and keeps the best by name. `one.begin()` sets the clock anew."""

    best = {}

    def __init__(self, name, files, cpu):
        self.name, self.files, self.cpu, self.ended = name, files, cpu, None

    def begin(self):
        self.before = flushes(), self.cpu()
        self.began = time.time()

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        rate = self.files / ((self.ended or time.time()) - self.began)
        used = (self.cpu() - self.before[1]) / self.files * 1000
        text = f"{self.name}: {rate:.0f} a second, {used:.2f} ms of CPU each"
        if (now := flushes()) is not None:
            text += f", {(now - self.before[0]) / self.files:.2f} flushes each"
        print(text, flush=True)
        self.best[self.name] = max(rate, self.best.get(self.name, 0))


def hand_in(where, recipient, count, sessions=64, begin=lambda: None):
    """`begin` is called when all sessions are there."""
    with subprocess.Popen([sys.executable, str(TOP / "tests" / "bench" / "sender.py"), str(where), recipient, str(count), str(sessions)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sender:
        assert sender.stdout.readline() == b"ready\n"
        begin()
        sender.stdin.close()
    assert sender.returncode == 0


def changes(folder, since=0):
    """When the first file got its name after that, and when the last."""
    times = [entry.stat().st_ctime for entry in os.scandir(folder)]
    return min(time for time in times if time >= since), max(times)


def shown(folder):
    return sum(not name.startswith(".") for name in os.listdir(folder)) if folder.exists() else 0


def ours():
    suite = Suite(start=False)
    home = suite.folder / "home"
    drop = home / "drop"
    suite.write_config({"suite": {"log.level": "info"}, "mx": {"home": home, "messages.drop_quota": "0"}})
    with suite:
        suite.add_mailbox(BOB, password=None)
        suite.tool("domain", "add", DROPS, "--drop")
        suite.start()
        port = suite.port("mx")
        smtpd = suite.processes["smtpd"].pid

        def cpu():
            return sum(map(int, pathlib.Path(f"/proc/{smtpd}/stat").read_text().rpartition(")")[2].split()[11:13])) / TICKS
        done = 0
        for sessions in SESSIONS:
            with Measured(f"drop, {sessions} sessions", FILES, cpu) as one:
                hand_in(port, f"one@{DROPS}", FILES, sessions, one.begin)
                done += FILES
                until(lambda: shown(drop) == done)
                one.ended = changes(drop)[1]
        suite.tool("queue", "suspend", DROPS)
        hand_in(port, f"one@{DROPS}", FILES)
        with Measured("drop, from the queue", FILES, cpu) as one:
            suite.tool("queue", "resume", DROPS)
            until(lambda: shown(drop) == done + FILES)
            one.began, one.ended = changes(drop, one.began)
        outside = suite.folder / "outside"
        outside.mkdir()
        for number in range(FILES):
            (outside / str(number)).write_bytes(TEXT)
        with Measured("pickup", FILES, cpu) as one:
            for number in range(FILES):
                os.rename(outside / str(number), home / "pickup" / str(number))
            until(lambda: not os.listdir(home / "pickup"))
            one.ended = (home / "pickup").stat().st_mtime
        assert len(suite.messages(BOB)) == FILES


def theirs():
    submissions, deliveries = FILES // 10, FILES // 5
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    # What the documentation has for a busy host; all to one mailbox, so as many to one address at a time as may be. What comes to
    # the second address is held.
    peer = Postfix(folder / "postfix", {
        "default_process_limit": "300", "in_flow_delay": "0", "initial_destination_concurrency": "20",
        "default_destination_concurrency_limit": "20", "smtpd_client_connection_rate_limit": "0",
        "smtpd_client_connection_count_limit": "0", "qmgr_message_active_limit": "40000", "qmgr_message_recipient_limit": "40000"},
        listeners={"127.0.0.1": {}, "127.0.0.2": {"smtpd_recipient_restrictions": "check_recipient_access static:HOLD"}},
        mailboxes=(BOB,))
    with peer:
        new = peer.folder / "mail" / BOB / "new"
        environment = {**os.environ, "MAIL_CONFIG": str(peer.etc), "LD_LIBRARY_PATH": str(ROOT / "usr/lib/postfix")}
        mail = folder / "mail"
        mail.write_bytes(TEXT)
        hand_in(peer.port, BOB, 100)  # its processes are there
        done = 100
        until(lambda: shown(new) == done)

        def cpu():
            return cpu_of(peer.process.pid)

        def cpu_with_ours():
            spent = os.times()
            return cpu() + spent.children_user + spent.children_system
        with Measured("sendmail", submissions, cpu_with_ours):
            # Two at a time, for two cores.
            subprocess.run(["sh", "-c", f"seq {submissions} | xargs -P2 -n1 sh -c 'exec {ROOT}/usr/sbin/sendmail -f a@client.test "
                            f"{BOB} <{mail}'"], env=environment, check=True)
        done += submissions
        until(lambda: shown(new) == done)
        for sessions in SESSIONS:
            with Measured(f"Maildir, {sessions} sessions", deliveries, cpu) as one:
                hand_in(peer.port, BOB, deliveries, sessions, one.begin)
                done += deliveries
                until(lambda: shown(new) == done)
                one.ended = changes(new)[1]
        hand_in(f"127.0.0.2:{peer.port}", BOB, deliveries)
        assert shown(new) == done
        with Measured("Maildir, from the queue", deliveries, cpu) as one:
            for command in (["postsuper", "-H", "ALL"], ["postqueue", "-f"]):
                subprocess.run([str(ROOT / "usr/sbin" / command[0]), *command[1:]], env=environment, check=True, capture_output=True)
            until(lambda: shown(new) == done + deliveries)
            one.began, one.ended = changes(new, one.began)
        assert not re.search(r"status=(deferred|bounced)", peer.log())


def main():
    with tempfile.TemporaryDirectory(prefix="pp.") as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["chattr", "+T", folder], check=False)
        tempfile.tempdir = folder
        for _ in range(RUNS):
            ours()
            theirs()
    best = Measured.best

    def fastest(kind):
        return max(best[f"{kind}, {sessions} sessions"] for sessions in SESSIONS)
    print(f"pickup is {best['pickup'] / best['sendmail']:.1f} times sendmail, "
          f"drop {fastest('drop') / fastest('Maildir'):.1f} times Maildir by SMTP, "
          f"{best['drop, from the queue'] / best['Maildir, from the queue']:.1f} times from the queue")


if __name__ == "__main__":
    main()
