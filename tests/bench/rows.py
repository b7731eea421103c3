"""The measurements: each starts a real runner on a tiny app, on 127.0.0.1, and ends it."""

import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.peers import Peer

SECONDS = 120
SERVER = """\
import os, socket
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("0.0.0.0", int(os.environ["PORT"])))
sock.listen()
while True:
    client, _ = sock.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    client.close()
"""
TALKER = """\
import os, sys, time
count, line = int(sys.argv[1]), b"x" * 99 + b"\\n"
os.write(1, b"BEGIN\\n")
block = line * 500
for _ in range(count // 500):
    view = memoryview(block)
    while view:
        view = view[os.write(1, view):]
os.write(1, b"END\\n")
time.sleep(600)
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds to the first 200."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pump:
    """Lines a second that were shown, the CPU seconds of all but the app, the part that was not dropped."""

    rate: float
    cpu: float
    delivered: float


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(peer: Peer, procfile: str, files: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A runner on a fresh directory, ended by SIGINT and then whatever it takes."""
    root = Path(tempfile.mkdtemp(prefix="hl-bench-"))
    project = root / "app"
    project.mkdir()
    for name, text in {"Procfile": procfile, **files}.items():
        (project / name).write_text(text)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "HEROLOCAL_HOME": str(root / "home"),
        **peer.environment,
    }
    process = subprocess.Popen(
        peer.arguments(port), cwd=project, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        _end(process)
        _sweep(root)
        shutil.rmtree(root, ignore_errors=True)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    if process.stdout is not None:
        process.stdout.close()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _sweep(root: Path) -> None:
    """Some runners leave their app behind."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME", "").startswith(str(root)) or process.cwd().startswith(str(root)):
                process.kill()


def first_200(peer: Peer, runs: int) -> Start:
    """The median time from the runner's start to the first 200."""
    return Start(statistics.median(_first_200(peer) for _ in range(runs)))


def _first_200(peer: Peer) -> float:
    port = free_port()
    began = time.monotonic()
    with running(peer, "web: python3 server.py\n", {"server.py": SERVER}, port):
        while time.monotonic() - began < SECONDS:
            if _is_200(port):
                return time.monotonic() - began
            time.sleep(0.002)
    raise AssertionError(f"{peer.name} gave no 200 within {SECONDS} s")


def _is_200(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return sock.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def pump(peer: Peer, runs: int, lines: int) -> Pump:
    """The median rate, and the CPU time of that run."""
    found = sorted((_pump(peer, lines) for _ in range(runs)), key=lambda item: item.rate)
    return found[len(found) // 2]


def _pump(peer: Peer, lines: int) -> Pump:
    with running(peer, f"worker: exec python3 talker.py {lines}\n", {"talker.py": TALKER}, free_port()) as process:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        _read_until(descriptor, b"BEGIN")
        before, began = _cpu(process.pid), time.monotonic()
        delivered = _read_until(descriptor, b"END")
        seconds = time.monotonic() - began
        return Pump(delivered / seconds, _cpu(process.pid) - before, delivered / lines)


def _read_until(descriptor: int, word: bytes) -> int:
    """How many lines came before it."""
    tail, count = b"", 0
    while word not in tail:
        data = os.read(descriptor, 1 << 20)
        if not data:
            raise AssertionError(f"the runner ended before it said {word!r}")
        count += data.count(b"\n")
        tail = tail[-16:] + data if len(data) > 4096 else (tail + data)[-65536:]
    return count


def _cpu(pid: int) -> float:
    """CPU seconds of the runner and of the platform it started, without the app."""
    total = 0.0
    for process in _runners(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _runners(pid: int) -> list[psutil.Process]:
    found = [psutil.Process(pid)]
    home = found[0].environ().get("HEROLOCAL_HOME")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != pid and home and process.environ().get("HEROLOCAL_HOME") == home:
                found.append(process)
    return [process for process in found if "talker.py" not in " ".join(process.cmdline())]
