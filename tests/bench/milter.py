"""What a filter that answers at once costs: messages of 4 KiB into mailboxes by Postfix's smtp-source, 64 sessions at a time, without a filter, with one
that is asked at the end of the message alone, and with one that wants to hear of everything (LEGACY S97):

    tests/bench/milter.py [MESSAGES [RUNS [SESSIONS]]]

The kinds take turns; of each the best run counts. The filter is written with libmilter, on a Unix socket; sender, filter and server share the machine.
Both a session for all of a sender's messages and one a message are measured.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "support"), str(TOP / "tests" / "clients")]

from suite import DOMAIN, Suite  # noqa: E402

MESSAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
SESSIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 64
KINDS = {"none": None, "end of message": ["at-once"], "everything": []}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def filter_at(folder, name, options):
    place = f"unix:{folder}/{name}"
    process = subprocess.Popen([TOP / "build" / "tests" / "clients" / "milter_filter", place, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        os.chmod(folder / name, 0o666)
        yield place, process.pid
    finally:
        process.kill()
        process.wait()


def send(port, options):
    postfix = TOP / "build" / "peers" / "postfix" / "usr"
    command = [postfix / "sbin" / "smtp-source", *options, "-s", str(SESSIONS), "-m", str(MESSAGES), "-l", "4096", "-f", "x@client.test",
               "-t", f"u@{DOMAIN}", f"inet:127.0.0.1:{port}"]
    begun = time.monotonic()
    subprocess.run(command, env={"LD_LIBRARY_PATH": str(postfix / "lib" / "postfix")}, check=True, timeout=300)
    return MESSAGES / (time.monotonic() - begun)


def main():
    subprocess.run([str(TOP / "tools" / "unpack-packages"), "postfix"], check=True)
    best = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        folder.chmod(0o711)
        places = {name: stack.enter_context(filter_at(folder, str(number), options))
                  for number, (name, options) in enumerate(KINDS.items()) if options is not None}
        for run in range(RUNS):
            for name in KINDS:
                place, pid = places.get(name, (None, None))
                milters = {"milters.use": [place]} if place else {}
                suite = Suite({"suite": {"log.level": "warning"}, "mx": {"connections.limit": 1000, **milters}})
                try:
                    with suite:
                        suite.add_mailbox(f"u@{DOMAIN}", password=None)
                        for how, options in (("one session", ["-d"]), ("a session each", [])):
                            ours, theirs = suite.processes["smtpd"].pid, pid
                            before = cpu_seconds(ours), cpu_seconds(theirs) if theirs else 0
                            rate = send(suite.port("mx"), options)
                            cost = [(cpu_seconds(ours) - before[0]) / MESSAGES * 1e6, ((cpu_seconds(theirs) - before[1]) if theirs else 0) / MESSAGES * 1e6]
                            found = best.setdefault((how, name), [0, 1e9, 1e9])
                            best[how, name] = [max(found[0], rate), min(found[1], cost[0]), min(found[2], cost[1])]
                finally:
                    suite.clean_up()
    for (how, name), (rate, ours, theirs) in best.items():
        share = (1 - rate / best[how, "none"][0]) * 100
        print(f"{how:15} filter: {name:15} {rate:7.0f} messages/s ({share:+.0f} % cost)   smtpd {ours:6.1f} us CPU a message, filter {theirs:6.1f} us")


if __name__ == "__main__":
    main()
