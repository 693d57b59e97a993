"""What bulk work costs the mail that comes in meanwhile: the 250 at the end of data at rest, and while pop3d deletes messages
in one QUIT, `store compact --all` runs and another process imports as many (DESIGN: under 5 times at the 99th percentile).

    tests/bench/backpressure.py [MESSAGES] [SESSIONS]      100000 and 4
"""

import pathlib
import statistics
import subprocess
import sys
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))
sys.path.insert(0, str(TESTS / "clients"))

from suite import PASSWORD, Suite  # noqa: E402
from wire import Wire  # noqa: E402

BODY = b"Subject: probe\r\n\r\n" + (b"x" * 76 + b"\r\n") * 40 + b".\r\n"


class Probe:
    """Sessions that send one message after another, and how long each 250 took."""

    def __init__(self, port, sessions):
        self.port, self.took, self.over = port, [], threading.Event()
        self.threads = [threading.Thread(target=self.send) for _ in range(sessions)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def send(self):
        with Wire(self.port) as wire:
            wire.line()
            wire.say("HELO client.test")
            wire.line()
            while not self.over.is_set():
                wire.say("MAIL FROM:<x@client.test>", "RCPT TO:<probe@example.test>", "DATA")
                for _ in range(3):
                    wire.line()
                since = time.monotonic()
                wire.send(BODY)  # in one piece: a lone dot would wait for Nagle's algorithm
                answer = wire.line()
                self.took.append((time.monotonic() - since) * 1e3)
                if not answer.startswith(b"250"):
                    raise SystemExit(f"backpressure: {answer}")
                self.over.wait(0.005)

    def tell(self, name):
        some, self.took = sorted(self.took), []
        p99 = some[int(0.99 * (len(some) - 1))]
        print(f"{name}: {len(some)} messages, median {statistics.median(some):.2f} ms, p99 {p99:.2f} ms, at most {some[-1]:.2f} ms",
              flush=True)
        return p99


def bring_in(suite, prefix, messages, callers, *addresses):
    return subprocess.Popen([suite.build / "tests" / "support" / "import_messages", suite.folder / "store", prefix,
                             str(messages), str(callers), str(1 << 30), *addresses], stdout=subprocess.DEVNULL)


def delete_all(port, mailbox):
    with Wire(port) as wire:
        wire.line()
        wire.say(f"USER {mailbox}", f"PASS {PASSWORD}", "STAT")
        for _ in range(2):
            wire.line()
        many = int(wire.line().split()[1])
        for start in range(1, many + 1, 500):
            numbers = range(start, min(start + 500, many + 1))
            wire.say(*(f"DELE {number}" for number in numbers))
            for _ in numbers:
                wire.line()
        wire.socket.settimeout(600)
        wire.say("QUIT")
        if not wire.line().startswith(b"+OK"):
            raise SystemExit("backpressure: QUIT failed")


def timed(name, work):
    """A thread that says how long its work took."""
    def run():
        since = time.monotonic()
        work()
        print(f"  {name}: {time.monotonic() - since:.1f} s", flush=True)
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def main():
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    sessions = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    with Suite({"suite": {"log.level": "warning"}, "pop3": {"auth.require_tls": False, "connections.idle_timeout": "20m"}}) as suite:
        for mailbox in ("probe", "many", "doomed", "new"):
            suite.add_mailbox(f"{mailbox}@example.test")
        bring_in(suite, "many", messages, 256, "many@example.test", "doomed@example.test").wait()
        with Probe(suite.port("mx"), sessions) as probe:
            time.sleep(5)
            rest = probe.tell("at rest")
            works = {"QUIT": lambda: delete_all(suite.port("pop3"), "many@example.test"),
                     "compact": lambda: suite.run_tool("store", "compact", "--all"),
                     "import": lambda: bring_in(suite, "new", messages, 16, "new@example.test").wait(),
                     "purge": lambda: suite.run_tool("mailbox", "remove", "--purge", "doomed@example.test")}
            for name, work in works.items():
                timed(name, work).join()
                print(f"  {probe.tell(name) / rest:.1f} times the rest", flush=True)
            suite.run_tool("mailbox", "add", "doomed@example.test", "--no-password")
            bring_in(suite, "many", messages, 256, "many@example.test", "doomed@example.test").wait()
            probe.tell("(a fast import)")
            threads = [timed(name, work) for name, work in works.items() if name != "purge"]
            for thread in threads:
                thread.join()
            print(f"all at once: {probe.tell('all at once') / rest:.1f} times the rest", flush=True)


if __name__ == "__main__":
    main()
