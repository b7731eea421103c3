"""One life of a dyno: its filesystem filled, its command run to the end, its files compared, recorded and wiped."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from herolocal.contracts.clock import Clock
from herolocal.contracts.network import Ports
from herolocal.contracts.process import Launch, OnOutput, ProcessRunner, RunningProcess, Terminal
from herolocal.contracts.workspace import Change, SlugTree, Workspace, Workspaces
from herolocal.errors import MachineError
from herolocal.model.environment import dyno_environment
from herolocal.model.limits import EXIT_TIMEOUT, DynoSize

_LAUNCH_FAILED = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """What dynos are made of, in one way of isolation."""

    runner: ProcessRunner
    workspaces: Workspaces
    ports: Ports
    clock: Clock


@dataclass(frozen=True, slots=True)
class RunnableRelease:
    """What a release gives its dynos. `caller` is the caller's environment where no build made one (`--no-build`)."""

    version: int
    commands: Mapping[str, str]
    tree: SlugTree
    config_vars: Mapping[str, str]
    caller: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """What one dyno is: its name, its command, its size; `port` only for web dynos."""

    name: str
    command: str
    size: DynoSize
    port: int | None = None
    terminal: Terminal | None = None
    interactive: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


Work = Callable[[], Coroutine[object, object, object]]
LogLine = Callable[[str], None]
Wiped = Callable[["Life", tuple[Change, ...]], Awaitable[None]]


class Life:
    """One process tree with a filesystem of its own. `reason` says why it ended, for the list of lost files."""

    def __init__(
        self,
        machine: Machine,
        release: RunnableRelease,
        role: Role,
        *,
        log: LogLine,
        output: OnOutput,
        ended: Callable[[], None],
        wiped: Wiped,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.release = release
        self.role = role
        self.reason = "exit"
        self.started_at: datetime = machine.clock.now()
        self.started: asyncio.Future[RunningProcess] = asyncio.get_running_loop().create_future()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.finished = asyncio.Event()
        self.workspace: Workspace | None = None
        self._machine = machine
        self._log = log
        self._output = output
        self._ended = ended
        self._wiped = wiped
        self._killed = False
        self._terminated = False

    async def run(self) -> None:
        """Live. Ends when the process tree is gone and its files are wiped; never raises a MachineError.

        Whatever happens, `exited` and `finished` are told: others wait for them.
        """
        status = _LAUNCH_FAILED
        try:
            self.workspace = await self._machine.workspaces.fill(self.id, self.release.tree)
            status = await self._process(self.workspace)
        except MachineError as error:
            self._log(f"herolocal: {error}")
        finally:
            if not self.started.done():
                self.started.cancel()
            self._ended()
            self.exited.set_result(status)
            try:
                await self._end()
            finally:
                self.finished.set()

    async def _process(self, workspace: Workspace) -> int:
        process = await self._machine.runner.spawn(self._launch(workspace), self._output)
        self.started.set_result(process)
        if self._killed:
            process.kill()
        elif self._terminated:
            process.terminate()
        try:
            return await process.wait()
        except asyncio.CancelledError:  # a fault elsewhere in the app: nobody will stop this tree
            process.kill()
            await process.wait()
            raise

    def _launch(self, workspace: Workspace) -> Launch:
        role = self.role
        environment = dyno_environment(
            {**self.release.config_vars, **role.environment},
            dyno=role.name,
            port=role.port,
            size=role.size,
            app_home=str(workspace.app),
            caller=self.release.caller,
        )
        return Launch(self.id, role.name, role.command, environment, workspace, role.terminal, role.interactive)

    async def _end(self) -> None:
        """Compare, record and wipe; what fails here is said in the log and keeps nobody waiting."""
        if self.workspace is None:
            return
        workspaces = self._machine.workspaces
        try:
            await self._wiped(self, await workspaces.changes(self.workspace, ended=True))
        except MachineError as error:
            self._log(f"herolocal: cannot list the files this dyno lost: {error}")
        finally:
            try:
                await workspaces.wipe(self.workspace)
            except MachineError as error:
                self._log(f"herolocal: {error}")

    async def changes(self) -> tuple[Change, ...]:
        """What it has written so far; empty when it does not run."""
        if self.workspace is None or self.exited.done():
            return ()
        return await self._machine.workspaces.changes(self.workspace)

    async def stop(self, reason: str) -> None:
        """SIGTERM to every process, 30 s, SIGKILL to the rest (R12); returns when the tree has ended.

        https://devcenter.heroku.com/articles/dyno-shutdown-behavior
        """
        self.reason = reason
        self._log("Stopping all processes with SIGTERM")
        self._terminated = True
        if self._process_now is not None:
            self._process_now.terminate()
        if not await self.ends_within(EXIT_TIMEOUT):
            self._log("Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM")
            self._log("Stopping remaining processes with SIGKILL")
            self.kill(reason)
        await asyncio.wait({self.exited})

    async def ends_within(self, seconds: float) -> bool:
        """Wait for its end, no longer than this; whether it came."""
        limit = asyncio.ensure_future(self._machine.clock.sleep(seconds))
        try:
            waits: set[asyncio.Future[Any]] = {limit, self.exited}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
        return self.exited.done()

    def kill(self, reason: str) -> None:
        """SIGKILL to every process, at once; a life that has not started yet ends when it does."""
        self.reason = reason
        self._killed = True
        if self._process_now is not None:
            self._process_now.kill()

    @property
    def process(self) -> RunningProcess | None:
        """The process tree, while it runs."""
        return self._process_now

    @property
    def _process_now(self) -> RunningProcess | None:
        if self.started.done() and not self.started.cancelled() and not self.exited.done():
            return self.started.result()
        return None
