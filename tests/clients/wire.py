"""A conversation with a daemon by hand, octet by octet."""

import socket
import time

HOST = "127.0.0.1"


class Wire:
    """A conversation by hand."""

    def __init__(self, port, context=None, timeout=30, source=None):
        self.socket = socket.create_connection((HOST, port), timeout=timeout, source_address=source and (source, 0))
        self.held = b""
        if context:
            self.secure(context)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def secure(self, context):
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets):
        self.socket.sendall(octets)

    def say(self, *lines):
        self.send("".join(line + "\r\n" for line in lines).encode())

    def hear(self):
        """One line as text, without its end; empty when the peer closed."""
        return self.line().decode("latin-1").removesuffix("\r\n")

    def close(self):
        self.socket.close()

    def until(self, mark):
        """Everything up to and with the mark; less when the peer closed."""
        while mark not in self.held:
            more = self.socket.recv(65536)
            if not more:
                got, self.held = self.held, b""
                return got
            self.held += more
        end = self.held.index(mark) + len(mark)
        got, self.held = self.held[:end], self.held[end:]
        return got

    def line(self):
        return self.until(b"\r\n")

    def reply(self):
        """An SMTP reply whole, or a POP3 status line."""
        got = line = self.line()
        while len(line) > 3 and line[:3].isdigit() and line[3:4] == b"-":
            line = self.line()
            got += line
        return got

    def ask(self, text):
        self.send(text.encode() + b"\r\n")
        return self.reply()

    def rest(self):
        """All that comes until the peer closes."""
        got, self.held = self.held, b""
        while True:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                return got
            if not more:
                return got
            got += more


def wait_for(what, seconds=20, why=""):
    """Polls until `what()` is true; what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why}")
        time.sleep(0.01)
