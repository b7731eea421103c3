"""One app at work: its start, its dynos and router, what changes meanwhile, and all of it away at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from herolocal.contracts.store import AppRecord
from herolocal.contracts.workspace import Change
from herolocal.errors import HerolocalError, NotFound, UsageError, expected
from herolocal.model import formation
from herolocal.model.choices import Choices
from herolocal.model.dyno import State
from herolocal.model.formation import WEB, FormationRow
from herolocal.model.loss import Wipe, shared_nothing_hints
from herolocal.platform.addons import Attached
from herolocal.platform.dynos.life import Life, Machine
from herolocal.platform.dynos.manager import DynoManager
from herolocal.platform.logplex import Logplex, Session
from herolocal.platform.losses import written
from herolocal.platform.means import Isolated, Means
from herolocal.platform.news import News, Step
from herolocal.platform.releases import Releases
from herolocal.platform.start import Start
from herolocal.platform.web import Web

FAILED = 1
USAGE = 2
_LOOK_AROUND = 3.0  # seconds between two looks at what web dynos wrote while more than one runs


class RunningApp:
    """`run` returns when everything has ended; `stop` asks for that. `ready` is set while the app serves."""

    def __init__(self, record: AppRecord, choices: Choices, means: Means) -> None:
        self.choices = choices
        self.logplex = Logplex(means.clock)
        self.news = News(self.logplex.post, means.clock)
        self._first: Session | None = self.logplex.open()
        self.isolated: Isolated = means.isolate(choices.isolation)
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure: HerolocalError | None = None
        self.status = 0
        self.is_claimed = False
        """Whether somebody holds its lease: who asked for it may be gone before that."""
        self._means = means
        machine = Machine(self.isolated.runner, self.isolated.workspaces, means.ports, means.clock)
        self.dynos = DynoManager(machine, self.logplex, self._lost, self._changed)
        self.web = Web(record.name, self.dynos, self.logplex, means)
        self._start = Start(
            record, choices, means, news=self.news, logplex=self.logplex, dynos=self.dynos, web=self.web
        )
        self._stop_asked = asyncio.Event()
        self._kill = False

    # life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start, serve, stop. Errors are told as events; only faults of ours are raised."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.dynos.run())
                look = group.create_task(self._look_around())
                await self.dynos.started()
                await self._start_unless_stopped(group)
                if self.failure is None:
                    await self._stop_asked.wait()
                look.cancel()
                await self._shut()
        except BaseException as error:  # a cancellation comes from a fault elsewhere in the platform
            self.status = FAILED
            text = f"herolocal itself failed: {error!r}. The platform's log has the details."
            self.news.event("error", id="internal", message=text)
            await self._means.addons.stop(self.record.name, kill=True)  # dynos and router ended with their group
            raise
        finally:
            self.ready.clear()
            self.news.event("end", status=self.status)
            self.ended.set()
            self.logplex.close()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Session]:
        """All it tells: for the first watcher from its start on, for others from now on."""
        session, self._first = self._first or self.logplex.open(), None
        try:
            yield session
        finally:
            self.logplex.discard(session)

    def stop_soon(self, *, kill: bool = False) -> None:
        """Ask for the end; with `kill`, or a second time with it, nothing gets time to finish."""
        self._kill |= kill
        self._stop_asked.set()
        if kill:
            self.dynos.order_stop(kill=True)

    async def stop(self, *, kill: bool = False) -> None:
        """Ask for the end and wait for it."""
        self.stop_soon(kill=kill)
        await self.ended.wait()

    @property
    def is_stopping(self) -> bool:
        """Whether its end was asked for."""
        return self._stop_asked.is_set()

    def now(self) -> datetime:
        """The platform's clock."""
        return self._means.clock.now()

    # what its start found -------------------------------------------------------------------------------------------

    @property
    def record(self) -> AppRecord:
        """As it is remembered, with the port and the back end of this start."""
        return self._start.record

    @property
    def releases(self) -> Releases:
        """Its ledger."""
        return self._start.releases

    @property
    def commands(self) -> Mapping[str, str]:
        """The Procfile's commands by process type, once it was read."""
        return self._start.project.procfile.commands if self._start.project else {}

    @property
    def attached(self) -> tuple[Attached, ...]:
        """The add-ons whose servers run."""
        return self._start.attached

    def addon_states(self) -> list[dict[str, str]]:
        """Each add-on's name and state, for the health document."""
        return [{"name": name, "state": state} for name, state in self._start.addon_states.items()]

    # start and end --------------------------------------------------------------------------------------------------

    async def _start_unless_stopped(self, group: asyncio.TaskGroup) -> None:
        start = group.create_task(self._try_to_start(group))
        stop = group.create_task(self._stop_asked.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        start.cancel()
        await asyncio.wait({start})

    async def _try_to_start(self, group: asyncio.TaskGroup) -> None:
        """Tell a start that fails to whoever watches."""
        try:
            await self._bring_up(group)
        except (HerolocalError, BaseExceptionGroup) as error:
            failure = expected(error)
            if failure is None:
                raise
            self.failure = failure
            self.status = USAGE if isinstance(failure, UsageError) else FAILED
            self.news.event("error", id=type(failure).__name__, message=str(failure))

    async def _shut(self) -> None:
        """Dynos first, then the router, then the add-ons they used."""
        self.dynos.order_stop(kill=self._kill)
        await self.dynos.stopped()
        await self.web.close()
        for text in await self._means.addons.stop(self.record.name, kill=self._kill):
            self.news.note(text, warning=True)

    async def _bring_up(self, group: asyncio.TaskGroup) -> None:
        await self._start.run(group, self.isolated.note)
        self.news.event("started", **self._urls())
        await self._until_ready()

    async def _until_ready(self) -> None:
        """Wait until all dynos are up; a crash is told, and the app stays for the person to look at."""
        since = self._means.clock.monotonic()
        told: set[str] = set()
        while True:
            dynos = self.dynos.formation()
            for dyno in dynos:
                if dyno.state in (State.UP, State.CRASHED) and dyno.name not in told:
                    told.add(dyno.name)
                    detail = "  ".join(self.web.urls) if dyno.type == WEB else dyno.command
                    self.news.step(
                        Step("dyno", dyno.name, detail), "done" if dyno.state is State.UP else "failed", since
                    )
            if all(dyno.state is State.UP for dyno in dynos):
                break
            await self.dynos.news()
        self.ready.set()
        self.news.event("ready", **self._urls())

    def _urls(self) -> dict[str, object]:
        return {
            "app": self.record.name,
            "urls": list(self.web.urls),
            "dynos": [{"name": dyno.name, "state": str(dyno.state)} for dyno in self.dynos.dynos()],
        }

    def one_off_name(self, type_: str) -> str:
        """A free name such as `run.4321`."""
        return self.dynos.one_off_name(type_, self._means.random)

    # changes while it runs ------------------------------------------------------------------------------------------

    def scale(self, changes: Sequence[formation.Change]) -> tuple[FormationRow, ...]:
        """Change the formation; returns all its rows."""
        if self.dynos.release is None:
            raise NotFound(f"{self.record.name} is still starting, try again.")
        types = tuple(self.commands)
        rows = formation.apply(self._means.state.formation(self.record.name), changes, types)
        self._means.state.save_formation(self.record.name, rows)
        summary = " ".join(f"{row.type}@{row.quantity}:{row.size.name}" for row in rows)
        self.logplex.line("app", "api", f"Scaled to {summary} by user {self._means.user}")
        self.dynos.scale(rows)
        return rows

    def _changed(self) -> None:
        self.web.changed()

    async def _lost(self, life: Life, changes: tuple[Change, ...]) -> None:
        wipe = Wipe(
            app=self.record.name,
            dyno=life.role.name,
            dyno_id=life.id,
            release=life.release.version,
            reason=life.reason,
            at=self.now(),
            command=life.role.command,
            attached=tuple(item.record.service for item in self.attached),
        )
        losses = await self._means.losses.record(changes, wipe)
        hidden = self.isolated.workspaces.hidden_losses
        if losses:
            self.news.lost(life.role.name, life.reason, losses, hidden)

    async def _look_around(self) -> None:
        """While several web dynos run, point out what one wrote and another cannot see, once per path."""
        seen: set[str] = set()
        while True:
            await self._means.clock.sleep(_LOOK_AROUND)
            lives = self.dynos.web_lives()
            if len(lives) < 2:
                continue
            try:
                seen_by = {life.role.name: await life.changes() for life in lives}
            except HerolocalError as error:
                logging.getLogger("herolocal").warning("looking at what web dynos wrote: %s", error)
                continue
            files = {dyno: [written(change) for change in changes] for dyno, changes in seen_by.items()}
            for hint in shared_nothing_hints(files):
                if hint.path not in seen:
                    seen.add(hint.path)
                    self.news.event("shared-nothing", text=hint.text)
