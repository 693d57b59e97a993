"""A complete Pennypost in a temporary folder, for tests: configuration, certificate, store, both daemons on free ports."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
DOMAIN = "example.test"
PASSWORD = "pencil and paper"

# What a sanitizer finds ends the daemon with a status of its own, which `stop` then reports.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99",
}


def build_folder():
    """The build under test: $PENNYPOST_BUILD, else build/ of this tree."""
    return pathlib.Path(os.environ.get("PENNYPOST_BUILD", TOP / "build")).resolve()


def make_certificate(folder, name="certificate", common_name="localhost", days=30):
    """NAME.pem and NAME.key for localhost, 127.0.0.1 and ::1; gives back both paths."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", str(days), "-subj", f"/CN={common_name}",
         "-addext", "subjectAltName=DNS:localhost,DNS:mx.example.test,IP:127.0.0.1,IP:::1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True)
    return certificate, key


def toml_text(value):
    """A Python value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_text(item) for item in value) + "]"
    # JSON's strings are TOML's basic strings, as far as tests go.
    return json.dumps(str(value))


class Raw(str):
    """TOML written by hand: put into a file as it is."""


def render(settings):
    """{"kind": "smtp", "tls.key": "..."} as TOML; a dot in a key names its table."""
    tables = {}
    for key, value in settings.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, {})[name] = value
    lines = []
    for table in sorted(tables):
        if table:
            lines.append(f"\n[{table}]")
        for name, value in tables[table].items():
            lines.append(f"{name} = {value if isinstance(value, Raw) else toml_text(value)}")
    return "\n".join(lines) + "\n"


class Failed(Exception):
    """The suite did not do what every test relies on."""


class Suite:
    """Use as a context manager. `settings` change the configuration: {"mx": {"messages.size": "1KB"}, "suite": {...}};
    None in place of a value takes the key away. An "lmtp" server is there when settings has one, on TCP and on run/lmtp;
    so is any other that settings describe."""

    def __init__(self, settings=None, domain=DOMAIN, start=True):
        self.build = build_folder()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pp."))
        self.domain = domain
        self.config = self.folder / "etc" / "pennypost.toml"
        self.servers = self.folder / "etc" / "servers"
        self.processes = {}
        self.logs = {}
        self._start_wanted = start
        (self.folder / "log").mkdir()
        self.servers.mkdir(parents=True)
        self.certificate, self.key = make_certificate(self.folder)
        self.write_config(settings or {})

    # ---- configuration

    def write_config(self, settings):
        """Writes all files anew."""
        base = {
            "suite": {
                "store.path": self.folder / "store", "store.map_size": "1GB", "store.reserve": "1MB",
                "run.user": "", "run.directory": self.folder / "run", "run.threads": 2, "log.level": "debug",
            },
            "mx": {"kind": "smtp", "role": "mx", "listen": ["127.0.0.1:0"], "hostname": "mx.example.test"},
            "submission": {"kind": "smtp", "role": "submission", "listen": ["127.0.0.1:0", "127.0.0.1:0,tls"],
                           "hostname": "mx.example.test"},
            "pop3": {"kind": "pop3", "listen": ["127.0.0.1:0", "127.0.0.1:0,tls"], "hostname": "mx.example.test"},
        }
        if "lmtp" in settings:
            base["lmtp"] = {"kind": "lmtp", "listen": ["127.0.0.1:0", f"unix:{self.folder}/run/lmtp"],
                            "hostname": "mx.example.test"}
        for name in settings:
            base.setdefault(name, {})
        for name, server in base.items():
            if name != "suite":
                server.update({"default_domain": self.domain, "tls.certificate": self.certificate, "tls.key": self.key,
                               "connections.per_address": 0})
            server.update(settings.get(name, {}))
            path = self.config if name == "suite" else self.servers / f"{name}.toml"
            path.write_text(render({key: value for key, value in server.items() if value is not None}))

    # ---- life

    def __enter__(self):
        try:
            self.tool("store", "init")
            self.tool("domain", "add", self.domain)
            if self._start_wanted:
                self.start()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.stop()
            if kind is None:
                self.check_store()
        finally:
            self.clean_up()

    def clean_up(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        if os.environ.get("PENNYPOST_KEEP"):
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self, **more):
        return {**os.environ, **SANITIZERS, "PENNYPOST_CONFIG": str(self.config), **more}

    def spawn(self, name, **more):
        """Starts a daemon without waiting for it."""
        path = self.folder / "log" / f"{name}.log"
        self.logs[name] = path
        with open(path, "ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(self.build / name / name), "-c", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(**more))
        return self.processes[name]

    def start(self, *names, **more):
        """Starts the daemons and waits until they accept."""
        names = names or ("smtpd", "pop3d")
        for name in names:
            self.spawn(name, **more)
        for name in names:
            self.wait_ready(name)

    def wait_ready(self, name, seconds=60):
        """The pid file appears once every listener accepts."""
        process, deadline = self.processes[name], time.monotonic() + seconds
        pid_file = self.folder / "run" / f"{name}.pid"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise Failed(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")
            with contextlib.suppress(OSError, ValueError):
                if int(pid_file.read_text()) == process.pid:
                    return
            time.sleep(0.005)
        raise Failed(f"{name} was not ready in {seconds} s:\n{self.log(name)[-3000:]}")

    def stop(self, *names):
        """SIGTERM, and the status that a clean end has."""
        wrong = []
        for name in names or list(self.processes):
            if self.processes[name].poll() is None:
                self.processes[name].send_signal(signal.SIGTERM)
        for name in names or list(self.processes):
            process = self.processes.pop(name)
            try:
                status = process.wait(timeout=45)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                status = "no end within 45 s"
            if status != 0:
                wrong.append(f"{name} ended with {status}:\n{self.log(name)[-6000:]}")
        if wrong:
            raise Failed("\n".join(wrong))

    def check_store(self):
        self.tool("store", "check")

    # ---- asking

    def log(self, name):
        path = self.logs.get(name)
        return path.read_text(errors="backslashreplace") if path else ""

    def run_tool(self, *arguments, text_in=None):
        """pennypost with these arguments; whatever its exit status is."""
        return subprocess.run([str(self.build / "tools" / "pennypost"), "-c", str(self.config), *map(str, arguments)],
                              input=text_in if text_in is not None else "", text=True, capture_output=True,
                              env=self.environment(), timeout=120)

    def run_raw(self, *arguments):
        """As run_tool, in octets."""
        return subprocess.run([str(self.build / "tools" / "pennypost"), "-c", str(self.config), *map(str, arguments)],
                              stdin=subprocess.DEVNULL, capture_output=True, env=self.environment(), timeout=120)

    def tool(self, *arguments, text_in=None):
        """pennypost with these arguments, which must succeed; gives back what it printed."""
        done = self.run_tool(*arguments, text_in=text_in)
        if done.returncode != 0:
            raise Failed(f"pennypost {' '.join(map(str, arguments))}: status {done.returncode}: "
                         f"{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.tool(*arguments, "--json"))

    def add_mailbox(self, address, password=PASSWORD):
        if password is None:
            self.tool("mailbox", "add", address, "--no-password")
        else:
            self.tool("mailbox", "add", address, "--password-stdin", text_in=password + "\n")

    def messages(self, address):
        return self.json("message", "list", address)

    def port(self, server, tls=False):
        """The real port of a virtual server's listener."""
        for daemon in self.json("status"):
            for one in daemon["addresses"]:
                if one["server"] == server and one["tls"] == tls:
                    return int(one["address"].rpartition(":")[2])
        raise Failed(f"no listener of {server} with tls={tls}")
