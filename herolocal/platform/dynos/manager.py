"""The dyno manager of one app: keeps the formation true, restarts on a release, runs one-off dynos."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from herolocal.contracts.process import OnOutput
from herolocal.contracts.workspace import Change
from herolocal.errors import Conflict, MachineError, NotFound
from herolocal.model.dyno import State, process_type
from herolocal.model.formation import WEB, FormationRow
from herolocal.model.limits import DynoSize
from herolocal.platform.dynos.life import Life, Machine, Role, RunnableRelease, Work
from herolocal.platform.dynos.slot import Hooks, Order, Slot
from herolocal.platform.logplex import Logplex

Lost = Callable[[Life, tuple[Change, ...]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DynoView:
    """A dyno as the Platform API shows it."""

    id: str
    name: str
    type: str
    size: DynoSize
    state: State
    since: datetime
    created_at: datetime
    command: str
    release: int
    port: int | None


@dataclass(frozen=True, slots=True)
class WebTarget:
    """Where the router finds one web dyno that is up."""

    name: str
    dyno_id: str
    port: int


class DynoManager:
    """Runs inside its own TaskGroup (`run`); everything it started has ended when `run` returns."""

    def __init__(self, machine: Machine, logplex: Logplex, lost: Lost, changed: Callable[[], None]) -> None:
        self.machine = machine
        self.release: RunnableRelease | None = None
        self.launched = asyncio.Event()
        """Set once the first process of the app was started."""
        self._logplex = logplex
        self._lost = lost
        self._changed = changed
        self._slots: dict[str, Slot] = {}
        self._lives: set[Life] = set()
        self._one_offs: dict[str, Life] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False
        self._ending = asyncio.Event()
        self._ready = asyncio.Event()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Hold the app's tasks until `stop` has ended all of them; cancelled, everything is killed."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._ready.set()
                await self._ending.wait()
        finally:
            self._group = None
            self._kill_all("killed")

    async def started(self) -> None:
        """Return once `run` accepts work."""
        await self._ready.wait()

    # the formation --------------------------------------------------------------------------------------------------

    def deploy(self, release: RunnableRelease, rows: Sequence[FormationRow]) -> None:
        """Make `release` the one that runs: every dyno restarts, types that are gone stop."""
        before = set(self._slots)
        self.release = release
        self._fit(rows, "release")
        for name in before & set(self._slots):
            self._slots[name].order(Order("release", release=release, size=self._slots[name].size))

    def scale(self, rows: Sequence[FormationRow]) -> None:
        """Start what is missing, stop what is too many; a changed size restarts."""
        sizes = {row.type: row.size for row in rows}
        for slot in list(self._slots.values()):
            size = sizes.get(slot.type, slot.size)
            if size != slot.size:
                slot.order(Order("scale", size=size))
        self._fit(rows, "scale")

    def _fit(self, rows: Sequence[FormationRow], reason: str) -> None:
        wanted = {f"{row.type}.{n}": row for row in rows for n in range(1, row.quantity + 1)}
        for name in [name for name in self._slots if name not in wanted]:
            self._slots.pop(name).order(Order(reason, stop=True))
        for name, row in wanted.items():
            if name not in self._slots:
                self._open(name, row)
        self._tell()

    def _open(self, name: str, row: FormationRow) -> None:
        if self.release is None:
            return
        hooks = Hooks(
            live=self._live,
            spawn=self._spawn,
            changed=self._tell,
            log=lambda text: self._logplex.line("heroku", name, text),
        )
        slot = self._slots[name] = Slot(self.machine, hooks, self.release, name, row.size)
        self._spawn(name, slot.supervise)

    def restart(self, selector: str | None = None) -> tuple[str, ...]:
        """Restart one dyno, one process type, or all; raises NotFound. Returns the names."""
        names = tuple(name for name in self._slots if selector in (None, name, process_type(name)))
        if selector is not None and not names:
            running = ", ".join(sorted(self._slots)) or "none"
            raise NotFound(f"Couldn't find that dyno: {selector}. Running: {running}.")
        for name in names:
            self._slots[name].order(Order("restart"))
        return names

    def order_stop(self, reason: str = "stop", *, kill: bool = False) -> None:
        """Tell everything to stop, one-off dynos too; a second time with `kill` for what is left."""
        self._stopping = True
        for slot in self._slots.values():
            slot.order(Order(reason, stop=True, kill=kill))
        if kill:
            self._kill_all(reason)
            return
        for life in self._one_offs.values():
            self._spawn(life.role.name, partial(self.stop_one_off, life, reason))

    async def stopped(self) -> None:
        """Return when all that was told to stop has ended; `run` returns then too."""
        await asyncio.gather(*(slot.stopped.wait() for slot in self._slots.values()))
        await asyncio.gather(*(life.finished.wait() for life in list(self._lives)))
        self._ending.set()

    async def stop_one_off(self, life: Life, reason: str = "stop") -> None:
        """SIGTERM, 30 s, SIGKILL to a one-off dyno."""
        if not life.exited.done():
            await life.stop(reason)

    def _kill_all(self, reason: str) -> None:
        for life in self._lives:
            life.kill(reason)

    # one-off dynos --------------------------------------------------------------------------------------------------

    def one_off(self, role: Role, *, output: OnOutput | None = None, release: RunnableRelease | None = None) -> Life:
        """Start a one-off dyno; its output goes to `output`, or to the log. It never restarts.

        https://devcenter.heroku.com/articles/one-off-dynos
        """
        release = self.runnable(release)
        life = self._live(role, release, output)
        self._one_offs[role.name] = life
        self._spawn(role.name, partial(self._one_off, life))
        return life

    def runnable(self, release: RunnableRelease | None = None) -> RunnableRelease:
        """What a one-off dyno runs of, now; raises NotFound before the first release, Conflict while the app stops."""
        release = release or self.release
        if release is None:
            raise NotFound("Nothing was released yet, so there is nothing to run. Try again when the app has started.")
        if self._stopping:
            raise Conflict("The app is stopping, so nothing more can be run.")
        return release

    def one_off_name(self, type_: str, source: random.Random) -> str:
        """`run.4321`: a free name, within four digits."""
        while (name := f"{type_}.{source.randrange(1000, 10_000)}") in self._one_offs:
            pass
        return name

    async def _one_off(self, life: Life) -> None:
        def log(text: str) -> None:
            self._logplex.line("heroku", life.role.name, text)

        log(f"Starting process with command `{life.role.command}`")
        self._spawn(life.role.name, life.run)
        await asyncio.wait({life.started})
        if not life.started.cancelled():
            log(f"State changed from {State.STARTING} to {State.UP}")
        self._tell()
        await asyncio.wait({life.exited})
        log(f"Process exited with status {life.exited.result()}")
        log(f"State changed from {State.UP} to complete")
        await life.finished.wait()
        self._one_offs.pop(life.role.name, None)
        self._tell()

    # views ----------------------------------------------------------------------------------------------------------

    def dynos(self) -> tuple[DynoView, ...]:
        """The formation's dynos, then the one-off ones."""
        return self.formation() + tuple(_one_off_view(life) for life in self._one_offs.values())

    def formation(self) -> tuple[DynoView, ...]:
        """The formation's dynos."""
        return tuple(self._view(slot) for slot in self._slots.values())

    def _view(self, slot: Slot) -> DynoView:
        life = slot.life
        return DynoView(
            id=life.id if life else "",
            name=slot.name,
            type=slot.type,
            size=slot.size,
            state=slot.state,
            since=slot.since,
            created_at=life.started_at if life else slot.since,
            command=slot.command,
            release=slot.release.version,
            port=life.role.port if life else None,
        )

    def web_targets(self) -> tuple[WebTarget, ...]:
        """The web dynos that are up."""
        return tuple(
            WebTarget(slot.name, slot.life.id, slot.life.role.port)
            for slot in self._slots.values()
            if slot.is_routable and slot.life is not None and slot.life.role.port is not None
        )

    def states(self, type_: str) -> tuple[State, ...]:
        """The states of one type's dynos."""
        return tuple(slot.state for slot in self._slots.values() if slot.type == type_)

    async def news(self) -> None:
        """Wait for the next change of any dyno's state."""
        await self._news.wait()

    def web_lives(self) -> tuple[Life, ...]:
        """The lives that web dynos lead now."""
        return tuple(slot.life for slot in self._slots.values() if slot.type == WEB and slot.life is not None)

    # tasks ----------------------------------------------------------------------------------------------------------

    def _live(self, role: Role, release: RunnableRelease, output: OnOutput | None = None) -> Life:
        writer = self._logplex.writer("app", role.name)
        life = Life(
            self.machine,
            release,
            role,
            log=lambda text: self._logplex.line("heroku", role.name, text),
            output=output or writer.chunk,
            ended=writer.close,
            wiped=self._lost,
        )
        life.started.add_done_callback(lambda _: self.launched.set())
        self._lives.add(life)
        return life

    def _spawn(self, name: str, work: Work) -> None:
        """Run a task of a dyno; an error in it is that dyno's, never its neighbors'."""
        if self._group is None:
            raise MachineError(f"{name} cannot start: the app is stopping.")
        self._group.create_task(self._guarded(name, work))

    async def _guarded(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception as error:
            logging.getLogger("herolocal").exception("task of %s", name)
            self._logplex.line("heroku", name, f"Error R99 (Platform error) -> herolocal: {error!r}")
        finally:
            self._lives = {life for life in self._lives if not life.finished.is_set()}

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
        self._changed()


def _one_off_view(life: Life) -> DynoView:
    state = State.UP if life.started.done() else State.STARTING
    role = life.role
    return DynoView(
        id=life.id,
        name=role.name,
        type=process_type(role.name),
        size=role.size,
        state=state,
        since=life.started_at,
        created_at=life.started_at,
        command=role.command,
        release=life.release.version,
        port=role.port,
    )
