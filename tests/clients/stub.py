"""A next server on loopback that does what a test says, however odd: a thread for each connection."""

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import ssl
import threading

EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")


class Stub:
    """Use as a context manager.

    `answers` says what is answered, by whole line ("RCPT TO:<a@b.test>"), by command ("RCPT"), or by moment:
    "GREETING", "END" (of a message), "HALF" (as soon as message octets have come), "TLS" (in place of the handshake).
    An answer is a text of one line or more, or a list of them that are given one after the other, the last again and
    again. It may end in an event: "!close" hangs up, "!reset" does so rudely, "!stall" is silent until the peer goes;
    with an event the text goes out as it stands, without CRLF. `extensions`: after STARTTLS and before, unless
    the answer to EHLO is another. `tls`: (certificate, key), offers STARTTLS. `users`: name -> password, `mechanisms`:
    offers AUTH. `hold`: a semaphore without which no END is answered. `most`: connections beyond so many at a time are
    told 421. `crowd`: a stub that counts the connections of this one with its own."""

    def __init__(self, answers=None, extensions=EXTENSIONS, tls=None, users=None, mechanisms=("PLAIN",), port=0,
                 address="127.0.0.1", hold=None, most=None, crowd=None):
        self.answers = {key: list(value) if isinstance(value, (list, tuple)) else [value]
                        for key, value in (answers or {}).items()}
        self.extensions, self.users, self.mechanisms = tuple(extensions), users or {}, tuple(mechanisms)
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*map(str, tls))
        self.lock = threading.Condition()
        self.lines, self.messages = [], []  # of all connections
        self.clients = []  # who connected, (address, port)
        self.connections = self.open = self.most_at_once = self.stalled = 0
        self.hold, self.most, self.crowd = hold, most, crowd
        self._sockets = set()
        self._socket = socket.create_server((address, port), backlog=500, reuse_port=False)
        self.port = self._socket.getsockname()[1]

    @property
    def route(self):
        return f"127.0.0.1:{self.port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self.lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def said(self, verb):
        """The commands that began so, in all connections."""
        with self.lock:
            return [line for line in self.lines if line.upper().startswith(verb.upper())]

    def _accept(self):
        while True:
            try:
                connection, client = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
                self.open += 1
                self.most_at_once = max(self.most_at_once, self.open)
                self.clients.append(client)
                full = self.most and self.open > self.most
                self._sockets.add(connection)
            if self.crowd:
                with self.crowd.lock:
                    self.crowd.open += 1
                    self.crowd.most_at_once = max(self.crowd.most_at_once, self.crowd.open)
            threading.Thread(target=self._serve, args=(connection, full), daemon=True).start()

    def _serve(self, connection, full):
        session = Session(self, connection)
        try:
            if full:
                session.send(b"421 4.3.2 too many connections\r\n")
            else:
                session.run()
        except (OSError, EOFError, ValueError):
            pass
        finally:
            if self.crowd:
                with self.crowd.lock:
                    self.crowd.open -= 1
            with self.lock:
                self.open -= 1
                self._sockets.discard(connection)
            session.connection.close()
            connection.close()

    def _answer(self, *keys):
        with self.lock:
            for key in keys:
                found = self.answers.get(key)
                if found:
                    return found.pop(0) if len(found) > 1 else found[0]
        return None


class Session:
    def __init__(self, stub, connection):
        self.stub, self.plain, self.connection = stub, connection, connection
        self.held = b""
        self.secure = False

    def send(self, octets):
        self.connection.sendall(octets)

    def fill(self):
        got = self.connection.recv(65536)
        if not got:
            raise EOFError
        self.held += got

    def until(self, end):
        while end not in self.held:
            self.fill()
        octets, _, self.held = self.held.partition(end)
        return octets

    def say(self, usual, *keys):
        """Gives back the text's first character."""
        text = self.stub._answer(*keys)
        text = usual if text is None else text
        before, mark, event = text.partition("!")
        if not mark:
            self.send(text.replace("\n", "\r\n").encode() + b"\r\n")
            return text[0]
        self.send(before.replace("\n", "\r\n").encode())
        if event == "stall":
            with self.stub.lock:
                self.stub.stalled += 1
                self.stub.lock.notify_all()
            while self.connection.recv(65536):
                pass
        elif event == "reset":
            self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.plain.close()
        raise EOFError

    def keep(self, octets):
        with self.stub.lock:
            self.stub.messages.append(octets)
        if self.stub.hold:
            self.stub.hold.acquire()
        self.say("250 2.0.0 taken", "END")

    def run(self):
        stub = self.stub
        self.say("220 stub.test ESMTP", "GREETING")
        while True:
            raw = self.until(b"\r\n")
            line = raw.decode("utf-8", "replace")
            with stub.lock:
                stub.lines.append(line)
            verb = line.split(" ")[0].upper()
            if verb == "EHLO":
                words = list(stub.extensions)
                if stub.tls and not self.secure:
                    words.append("STARTTLS")
                if stub.users:
                    words.append("AUTH " + " ".join(stub.mechanisms))
                lines = ["stub.test", *words]
                self.say("\n".join("250" + ("-" if i < len(lines) - 1 else " ") + text for i, text in enumerate(lines)),
                         line, verb)
            elif verb == "STARTTLS":
                if self.say("220 go", line, verb) == "2":
                    if stub._answer("TLS"):
                        self.say("", "TLS")
                    self.connection = stub.tls.wrap_socket(self.plain, server_side=True)
                    self.secure, self.held = True, b""
            elif verb == "AUTH":
                self.authenticate(line)
            elif verb == "DATA":
                if self.say("354 go", line, verb) == "3":
                    if stub._answer("HALF"):
                        self.fill()
                        self.say("", "HALF")
                    self.take_message()
            elif verb == "BDAT":
                size = int(line.split(" ")[1])
                while len(self.held) < size:
                    self.fill()
                octets, self.held = self.held[:size], self.held[size:]
                self.keep(octets)
            elif verb == "QUIT":
                self.say("221 bye", line, verb)
                return
            else:
                self.say("250 ok", line, verb)

    def take_message(self):
        while not (self.held.startswith(b".\r\n") or b"\r\n.\r\n" in self.held):
            self.fill()
        if self.held.startswith(b".\r\n"):
            octets, self.held = b"", self.held[3:]
        else:
            octets, _, self.held = self.held.partition(b"\r\n.\r\n")
            octets += b"\r\n"
        if octets.startswith(b"."):
            octets = octets[1:]
        self.keep(octets.replace(b"\r\n.", b"\r\n"))

    # ---- AUTH (RFC 4954), as a server asks for it

    def ask(self, challenge):
        self.send(b"334 " + base64.b64encode(challenge) + b"\r\n")
        answer = self.until(b"\r\n")
        if answer == b"*":
            raise ValueError
        return base64.b64decode(answer)

    def authenticate(self, line):
        refused = self.stub._answer(line, "AUTH")
        if refused:
            self.say(refused, line, "AUTH")
            return
        words = line.split(" ")
        first = base64.b64decode(words[2]) if len(words) > 2 and words[2] != "=" else None
        try:
            good = {"PLAIN": self.plain_password, "LOGIN": self.login, "SCRAM-SHA-256": self.scram}[words[1]](first)
        except ValueError:
            self.send(b"501 5.7.0 cancelled\r\n")
            return
        self.send(b"235 2.7.0 in\r\n" if good else b"535 5.7.8 wrong\r\n")

    def plain_password(self, first):
        _, user, password = (first if first is not None else self.ask(b"")).decode().split("\0")
        return self.stub.users.get(user) == password

    def login(self, first):
        user = (first if first is not None else self.ask(b"Username:")).decode()
        return self.stub.users.get(user) == self.ask(b"Password:").decode()

    def scram(self, first):
        """RFC 7677, by the book and not by our own code."""
        bare = first.decode().split(",", 2)[2]
        fields = dict(part.split("=", 1) for part in bare.split(","))
        salt, nonce = os.urandom(16), fields["r"] + base64.b64encode(os.urandom(9)).decode()
        server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096"
        last = self.ask(server_first.encode()).decode()
        without_proof, _, proof = last.rpartition(",p=")
        password = self.stub.users.get(fields["n"], "")
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        said = f"{bare},{server_first},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), said, "sha256")
        if bytes(a ^ b for a, b in zip(client_key, signature)) != base64.b64decode(proof):
            return False
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        return self.ask(b"v=" + base64.b64encode(hmac.digest(server_key, said, "sha256"))) == b""
