"""Two pennyposts that send on to each other are killed and started again while letters go both ways. Each has the other as
the route of its people's domain. Nothing that was accepted is lost, and whatever arrives twice stands in the sender's log as
a reply that was lost (RFC 5321 4.5.3.2.6), or was under way when its sender was killed, which could write nothing any more.

PENNYPOST_RELAY_SECONDS: how long (20); PENNYPOST_KILL_SEED: to see a run again; PENNYPOST_KEEP=1: leaves both folders."""

import collections
import ctypes
import itertools
import os
import pathlib
import poplib
import random
import re
import signal
import smtplib
import subprocess
import sys
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "clients")]

from suite import Suite  # noqa: E402
from wire import wait_for  # noqa: E402

# Each in a network of its own, joined by a wire; without the right to make these both are on loopback.
SIDES = {"east": ("10.77.7.1", "127.0.77.1"), "west": ("10.77.7.2", "127.0.77.2")}
PORT = 2525
SENDERS = 4


def spaces():
    return {side: f"pennypost-{side}" for side in SIDES}


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def take_away():
    """What a dead run left: its processes, then the networks, and with these the wire."""
    for space in spaces().values():
        for pid in ip("netns", "pids", space, check=False).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        ip("netns", "delete", space, check=False)


def make_networks():
    """Whether there are networks of our own now."""
    if os.geteuid() != 0:
        return False
    take_away()
    if ip("netns", "add", spaces()["east"], check=False).returncode != 0:
        return False
    ip("netns", "add", spaces()["west"])
    wire = ("type", "veth", "peer", "name", "pp-west", "netns", spaces()["west"])
    if ip("link", "add", "pp-east", "netns", spaces()["east"], *wire, check=False).returncode != 0:
        take_away()
        return False
    for side, space in spaces().items():
        ip("-n", space, "address", "add", f"{SIDES[side][0]}/24", "dev", f"pp-{side}")
        for device in ("lo", f"pp-{side}"):
            ip("-n", space, "link", "set", device, "up")
    return True


class Inside:
    """Threads and processes that are begun here are in that network."""

    def __init__(self, space):
        self.space = space

    def __enter__(self):
        self.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        if self.space:
            with open(f"/run/netns/{self.space}", "rb") as there:
                self.enter(there.fileno())

    def __exit__(self, *_):
        if self.space:
            self.enter(self.before)
        os.close(self.before)

    @staticmethod
    def enter(descriptor):
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Side:
    def __init__(self, name, address, other, space):
        self.name, self.address, self.space = name, address, space
        self.lock = threading.Lock()
        outbound = {"outbound.security": "opportunistic", "delivery.retry": ["1s"], "delivery.jitter": 0}
        self.suite = Suite({
            "suite": {"log.level": "info", "dns.insecure": ["."]},
            "mx": {"listen": [f"{address}:{PORT}"], "hostname": f"{name}.test", **outbound},
            "submission": {"listen": [f"{address}:{PORT + 1}"], "hostname": f"{name}.test", "auth.require_tls": False, **outbound},
            "pop3": {"auth.require_tls": False},
        }, domain=f"{name}.test")
        self.other = other

    def begin(self):
        with Inside(self.space):
            for arguments in (("store", "init"), ("domain", "add", f"{self.name}.test"),
                              ("domain", "add", f"{self.other}.test", "--remote", "--route", f"[{SIDES[self.other][bool(not self.space)]}]:{PORT}")):
                self.suite.tool(*arguments)
            self.suite.add_mailbox(f"ann@{self.name}.test")
            self.suite.start("smtpd")

    def restart(self):
        with self.lock, Inside(self.space):
            self.suite.processes["smtpd"].kill()
            self.suite.processes["smtpd"].wait()
            self.suite.start("smtpd")


class Office:
    def __init__(self, sides, seed):
        self.sides, self.seed = sides, seed
        self.over = threading.Event()
        self.accepted, self.asked = set(), set()
        self.wrong = []

    def send(self, side, number):
        """Letters to the other side, and some that come from there by way of this one."""
        chance = random.Random(f"{self.seed} {side.name} {number}")
        with Inside(side.space):
            while not self.over.is_set():
                try:
                    with smtplib.SMTP(side.address, PORT + 1, timeout=20) as client:
                        client.login(f"ann@{side.name}.test", "pencil and paper")
                        for _ in range(chance.randrange(1, 8)):
                            token = f"{side.name}-{chance.getrandbits(48):012x}"
                            self.asked.add(token)
                            client.sendmail(f"ann@{side.name}.test", [f"ann@{side.other}.test"],
                                            f"Subject: {token}\r\n\r\n".encode() + b"x" * chance.choice([10, 3000, 100_000]) + b"\r\n")
                            self.accepted.add(token)
                            if self.over.wait(chance.random() * 0.05):
                                break
                except OSError as trouble:
                    code = getattr(trouble, "smtp_code", 421)
                    if code // 100 == 5:
                        self.wrong.append(f"{side.name}: {trouble!r}")
                        return
                    time.sleep(0.02)

    def kill(self, seconds):
        chance, killed = random.Random(self.seed), collections.Counter()
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.wrong:
            time.sleep(chance.choice([0.05, 0.3, 1]) * chance.random())
            side = chance.choice(self.sides)
            side.restart()
            killed[side.name] += 1
        return killed

    def empty(self):
        return all(side.suite.json("queue", "stat")["waiting"] == 0 for side in self.sides)

    def compare(self):
        """What is there with what was accepted: token -> the copies, each with its sender's id and its own."""
        found = collections.defaultdict(list)
        for side in self.sides:
            with Inside(side.space):
                side.suite.start("pop3d")
                reader = poplib.POP3("127.0.0.1", side.suite.port("pop3"), timeout=60)
                reader.user(f"ann@{side.name}.test")
                reader.pass_("pencil and paper")
                for number in range(1, reader.stat()[0] + 1):
                    front = b"\r\n".join(reader.top(number, 0)[1]).decode()
                    own, senders = re.findall(r"\bid ([a-z2-7]{13})", front)
                    found[re.search(r"^Subject: (\S+)", front, re.M)[1]].append((own, senders))
                reader.quit()
        for token in self.accepted - set(found):
            self.wrong.append(f"{token} was accepted and is lost")
        for token in set(found) - self.asked:
            self.wrong.append(f"{token} was never sent")
        return found


def unexplained(copies, log, log_there):
    """What arrived twice without a reason: between two copies of one message the reply was lost, of which the sender's log tells, or
    its sender was killed before it could write anything down."""
    by_message = collections.defaultdict(list)
    for own, senders in copies:
        by_message[senders].append(own)
    for message, own in by_message.items():
        # Ids are no times: a start begins them a minute ahead. One that is killed may not have written its line.
        lines = [re.search(rf"^(\S+) info smtpd message\.accepted id={each} ", log_there, re.M) for each in own]
        times = sorted(line[1] for line in lines if line)
        reasons = re.findall(rf"^(\S+) warning smtpd outbound\.reply_lost id={message} ", log, re.M)
        # The first line of a process: what waits may go out before "started" is written.
        reasons += re.findall(r"^(\S+) \w+ smtpd (?:sandbox|started) ", log, re.M)
        for first, second in itertools.pairwise(times if len(times) == len(own) else ["", "~"]):
            if not any(first <= reason <= second for reason in reasons):
                yield f"{message} arrived twice, {first} to {second}, and no log tells of a lost reply"


def main():
    seconds = float(os.environ.get("PENNYPOST_RELAY_SECONDS", "20"))
    seed = os.environ.get("PENNYPOST_KILL_SEED") or f"{random.SystemRandom().getrandbits(32):x}"
    apart = make_networks()
    print(f"relay_loop: seed {seed}, {seconds:.0f} s, {'in two networks' if apart else 'on loopback: no right to make networks'}", flush=True)
    sides = [Side(name, addresses[not apart], next(other for other in SIDES if other != name), spaces()[name] if apart else None)
             for name, addresses in SIDES.items()]
    try:
        for side in sides:
            side.begin()
        office = Office(sides, seed)
        people = [threading.Thread(target=office.send, args=(side, number), daemon=True) for side in sides for number in range(SENDERS)]
        for person in people:
            person.start()
        killed = office.kill(seconds)
        office.over.set()
        for person in people:
            person.join(60)
        wait_for(office.empty, 60, "both queues are empty")
        found = office.compare()
        logs = {side.name: side.suite.log("smtpd") for side in sides}
        doubles = [token for token, copies in found.items() if len(copies) > len({senders for _, senders in copies})]
        for token in doubles:
            sender = token.partition("-")[0]
            office.wrong += unexplained(found[token], logs[sender], logs[next(side for side in SIDES if side != sender)])
        lost = sum(log.count(" outbound.reply_lost ") for log in logs.values())
        for side in sides:
            with Inside(side.space):
                side.suite.stop()
                side.suite.check_store()
        print(f"relay_loop: killed {dict(killed)}; {len(office.accepted)} letters accepted, {len(found)} arrived, {len(doubles)} of them "
              f"more than once; {lost} replies were lost by the logs")
        if not office.accepted or not killed:
            office.wrong.append("nothing was accepted or nobody was killed: this run says nothing")
        for text in office.wrong[:40]:
            print(f"relay_loop: {text}")
        return 1 if office.wrong else 0
    finally:
        for side in sides:
            side.suite.clean_up()
        if apart:
            take_away()


if __name__ == "__main__":
    sys.exit(main())
