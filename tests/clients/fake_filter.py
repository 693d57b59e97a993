"""A filter of the test's own making that speaks the milter protocol, and does what no honest one does."""

import contextlib
import socket
import struct
import threading

ADD_HEADERS, CHANGE_BODY, ADD_RECIPIENTS, REMOVE_RECIPIENTS, CHANGE_HEADERS = 0x1, 0x2, 0x4, 0x8, 0x10
QUARANTINE, CHANGE_SENDER, ADD_RECIPIENTS_WITH_ARGUMENTS, CHOOSE_MACROS = 0x20, 0x40, 0x80, 0x100
ALL_ACTIONS = 0x1FF
NO_CONNECT, NO_HELO, NO_MAIL, NO_RCPT, NO_BODY, NO_HEADERS, NO_EOH = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40
SILENT_HEADER, NO_UNKNOWN, NO_DATA, SKIP, SILENT_CONNECT = 0x80, 0x100, 0x200, 0x400, 0x1000
SILENT_HELO, SILENT_MAIL, SILENT_RCPT, SILENT_DATA = 0x2000, 0x4000, 0x8000, 0x10000
SILENT_UNKNOWN, SILENT_EOH, SILENT_BODY, LEADING_SPACE = 0x20000, 0x40000, 0x80000, 0x100000
ONLY_THE_END = NO_CONNECT | NO_HELO | NO_MAIL | NO_RCPT | NO_BODY | NO_HEADERS | NO_EOH | NO_UNKNOWN | NO_DATA
SILENT = (SILENT_HEADER | SILENT_CONNECT | SILENT_HELO | SILENT_MAIL | SILENT_RCPT | SILENT_DATA | SILENT_UNKNOWN
          | SILENT_EOH | SILENT_BODY)

CONTINUE, ACCEPT, REJECT, TEMPFAIL, DISCARD, SHUTDOWN = b"c", b"a", b"r", b"t", b"d", b"4"
HANG_UP, STALL = object(), object()


def packet(command, data=b""):
    return struct.pack("!I", len(data) + 1) + command + data


def text(*values):
    return b"".join(value.encode() + b"\0" for value in values)


def say(reply):
    return packet(b"y", text(reply))


def negotiated(actions=ALL_ACTIONS, habits=0, version=6, macros=b""):
    return packet(b"O", struct.pack("!III", version, actions, habits) + macros)


class FakeFilter:
    """Answers each command as `script` says, by its letter: a packet's command or whole octets, a list of them one after the
    other (the last repeats), HANG_UP, STALL; what is not named is answered with "continue", unless `habits` has it
    silent. `heard` is what was told, (letter, data), the macros of a command in `macros`."""

    QUIET = {b"C": SILENT_CONNECT, b"H": SILENT_HELO, b"M": SILENT_MAIL, b"R": SILENT_RCPT, b"T": SILENT_DATA,
             b"L": SILENT_HEADER, b"N": SILENT_EOH, b"B": SILENT_BODY, b"U": SILENT_UNKNOWN}

    def __init__(self, script=None, actions=ALL_ACTIONS, habits=0, negotiation=None, path=None, endless=False):
        self.script = dict(script or {})
        self.habits = habits
        self.negotiation = negotiated(actions, habits) if negotiation is None else negotiation
        self.heard, self.macros, self.connections = [], {}, 0
        self.offered = None
        self.path = path
        self.endless = endless  # what the script says is said until the peer has enough
        self.turns = {}
        self.answered = 0
        self.open = set()
        self.threads = []
        self.listener = None
        self.port = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def place(self):
        return f"unix:{self.path}" if self.path else f"inet:{self.port}@127.0.0.1"

    def start(self):
        if self.path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(self.path))
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", self.port or 0))
            self.port = self.listener.getsockname()[1]
        self.listener.listen(64)
        self._spawn(self._accept, self.listener)

    def stop(self):
        """Nobody listens any more, and all connections are closed."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if self.path:
            self.path.unlink(missing_ok=True)
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(20)
        self.threads = []

    def forget(self):
        self.heard, self.macros, self.turns = [], {}, {}

    def told(self, command):
        """The data of all packets of this command."""
        return [data for heard, data in self.heard if heard == command]

    def commands(self):
        return b"".join(command for command, _ in self.heard)

    def _spawn(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection):
        try:
            with connection:
                while self._turn(connection):
                    pass
        except OSError:
            pass
        finally:
            self.open.discard(connection)

    def _read(self, connection, count):
        octets = b""
        while len(octets) < count:
            more = connection.recv(count - len(octets))
            if not more:
                return None
            octets += more
        return octets

    def _turn(self, connection):
        head = self._read(connection, 5)
        if head is None:
            return False
        command = head[4:]
        data = self._read(connection, struct.unpack("!I", head[:4])[0] - 1)
        if data is None:
            return False
        if command == b"O":
            self.offered = struct.unpack("!III", data)
            if self.negotiation is STALL:
                return self._stall(connection)
            connection.sendall(self.negotiation)
            return self.negotiation != b""
        if command == b"D":
            values = data[1:].split(b"\0")
            self.macros.setdefault(data[:1], {}).update(zip(map(bytes.decode, values[0::2]), map(bytes.decode, values[1::2])))
            return True
        self.heard.append((command, data))
        if command == b"Q":
            return False
        if command == b"A" or (command in self.QUIET and self.habits & self.QUIET[command] and command not in self.script):
            return True
        return self._answer(connection, command)

    def _answer(self, connection, command):
        answer = self.script.get(command, CONTINUE)
        if isinstance(answer, list):
            turn = self.turns.get(command, 0)
            self.turns[command] = turn + 1
            answer = answer[min(turn, len(answer) - 1)]
        if answer is HANG_UP:
            return False
        if answer is STALL:
            return self._stall(connection)
        connection.sendall(packet(answer) if len(answer) == 1 else answer)
        while self.endless and command in self.script:
            connection.sendall(answer)
        self.answered += 1
        return True

    @staticmethod
    def _stall(connection):
        """Reads and says nothing, until the peer has enough."""
        while connection.recv(65536):
            pass
        return False
