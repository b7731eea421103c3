"""A server of ours as a foreground child: its output goes to a bounded file, and nothing of it survives `stop`."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import psutil

from herolocal.errors import ServerFailed
from herolocal.model.limits import SERVER_LOG_BYTES

_TAIL_LINES = 12
_TAIL_BYTES = 4096


class ServerLog:
    """A log file, and the one before it, of `SERVER_LOG_BYTES` each at most; mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tail: deque[bytes] = deque(maxlen=16)
        self._open()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        """Append; a full disk loses the log, not the server."""
        self._tail.append(data[-_TAIL_BYTES:])
        if self._size > SERVER_LOG_BYTES:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._open()
        with contextlib.suppress(OSError):
            self._size += os.write(self._file, data)

    def tail(self) -> str:
        """The last lines, indented, for an error message."""
        lines = b"".join(self._tail).decode("utf-8", "replace").strip().splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (it wrote nothing)"

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class ServerProcess(asyncio.SubprocessProtocol):
    """One running server; `exited` holds its status once it has ended, `finished` is done when its output is too."""

    def __init__(self, log: ServerLog) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._log = log
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, _descriptor: int, data: bytes) -> None:
        self._log.write(data)

    def process_exited(self) -> None:
        status = self._transport.get_returncode() if self._transport is not None else None
        if not self.exited.done():
            self.exited.set_result(-1 if status is None else status)

    def connection_lost(self, _error: Exception | None) -> None:
        self._log.close()
        if not self.finished.done():
            self.finished.set_result(None)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._transport.get_pid() if self._transport is not None else 0

    def tail(self) -> str:
        """The last lines that it wrote."""
        return self._log.tail()

    async def stop(self, number: signal.Signals, grace: float) -> None:
        """Send a signal, wait `grace` seconds, SIGKILL the whole tree; returns when the process is gone."""
        if self._transport is None:
            return
        tree = _tree(self.pid)
        try:
            with contextlib.suppress(ProcessLookupError):
                self._transport.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await asyncio.shield(self.exited)
        finally:
            kill(tree)
        await asyncio.shield(self.exited)
        self._transport.close()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def kill(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL each that is still the process it was."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


async def start(
    argv: Sequence[str], *, directory: Path, log: Path, environment: Mapping[str, str] | None = None
) -> ServerProcess:
    """Start a server in its own session; raises ServerFailed."""
    output = ServerLog(log)
    try:
        _, protocol = await asyncio.get_running_loop().subprocess_exec(
            lambda: ServerProcess(output),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.STDOUT,
            cwd=directory,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", **(environment or {})},
            start_new_session=True,
        )
    except OSError as error:
        output.close()
        raise ServerFailed(f"Cannot start {Path(argv[0]).name}: {error.strerror}.") from error
    return protocol


async def run(argv: Sequence[str], *, directory: Path, text: str = "", seconds: float) -> str:
    """Run a program to its end with `text` as its input; returns what it wrote. Raises ServerFailed."""
    name = Path(argv[0]).name
    try:
        with tempfile.TemporaryFile() as stdin:  # a pipe would break, in its own ways, when the program ends at once
            stdin.write(text.encode())
            stdin.seek(0)
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=directory,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
                start_new_session=True,
            )
    except OSError as error:
        raise ServerFailed(f"Cannot start {name}: {error.strerror}.") from error
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise ServerFailed(f"{name} did not end within {seconds:.0f} s.") from error
    finally:
        if process.returncode is None:
            kill(_tree(process.pid))
            await process.wait()
    if process.returncode:
        tail = "\n".join(f"  {line}" for line in output.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
        raise ServerFailed(f"{name} ended with status {process.returncode}. Its last lines:\n{tail}")
    return output.decode("utf-8", "replace")
