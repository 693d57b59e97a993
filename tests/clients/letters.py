"""Letters as they travel, with all that is easily damaged."""

STRANGER = "stranger@client.test"
ANN, BOB = "ann@example.test", "bob@example.test"


def letter(to, subject="A letter", sender=STRANGER):
    """A complete letter in wire form, with what is easily damaged: dots, spaces at line ends, empty lines, 8-bit, a
    line of 900 octets."""
    return (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n"
            "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <letter.1@client.test>\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            ".\r\n..\r\n.a line that begins with a dot\r\n\r\ntrailing spaces  \r\n\tand a tab\t\r\n"
            "gr\u00fc\u00dfe\r\n" + "x" * 900 + "\r\nFrom here on nothing\r\n\r\n.\r\nend\r\n").encode()


def lf(octets):
    """With the line ends of a Unix file, as programs read it from standard input."""
    return octets.replace(b"\r\n", b"\n")


def crlf(octets):
    return octets.replace(b"\n", b"\r\n")


# A letter of Ann's to Bob.
LETTER = letter(BOB, sender=ANN)


def without_trace(octets):
    """A message as it was sent: Return-Path, Delivered-To and our own Received line taken off."""
    for name in (b"Return-Path:", b"Delivered-To:", b"Received:"):
        assert octets.startswith(name), octets[:300]
        end = octets.index(b"\r\n") + 2
        while octets[end:end + 1] in (b" ", b"\t"):
            end = octets.index(b"\r\n", end) + 2
        octets = octets[end:]
    return octets
