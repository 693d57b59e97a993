"""Name servers on loopback for tests: nsd with given zones, behind a relay that can keep silent."""

import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
PEERS = TOP / "build" / "peers"
HOST = "127.0.0.1"
A = 1

SOA = "$ORIGIN {origin}\n$TTL 300\n@ SOA ns.{origin} hostmaster.{origin} 1 3600 600 86400 60\n@ NS ns.{origin}\n"


def unpack():
    """nsd, the signer of zones, and what they are linked with."""
    packages = ["nsd", "libprotobuf-c1", "libfstrm0", "ldnsutils", "libldns3"]
    subprocess.run([str(TOP / "tools" / "unpack-packages"), *packages], check=True)


def environment():
    folders = [str(folder) for folder in PEERS.glob("*/usr/lib/*-linux-gnu")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}


def question(name, kind=A):
    """A query in wire form, recursion desired."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    return struct.pack(">6H", 4711, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", kind, 1)


def name_asked(packet):
    """The name in a query, lower case, without the dot at its end."""
    labels, at = [], 12
    while at < len(packet) and packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1").lower())
        at += 1 + packet[at]
    return ".".join(labels)


def free_port():
    """Free for UDP and TCP at this moment."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind((HOST, 0))
            try:
                tcp.bind(udp.getsockname())
            except OSError:
                continue
            return udp.getsockname()[1]


class DnsServer:
    """Use as a context manager. `zones`: name -> records as in a zone file, in front of which SOA and NS are put; None:
    a zone that the server cannot load, so that it answers SERVFAIL; a path: a whole zone file. `address` is what
    dns.servers takes; `direct` is nsd itself, which speaks TCP too. Names in `silent`, and all below them, are never
    answered, those in `late` so many seconds after the question; `asked` lists the names that came."""

    def __init__(self, zones, silent=(), late=None):
        self.zones = zones
        self.late = late or {}
        self.silent = set(silent)
        self.asked = []

    def __enter__(self):
        unpack()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pp-dns."))
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            for attempt in range(5):
                self.port = free_port()
                self.write()
                if self.start():
                    break
            else:
                raise RuntimeError("nsd does not start:\n" + (self.folder / "nsd.log").read_text())
            self.front.bind((HOST, 0))
        except BaseException:
            self.clean_up()
            raise
        self.address = f"{HOST}:{self.front.getsockname()[1]}"
        self.direct = f"{HOST}:{self.port}"
        self.relay = threading.Thread(target=self.pass_on, daemon=True)
        self.relay.start()
        return self

    def __exit__(self, *_):
        # A socket that is closed in one thread does not wake another: an empty packet does.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.front.getsockname())
        self.relay.join()
        self.clean_up()

    def clean_up(self):
        self.front.close()
        if getattr(self, "process", None):
            self.process.terminate()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self):
        lines = ["server:", f"  ip-address: {HOST}@{self.port}", "  server-count: 1", '  username: ""', '  chroot: ""',
                 '  database: ""', f'  zonesdir: "{self.folder}"', f'  pidfile: "{self.folder}/pid"',
                 f'  xfrdfile: "{self.folder}/xfrd"', f'  xfrdir: "{self.folder}"',
                 f'  zonelistfile: "{self.folder}/zone.list"', "remote-control:", "  control-enable: no"]
        for number, (name, records) in enumerate(self.zones.items()):
            path = self.folder / f"{number}.zone"
            if isinstance(records, pathlib.Path):
                path = records
            elif records is not None:
                origin = name.rstrip(".") + "."
                glue = "" if origin.endswith(".arpa.") else f"ns A {HOST}\n"
                path.write_text(SOA.format(origin=origin) + glue + records)
            lines += ["zone:", f'  name: "{name}"', f'  zonefile: "{path}"']
        (self.folder / "nsd.conf").write_text("\n".join(lines) + "\n")

    def start(self):
        with open(self.folder / "nsd.log", "wb") as log:
            self.process = subprocess.Popen([str(PEERS / "nsd" / "usr" / "sbin" / "nsd"), "-d", "-c",
                                             str(self.folder / "nsd.conf")], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=environment())
        deadline = time.monotonic() + 60
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(0.1)
            while self.process.poll() is None and time.monotonic() < deadline:
                try:
                    udp.sendto(question(next(iter(self.zones))), (HOST, self.port))
                    udp.recv(4096)
                    return True
                except OSError:  # nobody there yet, or nobody who answers
                    continue
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        return False

    def keeps_silent(self, name):
        return any(name == one or name.endswith("." + one) for one in self.silent)

    def pass_on(self):
        """One question at a time: nsd answers in microseconds."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.connect((HOST, self.port))
            back.settimeout(5)
            while True:
                packet, client = self.front.recvfrom(4096)
                if not packet:
                    return
                name = name_asked(packet)
                self.asked.append(name)
                if self.keeps_silent(name):
                    continue
                try:
                    back.send(packet)
                    answer = back.recv(65535)
                    while answer[:2] != packet[:2]:  # a late one to somebody else's question
                        answer = back.recv(65535)
                    if name in self.late:
                        threading.Timer(self.late[name], self.front.sendto, (answer, client)).start()
                    else:
                        self.front.sendto(answer, client)
                except OSError:
                    continue


def sign_zone(folder, name, records):
    """Signs the zone in a folder, which is made; gives back its file and its key, a line for a file of trust anchors."""
    unpack()
    folder.mkdir(exist_ok=True)
    tools = PEERS / "ldnsutils" / "usr" / "bin"
    origin = name.rstrip(".") + "."
    plain = folder / f"{name}.zone"
    plain.write_text(SOA.format(origin=origin) + f"ns A {HOST}\n" + records)
    made = subprocess.run([str(tools / "ldns-keygen"), "-k", "-a", "ECDSAP256SHA256", name], cwd=folder, check=True,
                          capture_output=True, text=True, env=environment()).stdout.strip()
    signed = folder / f"{name}.signed"
    subprocess.run([str(tools / "ldns-signzone"), "-f", str(signed), str(plain), str(folder / made)], cwd=folder,
                   check=True, capture_output=True, env=environment())
    return signed, (folder / f"{made}.key").read_text()
