"""Finds the platform process of a home, and starts one when none runs."""

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from herolocal import __version__, errors
from herolocal.errors import MissingPart, PlatformUnreachable

PARTS = (
    "uvloop",
    "httptools",
    "uvicorn",
    "starlette",
    "psutil",
    "docker",
    "dotenv",
    "yaml",
    "cryptography",
    "pathspec",
)
_START_SECONDS = 30.0
_END_SECONDS = 5.0
_LOG_BYTES = 1_000_000
_PASSED = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "XDG_RUNTIME_DIR",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
)
_PASSED_PREFIXES = (
    "LC_",
    "DOCKER_",
    "SSL_CERT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a platform listens, and what it asks for."""

    port: int
    token: str
    ca: str
    pid: int
    version: str = __version__


@dataclass(slots=True)
class Started:
    """A platform this process has just started. It lives on while `lease` is open, or by an app of its own."""

    address: Address
    lease: int

    def let_go(self) -> None:
        """The first lease ends; another one holds by now, or the platform ends."""
        if self.lease >= 0:
            os.close(self.lease)
            self.lease = -1


def home_of(environment: Mapping[str, str]) -> Path:
    """HEROLOCAL_HOME, or ~/.herolocal."""
    given = environment.get("HEROLOCAL_HOME")
    return Path(given).absolute() if given else Path.home() / ".herolocal"


def find(home: Path) -> Address | None:
    """The running platform of this home; a stale platform.json is removed. Another version: PlatformUnreachable."""
    path = home / "platform.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        address = Address(about["port"], about["token"], about["ca"], about["pid"], about["version"])
    except (OSError, ValueError, KeyError):
        return None
    if not _lives(address.pid, about.get("started", 0)):
        path.unlink(missing_ok=True)
        return None
    if address.version != __version__:
        raise PlatformUnreachable(
            f"herolocal {address.version} runs this home ({home}), and this is {__version__}. "
            "End it with that version's `herolocal down`, or set HEROLOCAL_HOME to another directory."
        )
    return address


def _lives(pid: int, started: float) -> bool:
    """Whether the process with this pid is the one that wrote the file: the start time tells a reused pid."""
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return False
    state, ticks = _state_and_start(pid)
    return state != "Z" and (not started or ticks == started)


def _state_and_start(pid: int) -> tuple[str, float]:
    """A process's state letter and its start in clock ticks since boot; empty and 0 where the kernel does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], float(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0.0


def find_or_start(home: Path, environment: Mapping[str, str], request: Mapping[str, object]) -> Address | Started:
    """The platform of this home; a new one is given `request` together with its start."""
    missing = [name for name in PARTS if find_spec(name) is None]
    if missing:
        raise MissingPart(
            f"This needs the platform, and {', '.join(missing)} is not installed. "
            "Type: pip install 'herolocal[embedded]' (or 'herolocal[run]' without the embedded servers)."
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformUnreachable(
            f"Cannot make {home}: {error.strerror}. Set HEROLOCAL_HOME to a directory you may write."
        ) from error
    with _lock(home):
        return find(home) or _start(home, environment, request)


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Two commands at once start one platform."""
    try:
        file = os.open(home / "platform.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise PlatformUnreachable(
            f"Cannot write in {home}: {error.strerror}. Set HEROLOCAL_HOME to a directory you may write."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _start(home: Path, environment: Mapping[str, str], request: Mapping[str, object]) -> Started:
    ready_read, ready_write = os.pipe()
    request_read, lease = os.pipe()
    with _log(home) as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-I", _keeper(), "--", sys.executable, "-m", "herolocal.interfaces.serve"),
                *("--ready-fd", str(ready_write), "--request-fd", str(request_read)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_clean(environment, home),
            pass_fds=(ready_write, request_read),
            start_new_session=True,
        )
    os.close(ready_write)
    os.close(request_read)
    _write_all(lease, request)
    try:
        about = json.loads(_read_line(ready_read))
    except ValueError:
        os.close(lease)
        _end(process)
        raise PlatformUnreachable(_did_not_start(home)) from None
    except BaseException:  # a signal
        os.close(lease)
        _end(process)
        raise
    finally:
        os.close(ready_read)
    if "error" in about:
        os.close(lease)
        _end(process)
        kind = getattr(errors, about["error"]["id"], PlatformUnreachable)
        raise kind(about["error"]["message"])
    # The keeper outlives this command; whoever adopts it reaps it.
    process.returncode = 0
    return Started(Address(about["port"], about["token"], about["ca"], about["pid"]), lease)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """A platform that did not get ready: the keeper ends all of it."""
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write_all(descriptor: int, request: Mapping[str, object]) -> None:
    data = json.dumps(request).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):  # it did not start, which is told next
        while data:
            data = data[os.write(descriptor, data) :]


def _keeper() -> str:
    spec = find_spec("herolocal.adapters.keeper")
    if spec is None or spec.origin is None:
        raise MissingPart("herolocal is installed without its keeper. Install it anew.")
    return spec.origin


def _clean(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The platform's environment: nothing of the caller's shell that could leak into apps."""
    kept = {name: value for name, value in environment.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    return {**kept, "HEROLOCAL_HOME": str(home)}


@contextlib.contextmanager
def _log(home: Path) -> Iterator[int]:
    """platform.log, private, begun anew when it has grown."""
    path = home / "platform.log"
    with contextlib.suppress(OSError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _read_line(descriptor: int) -> bytes:
    """One line within the time a start may take; what there is at the end of file or time."""
    deadline = time.monotonic() + _START_SECONDS
    data = b""
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(descriptor, 65536) if ready else b""
        if not chunk:
            break
        data += chunk
    return data


def _did_not_start(home: Path) -> str:
    path = home / "platform.log"
    try:
        tail = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    except OSError:
        tail = []
    said = "".join(f"\n  {line}" for line in tail)
    return f"The platform did not start. The last lines of {path}:{said}"
