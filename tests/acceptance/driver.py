"""Drives the real command in a home of its own, and looks for what it leaves behind."""

import atexit
import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from tests import images

PATIENCE = 60.0
ROOT = Path(__file__).parents[2]
# Where package managers of this machine find their index, and whom they trust.
_OF_THE_MACHINE = ("PIP_", "UV_", "SSL_CERT", "REQUESTS_CA", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Person:
    """Whose process it is; `prefix` turns root into an ordinary user."""

    name: str
    uid: int
    prefix: tuple[str, ...] = ()


def me() -> Person:
    """The user of this test run."""
    return Person("root" if os.geteuid() == 0 else "user", os.geteuid())


@cache
def python_of(person: Person) -> str:
    """An interpreter with herolocal that this person can run: ours, else one made where they can reach it."""
    if _can_run(person, sys.executable):
        return sys.executable
    directory = Path(tempfile.mkdtemp(prefix="hl-python-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    made = str(directory / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    subprocess.run([made, "-m", "pip", "install", "-q", f"{ROOT}[embedded]"], check=True)
    assert _can_run(person, made), f"{person.name} (uid {person.uid}) can run neither {sys.executable} nor {made}"
    return made


def _can_run(person: Person, python: str) -> bool:
    command = [*person.prefix, python, "-c", "import herolocal"]
    environment = {"PYTHONPATH": str(ROOT)} if python == sys.executable else {}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True).returncode == 0


@dataclass(slots=True)
class Place:
    """A person's machine for one test: a home for herolocal, a project directory, a mark on all that dynos start."""

    person: Person
    root: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_images: bool = False

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / "project"

    def write(self, files: Mapping[str, str]) -> None:
        """Make the project; `.env` gets the mark, by which survivors are found."""
        for name, text in {"Procfile": "", ".env": "", **files}.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + (f"\nHEROLOCAL_MARK={self.mark}\n" if name == ".env" else ""))
        if self.person.prefix:
            subprocess.run(["chown", "-R", f"{self.person.uid}:{self.person.uid}", str(self.root)], check=True)

    def command(self, *arguments: str) -> list[str]:
        """The argument vector of `herolocal ARGUMENTS`, as this person."""
        return [*self.person.prefix, python_of(self.person), "-m", "herolocal", *arguments]

    def env(self) -> dict[str, str]:
        """What the person's shell exports."""
        names = [name for name in os.environ if name.startswith(_OF_THE_MACHINE)]
        kept = {name: os.environ[name] for name in ("PATH", "LANG", *names) if name in os.environ}
        return {
            **kept,
            **(images.variables() if self.pass_images else {}),
            "HOME": str(self.root),
            "HEROLOCAL_HOME": str(self.home),
            **({"PYTHONPATH": str(ROOT)} if python_of(self.person) == sys.executable else {}),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_COLOR": "1",
            **self.environment,
        }

    def run(
        self, *arguments: str, check: bool = True, text: str | None = None, seconds: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in the project directory."""
        result = subprocess.run(
            self.command(*arguments),
            cwd=self.project,
            env=self.env(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            input=text,
        )
        if check and result.returncode:
            raise AssertionError(
                f"herolocal {' '.join(arguments)}: {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def run_bytes(self, *arguments: str) -> bytes:
        """What a command writes, as it is."""
        command = self.command(*arguments)
        return subprocess.run(command, cwd=self.project, env=self.env(), capture_output=True, check=True).stdout

    def about(self) -> dict[str, Any]:
        """What the running platform says of itself."""
        about: dict[str, Any] = json.loads((self.home / "platform.json").read_text())
        return about

    @property
    def ca(self) -> str:
        """The certificate of the local authority."""
        return str(self.about()["ca"])

    @property
    def url(self) -> str:
        """Where the app's router listens."""
        (app,) = self.ask("/_herolocal/apps")
        return f"http://localhost:{app['port']}"

    def ask(self, path: str) -> Any:
        """A GET to the API."""
        about = self.about()
        request = urllib.request.Request(about["url"] + path, headers={"Authorization": f"Bearer {about['token']}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def wait_until(self, is_so: Callable[[], bool], what: str = "it") -> None:
        """Until it is so, asked again and again."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, f"{what} did not come"
            select.select([], [], [], 0.05)

    def wait_for_dyno(self, name: str, state: str) -> None:
        """Until a dyno is in this state."""
        (app,) = self.ask("/_herolocal/apps")
        path = f"/apps/{app['name']}/dynos"
        self.wait_until(
            lambda: any(dyno["name"] == name and dyno["state"] == state for dyno in self.ask(path)), f"{name} {state}"
        )

    @contextlib.contextmanager
    def up(self, *arguments: str) -> Iterator["Up"]:
        """`herolocal up ARGUMENTS` until the block ends; `up` itself is killed then, and must take all else with it."""
        process = subprocess.Popen(
            self.command("up", *arguments),
            cwd=self.project,
            env=self.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Up(self, process)
        finally:
            self._clear(process)

    @contextlib.contextmanager
    def up_on_a_terminal(self, *arguments: str) -> Iterator["Up"]:
        """The same with a terminal of its own; `hang_up` closes it."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [
                *self.person.prefix,
                "setsid",
                "--ctty",
                "--wait",
                *self.command("up", *arguments)[len(self.person.prefix) :],
            ],
            cwd=self.project,
            env={**self.env(), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        try:
            yield Up(self, process, master)
        finally:
            self._clear(process)
            with contextlib.suppress(OSError):
                os.close(master)

    def _clear(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)
        if process.stdout is not None:
            process.stdout.close()

    # survivors --------------------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this place: by the mark in its environment, or the home in its arguments."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                return False
            environment = process.environ()
            arguments = "\0".join(process.cmdline())
        except psutil.Error:
            return False
        return (
            environment.get("HEROLOCAL_MARK") == self.mark
            or environment.get("HEROLOCAL_HOME") == str(self.home)
            or environment.get("HEROLOCAL_SCRATCH", "").startswith(str(self.home))
            or str(self.home) in arguments
        )

    def mounts(self) -> list[str]:
        """Mounts below this place, in our own namespace."""
        return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.root) in line]

    def scratch(self) -> list[str]:
        """Scratch directories of dynos."""
        directory = self.home / "scratch"
        return [entry.name for entry in directory.iterdir()] if directory.exists() else []

    def wait_until_gone(self) -> float:
        """Seconds until no process of ours is left; raises AssertionError naming those that stay."""
        start = time.monotonic()
        while left := self.processes():
            if time.monotonic() - start > PATIENCE:
                raise AssertionError(f"survivors: {[(process.pid, process.cmdline()) for process in left]}")
            psutil.wait_procs(left, timeout=1)
        return time.monotonic() - start


@dataclass(slots=True)
class Up:
    """A running `herolocal up`. `seen` is its output so far."""

    place: Place
    process: subprocess.Popen[bytes]
    terminal: int | None = None
    seen: bytearray = field(default_factory=bytearray)

    def _descriptor(self) -> int:
        if self.terminal is not None:
            return self.terminal
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the output matches; raises AssertionError with the output when it ends or takes too long."""
        deadline = time.monotonic() + PATIENCE
        compiled = re.compile(pattern)
        while True:
            match = compiled.search(self.seen.decode("utf-8", "replace"))
            if match:
                return match
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"no {pattern!r} in:\n{self.seen.decode('utf-8', 'replace')}")

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._descriptor()], [], [], max(0.0, seconds))
        if not ready:
            return False
        try:
            chunk = os.read(self._descriptor(), 65536)
        except OSError:  # a terminal whose other end is closed
            return False
        self.seen += chunk
        return bool(chunk)

    def ready(self) -> "Up":
        """Wait until every dyno is up."""
        self.wait_for(r"(?m)^.*web\.1.*up in")
        return self

    @property
    def url(self) -> str:
        """Where the router listens."""
        return self.wait_for(r"http://localhost:\d+").group()

    def signal(self, number: int) -> None:
        """Send a signal to `up` itself."""
        os.kill(self.command_pid(), number)

    def command_pid(self) -> int:
        """The pid of the Python process (setpriv and the like exec it; setsid --wait does not)."""
        for process in (psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "herolocal" in words and "up" in words and process.name().startswith("python"):
                    return process.pid
        return self.process.pid

    def end(self) -> int:
        """Read on until it has ended; its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code."""
        self.signal(signal.SIGINT)
        return self.end()

    @property
    def output(self) -> str:
        return self.seen.decode("utf-8", "replace")


def get(url: str, *, timeout: float = PATIENCE) -> tuple[int, str]:
    """Status and body of a GET; an error status is no exception."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode("utf-8", "replace")


def listens(port: int, place: Place) -> bool:
    """Whether something of this place accepts connections there; another program may have taken the port meanwhile."""
    with socket.socket() as sock:
        if sock.connect_ex(("127.0.0.1", port)) != 0:
            return False
    ours = {process.pid for process in place.processes()}
    found = [entry.pid for entry in psutil.net_connections("tcp") if entry.laddr and entry.laddr.port == port]
    holders = {pid for pid in found if pid is not None}
    return not holders or bool(holders & ours)


def prefix_of(uid: int) -> Sequence[str]:
    """Run what follows as this uid."""
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
