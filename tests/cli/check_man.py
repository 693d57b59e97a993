#!/usr/bin/env python3
"""The manual, the completion and --help say the same: every command and option stands in each of them, and nothing else does.

check_man.py PENNYPOST MAN-FOLDER CONFIG-PAGE COMPLETION [DAEMON PAGE]...
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
EVERYWHERE = {"-h", "--help"}
problems = []


def expect_same(what, here, there, in_here, in_there):
    for name in sorted(here - there):
        problems.append(f"{what}: {name} stands in {in_here}, not in {in_there}")
    for name in sorted(there - here):
        problems.append(f"{what}: {name} stands in {in_there}, not in {in_here}")


def read_help(program, *words):
    """(options, commands) as --help lists them."""
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, timeout=60, check=True)
    options, commands, section = set(), [], ""
    for line in done.stdout.splitlines():
        if re.match(r"^[A-Z]\w*:$", line):
            section = line
        elif section == "Options:" and re.match(r"^  -", line):
            options |= set(OPTION.findall(re.split(r" {2,}", line.strip())[0]))
        elif section == "Subcommands:" and re.match(r"^  \w", line):
            commands.append(line.split()[0])
    return options, commands


def help_by_command(program):
    """'mailbox add' -> options; '' -> those of the program itself."""
    options, subjects = read_help(program)
    table = {"": options - EVERYWHERE}
    for subject in subjects:
        options, commands = read_help(program, subject)
        if not commands:
            table[subject] = options - EVERYWHERE
        for command in commands:
            table[f"{subject} {command}"] = read_help(program, subject, command)[0] - EVERYWHERE
    return table


def flags(line):
    """Options of a line of mdoc: `Fl c`, `Fl -json`."""
    return {"-" + name for name in re.findall(r"\bFl (-?[a-z][a-z-]*)", line)}


def man_by_command(page):
    """The same from the page: an item `.It Nm Cm mailbox add ...` begins a command, the next one or a section ends it."""
    table, command = {"": set()}, ""
    for line in page.read_text().splitlines():
        begins = re.match(r"^\.It Nm Cm ([a-z]+(?: [a-z]+)?)", line)
        if begins:
            command = begins[1]
            table[command] = set()
        elif line.startswith(".Sh"):
            command = ""
        if command or line.startswith(".It Fl"):
            table[command] |= flags(line)
    # What works everywhere may be mentioned anywhere.
    return {name: options - EVERYWHERE - (table[""] if name else set()) for name, options in table.items()}


def completion_by_command(script, commands):
    def answer(function, argument):
        return set(
            subprocess.run(
                ["bash", "-c", f'source "$1"; {function} "$2"', "bash", str(script), argument],
                capture_output=True, text=True, timeout=60, check=True,
            ).stdout.split()
        )

    everywhere = answer("_pennypost_options", "")
    table = {command: answer("_pennypost_options", command) - everywhere for command in commands if command}
    for subject in {command.split()[0] for command in commands if " " in command}:
        known = {command.split()[1] for command in commands if command.split()[:1] == [subject]}
        expect_same(f"pennypost {subject}", known, answer("_pennypost_commands", subject), "--help", "the completion")
    expect_same("pennypost", {command.split()[0] for command in commands if command}, answer("_pennypost_commands", ""),
                "--help", "the completion")
    table[""] = everywhere - EVERYWHERE
    return table


def check_mdoc(page):
    if not shutil.which("groff"):
        return
    done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", str(page)], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 or done.stderr:
        problems.append(f"{page}: {done.stderr.strip() or 'groff fails'}")


def check_config_page(program, page):
    """Every key that `config show --defaults` prints for servers of each kind stands in the page."""
    text = page.read_text()
    sections = re.split(r"(?m)^\.Sh ", text)
    for kind, extra in (("smtp", ""), ("smtp", 'role = "submission"\n'), ("pop3", "")):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "pennypost.toml"
            (Path(folder) / "servers").mkdir()
            config.write_text("")
            (Path(folder) / "servers" / "one.toml").write_text(f'kind = "{kind}"\n{extra}listen = ["127.0.0.1:0"]\nhostname = "a.test"\n')
            done = subprocess.run([program, "-c", str(config), "--json", "config", "show", "--defaults"],
                                  capture_output=True, text=True, timeout=60, check=True)
        for file, title in zip(json.loads(done.stdout), ("KEYS OF PENNYPOST.TOML", "KEYS OF A SERVER FILE")):
            section = next((part for part in sections if part.startswith(title)), "")
            listed = set(re.findall(r"(?m)^\.It Cm (\S+)", section))
            for table, value in tomllib.loads(file["toml"]).items():
                for key in value if isinstance(value, dict) and value else [table]:
                    if key not in listed and table not in listed:
                        problems.append(f"{page}: no key {table}.{key} under {title}")


def main():
    program, folder, config_page, completion, *daemons = sys.argv[1:]
    page = Path(folder) / "pennypost.1"
    helped, paged = help_by_command(program), man_by_command(page)
    expect_same("commands", set(helped), set(paged), "--help", page.name)
    for command in sorted(set(helped) & set(paged)):
        expect_same(f"pennypost {command}".strip(), helped[command], paged[command], "--help", page.name)
    completed = completion_by_command(completion, helped)
    for command in sorted(helped):
        # Short forms need no completion.
        long = {option for option in helped[command] if option.startswith("--")}
        expect_same(f"pennypost {command}".strip(), long, completed[command], "--help", "the completion")

    for daemon, name in zip(daemons[::2], daemons[1::2]):
        expect_same(name, read_help(daemon)[0] - EVERYWHERE, man_by_command(Path(folder) / name)[""], "--help", name)
    check_config_page(program, Path(config_page))
    for each in (*sorted(Path(folder).glob("*.[158]")), Path(config_page)):
        check_mdoc(each)

    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
