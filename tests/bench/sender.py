"""Hands in messages by SMTP in many sessions at a time, as fast as one process can: end of data and the next MAIL, RCPT and DATA go
out in one write (RFC 2920 3.1), so each message is one write and one read here.

    tests/bench/sender.py [HOST:]PORT RECIPIENT MESSAGES [SESSIONS]      64 sessions

Says "ready" when all sessions are there, waits until its standard input ends, and ends with the last 250."""

import select
import socket
import sys

BODY = (b"x" * 70 + b"\r\n") * 54
MAIL = b"From: a@client.test\r\nTo: <%s>\r\nSubject: bench\r\n\r\n" + BODY


class Session:
    """Said of each reply whether it was the one that was waited for: three to the envelope, one to the message."""

    def __init__(self, where, recipient):
        self.peer = socket.create_connection(where, timeout=60)
        self.begin = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<%s>\r\nDATA\r\n" % recipient
        self.message = MAIL % recipient + b".\r\n"
        self.seen = b""
        self.wanted = 0
        self.line(b"220")
        self.peer.sendall(b"EHLO client.test\r\n")
        self.line(b"250")

    def line(self, code):
        """Waits for one reply, whatever its number of lines."""
        while not (self.seen.endswith(b"\r\n") and self.seen.splitlines()[-1][:4] == code + b" "):
            more = self.peer.recv(65536)
            if not more:
                raise SystemExit(f"the server went: {self.seen}")
            self.seen += more
        self.seen = b""

    def start(self):
        self.peer.sendall(self.begin)

    def on_readable(self):
        """True: DATA was answered."""
        self.seen += self.peer.recv(65536)
        if not self.seen.endswith(b"\r\n"):
            return False
        for reply in self.seen.splitlines():
            if reply[:1] not in (b"2", b"3"):
                raise SystemExit(f"not taken: {reply}")
        go = b"354 " in self.seen
        self.wanted -= self.seen.count(b"\r\n")
        self.seen = b""
        return go


def main():
    host, _, port = sys.argv[1].rpartition(":")
    recipient, messages = sys.argv[2].encode(), int(sys.argv[3])
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 64
    sessions = [Session((host or "127.0.0.1", int(port)), recipient) for _ in range(min(count, messages))]
    by_number = {session.peer.fileno(): session for session in sessions}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    print("ready", flush=True)
    sys.stdin.read()
    unsaid = messages - len(sessions)
    for session in sessions:
        session.wanted = 3
        session.start()
    busy = len(sessions)
    while busy:
        for number, _ in poll.poll():
            session = by_number[number]
            if session.on_readable():
                more = unsaid > 0
                unsaid -= more
                session.wanted += 4 if more else 1
                session.peer.sendall(session.message + session.begin if more else session.message)
            elif session.wanted == 0:
                busy -= 1


if __name__ == "__main__":
    main()
