"""How long from the start of a daemon to its first greeting, on a store that a killed process left.

    tests/bench/restart.py STORE [ROUNDS]     a store with example.test and u0@ in it, as store_bench --fill makes it

Each round: smtpd and an import are killed while the import puts messages, then both daemons are started anew.
"""

import pathlib
import random
import socket
import statistics
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

from suite import Suite  # noqa: E402


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def greeting(port, since):
    """Milliseconds until somebody says something."""
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
                if peer.recv(1):
                    return (time.monotonic() - since) * 1e3
        except ConnectionError:
            time.sleep(0.001)


def main():
    store, rounds = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    ports = {"smtpd": free_port(), "pop3d": free_port()}
    suite = Suite({"suite": {"store.path": store, "store.map_size": "256GB", "log.level": "warning"},
                   "mx": {"listen": [f"127.0.0.1:{ports['smtpd']}"]},
                   "pop3": {"listen": [f"127.0.0.1:{ports['pop3d']}"]}})
    took = {"smtpd": [], "pop3d": []}
    try:
        for number in range(rounds):
            suite.start("smtpd")
            work = subprocess.Popen([suite.build / "tests" / "support" / "import_messages", store, f"restart{number}",
                                     "1000000", "8", str(256 << 30), "u0@example.test"],
                                    stdout=subprocess.PIPE, text=True)
            for _ in range(random.randrange(200, 2000)):
                work.stdout.readline()
            for process in (work, suite.processes["smtpd"]):
                process.kill()
                process.communicate()
            for name, times in took.items():
                since = time.monotonic()
                suite.spawn(name)
                times.append(greeting(ports[name], since))
                suite.processes[name].kill()
                suite.processes[name].wait()
    finally:
        suite.clean_up()
    for name, times in took.items():
        print(f"{name}: first greeting after {statistics.median(times):.0f} ms (median of {rounds}), {max(times):.0f} at most")


if __name__ == "__main__":
    main()
