"""kill -9 in a loop: smtpd, pop3d and whoever else works in the store (an import, a purge, a compaction) die at any moment
while people send and fetch. What was acknowledged is there once.

    PENNYPOST_KILL_ROUNDS   kills (default 30, some 20 s)
    PENNYPOST_KILL_PAUSE    seconds, the longest time between two (default 4)
    PENNYPOST_KILL_SEED     the printed seed of a run that failed; threads still interleave as they like
    PENNYPOST_KEEP=1        keeps the folder
"""

import collections
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))
sys.path.insert(0, str(TESTS / "clients"))

from letters import without_trace  # noqa: E402
from suite import PASSWORD, Suite  # noqa: E402
from wire import Wire  # noqa: E402

SENDERS, PEOPLE = 6, 5
MAILBOXES = [f"person{number}@example.test" for number in range(PEOPLE)]
# Gets copies of what the others get, and is purged again and again: nobody looks into it.
DOOMED = "doomed@example.test"
# Over this a message streams into a segment of its own (ARCHITECTURE.md, the store on disk).
LONG = 300 * 1024


def body(token):
    """The whole letter of this token, in wire form before stuffing; the same each time."""
    if token.startswith("import"):
        return f"Subject: {token}\r\n\r\n".encode() + b"an imported line\r\n" * (20 + int(token.rpartition("-")[2]) % 200)
    chance = random.Random(token)
    many = chance.randrange(LONG, 3 * LONG) if chance.random() < 0.08 else chance.randrange(6000)
    line = bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz .", k=chance.randrange(1, 300))) + b"\r\n"
    return f"Subject: {token}\r\n\r\n.\r\n..x\r\n".encode() + line * (many // len(line) + 1)


TOOLS = ("import", "purge", "compact")


class Gone(Exception):
    """The other side closed or said what it says when it cannot go on."""


class Ledger:
    """What was promised. One token is one attempt; nothing is sent again under the same."""

    # How far an attempt came. Only `maybe` may be there or not.
    UNSENT, MAYBE, REFUSED, ACCEPTED = "not sent to its end", "unanswered", "refused", "accepted"

    def __init__(self):
        self.lock = threading.Lock()
        self.attempts = {}                  # token -> [state, mailboxes, id]
        self.deletions = {}                 # (mailbox, token) -> "asked" or "confirmed"
        self.wrong = []

    def begin(self, token, mailboxes):
        with self.lock:
            self.attempts[token] = [self.UNSENT, mailboxes, None]

    def set(self, token, state, identifier=None):
        with self.lock:
            self.attempts[token][0], self.attempts[token][2] = state, identifier

    def delete(self, mailbox, tokens, state):
        with self.lock:
            self.deletions.update(((mailbox, token), state) for token in tokens)

    def complain(self, text):
        with self.lock:
            self.wrong.append(text)

    def count(self, state):
        return sum(1 for attempt in self.attempts.values() if attempt[0] == state)


class Office:
    """The suite, its ports of the moment, and when to stop."""

    def __init__(self, suite, seed):
        self.suite, self.seed, self.ledger = suite, seed, Ledger()
        self.over = threading.Event()
        self.ports = {}
        self.tools = {}                     # what works in the store beside the daemons: name -> process
        self.done = collections.Counter()   # and how often it came to its end
        self.learn_ports()

    def learn_ports(self):
        self.ports = {name: self.suite.port(name) for name in ("mx", "pop3")}

    def repeat(self, name, once):
        """A person: does `once` until it is over, however often the daemons die meanwhile."""
        chance = random.Random(f"{self.seed} {name}")
        while not self.over.is_set():
            try:
                once(name, chance)
            except (OSError, Gone):
                time.sleep(0.01)
            except Exception as error:  # noqa: BLE001: a thread's end is seen by nobody
                self.ledger.complain(f"{name}: {error!r}")
                return

    # ---- sending

    def send(self, name, chance):
        """One connection with some messages, the next one's envelope often behind the last one's body."""
        with Wire(self.ports["mx"]) as wire:
            expect(wire, "220")
            wire.say("EHLO client.test")
            expect(wire, "250")
            waiting = None
            for _ in range(chance.randrange(1, 12)):
                token = f"{name}-{chance.getrandbits(48):012x}"
                mailboxes = chance.sample(MAILBOXES, chance.choice([1, 1, 1, 2, PEOPLE]))
                self.ledger.begin(token, mailboxes)
                wire.say("MAIL FROM:<x@client.test>", *(f"RCPT TO:<{mailbox}>" for mailbox in mailboxes), "DATA")
                if waiting:
                    self.verdict(wire, waiting)
                for _ in range(1 + len(mailboxes)):
                    expect(wire, "250")
                expect(wire, "354")
                stuffed = body(token).replace(b"\r\n.", b"\r\n..")
                for start in range(0, len(stuffed), 65536):
                    wire.send(stuffed[start:start + 65536])
                if chance.random() < 0.03:
                    return  # hangs up before the end
                self.ledger.set(token, Ledger.MAYBE)
                wire.send(b".\r\n")
                waiting = token
                if chance.random() < 0.5:
                    self.verdict(wire, waiting)
                    waiting = None
                if self.over.wait(chance.random() * 0.03):
                    break
            if waiting:
                self.verdict(wire, waiting)
            wire.say("QUIT")

    def verdict(self, wire, token):
        line = whole_line(wire)
        accepted = re.match(r"250 2\.0\.0 ([a-z2-7]+)", line)
        if accepted:
            self.ledger.set(token, Ledger.ACCEPTED, accepted[1])
        else:
            self.ledger.set(token, Ledger.REFUSED)
            if not line.startswith("4"):
                self.ledger.complain(f"{token} was answered {line}")
            raise Gone(line)

    # ---- fetching

    def fetch(self, name, chance):
        """Logs in, reads some, deletes some of these, and says good-bye or not."""
        self.over.wait(chance.random() * 0.3)
        with Wire(self.ports["pop3"]) as wire:
            many, ids = log_in(wire, name)
            numbers = chance.sample(range(1, many + 1), min(many, chance.randrange(30)))
            tokens = []
            for number in numbers:
                token, problem = read_one(wire, number, ids[number])
                if problem:
                    self.ledger.complain(f"{name}, message {number}: {problem}")
                if self.ledger.deletions.get((name, token)) == "confirmed":
                    self.ledger.complain(f"{name}: {token} is back after its deletion")
                if chance.random() < 0.5:
                    wire.say(f"DELE {number}")
                    expect(wire, "+OK")
                    tokens.append(token)
            if chance.random() < 0.1:
                return  # nothing is deleted
            self.ledger.delete(name, tokens, "asked")
            wire.say("QUIT")
            expect(wire, "+OK")
            self.ledger.delete(name, tokens, "confirmed")

    # ---- tools

    def run(self, name, *command):
        """A program that may be killed; gives back its status and standard output."""
        process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=self.suite.environment())
        self.tools[name] = process
        # Its standard error is short; standard output is read to its end first.
        out, trouble = process.stdout.read(), process.stderr.read()
        status = process.wait()
        self.tools.pop(name)
        if status not in (0, -9):
            return status, out, trouble
        self.done[name] += status == 0
        return status, out, trouble

    def pennypost(self, name, *arguments):
        return self.run(name, self.suite.build / "tools" / "pennypost", "-c", self.suite.config, *arguments)

    def bring_in(self, name, chance):
        """An import into everybody's mailbox and into the one that is purged meanwhile."""
        self.over.wait(chance.random() * 0.3)
        prefix = f"import-{chance.getrandbits(48):012x}"
        status, out, trouble = self.run(name, self.suite.build / "tests" / "support" / "import_messages",
                                        self.suite.folder / "store", prefix, chance.randrange(1, 120), chance.choice([1, 8, 64]),
                                        1 << 30, *MAILBOXES, DOOMED)
        if status == 1 and f"no mailbox {DOOMED}" in trouble:
            return
        for line in out.splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            verb, token, *rest = line.split()
            if verb == "try":
                self.ledger.begin(token, [mailbox for mailbox in rest if mailbox != DOOMED])
                self.ledger.set(token, Ledger.MAYBE)
            else:
                self.ledger.set(token, Ledger.ACCEPTED if verb == "put" else Ledger.REFUSED, *rest)
        if status not in (0, -9):
            self.ledger.complain(f"{name} ended with {status}: {trouble}")

    def purge(self, name, chance):
        """The mailbox goes with its mail, and is there again."""
        self.over.wait(chance.random())
        for arguments in (("remove", "--purge", DOOMED), ("add", "--no-password", DOOMED)):
            status, _, trouble = self.pennypost(name, "mailbox", *arguments)
            if status == -9:
                return
            # The one that was killed may have come to its end.
            if status != 0 and not re.search("no mailbox|there already|was removed", trouble):
                self.ledger.complain(f"{name}: {trouble}")

    def compact(self, name, chance):
        self.over.wait(chance.random())
        status, _, trouble = self.pennypost(name, "store", "compact", "--all")
        if status not in (0, -9):
            self.ledger.complain(f"{name}: {trouble}")

    # ---- killing

    def kill(self, rounds, chance):
        killed = collections.Counter()
        pause = float(os.environ.get("PENNYPOST_KILL_PAUSE", "4"))
        for number in range(rounds):
            time.sleep(min(chance.choice([0.02, 0.2, 1, 4]), pause) * chance.random())
            names = chance.choice([("smtpd",), ("smtpd",), ("pop3d",), ("smtpd", "pop3d"), TOOLS, TOOLS])
            if names is TOOLS:
                # Whichever works at the moment; else the next one that does.
                at_work = []
                while not at_work and not self.ledger.wrong:
                    at_work = list(self.tools.items())
                    time.sleep(0.001)
                for name, process in chance.sample(at_work, min(1, len(at_work))):
                    process.kill()
                    killed[name] += 1
                continue
            for name in names:
                process = self.suite.processes[name]
                if process.poll() is not None:
                    raise SystemExit(f"kill_loop: {name} ended by itself with {process.returncode} in round {number}:\n"
                                     f"{self.suite.log(name)[-4000:]}")
                process.kill()
                process.wait()
                killed[name] += 1
            self.suite.start(*names)
            self.learn_ports()
            if self.ledger.wrong:
                break
        return killed


def whole_line(wire):
    """A line with its end; half of one was never said."""
    line = wire.line()
    if not line.endswith(b"\r\n"):
        raise Gone("closed")
    return line.decode("latin-1").rstrip("\r\n")


def expect(wire, begin):
    line = whole_line(wire)
    while line[3:4] == "-" and line[:3].isdigit():
        line = whole_line(wire)
    if not line.startswith(begin):
        raise Gone(line)
    return line


def log_in(wire, mailbox):
    """How many messages there are, and their unique ids by number."""
    expect(wire, "+OK")
    wire.say(f"USER {mailbox}", f"PASS {PASSWORD}", "STAT", "UIDL")
    for _ in range(2):
        expect(wire, "+OK")
    many = int(expect(wire, "+OK").split()[1])
    expect(wire, "+OK")
    ids = {}
    while (line := whole_line(wire)) != ".":
        number, identifier = line.split()
        ids[int(number)] = identifier
    if len(ids) != many:
        raise ValueError(f"STAT says {many}, UIDL lists {len(ids)}")
    return many, ids


def read_one(wire, number, identifier):
    """The token of a message, and what is wrong with it."""
    wire.say(f"RETR {number}")
    expect(wire, "+OK")
    stuffed = wire.until(b"\r\n.\r\n")
    if not stuffed.endswith(b"\r\n.\r\n"):
        raise Gone("closed")
    octets = stuffed[:-3].replace(b"\r\n.", b"\r\n")
    try:
        sent = without_trace(octets)
    except AssertionError:
        return "?", f"no trace fields: {octets[:200]!r}"
    found = re.match(rb"Subject: (\S+)\r\n", sent)
    token = found[1].decode() if found else "?"
    if not found or sent != body(token):
        return token, f"not what was sent: {len(sent)} octets, {sent[:100]!r}"
    if f"id {identifier}".encode() not in octets[:2000]:
        return token, f"its Received line has another id than UIDL, {identifier}"
    return token, ""


def compare(office):
    """The ledger with what is there."""
    ledger, there = office.ledger, {}
    for mailbox in MAILBOXES:
        with Wire(office.ports["pop3"]) as wire:
            many, ids = log_in(wire, mailbox)
            for number in range(1, many + 1):
                token, problem = read_one(wire, number, ids[number])
                if problem:
                    ledger.complain(f"{mailbox}, message {number}: {problem}")
                there.setdefault((mailbox, token), []).append(ids[number])
            wire.say("QUIT")
    for (mailbox, token), ids in there.items():
        if len(ids) > 1:
            ledger.complain(f"{mailbox}: {token} is there {len(ids)} times: {ids}")
        if token not in ledger.attempts or mailbox not in ledger.attempts[token][1]:
            ledger.complain(f"{mailbox}: {token} was never sent there")
    for token, (state, mailboxes, identifier) in ledger.attempts.items():
        shown = [mailbox for mailbox in mailboxes if (mailbox, token) in there]
        untouched = [mailbox for mailbox in mailboxes if (mailbox, token) not in ledger.deletions]
        for mailbox in shown:
            if ledger.deletions.get((mailbox, token)) == "confirmed":
                ledger.complain(f"{mailbox}: {token} is there, though its deletion was confirmed")
            if identifier and there[mailbox, token] != [identifier]:
                ledger.complain(f"{mailbox}: {token} has the id {there[mailbox, token]}, its 250 said {identifier}")
        if state in (Ledger.UNSENT, Ledger.REFUSED) and shown:
            ledger.complain(f"{token} was {state}, and is in {shown}")
        for mailbox in untouched:
            if state == Ledger.ACCEPTED and mailbox not in shown:
                ledger.complain(f"{mailbox}: {token} ({identifier}) was accepted and is lost")
        # One commit for all of its mailboxes.
        if state == Ledger.MAYBE and 0 < len(set(untouched) & set(shown)) < len(untouched):
            ledger.complain(f"{token} is in {shown} and not in all of {mailboxes}")
    return sum(map(len, there.values()))


def main():
    rounds = int(os.environ.get("PENNYPOST_KILL_ROUNDS", "30"))
    seed = os.environ.get("PENNYPOST_KILL_SEED") or f"{random.SystemRandom().getrandbits(32):x}"
    print(f"kill_loop: seed {seed}, {rounds} rounds", flush=True)
    settings = {"suite": {"log.level": "info"}, "pop3": {"auth.require_tls": False}}
    with Suite(settings) as suite:
        for mailbox in MAILBOXES:
            suite.add_mailbox(mailbox)
        suite.add_mailbox(DOOMED, None)
        office = Office(suite, seed)
        ledger = office.ledger
        people = [threading.Thread(target=office.repeat, args=(f"sender{number}", office.send), daemon=True)
                  for number in range(SENDERS)]
        people += [threading.Thread(target=office.repeat, args=(mailbox, office.fetch), daemon=True)
                   for mailbox in MAILBOXES]
        people += [threading.Thread(target=office.repeat, args=(name, work), daemon=True)
                   for name, work in zip(TOOLS, (office.bring_in, office.purge, office.compact))]
        for person in people:
            person.start()
        killed = office.kill(rounds, random.Random(seed))
        office.over.set()
        for person in people:
            person.join(60)
            if person.is_alive():
                ledger.complain("somebody waits for an answer since a minute")
        left = compare(office)
        confirmed = sum(state == "confirmed" for state in ledger.deletions.values())
        print(f"kill_loop: killed {', '.join(f'{name} {times} times' for name, times in sorted(killed.items()))}; "
              f"came to their end: {', '.join(f'{name} {times} times' for name, times in sorted(office.done.items()))}; "
              f"{ledger.count(Ledger.ACCEPTED)} "
              f"messages accepted, {ledger.count(Ledger.MAYBE)} unanswered, {ledger.count(Ledger.REFUSED)} refused, "
              f"{ledger.count(Ledger.UNSENT)} broken off; {confirmed} deletions confirmed, "
              f"{len(ledger.deletions) - confirmed} unanswered; {left} copies are there")
        if not ledger.count(Ledger.ACCEPTED) or not confirmed:
            ledger.complain("nothing was accepted or nothing deleted: this run says nothing")
        for text in ledger.wrong[:40]:
            print(f"kill_loop: {text}")
        if ledger.wrong:
            print(f"kill_loop: {len(ledger.wrong)} wrong; PENNYPOST_KILL_SEED={seed} and PENNYPOST_KEEP=1 for a second look")
            return 1
    return 0  # the suite has ended them with status 0 by now, and found the store sound


if __name__ == "__main__":
    sys.exit(main())
