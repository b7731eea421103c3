"""Starts `dyno_init.py` for a launch and speaks with it: output as chunks, signals to all, exit status."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import shutil
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from herolocal.contracts.process import Launch, OnOutput, Terminal
from herolocal.errors import SpawnFailed

INIT = Path(__file__).with_name("dyno_init.py")
_CHUNK = 65536
_LARGEST_SIZE = 0xFFFF  # of a terminal, in characters
_DRAIN = 1.0  # seconds that output may stay open after the command's end

# A dyno's bash sources the build's scripts, then the app's, then runs the command with all of that in place.
# https://devcenter.heroku.com/articles/dyno-startup-behavior
_PROLOGUE = (
    'if [ -d "$HOME/.profile.d" ]; then for herolocal_script in "$HOME"/.profile.d/*.sh; do '
    'if [ -r "$herolocal_script" ]; then . "$herolocal_script"; fi; done; unset herolocal_script; fi; '
    'if [ -r "$HOME/.profile" ]; then . "$HOME/.profile"; fi; herolocal_command="$1"; shift; eval "$herolocal_command"'
)


@dataclass(frozen=True, slots=True)
class Spec:
    """What one way of isolation adds to a launch: members for dyno_init, and who owns the output pipe."""

    namespace: bool
    app: str
    members: Mapping[str, object] = field(default_factory=dict)
    owner: tuple[int, int] | None = None


def shell_arguments(command: str) -> list[str]:
    """The argument vector of a dyno's shell for a Procfile's command; the text itself is never rewritten."""
    shell = shutil.which("bash", path="/usr/local/bin:/usr/bin:/bin") or "/bin/sh"
    return [shell, "-c", _PROLOGUE, Path(shell).name, command]


class DynoProcess:
    """One running tree (contracts.process.RunningProcess and ProcessInput)."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket, ends: "Ends") -> None:
        self._process = process
        self._control = control
        self._ends = ends
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        return self._process.pid

    def follow(self, on_output: OnOutput) -> None:
        """Read output and await the end, from now on."""
        loop = asyncio.get_running_loop()
        if sys.platform == "linux":
            self._pidfd = os.pidfd_open(self._process.pid)
            loop.add_reader(self._pidfd, self._ready_to_reap)
        else:  # untested
            loop.run_in_executor(None, self._process.wait).add_done_callback(lambda _: self._ended())
        self._on_output = on_output
        self.hold_output(on=False)

    def _read(self) -> None:
        try:
            chunk = os.read(self._ends.output, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # a terminal whose last user is gone
            chunk = b""
        if chunk:
            self._on_output(chunk)
        else:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if not self._closed.done():
            asyncio.get_running_loop().remove_reader(self._ends.output)
            self._closed.set_result(None)

    def _ready_to_reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended()

    def _ended(self) -> None:
        if not self._exit.done():
            self._exit.set_result(_status(self._process.wait()))

    async def wait(self) -> int:
        status = await asyncio.shield(self._exit)
        self.hold_output(on=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                await asyncio.shield(self._closed)
        self._stop_reading()
        self._control.close()
        self._ends.close()
        return status

    def terminate(self) -> None:
        self._order(b"T")

    def kill(self) -> None:
        self._order(b"K")

    def _order(self, order: bytes) -> None:
        if not self._exit.done():
            with contextlib.suppress(OSError):
                self._control.send(order)

    # input ----------------------------------------------------------------------------------------------------------

    @property
    def input(self) -> "DynoProcess | None":
        return self if self._ends.input >= 0 else None

    async def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while data and self._ends.input >= 0 and not self._exit.done():
            try:
                data = data[os.write(self._ends.input, data) :]
            except BlockingIOError:
                await _writable(loop, self._ends.input, self._exit)
            except OSError:
                return

    def close(self) -> None:
        if self._ends.is_terminal:
            with contextlib.suppress(OSError):
                os.write(self._ends.input, b"\x04")
        else:
            self._ends.close_input()

    def resize(self, columns: int, lines: int) -> None:
        if self._ends.is_terminal:
            with contextlib.suppress(OSError):
                _set_size(self._ends.input, columns, lines)

    def hold_output(self, *, on: bool) -> None:
        if self._closed.done():
            return
        if on:
            asyncio.get_running_loop().remove_reader(self._ends.output)
        else:
            asyncio.get_running_loop().add_reader(self._ends.output, self._read)

    def hang_up(self) -> None:
        self._order(b"H")


async def _writable(loop: asyncio.AbstractEventLoop, descriptor: int, ended: "asyncio.Future[int]") -> None:
    """Wait until the pipe takes bytes, or its reader's process has ended."""
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _resolve, ready)
    try:
        waits: set[asyncio.Future[Any]] = {ready, ended}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_writer(descriptor)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


@dataclass(slots=True)
class Ends:
    """Our ends of a dyno's standard streams; `input` is -1 without one, and the terminal itself when there is one."""

    output: int
    input: int
    is_terminal: bool

    def close(self) -> None:
        self.close_input()
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def close_input(self) -> None:
        if self.input >= 0 and self.input != self.output:
            os.close(self.input)
        self.input = -1


def _status(code: int) -> int:
    return code if code >= 0 else 128 - code


def _set_size(descriptor: int, columns: int, lines: int) -> None:
    rows, width = (min(max(value, 1), _LARGEST_SIZE) for value in (lines, columns))
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))


def _open(launch: Launch, owner: tuple[int, int] | None, ours: ExitStack, theirs: ExitStack) -> tuple[Ends, int, int]:
    """Our ends, and the dyno's: its standard input, and one pipe for output and errors, so their order is kept."""
    if launch.terminal is not None:
        return _open_terminal(launch.terminal, owner, ours, theirs)
    output, writer = _pipe(ours, theirs)
    os.set_blocking(output, False)
    if owner is not None:
        os.fchown(writer, *owner)
    if not launch.interactive:
        return Ends(output, -1, is_terminal=False), _kept(theirs, os.open(os.devnull, os.O_RDONLY)), writer
    stdin, feeder = _pipe(theirs, ours)
    os.set_blocking(feeder, False)
    return Ends(output, feeder, is_terminal=False), stdin, writer


def _open_terminal(
    terminal: Terminal, owner: tuple[int, int] | None, ours: ExitStack, theirs: ExitStack
) -> tuple[Ends, int, int]:
    master, slave = pty.openpty()
    _kept(ours, master)
    _kept(theirs, slave)
    _set_size(master, terminal.columns, terminal.lines)
    os.set_blocking(master, False)
    if owner is not None:
        os.fchown(slave, *owner)
    return Ends(master, master, is_terminal=True), slave, _kept(theirs, os.dup(slave))


def _kept(stack: ExitStack, descriptor: int) -> int:
    """The descriptor, closed with the stack."""
    stack.callback(os.close, descriptor)
    return descriptor


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe, its ends closed with their stacks."""
    read, write = os.pipe()
    return _kept(reader, read), _kept(writer, write)


async def spawn(launch: Launch, spec: Spec, on_output: OnOutput) -> DynoProcess:
    """Start it in one way of isolation; raises SpawnFailed, with nothing left open."""
    with ExitStack() as ours:  # closed when it does not start, else by the process itself
        try:
            with ExitStack() as theirs:
                ends, stdin, stdout = _open(launch, spec.owner, ours, theirs)
                control, far = socket.socketpair()
                ours.callback(control.close)
                theirs.callback(far.close)
                control.setblocking(False)
                read, write = os.pipe()
                _kept(theirs, read)
                specification = ours.enter_context(os.fdopen(write, "wb"))
                process = subprocess.Popen(  # noqa: ASYNC220 - asyncio's own would read the pipe as lines and futures
                    [sys.executable, "-S", "-I", str(INIT), str(read), str(far.fileno())],
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stdout,
                    cwd="/",
                    env={"HEROLOCAL_SCRATCH": str(launch.workspace.scratch)},  # tells whose it is to who looks
                    pass_fds=(read, far.fileno()),
                    start_new_session=True,
                )
            members = _members(launch, spec)
            await asyncio.get_running_loop().run_in_executor(None, _write_all, specification, members)
            running = DynoProcess(process, control, ends)
            running.follow(on_output)
        except OSError as error:
            raise SpawnFailed(f"Cannot start {launch.name}: {error.strerror}.") from error
        ours.pop_all()
    return running


def _members(launch: Launch, spec: Spec) -> bytes:
    environment = {**launch.environment, "HOME": spec.app}
    if launch.terminal is not None:
        environment["TERM"] = launch.terminal.term
    return json.dumps(
        {
            "namespace": spec.namespace,
            "terminal": launch.terminal is not None,
            "app": spec.app,
            "argv": shell_arguments(launch.command),
            "environment": environment,
            **spec.members,
        }
    ).encode()


def _write_all(file: BinaryIO, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), file:
        file.write(data)
