"""How fast files are taken from pickup and put into drop, beside Postfix: its sendmail(1) taking messages one call each, and virtual(8)
delivering to a Maildir. All of it durable, on one disk. Run as root: tests/bench/folders.py [FILES]"""

import os
import pathlib
import pwd
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "support"), str(TOP / "tests" / "clients")]

from postfix import OWNER, ROOT, Postfix  # noqa: E402
from suite import DOMAIN, Suite  # noqa: E402

FILES = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
SESSIONS = 16
BODY = ("x" * 70 + "\n") * 54
MAIL = f"From: a@client.test\nTo: bob@{DOMAIN}\nSubject: bench\n\n{BODY}"
DROPS = "programs.test"


def until(what):
    while not what():
        time.sleep(0.01)


def hand_in(port, recipient, count):
    """By SMTP, in so many sessions at a time."""
    wire = (MAIL.replace("\n", "\r\n") + ".\r\n").encode()

    def session(messages):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            stream = peer.makefile("rwb")

            def ask(octets, replies=1):
                stream.write(octets)
                stream.flush()
                for _ in range(replies):
                    while (line := stream.readline())[3:4] == b"-":
                        pass
                    assert line[:1] in b"23", line
            stream.readline()
            ask(b"EHLO client.test\r\n")
            for _ in range(messages):
                ask(f"MAIL FROM:<a@client.test>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode(), 3)
                ask(wire)

    threads = [threading.Thread(target=session, args=(count // SESSIONS,)) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count // SESSIONS * SESSIONS


def ours(pickups, drops):
    suite = Suite(start=False)
    home = suite.folder / "home"
    suite.write_config({"suite": {"log.level": "warning"}, "mx": {"home": home, "messages.drop_quota": "0"}})
    with suite:
        suite.add_mailbox(f"bob@{DOMAIN}", password=None)
        suite.tool("domain", "add", DROPS, "--drop")
        suite.start()
        outside = suite.folder / "outside"
        outside.mkdir()
        for number in range(pickups):
            (outside / str(number)).write_text(MAIL)
        start = time.monotonic()
        for number in range(pickups):
            os.rename(outside / str(number), home / "pickup" / str(number))
        until(lambda: not os.listdir(home / "pickup"))
        taken = pickups / (time.monotonic() - start)
        assert len(suite.messages(f"bob@{DOMAIN}")) == pickups
        start = time.monotonic()
        count = hand_in(suite.port("mx"), f"one@{DROPS}", drops)
        until(lambda: sum(not name.startswith(".") for name in os.listdir(home / "drop")) == count)
        return taken, count / (time.monotonic() - start)


def theirs(submissions, deliveries):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        box = pathlib.Path(folder) / "box"
        box.mkdir()
        os.chmod(folder, 0o755)
        owner = pwd.getpwnam(OWNER)
        os.chown(box, owner.pw_uid, owner.pw_gid)
        peer = Postfix(pathlib.Path(folder) / "postfix", {
            "virtual_mailbox_domains": DOMAIN, "virtual_mailbox_base": box,
            "virtual_mailbox_maps": f"inline:{{ bob@{DOMAIN}=bob/ }}", "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}", "smtpd_client_connection_rate_limit": "0"})
        with open(peer.etc / "master.cf", "a", encoding="ascii") as master:
            master.write("virtual unix - n n - - virtual\n")
        with peer:
            environment = {**os.environ, "MAIL_CONFIG": str(peer.etc), "LD_LIBRARY_PATH": str(ROOT / "usr/lib/postfix")}
            mail = pathlib.Path(folder) / "mail"
            mail.write_text(MAIL)
            start = time.monotonic()
            # Two at a time, for two cores.
            subprocess.run(["sh", "-c", f"seq {submissions} | xargs -P2 -n1 sh -c '{ROOT}/usr/sbin/sendmail -f a@client.test "
                            f"bob@{DOMAIN} <{mail}'"], env=environment, check=True)
            taken = submissions / (time.monotonic() - start)

            def delivered():
                new = box / "bob" / "new"
                return len(os.listdir(new)) if new.exists() else 0
            until(lambda: delivered() == submissions)
            start = time.monotonic()
            count = hand_in(peer.port, f"bob@{DOMAIN}", deliveries)
            until(lambda: delivered() == submissions + count)
            assert not re.search(r"status=(deferred|bounced)", peer.log())
            return taken, count / (time.monotonic() - start)


def main():
    taken, put = ours(FILES, FILES // 2)
    submitted, delivered = theirs(FILES // 20, FILES // 10)
    print(f"pickup: {taken:.0f} files a second; sendmail: {submitted:.0f}; ratio {taken / submitted:.1f}")
    print(f"drop: {put:.0f} messages a second; Maildir: {delivered:.0f}; ratio {put / delivered:.1f}")


if __name__ == "__main__":
    main()
