"""The platform process: one home's apps and the API on one event loop; ends when nobody needs it.

Started by the keeper (see `adapters/keeper.py`), which was started by the first command that needed a platform.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from herolocal import __version__
from herolocal.assembly import Platform, assemble
from herolocal.errors import HerolocalError, PortTaken, expected
from herolocal.model.choices import from_json
from herolocal.platform.running import RunningApp

if TYPE_CHECKING:
    import uvicorn

_HEAD_START = 0.2  # seconds in which an app that need not be built launches its dynos, before the API is imported
_GRACE = 3  # seconds that streams get to send their last bytes
_READ = 65536


@dataclass(frozen=True, slots=True)
class Pipes:
    """Inherited descriptors: where to say that the API listens, where the first request comes from; -1 for none."""

    ready: int = -1
    request: int = -1


def main(arguments: list[str] | None = None) -> None:
    """`python -m herolocal.interfaces.serve --ready-fd N --request-fd M`."""
    parser = argparse.ArgumentParser(prog="herolocal platform")
    parser.add_argument("--ready-fd", type=int, default=-1)
    parser.add_argument("--request-fd", type=int, default=-1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    pipes = Pipes(options.ready_fd, options.request_fd)
    try:
        _run(pipes)
    except (HerolocalError, BaseExceptionGroup) as found:
        error = expected(found)
        if error is None:
            raise
        _say(pipes.ready, {"error": {"id": type(error).__name__, "message": str(error)}})
        logging.getLogger("herolocal").error("%s", error)
        sys.exit(1)


def _run(pipes: Pipes) -> None:
    import uvloop  # noqa: PLC0415 - an extra: `herolocal[run]`

    uvloop.run(_serve(pipes, dict(os.environ)))


async def _serve(pipes: Pipes, environment: Mapping[str, str]) -> None:
    home = Path(environment.get("HEROLOCAL_HOME") or Path.home() / ".herolocal")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(home):
        platform = await assemble(home, environment)
        try:
            await _hold_and_serve(platform, home, pipes)
        finally:
            platform.close()


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One platform at a time in a home: wait for one that is just ending."""
    descriptor = os.open(home / "platform.alone", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def _hold_and_serve(platform: Platform, home: Path, pipes: Pipes) -> None:
    """Start the first request before the web framework is imported: the dyno boots meanwhile."""
    apps = platform.apps
    apps.hold()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(apps.run())
        await asyncio.sleep(0)
        request = await _first_request(pipes.request)
        first = apps.start(from_json(request)) if request else None
        if first is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEAD_START):
                    await first.dynos.launched.wait()
        with _signals(platform):
            api = Api(platform, home)
            with api.open(pipes.ready):
                serving = group.create_task(api.serve())
                holding = group.create_task(_hold(platform, pipes.request, first))
                group.create_task(asyncio.to_thread(_make_certificate, platform))
                await running
                holding.cancel()
                api.end()
                await serving


def _make_certificate(platform: Platform) -> None:
    """Ahead of its first use, since keys take time; a disk that is full is told by whoever needs it."""
    with contextlib.suppress(OSError):
        _ = platform.authority().ca_path


class Api:
    """The API's listening socket, and `platform.json`, which says where it is."""

    def __init__(self, platform: Platform, home: Path) -> None:
        self._platform = platform
        self._home = home
        self._about = home / "platform.json"
        self._token = secrets.token_urlsafe(32)
        self._sockets = self._bind()
        self.port: int = self._sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = self._make_server()

    def _bind(self) -> tuple[socket.socket, ...]:
        """The same port at every start of a home: git remotes and netrc contain it."""
        remembered = self._home / "port"
        try:
            return self._platform.listeners.bind(int(remembered.read_text()))
        except (OSError, ValueError, PortTaken):
            sockets = self._platform.listeners.bind(self._platform.ports.lend())
            remembered.write_text(str(sockets[0].getsockname()[1]))
            return sockets

    def _make_server(self) -> "uvicorn.Server":
        import uvicorn  # noqa: PLC0415 - slow to import, and the first dyno need not wait for it

        from herolocal.interfaces.api.rendezvous import Rendezvous  # noqa: PLC0415
        from herolocal.interfaces.api.server import application  # noqa: PLC0415

        self._rendezvous = Rendezvous(lambda: self._platform.authority().server_context())
        app = application(self._platform.apps, self._rendezvous, self._token, lambda: self.url)
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )

        class Quiet(uvicorn.Server):
            """Signals are the platform's business."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        return Quiet(config)

    @contextlib.contextmanager
    def open(self, ready: int) -> Iterator[None]:
        """Say where the API is while it is there."""
        about = {
            "pid": os.getpid(),
            "started": _start_time(),
            "port": self.port,
            "url": self.url,
            "token": self._token,
            "version": __version__,
            "home": self._platform.home_id,
            "ca": str(self._home / "tls" / "ca.pem"),
        }
        _write_private(self._about, json.dumps(about))
        _say(ready, about)
        try:
            yield
        finally:
            self._about.unlink(missing_ok=True)

    async def serve(self) -> None:
        """Until `end`."""
        await self._server.serve(sockets=list(self._sockets))
        await self._rendezvous.close()

    def end(self) -> None:
        """Nobody finds it any more; streams finish, then it stops."""
        self._about.unlink(missing_ok=True)
        self._server.should_exit = True


@contextlib.contextmanager
def _signals(platform: Platform) -> Iterator[None]:
    """SIGTERM, SIGINT, SIGHUP end all apps gracefully; a second one kills what is left."""
    loop = asyncio.get_running_loop()
    count = 0

    def end() -> None:
        nonlocal count
        count += 1
        platform.apps.end_soon(kill=count > 1)

    names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for name in names:
        loop.add_signal_handler(name, end)
    try:
        yield
    finally:
        for name in names:
            loop.remove_signal_handler(name)


async def _first_request(descriptor: int) -> dict[str, object]:
    """One line of JSON; the pipe stays open, as the lease of who wrote it."""
    if descriptor < 0:
        return {}
    raw = b""
    while not raw.endswith(b"\n"):
        chunk = await asyncio.get_running_loop().run_in_executor(None, os.read, descriptor, _READ)
        if not chunk:
            break
        raw += chunk
    body = json.loads(raw or b"{}")
    return body if isinstance(body, dict) else {}


async def _hold(platform: Platform, descriptor: int, first: RunningApp | None) -> None:
    """The first lease: it lasts until the other end of the pipe is closed, and with it an app nobody came for."""
    loop = asyncio.get_running_loop()
    closed = loop.create_future()

    def read() -> None:
        if not os.read(descriptor, _READ):
            loop.remove_reader(descriptor)
            closed.set_result(None)

    if descriptor >= 0:
        os.set_blocking(descriptor, False)
        loop.add_reader(descriptor, read)
        try:
            await closed
        finally:
            loop.remove_reader(descriptor)
    if first is not None and not (first.is_claimed or first.choices.detach):
        first.stop_soon(kill=True)
    platform.apps.release()


def _start_time() -> float:
    """In clock ticks since boot, as the kernel tells it of every process; 0 elsewhere."""
    try:
        return float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0.0


def _say(descriptor: int, about: Mapping[str, object]) -> None:
    if descriptor >= 0:
        os.write(descriptor, json.dumps(about).encode() + b"\n")
        os.close(descriptor)


def _write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


if __name__ == "__main__":
    main()
