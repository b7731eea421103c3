"""Fakes of the contracts: a clock that a test moves, dynos that do as they are told, ports that answer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from herolocal.contracts.network import Holder
from herolocal.contracts.process import Launch, OnOutput, ProcessInput
from herolocal.contracts.server import Progress, RunningServer, ServerRequest
from herolocal.contracts.source import BuildOptions, BuiltSlug, OnLine, Project, Source
from herolocal.contracts.workspace import Change, SlugTree, Workspace
from herolocal.errors import EngineUnavailable, ServerFailed
from herolocal.model.configvars import EnvEntry
from herolocal.model.manifest import Manifest
from herolocal.model.procfile import Procfile


@dataclass
class FakeClock:
    """Time stands still until `pass_`."""

    at: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    sleepers: list[tuple[float, "asyncio.Future[None]"]] = field(default_factory=list)
    elapsed: float = 0.0

    def now(self) -> datetime:
        return self.at + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.elapsed + seconds, future))
        await future

    def pass_(self, seconds: float) -> None:
        """Move time; whoever slept that long wakes."""
        self.elapsed += seconds
        for due, future in self.sleepers:
            if due <= self.elapsed and not future.done():
                future.set_result(None)


class FakeProcess:
    """A process that ends when told, or at SIGTERM unless it is deaf."""

    pid = 1
    input: ProcessInput | None = None

    def __init__(self, *, deaf: bool) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.signals: list[str] = []
        self._deaf = deaf

    def end(self, status: int) -> None:
        if not self.ended.done():
            self.ended.set_result(status)

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def terminate(self) -> None:
        self.signals.append("TERM")
        if not self._deaf:
            self.end(143)

    def kill(self) -> None:
        self.signals.append("KILL")
        self.end(137)


@dataclass
class FakeIsolation:
    """ProcessRunner and Workspaces at once; `launched` and `processes` in order of start."""

    deaf: bool = False
    launched: list[Launch] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)
    wiped: list[str] = field(default_factory=list)
    at_start: Callable[[FakeProcess], None] = lambda _process: None
    hidden_losses: str | None = None

    async def fill(self, dyno_id: str, slug: SlugTree) -> Workspace:
        return Workspace(dyno_id, slug, Path("/scratch"), Path("/app"), Path("/tmp"))

    async def changes(self, workspace: Workspace, *, ended: bool = False) -> tuple[Change, ...]:
        return ()

    async def wipe(self, workspace: Workspace) -> None:
        self.wiped.append(workspace.dyno_id)

    async def reap(self) -> int:
        return 0

    async def spawn(self, launch: Launch, on_output: OnOutput) -> FakeProcess:
        process = FakeProcess(deaf=self.deaf)
        self.launched.append(launch)
        self.processes.append(process)
        self.at_start(process)
        return process


@dataclass
class FakeServers:
    """Add-on servers that are ready at once; `failing` names services that do not start, `stuck` that do not stop."""

    version: str | None = "Fake 1"
    failing: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    running: dict[str, ServerRequest] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    left: int = 0

    async def start(self, request: ServerRequest, progress: Progress) -> RunningServer:
        progress("starting")
        await asyncio.sleep(0)
        if request.template.name in self.failing:
            raise ServerFailed(f"Cannot start {request.addon}: told so.")
        self.running[request.addon] = request
        self.volumes.add(request.volume)
        return RunningServer(request.addon, "127.0.0.1", 4711, "fake", "not real")

    async def stop(self, addon: str, *, kill: bool = False) -> None:
        request = self.running.get(addon)
        if request is None:
            return
        if request.template.name in self.stuck:
            raise EngineUnavailable("The engine has stopped answering.")
        del self.running[addon]
        if request.throwaway:
            self.volumes.discard(request.volume)

    async def forget(self, volume: str) -> None:
        self.volumes.discard(volume)

    async def reap(self) -> int:
        if self.version is None:
            raise EngineUnavailable("No container engine answers.")
        return self.left

    async def describe(self) -> str | None:
        return self.version


@dataclass
class FakeProject:
    """ProjectReader: an app of these commands that wants these packages."""

    commands: dict[str, str]
    packages: frozenset[str] = frozenset()

    def read(self, directory: Path, procfile_path: Path | None) -> Project:
        return Project(Procfile(self.commands), Manifest(), self.packages)

    def read_env(self, directory: Path, paths: Sequence[Path]) -> tuple[EnvEntry, ...]:
        return ()


class FakeBuilder:
    """SourceReader and SlugBuilder of an empty tree."""

    async def read(self, directory: Path) -> Source:
        return Source(directory, ())

    async def build(self, source: Source, options: BuildOptions, on_line: OnLine) -> BuiltSlug:
        return BuiltSlug(SlugTree(Path("/slug")), "abc", "nothing", 0, cached=True, in_callers_environment=False)

    async def prune(self, keep: frozenset[str], layers_used_after: datetime) -> None:
        pass


@dataclass
class FakePorts:
    """Ports are bound at once, on `addresses`."""

    addresses: tuple[str, ...] = ("0.0.0.0",)
    next: int = 10000

    def lend(self) -> int:
        self.next += 1
        return self.next

    def listeners(self, port: int) -> tuple[str, ...]:
        return self.addresses

    def holder(self, port: int) -> Holder:
        return Holder(0, "")

    async def wait_until_bound(self, port: int) -> tuple[str, ...]:
        if not self.addresses:
            await asyncio.get_running_loop().create_future()
        return self.addresses
