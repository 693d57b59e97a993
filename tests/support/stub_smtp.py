"""A next server in Python that takes what it is given: for tests that look at messages with other eyes than ours."""
import socket
import threading


class StubSmtp:
    """Listens on loopback. `extensions`: what EHLO offers. `refused`: path -> reply to its RCPT. `messages`: what came, dots
    unstuffed. `lines`: commands."""

    def __init__(self, extensions=("PIPELINING",), refused=None, address="127.0.0.1", port=0):
        self.extensions = extensions
        self.refused = refused or {}
        self.messages = []
        self.lines = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family, backlog=2048)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as reader:
            def say(text):
                connection.sendall(text.encode() + b"\r\n")

            say("220 stub.test")
            for raw in reader:
                line = raw.decode().rstrip("\r\n")
                self.lines.append(line)
                verb = line.split(" ")[0].upper()
                if verb == "EHLO":
                    for extension in self.extensions:
                        say("250-" + extension)
                    say("250 HELP")
                elif verb == "MAIL":
                    recipients = 0
                    say("250 ok")
                elif verb == "RCPT":
                    refusal = self.refused.get(line[len("RCPT TO:<"):line.index(">")])
                    recipients += refusal is None
                    say(refusal or "250 ok")
                elif verb == "DATA" and recipients == 0:
                    say("503 5.5.1 nobody to send it to")
                elif verb == "DATA":
                    say("354 go")
                    content = b""
                    for octets in reader:
                        if octets == b".\r\n":
                            break
                        content += octets[1:] if octets.startswith(b".") else octets
                    self.messages.append(content)
                    say("250 2.0.0 taken")
                elif verb == "BDAT":
                    self.messages.append(reader.read(int(line.split(" ")[1])))
                    say("250 2.0.0 taken")
                elif verb == "QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 ok")
