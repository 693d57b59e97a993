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


def read_usage(program, command):
    """(arguments, {option: argument}) of --help: ["ADDRESS", "TARGET..."], ["[DOMAIN]"]; {"--quota": "SIZE", "--purge": ""}."""
    text = subprocess.run([program, *command.split(), "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    usage = re.search(r"(?m)^Usage: pennypost [a-z ]+\[OPTIONS\](.*)$", text)
    options = dict(re.findall(r"(?m)^  (?:-[a-z],)?(--[a-z-]+)(?: (\S+)(?: \.\.\.)?)?(?:  .*)?$", text))
    return usage[1].split(), {name: value for name, value in options.items() if name not in EVERYWHERE}


MACROS = {"Ar", "Fl", "Oo", "Oc", "Op", "Cm", "Nm"}


def read_item(line):
    """The same from the line of the page that begins a command."""
    tokens = line.split()
    arguments, options, at, depth = [], {}, 2, 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token in ("Oo", "Op"):  # Op: to the end of the line
            depth += 1
        elif token == "Oc":
            depth -= 1
        elif token in ("Ar", "Fl"):
            words = []
            while at < len(tokens) and tokens[at] not in MACROS and tokens[at] != "|":
                words.append(tokens[at])
                at += 1
            if token == "Fl":
                value = ""
                if at + 1 < len(tokens) and tokens[at] == "Ar":
                    value = tokens[at + 1]
                    at += 2
                options["-" + words[0]] = value
                continue
            for word in words:
                if word == "...":
                    arguments[-1] = re.sub(r"(\]?)$", r"...\1", arguments[-1], count=1)
                else:
                    arguments.append(f"[{word}]" if depth else word)
    return arguments, options


def check_usage(program, page):
    """The line of each command says which arguments and which options it takes, and what those take."""
    for line in page.read_text().splitlines():
        begins = re.match(r"^\.It Nm Cm ([a-z]+(?: [a-z]+)?)(.*)", line)
        if not begins:
            continue
        told, helped = read_item(".It Nm" + begins[2]), read_usage(program, begins[1])
        if told != helped:
            problems.append(f"pennypost {begins[1]}: {page.name} says {told}, --help says {helped}")


# Pages of other packages that ours speak of.
OTHERS = {("mail", "1"), ("logrotate", "8"), ("mutt", "1"), ("systemd", "1"), ("crypt", "3"), ("systemd.socket", "5"), ("sysusers.d", "5"), ("tmpfiles.d", "5")}


def check_references(pages):
    """What .Xr names exists, by section; a page does not refer to itself."""
    ours = {tuple(page.name.removesuffix(".in").rsplit(".", 1)) for page in pages}
    for page in pages:
        for name, section in re.findall(r"(?m)^\.Xr (\S+) (\S+)", page.read_text()):
            own = tuple(page.name.rsplit(".", 1)) == (name, section)
            if own or (name, section) not in ours | OTHERS:
                problems.append(f"{page.name}: refers to {name}({section})")


def check_examples(program, page, commands):
    """What the examples type are commands with options that there are."""
    examples = page.read_text().split(".Sh EXAMPLES")[1]
    typed = re.findall(r"(?m)^pennypost (.*)$", examples)
    if not typed:
        problems.append(f"{page.name}: no example")
    for line in typed:
        words = line.split()
        command = next((name for name in (" ".join(words[:2]), words[0]) if name in commands), None)
        if command is None:
            problems.append(f"{page.name}: no such command: {line}")
            continue
        for option in OPTION.findall(line):
            if option not in commands[command] | commands[""] | EVERYWHERE:
                problems.append(f"{page.name}: no such option: {line}")


def check_config_examples(program, page):
    """The server files of the examples are taken, but for their certificates, which are not here."""
    examples = re.findall(r"(?s)\n\.Bd -literal -offset indent\n(.*?)\n\.Ed", page.read_text().split(".Sh EXAMPLES")[1])
    if len(examples) < 2:
        problems.append(f"{page.name}: too few examples")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "pennypost.toml"
        (Path(folder) / "servers").mkdir()
        config.write_text("")
        for number, text in enumerate(examples):
            (Path(folder) / "servers" / f"example{number}.toml").write_text(text + "\n")
        done = subprocess.run([program, "-c", str(config), "config", "show"], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            problems.append(f"{page.name}: an example is refused: {done.stderr}")


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


def keys_of(section):
    """table -> keys, of a section of the page; '' is without a table."""
    found = {}
    for part in re.split(r"(?m)^\.Ss ", section)[1:]:
        title = part.splitlines()[0]
        table = title[1:-1] if title.startswith("[") else ""
        found[table] = set(re.findall(r"(?m)^\.It Cm (\S+)", part))
    return found


def check_config_page(program, page):
    """Every key that `config show --defaults` prints for servers of each kind stands in the page under its table, and every key
    of the page is one of some kind."""
    sections = re.split(r"(?m)^\.Sh ", page.read_text())
    titles = ("KEYS OF PENNYPOST.TOML", "KEYS OF A SERVER FILE")
    listed = {title: keys_of(next((part for part in sections if part.startswith(title)), "")) for title in titles}
    shown = {title: {} for title in titles}
    for kind, extra in (("smtp", ""), ("smtp", 'role = "submission"\n'), ("lmtp", ""), ("pop3", "")):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "pennypost.toml"
            (Path(folder) / "servers").mkdir()
            config.write_text("")
            (Path(folder) / "servers" / "one.toml").write_text(f'kind = "{kind}"\n{extra}listen = ["127.0.0.1:0"]\nhostname = "a.test"\n')
            done = subprocess.run([program, "-c", str(config), "--json", "config", "show", "--defaults"],
                                  capture_output=True, text=True, timeout=60, check=True)
        for file, title in zip(json.loads(done.stdout), titles):
            for name, value in tomllib.loads(file["toml"]).items():
                if isinstance(value, dict) and value:
                    shown[title].setdefault(name, set()).update(value)
                else:
                    shown[title].setdefault("", set()).add(name)
    for title in titles:
        # A table that is a key itself (operators) has a heading of its own.
        ours = {f"{table}.{key}".lstrip(".") for table, keys in listed[title].items() for key in keys}
        theirs = {f"{table}.{key}".lstrip(".") for table, keys in shown[title].items() for key in keys}
        theirs |= {f"{name}.{name}" for name in theirs if f"{name}.{name}" in ours}
        theirs -= {name for name in theirs if f"{name}.{name}" in theirs}
        expect_same(f"{page.name}, {title}", theirs, ours, "config show", "the page")


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
    check_usage(program, page)
    check_examples(program, page, helped)
    pages = [*sorted(Path(folder).glob("*.[158]")), Path(config_page)]
    check_references(pages)
    check_config_page(program, Path(config_page))
    check_config_examples(program, Path(config_page))
    for each in pages:
        check_mdoc(each)

    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
