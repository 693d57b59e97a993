"""A start of smtpd on a store in whose queue many wait: time until it is ready, memory, and a page of `queue list`.

    tests/bench/queue_restart.py [DOMAINS EACH]...     default: 1 domain of 1,000,000; 100,000 domains of 10

All that waits was tried once, in vain, and waits for its domain's next round.
"""

import json
import pathlib
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

from suite import Suite  # noqa: E402


def own_memory(pid):
    """Octets that are this process' own, not pages of files."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def start(suite):
    """Seconds until it is ready, then its memory and CPU once it rests."""
    since = time.monotonic()
    suite.start("smtpd")
    ready = time.monotonic() - since
    pid = suite.processes["smtpd"].pid
    used, calm = -1.0, 0
    while calm < 6:
        time.sleep(0.5)
        now = cpu(pid)
        calm, used = (calm + 1 if now - used < 0.03 else 0), now
    return ready, own_memory(pid), used


def measure(domains, each):
    many = domains * each
    outbound = {"outbound.smart_host": "[127.0.0.1]:9", "delivery.retry": ["1d"]}
    suite = Suite({"suite": {"store.map_size": "16GB", "log.level": "warning"}, "submission": outbound, "mx": outbound}, start=False)
    try:
        suite.tool("store", "init")
        suite.tool("domain", "add", "example.test")
        _, empty, _ = start(suite)
        suite.stop("smtpd")
        since = time.monotonic()
        subprocess.run([suite.build / "tests" / "bench" / "queue_fill", suite.folder / "store", str(domains), str(each)], check=True)
        filled = time.monotonic() - since
        since = time.monotonic()
        start(suite)
        tried = time.monotonic() - since
        stat = json.loads(suite.tool("queue", "stat", "--json"))
        suite.stop("smtpd")
        ready, memory, used = start(suite)
        since = time.monotonic()
        rows = suite.tool("queue", "list").count("\n")
        listed = time.monotonic() - since
        suite.stop("smtpd")
        print(f"{domains} domains, {many} recipients ({stat['failing']} domains failing): filled in {filled:.1f} s, all tried in {tried:.1f} s; "
              f"a restart is ready after {ready:.2f} s, with {(memory - empty) / many:.1f} octets a recipient more than on an empty store "
              f"({memory >> 20} MiB), and rests after {used:.2f} s of CPU; queue list of {rows} rows {listed:.1f} s", flush=True)
    finally:
        suite.clean_up()


def main():
    words = [int(word) for word in sys.argv[1:]] or [1, 1_000_000, 100_000, 10]
    for domains, each in zip(words[::2], words[1::2]):
        measure(domains, each)


if __name__ == "__main__":
    main()
