"""The language of transcripts: text to steps. Does no I/O.

The first paragraph tells the behaviour. Then, a line each:

    given domain NAME [OPTION...]            `pennypost domain add`
    given mailbox ADDRESS [password PASSWORD [apop SECRET]]
    given alias ADDRESS -> TARGET...
    given message ADDRESS TEXT               delivered by SMTP before it begins; escapes as in C|
    given config SERVER KEY = VALUE          a TOML value; SERVER: mx, submission, lmtp, pop3, suite
    given whole packets                      --octets does not cut what this one sends
    server SERVER [tls] [as NAME]            connects; NAME keeps several connections apart
    server lmtp unix [as NAME]               to its Unix socket
    on NAME                                  goes on with an earlier connection
    C: LINE        sent with CRLF            C| OCTETS      sent as they are
    S: LINE        exactly this line         S~ GLOB        a line like this; 250-*: all such lines
    S/ GLOB        every line up to and with the first like this
    closed         the server closes         drop           the client does        reset   with a TCP reset
    starttls       the TLS handshake         wait 200ms
    tool ARGUMENTS                           pennypost, which must succeed
    then mailbox ADDRESS is empty            then mailbox ADDRESS has N messages
    then message N of ADDRESS contains TEXT  also `lacks TEXT`; \\r\\n and so on in TEXT as in C|
    then smtpd|pop3d log has TEXT            also `lacks TEXT`

Escapes in C| and TEXT: \\r \\n \\t \\0 \\xNN \\\\. In C: and C|, {repeat N TEXT} and {base64 OCTETS} (escapes inside) are put in, and {apop SECRET}:
the digest of the remembered {stamp} and the secret; {cram CHALLENGE NAME SECRET}: CRAM-MD5's answer to the remembered challenge of that name.
{name} in S~ stands for a word and remembers it; after that {name} is that word, in C: and S: too. A line that starts with # is
a comment.
"""

import base64
import dataclasses
import hashlib
import hmac
import re


class Mistake(Exception):
    """A transcript that cannot be understood."""


@dataclasses.dataclass
class Step:
    kind: str
    text: str
    line: int


@dataclasses.dataclass
class Transcript:
    path: str
    title: str
    config: dict          # server -> {key: raw TOML}
    givens: list          # of Step: domain, mailbox, alias, message
    steps: list
    whole: bool           # packets are never cut


GIVEN_CONFIG = re.compile(r"(mx|submission|lmtp|pop3|suite) ([a-z0-9_.]+) = (.+)")
ESCAPE = re.compile(rb"\\(r|n|t|0|\\|x[0-9a-fA-F]{2})")
PLAIN_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
EVENTS = ("server", "on", "closed", "drop", "reset", "starttls", "wait", "tool", "then")


def unescape(text):
    """Octets of a text with escapes."""
    def octet(match):
        name = match[1]
        return PLAIN_ESCAPES[name] if name in PLAIN_ESCAPES else bytes([int(name[1:], 16)])
    return ESCAPE.sub(octet, text.encode())


def expand(text, known):
    """{repeat N TEXT}, {base64 OCTETS} and remembered words put in; `text` is octets. Repeats make up whole lines too."""
    def put_in(match):
        words = match[1]
        if words.startswith(b"repeat "):
            _, count, what = words.split(b" ", 2)
            return unescape(what.decode()) * int(count)
        if words.startswith(b"base64 "):
            return base64.b64encode(unescape(words[7:].decode()))
        if words.startswith(b"apop "):
            return hashlib.md5(known["stamp"].encode() + words[5:]).hexdigest().encode()
        if words.startswith(b"cram "):
            _, challenge, name, secret = words.split(b" ", 3)
            digest = hmac.new(secret, base64.b64decode(known[challenge.decode()]), "md5").hexdigest()
            return base64.b64encode(name + b" " + digest.encode())
        if words.decode() in known:
            return known[words.decode()].encode()
        return match[0]
    return re.sub(rb"\{([^{}]*)\}", put_in, text)


def octets_to_send(step, known):
    if step.kind == "C:":
        return expand(step.text.encode(), known) + b"\r\n"
    # Escapes first, so that {base64 \0..} keeps its own: a doubled backslash is not needed inside braces.
    parts = re.split(r"(\{[^{}]*\})", step.text)
    return b"".join(expand(part.encode(), known) if part.startswith("{") else unescape(part) for part in parts)


def glob_of(text, known):
    """A compiled pattern: * and ? as in a shell, {name} as above; everything else itself."""
    pattern = ""
    for part in re.split(r"(\{[a-z]+\}|[*?])", text):
        if part == "*":
            pattern += ".*"
        elif part == "?":
            pattern += "."
        elif re.fullmatch(r"\{[a-z]+\}", part):
            name = part[1:-1]
            pattern += re.escape(known[name]) if name in known else rf"(?P<{name}>[^ ]+)"
        else:
            pattern += re.escape(part)
    return re.compile(pattern, re.DOTALL)


def parse(path, text):
    lines = text.split("\n")
    title = []
    config, givens, steps, whole = {}, [], [], False
    number = 0
    while number < len(lines) and lines[number].strip():
        title.append(lines[number].strip())
        number += 1
    if not title:
        raise Mistake(f"{path}:1: the first paragraph tells the behaviour")
    for index in range(number, len(lines)):
        line, at = lines[index], index + 1
        if not line.strip() or line.startswith("#"):
            continue
        if line[:2] in ("C:", "C|", "S:", "S~", "S/"):
            if len(line) > 2 and line[2] != " ":
                raise Mistake(f"{path}:{at}: a space is missing behind {line[:2]}")
            steps.append(Step(line[:2], line[3:], at))
            continue
        word, _, rest = line.partition(" ")
        if word == "given":
            what, _, rest = rest.partition(" ")
            if what == "config":
                match = GIVEN_CONFIG.fullmatch(rest)
                if not match:
                    raise Mistake(f"{path}:{at}: given config SERVER KEY = VALUE")
                config.setdefault(match[1], {})[match[2]] = match[3]
            elif line == "given whole packets":
                whole = True
            elif what in ("domain", "mailbox", "alias", "message"):
                givens.append(Step(what, rest, at))
            else:
                raise Mistake(f"{path}:{at}: given what? {what}")
        elif word in EVENTS:
            if line.startswith("server lmtp"):
                config.setdefault("lmtp", {})
            steps.append(Step(word, rest, at))
        else:
            raise Mistake(f"{path}:{at}: not understood: {line}")
    if not steps:
        raise Mistake(f"{path}: nothing happens in it")
    return Transcript(path, " ".join(title), config, givens, steps, whole)
