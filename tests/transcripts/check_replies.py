#!/usr/bin/env python3
"""Every reply that smtpd can give is pinned, code and enhanced code, by a transcript, or by one of the other tests named here.

    check_replies.py smtpd/protocol/reply.cpp
"""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
# What no transcript can bring about: a store whose disk answers with errors, name servers that are silent, a daemon that is
# told to stop.
ELSEWHERE = {
    "unknown_domain": "unit/smtp/conversation.cpp",
    "auth_unavailable": "unit/smtp/conversation_auth.cpp",
    "auth_barred": "clients/test_guessing.py",
    "helo_unverified": "clients/test_dns.py",
    "store_trouble": "unit/smtp/conversation.cpp",
    "filter_refused": "clients/test_milter.py",
    "filter_deferred": "clients/test_milter.py",
    "filter_gone": "clients/test_milter.py",
    "filter_gone_for_good": "clients/test_milter.py",
    "filter_said": "clients/test_milter.py",
    "filter_closes": "clients/test_milter.py",
    "shutting_down": "clients/test_lifecycle.py",
}


def main():
    table = re.findall(r'\{Cause::(\w+), (\d{3}), "([0-9.]*)", "', pathlib.Path(sys.argv[1]).read_text())
    said = {}
    for path in sorted([*HERE.glob("smtp/*.txt"), *HERE.glob("lmtp/*.txt")]):
        for code, enhanced in re.findall(r"(?m)^S[:~/] (\d{3})[ -]([0-9]\.[0-9]+\.[0-9]+)?", path.read_text()):
            said.setdefault((code, enhanced), path.name)
    problems = [] if len(table) > 50 else [f"the table was not found in {sys.argv[1]}"]
    for cause, code, enhanced in table:
        if cause in ELSEWHERE:
            # Escaped where it stands in a regular expression.
            text = (TESTS / ELSEWHERE[cause]).read_text().replace("\\.", ".")
            if f"{code} {enhanced}" not in text:
                problems.append(f"{cause}: {code} {enhanced} is not in tests/{ELSEWHERE[cause]}")
        elif (code, enhanced) not in said:
            problems.append(f"{cause}: no transcript has {code} {enhanced}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
