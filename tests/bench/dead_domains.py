"""What dead domains cost the living, to a sink of Postfix's (smtp-sink) on loopback:

    tests/bench/dead_domains.py [RUNS]

First 10,000 recipients in 1,000 domains, a tenth of which are dead: their hosts answer no connection. Then letters to living domains, alone and
beside a domain that stalls: its host takes every connection and says nothing.
"""

import contextlib
import datetime
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "clients")]

from suite import TOP, Raw, Suite  # noqa: E402
from wire import Wire, wait_for  # noqa: E402

LIVING, DEAD, STALLED = "127.0.0.12", "127.0.0.13", "127.0.0.14"
DOMAINS, EACH = 1000, 10
TIMEOUT = 20  # of a connection that nobody answers


def host_of(number):
    return DEAD if number % 10 == 9 else LIVING


@contextlib.contextmanager
def hosts():
    """A sink, a host whose backlog is full, one that never speaks; their port."""
    with contextlib.ExitStack() as stack:
        dead = stack.enter_context(socket.create_server((DEAD, 0), backlog=0))
        port = dead.getsockname()[1]
        for _ in range(4):  # what more comes is not answered
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex((DEAD, port))
        stack.enter_context(socket.create_server((STALLED, port), backlog=4096))
        postfix = TOP / "build" / "peers" / "postfix" / "usr"
        sink = subprocess.Popen([postfix / "sbin" / "smtp-sink", *(["-u", "nobody"] if os.geteuid() == 0 else []), "-m", "5000", f"inet:{LIVING}:{port}", "4096"],
                                env={"LD_LIBRARY_PATH": str(postfix / "lib" / "postfix")})
        try:
            yield port
        finally:
            sink.kill()
            sink.wait()


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def send(wire, recipients):
    for line in ("MAIL FROM:<x@client.test>", *(f"RCPT TO:<{each}>" for each in recipients)):
        assert wire.ask(line).startswith(b"250"), line
    wire.ask("DATA")
    reply = wire.ask("Subject: x\r\n\r\nx\r\n.")
    assert reply.startswith(b"250"), reply
    return reply.split()[2].decode()


def delays(suite, ids):
    """Seconds from acceptance to delivery of these, once all are delivered."""
    def read():
        log = suite.log("smtpd")
        accepted = {each[1]: moment(each[0]) for each in re.findall(r"^(\S+) info smtpd message\.accepted id=(\S+) ", log, re.M)}
        delivered = {each[1]: moment(each[0]) for each in re.findall(r"^(\S+) info smtpd message\.delivered id=(\S+) ", log, re.M)}
        found = [delivered[each] - accepted[each] for each in ids if each in delivered and each in accepted]
        return found if len(found) == len(ids) else None
    return wait_for(read, 120, "all are delivered")


def measure(port):
    names = {f"d{number}.bench.test": [host_of(number)] for number in range(DOMAINS)} | {"stalled.test": [STALLED]}
    table = "{ " + ", ".join(f'"{name}" = ["{addresses[0]}"]' for name, addresses in names.items()) + " }"
    settings = {"outbound.port": port, "outbound.idle_timeout": f"{TIMEOUT}s", "outbound.security": "none"}
    suite = Suite({"suite": {"dns.hosts": Raw(table), "dns.insecure": ["."], "log.level": "info"}, "mx": settings, "submission": settings})
    try:
        with suite:
            for name in ("*.bench.test", "stalled.test"):
                suite.tool("domain", "add", name, "--remote", "--allow-relay")
            with Wire(suite.port("mx")) as wire:
                wire.reply()
                wire.ask("EHLO client.test")
                since = time.time()
                for number in range(EACH):
                    send(wire, [f"u{number}@d{domain}.bench.test" for domain in range(DOMAINS)])
                living = EACH * sum(host_of(number) == LIVING for number in range(DOMAINS))
                wait_for(lambda: suite.log("smtpd").count(" message.delivered ") >= living, 120, "the living are all delivered")
                log = suite.log("smtpd")
                last = max(moment(each) for each in re.findall(r"^(\S+) info smtpd message\.delivered ", log, re.M))
                first = re.search(r"^(\S+) info smtpd domain\.deferred ", log, re.M)
                print(f"{living} recipients of living domains delivered {last - since:.2f} s after the first was sent; the first dead time-out ends "
                      + (f"after {moment(first[1]) - since:.2f} s" if first else "later"), flush=True)

                def percentiles():
                    # One at a time: what is measured is the way, not the crowd.
                    took = delays(suite, [send(wire, [f"x@d{number % 900 // 9 * 10}.bench.test"]) for number in range(1000)])
                    cuts = statistics.quantiles(took, n=100)
                    return cuts[49] * 1e3, cuts[98] * 1e3

                alone = percentiles()
                for number in range(20):
                    send(wire, [f"u{number}-{each}@stalled.test" for each in range(100)])
                beside = percentiles()
                print(f"1,000 letters to living domains: alone p50 {alone[0]:.1f} ms, p99 {alone[1]:.1f} ms; beside 2,000 recipients of a "
                      f"domain that stalls p50 {beside[0]:.1f} ms, p99 {beside[1]:.1f} ms ({(beside[1] / alone[1] - 1) * 100:+.0f} %)", flush=True)
    finally:
        suite.clean_up()


def main():
    subprocess.run([str(TOP / "tools" / "unpack-packages"), "postfix"], check=True)
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        with hosts() as port:
            measure(port)


if __name__ == "__main__":
    main()
