#!/usr/bin/env python3
"""Makes seeds for the fuzz targets of the conversations from the transcripts: what a client says there, without the answers.

    seeds.py FOLDER       writes FOLDER/TARGET/NAME

Of each connection of a transcript comes one seed. The octets in front are what the targets read their settings from.
"""

import base64
import collections
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
TRANSCRIPTS = HERE.parent / "transcripts"
sys.path.insert(0, str(TRANSCRIPTS))
sys.dont_write_bytecode = True

import language  # noqa: E402

# What fuzz_smtp_conversation.cpp and fuzz_smtp_data.cpp make of their first octet.
SMTP_SUBMISSION, SMTP_TLS_PASSWORDS, SMTP_HELO, SMTP_CERTIFICATE = 1, 2, 4, 8
SMTP_TLS_REQUIRED, SMTP_NORMALIZE, SMTP_LMTP = 16, 32, 64
DATA_NORMALIZE, DATA_COUNTED = 1, 32
# A long line is cut: more of the same finds nothing new, and the fuzzer tries short inputs most often.
MOST_OCTETS = 3000
# APOP answers a banner; fuzz_pop3_conversation.cpp has this one.
STAMP = "<1@mail.example.test>"
# No target has it; CRAM-MD5 answers some challenge.
CHALLENGE = base64.b64encode(STAMP.encode()).decode()


def connections(transcript):
    """(server, octets, TLS is begun) of each connection, as the client sends them."""
    server, said, secure = "mx", b"", False
    for step in transcript.steps:
        if step.kind == "server":
            if said:
                yield server, said, secure
            server, said, secure = step.text.split()[0], b"", " tls" in step.text
        elif step.kind == "starttls":
            secure = True
        elif step.kind in ("C:", "C|"):
            said += language.octets_to_send(step, collections.defaultdict(lambda: CHALLENGE, stamp=STAMP))
    if said:
        yield server, said, secure


def smtp_flags(transcript, server, secure):
    keys = transcript.config.get(server, {})
    flags = SMTP_HELO
    if server == "submission":
        flags |= SMTP_SUBMISSION
    if server == "lmtp":
        flags |= SMTP_LMTP
    if keys.get("messages.bare_newline") == '"normalize"':
        flags |= SMTP_NORMALIZE
    if keys.get("tls.required") == "true":
        flags |= SMTP_TLS_REQUIRED | SMTP_CERTIFICATE
    # There is no TLS in the target: inside it, passwords are let pass.
    if not secure and keys.get("auth.require_tls") != "false":
        flags |= SMTP_TLS_PASSWORDS
    return flags


def pop3_names(transcript, octets):
    """The people of a transcript under the one name that the target knows."""
    for given in transcript.givens:
        if given.kind != "mailbox":
            continue
        address, _, password = given.text.partition(" password ")
        octets = octets.replace(address.encode(), b"a")
        if password:
            octets = octets.replace(password.strip('"').encode(), b"b")
    return re.sub(rb"(?m)^PASS (?!wrong).*?\r$", b"PASS b\r", octets)


def messages(octets):
    """What stands behind each DATA, with its end."""
    for match in re.finditer(rb"(?mi)^DATA\r\n(.*?\r\n\.\r\n)", octets, re.DOTALL):
        yield match[1]


def chunked_messages(octets):
    """What stands in the chunks of each message (BDAT)."""
    message, at = b"", 0
    while match := re.compile(rb"(?i)BDAT (\d{1,6})( LAST)?\r\n").search(octets, at):
        at = match.end() + int(match[1])
        message += octets[match.end():at]
        if match[2]:
            yield message
            message = b""


def seeds(path):
    """(target, octets) of one transcript."""
    transcript = language.parse(path.name, path.read_text())
    for server, said, secure in connections(transcript):
        if len(said) > MOST_OCTETS:
            continue
        if server == "pop3":
            said = pop3_names(transcript, said)
            yield "pop3_command", said
            yield "pop3_conversation", bytes([0]) + said
            continue
        flags = smtp_flags(transcript, server, secure)
        yield "smtp_command", said
        # Cut into pieces of seven octets: what stands behind STARTTLS is thrown away as far as it has come.
        yield "smtp_conversation", bytes([flags, 7]) + said
        normalize = DATA_NORMALIZE if flags & SMTP_NORMALIZE else 0
        for message in messages(said):
            yield "smtp_data", bytes([normalize, 7]) + message
        for message in chunked_messages(said):
            yield "smtp_data", bytes([normalize | DATA_COUNTED, 7]) + message


def main():
    folder = pathlib.Path(sys.argv[1])
    for path in sorted(TRANSCRIPTS.rglob("*.txt")):
        known = {}
        for target, octets in seeds(path):
            number = known[target] = known.get(target, 0) + 1
            place = folder / target
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{path.parent.name}-{path.stem}-{number}").write_bytes(octets)


if __name__ == "__main__":
    main()
