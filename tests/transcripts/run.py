#!/usr/bin/env python3
"""Runs transcripts against the real daemons; language.py tells their language.

    tests/transcripts/run.py [--octets] [--verbose] [FILE or FOLDER...]

Transcripts with the same `given config` share one pair of daemons; each has its domains and mailboxes to itself, added before it
and purged behind it, while the daemons run. --octets sends one octet at a time. The build is build/, or $PENNYPOST_BUILD.
"""

import argparse
import pathlib
import re
import shlex
import smtplib
import socket
import ssl
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE))

import language  # noqa: E402
import suite  # noqa: E402

PATIENCE = 20.0   # seconds for one answer; sanitizers are slow


class Mismatch(Exception):
    """What happened is not what the transcript says."""


def shown(octets):
    """Octets as a person reads them: a line, with everything unprintable escaped."""
    return "".join(chr(o) if 32 <= o < 127 and o != 92 else {10: "\\n", 13: "\\r", 92: "\\\\"}.get(o, f"\\x{o:02x}")
                   for o in octets)


class Connection:
    """The client's side of one conversation."""

    def __init__(self, address, tls_context, immediate, one_octet):
        self.context, self.one_octet = tls_context, one_octet
        if isinstance(address, int):
            self.socket = socket.create_connection(("127.0.0.1", address), timeout=PATIENCE)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address)
        self.held, self.received, self.unsent = b"", b"", b""
        if immediate:
            self.start_tls()

    def start_tls(self):
        self.flush()
        self.socket = self.context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets):
        # Lines that follow one another without an answer between them travel together.
        self.unsent += octets

    def flush(self):
        out, self.unsent = self.unsent, b""
        try:
            if not self.one_octet:
                self.socket.sendall(out)
                return
            for at in range(min(len(out), 3000)):
                self.socket.sendall(out[at:at + 1])
            # Long ones in odd pieces: one octet each would take minutes.
            for at in range(3000, len(out), 997):
                self.socket.sendall(out[at:at + 997])
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass   # the next thing expected tells whether that was right

    def read_line(self):
        """The next line without its CRLF; None: the server closed."""
        self.flush()
        while b"\r\n" not in self.held:
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                raise Mismatch(f"no answer within {PATIENCE:.0f} s" +
                               (f"; so far: {shown(self.held)}" if self.held else "")) from None
            except (ConnectionResetError, ssl.SSLEOFError, BrokenPipeError):
                more = b""
            if not more:
                if self.held:
                    raise Mismatch(f"closed in the middle of a line: {shown(self.held)}")
                return None
            self.held += more
        line, _, self.held = self.held.partition(b"\r\n")
        return line

    def unread(self, line):
        self.held = line + b"\r\n" + self.held

    def stray(self):
        """What arrived that nobody asked for."""
        self.flush()
        self.socket.settimeout(0.02)
        try:
            self.held += self.socket.recv(65536)
        except (TimeoutError, OSError):
            pass
        return self.held

    def close(self, reset=False):
        self.flush()
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class Player:
    """Plays one transcript."""

    def __init__(self, house, ports, transcript, one_octet):
        self.house, self.ports, self.transcript, self.one_octet = house, ports, transcript, one_octet
        self.known, self.connections, self.current = {}, {}, "first"
        self.log_starts = {name: len(house.log(name)) for name in ("smtpd", "pop3d")}
        self.context = ssl.create_default_context(cafile=str(house.certificate))
        self.heard = []   # for the report

    def prepare(self):
        domains = [suite.DOMAIN]
        self.house.tool("domain", "add", suite.DOMAIN, "--if-not-exists")
        for given in self.transcript.givens:
            words = shlex.split(given.text) if given.kind != "message" else []
            if given.kind == "domain":
                domains.append(words[0])
                self.house.tool("domain", "add", *words, "--if-not-exists")
            elif given.kind == "mailbox":
                self.house.add_mailbox(words[0], words[2] if words[1:2] == ["password"] else None)
                if words[3:4] == ["apop"]:
                    self.house.tool("mailbox", "set", words[0], "--apop-secret-stdin", text_in=words[4] + "\n")
            elif given.kind == "message":
                address, _, text = given.text.partition(" ")
                octets = language.octets_to_send(language.Step("C|", text, given.line), {})
                with smtplib.SMTP("127.0.0.1", self.ports["mx", False], timeout=PATIENCE) as client:
                    client.sendmail("x@client.test", [address], octets)
            else:
                address, arrow, *targets = words
                if arrow != "->":
                    raise language.Mistake(f"{self.transcript.path}:{given.line}: given alias A -> B")
                self.house.tool("alias", "add", address, *targets)
        self.domains = domains

    def tidy(self):
        for connection in self.connections.values():
            connection.close()
        for name in reversed(self.domains):  # an alias domain before the one that it stands for
            self.house.tool("domain", "remove", name, "--purge", "--if-exists")

    def play(self):
        if self.transcript.steps[0].kind != "server":
            self.connect("mx")
        for step in self.transcript.steps:
            try:
                self.perform(step)
            except Mismatch as mismatch:
                heard = "".join(f"\n      {line}" for line in self.heard[-6:])
                raise Mismatch(f"{self.transcript.path}:{step.line}: {step.kind} {step.text}\n    {mismatch}"
                               f"\n    what went before:{heard}") from None
        for name, connection in self.connections.items():
            stray = connection.stray()
            if stray:
                raise Mismatch(f"{self.transcript.path}: at the end, connection {name}: nobody expects {shown(stray)}")

    def connect(self, words):
        server, *rest = words.split()
        if rest[:1] == ["unix"]:
            server, rest = server + " unix", rest[1:]
        immediate = rest[:1] == ["tls"]
        rest = rest[1:] if immediate else rest
        name = rest[1] if rest[:1] == ["as"] else "first"
        if name in self.connections:
            self.connections.pop(name).close()
        self.connections[name] = Connection(self.ports[server, immediate], self.context, immediate, self.one_octet)
        self.current = name

    @property
    def connection(self):
        if self.current not in self.connections:
            raise Mismatch("there is no connection")
        return self.connections[self.current]

    def perform(self, step):
        if step.kind in ("C:", "C|"):
            octets = language.octets_to_send(step, self.known)
            self.heard.append(f"C  {shown(octets)[:200]}")
            self.connection.send(octets)
            return
        if step.kind in ("S:", "S~", "S/"):
            self.expect(step)
            return
        if step.kind != "on" and self.current in self.connections:
            self.connection.flush()
        getattr(self, "on_" + step.kind)(step.text)

    # ---- what the server says

    def next_line(self):
        line = self.connection.read_line()
        self.heard.append("S  (closed)" if line is None else f"S  {shown(line)[:200]}")
        return line

    def expect(self, step):
        line = self.next_line()
        if line is None:
            raise Mismatch("the server closed the connection")
        if step.kind == "S:":
            wanted = language.expand(step.text.encode(), self.known)
            if line != wanted:
                raise Mismatch(f"expected {shown(wanted)}\n    received {shown(line)}")
            return
        pattern = language.glob_of(step.text, self.known)
        match = pattern.fullmatch(line.decode("latin-1"))
        while step.kind == "S/" and not match:
            line = self.next_line()
            if line is None:
                raise Mismatch("the server closed the connection")
            match = pattern.fullmatch(line.decode("latin-1"))
        if not match:
            raise Mismatch(f"expected {step.text}\n    received {shown(line)}")
        self.known.update({name: word for name, word in match.groupdict().items() if word})
        if step.kind == "S~" and re.fullmatch(r"\d\d\d-\*", step.text):
            while line is not None and match:
                line = self.connection.read_line()
                match = line is not None and pattern.fullmatch(line.decode("latin-1"))
            if line is not None:
                self.connection.unread(line)

    # ---- events

    def on_server(self, text):
        self.connect(text)

    def on_on(self, text):
        if text not in self.connections:
            raise Mismatch(f"no connection {text}")
        if self.current in self.connections:
            self.connection.flush()
        self.current = text

    def on_closed(self, _):
        line = self.next_line()
        if line is not None:
            raise Mismatch(f"expected the end, received {shown(line)}")
        self.connections.pop(self.current).close()

    def on_drop(self, _):
        self.connections.pop(self.current).close()

    def on_reset(self, _):
        self.connections.pop(self.current).close(reset=True)

    def on_starttls(self, _):
        try:
            self.connection.start_tls()
        except (ssl.SSLError, OSError) as error:
            raise Mismatch(f"no TLS: {error}") from None

    def on_wait(self, text):
        match = re.fullmatch(r"(\d+)(ms|s)", text)
        if not match:
            raise Mismatch("wait 200ms or wait 2s")
        time.sleep(int(match[1]) / (1000 if match[2] == "ms" else 1))

    def on_tool(self, text):
        done = self.house.run_tool(*shlex.split(text))
        if done.returncode != 0:
            raise Mismatch(f"status {done.returncode}: {done.stdout}{done.stderr}")

    def on_then(self, text):
        match = re.fullmatch(r"mailbox (\S+) (?:is (empty)|has (\d+) messages?)", text)
        if match:
            wanted = 0 if match[2] else int(match[3])
            found = len(self.house.messages(match[1]))
            if found != wanted:
                raise Mismatch(f"it has {found} messages")
            return
        match = re.fullmatch(r"message (\d+) of (\S+) (contains|lacks) (.+)", text)
        if match:
            listed = self.house.messages(match[2])
            if len(listed) < int(match[1]):
                raise Mismatch(f"there are {len(listed)} messages")
            found = self.show(match[2], listed[int(match[1]) - 1]["id"])
            self.check_part(found, language.unescape(match[4]), match[3])
            return
        match = re.fullmatch(r"(smtpd|pop3d) log (has|lacks) (.+)", text)
        if match:
            self.check_log(*match.groups())
            return
        raise Mismatch("not understood")

    def show(self, address, identifier):
        done = self.house.run_raw("message", "show", address, identifier)
        if done.returncode != 0:
            raise Mismatch(f"message show: {done.stderr.decode(errors='replace')}")
        return done.stdout

    @staticmethod
    def check_part(found, wanted, verb):
        if (wanted in found) != (verb == "contains"):
            raise Mismatch(f"it is {shown(found)[:1500]}")

    def check_log(self, daemon, verb, wanted):
        # Log lines are gathered before they are written.
        deadline = time.monotonic() + (3 if verb == "has" else 0.3)
        while True:
            found = self.house.log(daemon)[self.log_starts[daemon]:]
            if wanted in found or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        if (wanted in found) != (verb == "has"):
            raise Mismatch(f"the log says:\n{found[-1500:]}")


def collect(names):
    """The transcripts, grouped by their configuration."""
    paths = []
    for name in names or [str(HERE)]:
        path = pathlib.Path(name)
        paths += sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    groups = {}
    for path in paths:
        try:
            label = str(path.resolve().relative_to(suite.TOP))
        except ValueError:
            label = str(path)
        transcript = language.parse(label, path.read_text())
        key = tuple(sorted((s, k, v) for s, keys in transcript.config.items() for k, v in (keys or {"": ""}).items()))
        groups.setdefault(key, []).append(transcript)
    return groups


def run_group(transcripts, options):
    """Passed and failed of one configuration."""
    settings = {server: {key: suite.Raw(value) for key, value in keys.items()}
                for server, keys in transcripts[0].config.items()}
    passed = failed = 0
    with suite.Suite(settings) as house:
        ports = {(name, tls): house.port(name, tls) for name, tls in
                 (("mx", False), ("submission", False), ("submission", True), ("pop3", False), ("pop3", True))}
        if "lmtp" in settings:
            ports["lmtp", False] = house.port("lmtp")
            ports["lmtp unix", False] = str(house.folder / "run" / "lmtp")
        for transcript in transcripts:
            started = time.monotonic()
            player = Player(house, ports, transcript, options.octets and not transcript.whole)
            try:
                player.prepare()
                try:
                    player.play()
                finally:
                    player.tidy()
                passed += 1
                if options.verbose:
                    print(f"ok    {transcript.path}  {time.monotonic() - started:.2f} s")
            except (Mismatch, suite.Failed, OSError) as trouble:
                failed += 1
                print(f"FAIL  {transcript.path}: {transcript.title}\n    {trouble}")
                for name, process in house.processes.items():
                    if process.poll() is not None:
                        raise suite.Failed(f"{name} ended with {process.returncode}:\n{house.log(name)[-6000:]}") from None
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description="Runs transcripts against the real daemons.")
    parser.add_argument("files", nargs="*", help="transcripts or folders of them; all")
    parser.add_argument("--octets", action="store_true", help="send one octet at a time")
    parser.add_argument("--verbose", action="store_true", help="name what passes, too")
    options = parser.parse_args()
    passed = failed = 0
    try:
        groups = collect(options.files)
    except language.Mistake as mistake:
        print(mistake)
        return 2
    for transcripts in groups.values():
        try:
            some, others = run_group(transcripts, options)
            passed, failed = passed + some, failed + others
        except suite.Failed as trouble:
            failed += 1
            names = ", ".join(transcript.path for transcript in transcripts[:3])
            print(f"FAIL  the daemons for {names}{', ...' if len(transcripts) > 3 else ''}\n    {trouble}")
    print(f"transcripts{' octet by octet' if options.octets else ''}: {passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
